//! A machine under QEMU, and the host's end of its channel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holm_spec::guest::{Decoder, INITIAL_CREDIT, Kind, MAX_DATA_BYTES, PORT, ToGuest, ToHost, encode, stream};
use tempfile::TempDir;

use crate::files::{Files, make};

/// Everything takes its time under emulation.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine and what came from it.
pub struct Machine {
    qemu: Child,
    channel: UnixStream,
    decoder: Decoder,
    /// Messages that nobody has taken yet.
    messages: Vec<ToHost>,
    /// Bytes by stream.
    pub output: BTreeMap<u32, Vec<u8>>,
    /// Streams that have ended.
    pub ended: Vec<u32>,
    /// Credit that the guest has given by stream.
    pub credit: BTreeMap<u32, u32>,
    /// Streams that are given no credit.
    pub stalled: Vec<u32>,
    work: TempDir,
    next: u32,
}

impl Machine {
    /// Boots one; it has said hello. `changes` gives it a disk for them.
    pub fn boot(changes: bool, more: &[&str]) -> Self {
        let work = tempfile::tempdir().expect("make a folder");
        let files = make(work.path());
        let mut disks = vec![drive("root", &files.root, true)];
        if changes {
            let disk = work.path().join("changes");
            let made = Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(&disk).arg("64M").output();
            assert!(made.expect("run mke2fs").status.success());
            disks.push(drive("changes", &disk, false));
        }
        let qemu = qemu(&files, work.path().join("channel"), work.path().join("console"), &disks.concat(), more);
        let channel = wait_until(|| UnixStream::connect(work.path().join("channel")).ok()).expect("a channel");
        channel.set_read_timeout(Some(Duration::from_millis(200))).expect("set a timeout");
        let mut machine = Self {
            qemu,
            channel,
            decoder: Decoder::default(),
            messages: Vec::new(),
            output: BTreeMap::new(),
            ended: Vec::new(),
            credit: BTreeMap::new(),
            stalled: Vec::new(),
            work,
            next: 0,
        };
        machine.message(|m| matches!(m, ToHost::Hello { .. }));
        machine
    }

    /// What is on its console.
    pub fn console(&self) -> String {
        std::fs::read_to_string(self.work.path().join("console")).unwrap_or_default()
    }

    pub fn send(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        let mut bytes = Vec::new();
        encode(kind, stream, payload, &mut bytes);
        self.channel.write_all(&bytes).expect("write to the guest");
    }

    /// Asks, by a fresh number, and gives the answer.
    pub fn ask(&mut self, ask: impl FnOnce(u32) -> ToGuest) -> ToHost {
        self.next += 1;
        let id = self.next;
        self.begin(id, ask);
        self.answer(id)
    }

    /// Asks.
    pub fn begin(&mut self, id: u32, ask: impl FnOnce(u32) -> ToGuest) {
        let text = serde_json::to_vec(&ask(id)).expect("a message");
        self.send(Kind::Message, 0, &text);
    }

    /// Sends all of this on a stream, as fast as credit is given, and its end.
    pub fn feed(&mut self, stream: u32, bytes: &[u8]) {
        let mut sent: u32 = 0;
        for piece in bytes.chunks(MAX_DATA_BYTES) {
            let length = u32::try_from(piece.len()).expect("a size");
            self.hear_until(|m| m.credit.get(&stream).unwrap_or(&0) + INITIAL_CREDIT - sent >= length);
            self.send(Kind::Data, stream, piece);
            sent += length;
        }
        self.send(Kind::End, stream, &[]);
    }

    /// Waits for an answer.
    pub fn answer(&mut self, id: u32) -> ToHost {
        self.message(|m| match m {
            ToHost::Done { id: of, .. }
            | ToHost::Started { id: of, .. }
            | ToHost::Failed { id: of, .. }
            | ToHost::Stats { id: of, .. }
            | ToHost::Processes { id: of, .. }
            | ToHost::Stat { id: of, .. } => *of == id,
            _ => false,
        })
    }

    /// Waits for a message.
    pub fn message(&mut self, wanted: impl Fn(&ToHost) -> bool) -> ToHost {
        let mut found = None;
        self.hear_until(|machine| {
            found = machine.messages.iter().position(&wanted).map(|at| machine.messages.remove(at));
            found.is_some()
        });
        found.expect("a message")
    }

    /// Waits for a process to end; its code and whether memory ran out.
    pub fn exited(&mut self, process: u32) -> (i32, bool) {
        match self.message(|m| matches!(m, ToHost::Exited { process: p, .. } if *p == process)) {
            ToHost::Exited { code, oom, .. } => (code, oom),
            _ => unreachable!("it was asked for an end"),
        }
    }

    /// What a process has written to its output so far.
    pub fn text(&self, process: u32) -> String {
        self.text_of(process, 1)
    }

