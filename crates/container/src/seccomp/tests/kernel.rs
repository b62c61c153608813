//! Filters loaded for real: into a thread of the test, from which programs of one system call are started.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use holm_spec::oci::runtime::{Seccomp, SyscallRule};

use crate::seccomp::{Arch, Program, compile, default_profile, load};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;
const CLONE_NEWNS: u64 = 0x2_0000;

/// A program that makes one system call with one argument and exits with the error number.
fn elf(wide: bool, number: u32, argument: u64) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    if wide {
        // mov eax, number; movabs rdi, argument; xor esi, edx, r10; syscall; neg eax; mov edi, eax; mov eax, 60;
        // syscall
        code.extend([0x48, 0xbf]);
        code.extend(argument.to_le_bytes());
        code.extend([0x31, 0xf6, 0x31, 0xd2, 0x4d, 0x31, 0xd2, 0x0f, 0x05]);
        code.extend([0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    } else {
        // mov eax, number; mov ebx, argument; xor ecx, edx; int 0x80; neg eax; mov ebx, eax; mov eax, 1; int 0x80
        code.push(0xbb);
        code.extend((argument as u32).to_le_bytes());
        code.extend([0x31, 0xc9, 0x31, 0xd2, 0xcd, 0x80]);
        code.extend([0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]);
    }
    let header_size: u32 = if wide { 64 + 56 } else { 52 + 32 };
    let base: u32 = 0x40_0000;
    let (entry, size) = (base + header_size, header_size + code.len() as u32);
    let mut file = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1, 0];
    file.resize(16, 0);
    let word = |file: &mut Vec<u8>, value: u32| {
        let value = u64::from(value).to_le_bytes();
        file.extend(&value[..if wide { 8 } else { 4 }]);
    };
    file.extend([2, 0, if wide { 62 } else { 3 }, 0, 1, 0, 0, 0]);
    word(&mut file, entry);
    word(&mut file, if wide { 64 } else { 52 });
    word(&mut file, 0);
    file.extend([0, 0, 0, 0]);
    let (header, program_header): (u8, u8) = if wide { (64, 56) } else { (52, 32) };
    file.extend([header, 0, program_header, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0]);
    if wide {
        file.extend([5, 0, 0, 0]);
    }
    word(&mut file, 0);
    word(&mut file, base);
    word(&mut file, base);
    word(&mut file, size);
    word(&mut file, size);
    if !wide {
        file.extend([5, 0, 0, 0]);
    }
    word(&mut file, 0x1000);
    assert_eq!(file.len() as u32, header_size);
    file.extend(code);
    file
}

