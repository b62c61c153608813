//! Runs a machine by hand: QEMU shut in, a monitor, and one request after its agent's greeting.
//!
//! `machine KERNEL INITRAMFS microvm|q35 KHZ [SERIAL=FILE…] [REQUEST.json…]`, as root; the files are read-only disks, the requests
//! `ToGuest` documents. What is told goes to the standard output, the container's streams are this program's; the guest's console
//! goes to the standard error output if `CONSOLE` is set. `TEMPLATE` names a folder: the machine begins from the template there,
//! which is made first where there is none.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_container::rootfs::Rootfs;
use holm_container::{Create, Init, Stdio};
use holm_spec::guest::{ToGuest, ToHost};
use holm_vm::disk::image::Format;
use holm_vm::machine::{Accelerator, Boot, DiskFile, HostUser, Hypervisor, Machine, Origin, Profile, VmmPlan};
use holm_vm::monitor::{self, FromMonitor, MonitorParts, Patience, wire};
use holm_vm::qemu::Qemu;
use holm_vm::qmp::Qmp;
use holm_vm::template;

const USER: HostUser = HostUser { uid: 600_001, gid: 600_001 };
const MEMORY_BYTES: u64 = 256 << 20;

fn main() {
    holm_sys::exe::protect().expect("protect this program");
    let args: Vec<String> = std::env::args().collect();
    let [_, kernel, initramfs, profile, khz, requests @ ..] = args.as_slice() else {
        eprintln!("usage: machine KERNEL INITRAMFS microvm|q35 KHZ [SERIAL=FILE...] [REQUEST.json...]");
        std::process::exit(2);
    };
    let (disks, requests): (Vec<_>, Vec<_>) = requests.iter().partition(|word| word.contains('='));
    let machine = |origin| Machine {
        boot: Boot::Direct { kernel: PathBuf::from(kernel), initramfs: PathBuf::from(initramfs) },
        accelerator: Accelerator::Tcg { tsc_khz: khz.parse().expect("a number") },
        profile: if profile == "q35" { Profile::Q35 } else { Profile::Microvm },
        cpus: 1,
        memory_bytes: MEMORY_BYTES,
        disks: disks.iter().filter_map(|word| word.split_once('=')).map(disk).collect(),
        links: Vec::new(),
        shares: Vec::new(),
        user: USER,
        origin,
    };
    let folder = std::env::temp_dir().join(format!("holm-machine-{}", std::process::id()));
    let root = folder.join("root");
    std::fs::create_dir_all(&root).expect("make a folder");
    let qemu = Qemu::find(&std::env::var("PATH").expect("PATH"), &folder).expect("find QEMU");
    let template = std::env::var_os("TEMPLATE").map(PathBuf::from);
    let key = template::shape(&machine(Origin::Cold));
    if let Some(at) = template.as_ref().filter(|at| !at.exists()) {
        make_template(&qemu, &machine, &root, at, &key);
    }
    let start = std::time::Instant::now();
    let loaded = template.and_then(|at| template::load(&at, &key).expect("read the template"));
    let (origin, state) = match loaded {
        Some(loaded) => (Origin::Restore { memory: loaded.memory }, Some(loaded.state)),
        None => (Origin::Cold, None),
    };
    let plan = qemu.plan(machine(origin)).expect("plan the machine");
    plan.root.make(&root).expect("make the root");
    let (control, theirs) = holm_sys::packet::pair(rustix::net::SocketType::SEQPACKET).expect("make a socket");
    let restored = state.is_some();
    let child = match holm_sys::process::fork().expect("fork") {
        holm_sys::process::Fork::Child => {
            drop(control);
            monitor_life(plan, &root, theirs, state);
        }
        holm_sys::process::Fork::Parent(child) => child,
    };
    drop((plan, theirs));
    hear(control, &requests, restored, start);
    let status = rustix::process::waitid(
        rustix::process::WaitId::PidFd(child.pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
    let code = status.expect("wait").and_then(|s| s.exit_status());
    println!("{:?} the monitor ended with {code:?}", start.elapsed());
    let _ = std::fs::remove_dir_all(&folder);
}

fn disk((serial, path): (&str, &str)) -> DiskFile {
    let file = std::fs::File::open(path).expect("open the disk");
    DiskFile { file: file.into(), read_only: true, format: Format::Raw, serial: serial.to_owned(), throttle: None }
}

fn start(plan: &mut VmmPlan, root: &Path) -> Init {
    let rootfs = Rootfs::directory(root).expect("open the root");
    let null = std::fs::File::open("/dev/null").expect("open /dev/null");
    let output = || plan.output.try_clone().expect("a descriptor");
    let request = Create {
        id: "machine",
        spec: &plan.spec,
        bundle: None,
        rootfs: &rootfs,
        stdio: Stdio::Fds { stdin: null.into(), stdout: output(), stderr: output() },
        cgroup: None,
        seccomp: None,
        start_now: true,
        init: false,
        hold_mounts: false,
        files: std::mem::take(&mut plan.files),
    };
    holm_container::create(request, None).unwrap_or_else(|e| panic!("{e}: {:?}", std::error::Error::source(&e)))
}

fn make_template(qemu: &Qemu, machine: &dyn Fn(Origin) -> Machine, root: &Path, at: &Path, key: &str) {
    let begin = std::time::Instant::now();
    let memory = template::empty_memory(MEMORY_BYTES).expect("make a memory");
    let origin = Origin::Template { memory: memory.try_clone().expect("a descriptor") };
    let mut plan = qemu.plan(machine(origin)).expect("plan the template");
    plan.root.make(root).expect("make the root");
    let vmm = start(&mut plan, root);
    let mut qmp = Qmp::new(plan.ends.qmp).expect("use the socket");
    qmp.begin().expect("begin");
    template::greeted(plan.ends.channel.as_fd(), Duration::from_secs(30)).expect("hear the agent");
    let booted = begin.elapsed();
    template::save(&mut qmp, memory.as_fd(), key, at).expect("save");
    println!("template: booted after {booted:?}, saved after {:?}", begin.elapsed());
    rustix::process::pidfd_send_signal(&vmm.pidfd, rustix::process::Signal::KILL).expect("end the template");
    let exited = rustix::process::WaitIdOptions::EXITED;
    rustix::process::waitid(rustix::process::WaitId::PidFd(vmm.pidfd.as_fd()), exited).expect("wait");
}

fn monitor_life(mut plan: VmmPlan, root: &Path, control: OwnedFd, state: Option<OwnedFd>) -> ! {
    let vmm = start(&mut plan, root);
    if let Some(state) = &state {
        let mut qmp = Qmp::new(plan.ends.qmp.try_clone().expect("a descriptor")).expect("use the socket");
        qmp.begin().expect("begin");
        template::resume(&mut qmp, state.as_fd()).expect("restore");
    }
    drop(plan.output);
    println!("the hypervisor is {}", vmm.pid);
    monitor::run(MonitorParts {
        ends: plan.ends,
        control,
        vmm: vmm.pidfd,
        user: USER,
        restored: state.is_some(),
        boot_timeout: Duration::from_secs(30),
        patience: Patience::default(),
        graceful_end: true,
        console_copy: std::env::var_os("CONSOLE").map(|_| rustix::io::dup(std::io::stderr()).expect("a descriptor")),
        confine: &mut || Ok(()),
    })
}

fn hear(control: OwnedFd, requests: &[&String], restored: bool, start: std::time::Instant) {
    let mut requests = requests.iter();
    let mut next = || {
        let Some(file) = requests.next() else { return };
        let text = std::fs::read(file).expect("read a request");
        let request: ToGuest = serde_json::from_slice(&text).expect("a request");
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let all = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let fds = if matches!(request, ToGuest::Run { .. } | ToGuest::Exec { .. }) { &all[..] } else { &[] };
        wire::ask(control.as_fd(), &request, fds).expect("ask");
    };
    if restored {
        next();
    }
    loop {
        match wire::hear(control.as_fd()).expect("hear") {
            wire::Received::Packet(message, _) => {
                println!("{:?} {message:?}", start.elapsed());
                match message {
                    FromMonitor::Booted { .. } | FromMonitor::Guest(ToHost::Done { .. } | ToHost::Started { .. }) => {
                        next()
                    }
                    FromMonitor::Lost { .. } => return,
                    FromMonitor::Guest(_) | FromMonitor::Trouble { .. } => {}
                }
            }
            _ => return,
        }
    }
}
