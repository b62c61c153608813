//! The default profile.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::seccomp::default::lists;
use crate::seccomp::interpreter::{Call, run, verify};
use crate::seccomp::{Arch, Program, compile, default_profile, default_profile_for};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const EAFNOSUPPORT: u32 = 0x0005_0061;
const USUAL: [&str; 3] = ["CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_KILL"];

fn answer(program: &Program, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    let number = arch.table().iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name}")).1;
    run(&program.filter, &Call { number, architecture: arch.audit(), args }).0
}

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

fn standard(caps: &[&str]) -> Program {
    let program = compile(&default_profile_for(caps, Arch::X86_64), Arch::X86_64).unwrap();
    verify(&program.filter);
    program
}

#[test]
fn every_call_of_every_table_stands_in_exactly_one_list() {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let [allowed, conditional, denied, special] = lists();
    let mut conditional = conditional;
    // Some have two capabilities, and `clone` also a rule of its own.
    conditional.sort_unstable();
    conditional.dedup();
    conditional.retain(|name| !special.contains(name));
    for name in allowed.iter().chain(&conditional).chain(&denied).chain(&special) {
        *count.entry(name).or_default() += 1;
    }
    for arch in Arch::ALL {
        for (name, _) in arch.table() {
            assert_eq!(count.get(name), Some(&1), "{arch:?} {name}");
        }
    }
    for name in count.keys() {
        assert!(Arch::ALL.iter().any(|a| a.table().iter().any(|(n, _)| n == name)), "{name} is in no table");
    }
}

#[test]
fn usual_capabilities_get_dockers_meaning() {
    let program = standard(&USUAL);
    let check =
        |name: &str, args, wanted| assert_eq!(answer(&program, Arch::X86_64, name, args), wanted, "{name} {args:x?}");
    for name in ["read", "execve", "fork", "ptrace", "chroot", "landlock_add_rule", "futex_waitv", "mseal", "uretprobe"]
    {
        check(name, [0; 6], ALLOW);
    }
    for name in ["mount", "unshare", "setns", "bpf", "keyctl", "add_key", "io_uring_setup", "userfaultfd", "open_tree"]
    {
        check(name, [0; 6], EPERM);
    }
    for name in ["kexec_load", "init_module", "reboot", "settimeofday", "open_by_handle_at", "perf_event_open", "acct"]
    {
        check(name, [0; 6], EPERM);
    }
    check("clone3", [0; 6], ENOSYS);
    // CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, then each namespace.
    check("clone", first(0x0001_0f00), ALLOW);
    for bit in [0x2_0000u64, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        check("clone", first(bit | 17), EPERM);
    }
    for (value, wanted) in [(0, ALLOW), (8, ALLOW), (0x2_0008, ALLOW), (0xffff_ffff, ALLOW), (0x4_0000, EPERM)] {
        check("personality", first(value), wanted);
    }
}

#[test]
fn socket_families_are_told_apart_by_the_bits_that_the_kernel_takes() {
    let program = standard(&USUAL);
    for high in [0u64, 1 << 32, u64::MAX << 32] {
        for (family, wanted) in
            [(1, ALLOW), (2, ALLOW), (10, ALLOW), (16, ALLOW), (38, EAFNOSUPPORT), (40, EAFNOSUPPORT)]
        {
            assert_eq!(answer(&program, Arch::X86_64, "socket", first(high | family)), wanted, "{high:x} {family}");
            assert_eq!(answer(&program, Arch::X86, "socket", first(family)), wanted, "{family}");
        }
        // SYS_SOCKET has its family in memory; SYS_BIND and the others have none.
        assert_eq!(answer(&program, Arch::X86, "socketcall", first(high | 1)), ENOSYS);
        assert_eq!(answer(&program, Arch::X86, "socketcall", first(high | 2)), ALLOW);
    }
}

#[test]
fn capabilities_open_what_is_theirs() {
    for (cap, name) in [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "clone3"),
        ("SYS_ADMIN", "setns"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYS_PTRACE", "kcmp"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_SYS_NICE", "mbind"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ] {
        assert_eq!(answer(&standard(&[cap]), Arch::X86_64, name, [0; 6]), ALLOW, "{cap} {name}");
        assert_ne!(answer(&standard(&USUAL), Arch::X86_64, name, [0; 6]), ALLOW, "{name}");
    }
    assert_eq!(answer(&standard(&[]), Arch::X86_64, "chroot", [0; 6]), EPERM);
    assert_eq!(answer(&standard(&["CAP_SYS_ADMIN"]), Arch::X86_64, "clone", first(0x1000_0000)), ALLOW);
    assert_eq!(answer(&standard(&["CAP_SYS_ADMIN"]), Arch::X86_64, "keyctl", [0; 6]), EPERM);
}

#[test]
fn unknown_and_x32_calls_do_not_exist() {
    let program = standard(&USUAL);
    for number in [470, 1000, 0x4000_0000, 0x4000_0001, 0x7fff_ffff, 0xffff_ffff] {
        let call = Call { number, architecture: Arch::X86_64.audit(), args: [0; 6] };
        assert_eq!(run(&program.filter, &call).0, ENOSYS, "{number:x}");
    }
}

#[test]
fn arm_has_the_same_meaning() {
    let program = compile(&default_profile_for(&USUAL, Arch::Aarch64), Arch::Aarch64).unwrap();
    verify(&program.filter);
    for arch in [Arch::Aarch64, Arch::Arm] {
        assert_eq!(answer(&program, arch, "read", [0; 6]), ALLOW);
        assert_eq!(answer(&program, arch, "mount", [0; 6]), EPERM);
        assert_eq!(answer(&program, arch, "socket", first(38)), EAFNOSUPPORT);
    }
}

/// What the decision to have no cache rests on. The bound is loose, as machines and builds differ; the figure is
/// printed.
#[test]
fn default_profile_compiles_in_no_time() {
    let mut best = u128::MAX;
    let mut length = 0;
    for _ in 0..50 {
        let start = Instant::now();
        let program = compile(&default_profile(&USUAL), Arch::native()).unwrap();
        best = best.min(start.elapsed().as_nanos());
        length = program.filter.len();
    }
    println!("default profile: {length} instructions in {best} ns");
    assert!(best < 20_000_000, "{best} ns");
    let program = standard(&USUAL);
    let longest = Arch::X86_64.table().iter().map(|(_, number)| {
        run(&program.filter, &Call { number: *number, architecture: Arch::X86_64.audit(), args: [0; 6] }).1
    });
    assert!(longest.max() <= Some(24), "a search in a few hundred numbers takes few steps");
}