fn program_file(dir: &Path, wide: bool, number: u32, argument: u64) -> PathBuf {
    let path = dir.join(format!("call-{wide}-{number}-{argument}"));
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&elf(wide, number, argument)).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Runs `body` in a thread with no_new_privs and the filter, which die with it.
fn under<T: Send>(program: &Program, body: impl FnOnce() -> T + Send) -> T {
    let run = || {
        rustix::thread::set_no_new_privs(true).unwrap();
        load(program).unwrap();
        body()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// The error number that the call gets, or minus the signal that it dies of.
fn call(program: &Program, wide: bool, number: u32, argument: u64) -> i32 {
    let dir = tempfile::tempdir().unwrap();
    let path = program_file(dir.path(), wide, number, argument);
    let status = under(program, || Command::new(&path).status().unwrap());
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}

fn number(arch: Arch, name: &str) -> u32 {
    arch.table().iter().find(|(n, _)| *n == name).unwrap().1
}

fn standard() -> Program {
    compile(&default_profile(&["CAP_CHOWN"]), Arch::native()).unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn default_profile_refuses_what_it_should() {
    let program = standard();
    for (name, argument, wanted) in [
        ("mount", 0, EPERM),
        ("unshare", CLONE_NEWNS, EPERM),
        ("setns", 0, EPERM),
        ("keyctl", 0, EPERM),
        ("bpf", 0, EPERM),
        ("io_uring_setup", 1, EPERM),
        ("clone", CLONE_NEWNS | 17, EPERM),
        ("clone3", 0, ENOSYS),
        ("personality", 0x4_0000, EPERM),
        ("socket", 38, EAFNOSUPPORT),
        ("socket", 1 << 32 | 38, EAFNOSUPPORT),
        ("socket", 40, EAFNOSUPPORT),
        ("umask", 0, 0),
        ("close", 0, 0),
        ("personality", 0, 0),
    ] {
        // umask answers the old mask, which is no error number; close and personality answer 0.
        let got = call(&program, true, number(Arch::X86_64, name), argument);
        if name == "umask" {
            assert!(got > 200 || got == 0, "{got}");
        } else {
            assert_eq!(got, wanted, "{name}({argument:#x})");
        }
    }
    assert_eq!(call(&program, true, 471, 0), ENOSYS);
    assert_eq!(call(&program, true, 0x4000_0027, 0), ENOSYS);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_by_int_80_are_filtered_by_their_own_table() {
    let program = standard();
    let unfiltered = compile(&allow_all(Vec::new(), &["SCMP_ARCH_X86"]), Arch::native()).unwrap();
    if call(&unfiltered, false, number(Arch::X86, "close"), 0) != 0 {
        println!("skipped: the kernel runs no 32-bit programs");
        return;
    }
    for (name, argument, wanted) in [
        ("close", 0, 0),
        ("mount", 0, EPERM),
        ("unshare", CLONE_NEWNS, EPERM),
        ("socket", 38, EAFNOSUPPORT),
        ("socketcall", 1, ENOSYS),
    ] {
        assert_eq!(call(&program, false, number(Arch::X86, name), argument), wanted, "{name}({argument:#x})");
    }
    // A profile without the architecture does not let it through.
    let native_only = compile(&allow_all(Vec::new(), &[]), Arch::native()).unwrap();
    assert_eq!(call(&native_only, false, number(Arch::X86, "close"), 0), -libc_sigsys());
}

fn libc_sigsys() -> i32 {
    rustix::process::Signal::SYS.as_raw()
}

fn allow_all(syscalls: Vec<SyscallRule>, architectures: &[&str]) -> Seccomp {
    let architectures = architectures.iter().map(|a| (*a).to_owned()).collect();
    Seccomp { default_action: "SCMP_ACT_ALLOW".into(), architectures, syscalls, ..Seccomp::default() }
}

#[test]
fn ordinary_programs_run_under_the_default_profile() {
    let program = standard();
    let output = under(&program, || {
        let script = "for i in 1 2 3; do (echo $i | cat); done | sort -r | tr '\\n' ' '; ls / | grep -c etc";
        Command::new("/bin/sh").arg("-c").arg(script).output().unwrap()
    });
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3 2 1 1\n", "{output:?}");
    let grep = under(&program, || fs::read_to_string("/proc/thread-self/status").unwrap());
    assert!(grep.contains("Seccomp:\t2") && grep.contains("NoNewPrivs:\t1"), "{grep}");
}

#[test]
fn notify_gives_a_listener() {
    let notify =
        SyscallRule { names: vec!["mount".into()], action: "SCMP_ACT_NOTIFY".into(), ..SyscallRule::default() };
    let mut profile = allow_all(vec![notify], &[]);
    profile.flags = vec!["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV".into()];
    profile.listener_path = Some("/run/nobody".into());
    let program = compile(&profile, Arch::native()).unwrap();
    let link = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let listener = load(&program).unwrap().expect("a listener");
            let number = std::os::fd::AsRawFd::as_raw_fd(&listener);
            fs::read_link(format!("/proc/self/fd/{number}")).unwrap()
        });
        thread.join().unwrap()
    });
    assert!(link.to_string_lossy().contains("seccomp notify"), "{link:?}");
    let plain = compile(&allow_all(Vec::new(), &[]), Arch::native()).unwrap();
    assert!(under(&plain, || load(&plain).unwrap()).is_none());
}