    /// The same of one of its streams.
    pub fn text_of(&self, process: u32, number: u8) -> String {
        let bytes = self.output.get(&stream(process, number)).cloned().unwrap_or_default();
        String::from_utf8(bytes).expect("text")
    }

    /// Waits for a text in a process's output.
    pub fn says(&mut self, process: u32, text: &str) {
        self.hear_until(|machine| machine.text(process).contains(text));
    }

    /// Hears the guest out until something holds.
    pub fn hear_until(&mut self, mut holds: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let (left, texts) = (&self.messages, self.output.iter().map(|(s, b)| (s, b.len())).collect::<Vec<_>>());
            assert!(start.elapsed() < PATIENCE, "{left:?}\n{texts:?}\nconsole: {}", self.console());
            self.hear();
        }
    }

    fn hear(&mut self) {
        let mut buffer = [0; 64 * 1024];
        match self.channel.read(&mut buffer) {
            Ok(0) => panic!("the machine is gone: {}", self.console()),
            Ok(n) => self.decoder.push(&buffer[..n]),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => panic!("cannot read from the guest: {e}"),
        }
        while let Some(frame) = self.decoder.next_frame().expect("frames") {
            match frame.kind {
                Kind::Message => self.messages.push(serde_json::from_slice(&frame.payload).expect("a message")),
                Kind::Data => {
                    self.output.entry(frame.stream).or_default().extend(&frame.payload);
                    if !self.stalled.contains(&frame.stream) {
                        let length = u32::try_from(frame.payload.len()).unwrap();
                        self.send(Kind::Credit, frame.stream, &length.to_le_bytes());
                    }
                }
                Kind::End => self.ended.push(frame.stream),
                Kind::Credit => *self.credit.entry(frame.stream).or_default() += frame.credit().unwrap_or(0),
            }
        }
    }

    /// Leaves, and comes back.
    pub fn reconnect(&mut self) {
        // With nothing in flight that would be lost with the connection.
        while let Ok(n) = {
            self.hear();
            rustix::io::ioctl_fionread(&self.channel)
        } && n > 0
        {}
        self.channel.shutdown(std::net::Shutdown::Both).expect("leave");
        let path = self.work.path().join("channel");
        self.channel = wait_until(|| UnixStream::connect(&path).ok()).expect("a channel");
        self.channel.set_read_timeout(Some(Duration::from_millis(200))).expect("set a timeout");
    }

    /// Waits for its end.
    pub fn ends(mut self) -> String {
        let mut rest = Vec::new();
        self.channel.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        self.channel.read_to_end(&mut rest).expect("the end");
        assert!(self.qemu.wait().expect("wait for QEMU").success());
        self.console()
    }

    /// Switches it off; what is on its console.
    pub fn power_off(mut self) -> String {
        let text = serde_json::to_vec(&ToGuest::PowerOff { id: 0 }).expect("a message");
        self.send(Kind::Message, 0, &text);
        self.ends()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn drive(serial: &str, file: &std::path::Path, read_only: bool) -> Vec<String> {
    let read_only = if read_only { "on" } else { "off" };
    let backend = format!("if=none,id={serial},file={},format=raw,read-only={read_only}", file.display());
    vec!["-drive".into(), backend, "-device".into(), format!("virtio-blk-device,drive={serial},serial={serial}")]
}

fn qemu(files: &Files, channel: PathBuf, console: PathBuf, disks: &[String], more: &[&str]) -> Child {
    // A machine without a timer to compare with cannot find out under emulation how fast its counter runs.
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = info.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse::<f64>().ok());
    let khz = (mhz.unwrap_or(2000.0) * 1000.0) as u64;
    let words = format!(
        "console=ttyS0 quiet reboot=t panic=-1 tsc_early_khz={khz} tsc=reliable no_timer_check mitigations=off \
         cryptomgr.notests nokaslr"
    );
    let log = File::create(console).expect("make a file for the console");
    let mut line = Command::new("qemu-system-x86_64");
    line.args(["-M", "microvm,accel=tcg,rtc=on", "-cpu", "max", "-m", "256", "-nodefaults", "-no-reboot"]);
    line.args(["-global", "virtio-mmio.force-legacy=false", "-display", "none", "-serial", "stdio"]);
    line.arg("-kernel").arg(&files.kernel).arg("-initrd").arg(&files.initramfs).arg("-append").arg(words);
    line.arg("-chardev").arg(format!("socket,id=c0,path={},server=on,wait=off", channel.display()));
    line.args(["-device", "virtio-serial-device,max_ports=2", "-device"]);
    line.arg(format!("virtserialport,chardev=c0,name={PORT},nr=1")).args(disks).args(more);
    line.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log).spawn().expect("run QEMU")
}

fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        match look() {
            None if start.elapsed() < PATIENCE => std::thread::yield_now(),
            found => return found,
        }
    }
}
