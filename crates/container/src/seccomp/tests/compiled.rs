//! The compiler against a plain reading of the rules, over random profiles and calls.

use holm_spec::oci::runtime::{Seccomp, SyscallArg, SyscallRule};

use crate::seccomp::arch::X32_BIT;
use crate::seccomp::interpreter::{Call, run, verify};
use crate::seccomp::{Arch, SeccompError, compile};

const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

/// A small generator of even quality: the same cases in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const ACTIONS: [(&str, u32); 7] = [
    ("SCMP_ACT_ALLOW", 0x7fff_0000),
    ("SCMP_ACT_LOG", 0x7ffc_0000),
    ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
    ("SCMP_ACT_KILL_THREAD", 0),
    ("SCMP_ACT_TRAP", 0x0003_0000),
    ("SCMP_ACT_ERRNO", 0x0005_0000),
    ("SCMP_ACT_TRACE", 0x7ff0_0000),
];
const OPERATORS: [&str; 7] =
    ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];
/// Values whose halves meet in all ways.
const VALUES: [u64; 12] = [
    0,
    1,
    2,
    38,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0026,
    0x2_0000_0001,
    0x7e02_0000,
    u64::MAX,
    u64::MAX - 1,
    0xffff_ffff_0000_0000,
];

fn action_of(name: &str, errno: Option<u32>) -> u32 {
    let base = ACTIONS.iter().find(|(n, _)| *n == name).unwrap().1;
    if matches!(base, 0x0005_0000 | 0x7ff0_0000) { base | errno.unwrap_or(1) } else { base }
}

fn number_of(arch: Arch, name: &str) -> Option<u32> {
    let at = arch.table().binary_search_by_key(&name, |(n, _)| n).ok()?;
    Some(arch.table()[at].1)
}

/// The documented meaning, read call by call.
fn naive(profile: &Seccomp, native: Arch, call: &Call) -> u32 {
    let default = action_of(&profile.default_action, profile.default_errno_ret);
    let listed = |arch: Arch| arch == native || profile.architectures.iter().any(|a| a == arch.oci_name());
    let arch = match (call.architecture, call.number & X32_BIT != 0 || call.number > X32_BIT) {
        (a, true) if a == Arch::X86_64.audit() && native == Arch::X86_64 => {
            if !listed(Arch::X32) {
                return ENOSYS;
            }
            Arch::X32
        }
        (a, _) => match [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm].into_iter().find(|x| x.audit() == a) {
            Some(arch) if arch == native || listed(arch) && native.runs_beside().contains(&arch) => arch,
            _ => return KILL_PROCESS,
        },
    };
    let number = call.number.wrapping_sub(arch.number_base());
    let greatest = profile.syscalls.iter().flat_map(|r| &r.names).filter_map(|n| number_of(arch, n)).max();
    if greatest.is_none_or(|g| number > g) {
        let lets_through = matches!(default & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000);
        return if lets_through || greatest.is_none() { default } else { ENOSYS };
    }
    let Some((name, _)) = arch.table().iter().find(|(_, n)| *n == number) else { return default };
    let rules: Vec<&SyscallRule> = profile.syscalls.iter().filter(|r| r.names.iter().any(|n| n == name)).collect();
    for rule in rules.iter().filter(|r| !r.args.is_empty()) {
        let holds = |a: &SyscallArg| condition_holds(a, call, arch);
        let doubled = (0..6).any(|i| rule.args.iter().filter(|a| a.index == i).count() > 1);
        if if doubled { rule.args.iter().any(holds) } else { rule.args.iter().all(holds) } {
            return action_of(&rule.action, rule.errno_ret);
        }
    }
    rules.iter().find(|r| r.args.is_empty()).map_or(default, |r| action_of(&r.action, r.errno_ret))
}

fn condition_holds(arg: &SyscallArg, call: &Call, arch: Arch) -> bool {
    let cut = |v: u64| if arch.has_wide_arguments() { v } else { v & 0xffff_ffff };
    let (got, value) = (cut(call.args[arg.index as usize]), cut(arg.value));
    match arg.op.as_str() {
        "SCMP_CMP_NE" => got != value,
        "SCMP_CMP_LT" => got < value,
        "SCMP_CMP_LE" => got <= value,
        "SCMP_CMP_EQ" => got == value,
        "SCMP_CMP_GE" => got >= value,
        "SCMP_CMP_GT" => got > value,
        _ => got & value == cut(arg.value_two) & value,
    }
}

fn random_rule(random: &mut Random, native: Arch) -> SyscallRule {
    let table = native.table();
    let count = 1 + random.below(6);
    let mut names: Vec<String> = (0..count).map(|_| random.pick(table).0.to_owned()).collect();
    if random.below(3) == 0 {
        names.push("no_such_call".to_owned());
        names.push("socket".to_owned());
    }
    let args = (0..random.below(4)).map(|_| SyscallArg {
        index: random.below(6) as u32,
        value: random.pick(&VALUES),
        value_two: random.pick(&VALUES),
        op: random.pick(&OPERATORS).to_owned(),
    });
    let args = args.collect();
    let (action, _) = random.pick(&ACTIONS);
    let errno_ret = (random.below(2) == 0).then_some(random.below(4096) as u32);
    SyscallRule { names, action: action.to_owned(), errno_ret, args }
}

fn random_profile(random: &mut Random, native: Arch) -> Seccomp {
    let mut architectures = Vec::new();
    for arch in Arch::ALL {
        if random.below(2) == 0 {
            architectures.push(arch.oci_name().to_owned());
        }
    }
    let count = random.pick(&[0, 1, 3, 30, 60]);
    Seccomp {
        default_action: random.pick(&ACTIONS).0.to_owned(),
        default_errno_ret: random.pick(&[None, Some(1), Some(38)]),
        architectures,
        syscalls: (0..count).map(|_| random_rule(random, native)).collect(),
        ..Seccomp::default()
    }
}

#[test]
fn filter_answers_as_the_rules_say() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut compiled = 0;
    for _ in 0..120 {
        let native = random.pick(&[Arch::X86_64, Arch::Aarch64]);
        let profile = random_profile(&mut random, native);
        let program = match compile(&profile, native) {
            Ok(program) => program,
            Err(SeccompError::TooLong { .. }) => continue,
            Err(e) => panic!("{e}"),
        };
        compiled += 1;
        verify(&program.filter);
        for _ in 0..200 {
            let arch = random.pick(&Arch::ALL);
            let number = match random.below(8) {
                0 => random.next() as u32,
                1 => random.below(700) as u32 | arch.number_base(),
                _ => random.pick(arch.table()).1 | arch.number_base(),
            };
            let named = profile.syscalls.iter().filter(|r| !r.args.is_empty()).flat_map(|r| &r.names);
            let named: Vec<u32> = named.filter_map(|n| number_of(arch, n)).collect();
            let number = if named.is_empty() || random.below(2) == 0 {
                number
            } else {
                random.pick(&named) | arch.number_base()
            };
            let args = [(); 6].map(|()| random.pick(&VALUES));
            let call = Call { number, architecture: arch.audit(), args };
            assert_eq!(run(&program.filter, &call).0, naive(&profile, native, &call), "{call:x?}\n{profile:#?}");
        }
    }
    assert!(compiled > 100, "{compiled}");
}

#[test]
fn unknown_architecture_ends_the_process() {
    let profile = Seccomp { default_action: "SCMP_ACT_ALLOW".into(), ..Seccomp::default() };
    let program = compile(&profile, Arch::X86_64).unwrap();
    let call = Call { number: 1, architecture: Arch::X86.audit(), args: [0; 6] };
    assert_eq!(run(&program.filter, &call).0, KILL_PROCESS);
}

fn rule(names: &[&str], action: &str) -> SyscallRule {
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    SyscallRule { names, action: action.into(), ..SyscallRule::default() }
}

#[test]
fn call_younger_than_the_profile_does_not_exist() {
    let profile = |default: &str| Seccomp {
        default_action: default.into(),
        syscalls: vec![rule(&["read", "openat2"], "SCMP_ACT_ALLOW")],
        ..Seccomp::default()
    };
    let answer = |default: &str, number| {
        let program = compile(&profile(default), Arch::X86_64).unwrap();
        run(&program.filter, &Call { number, architecture: Arch::X86_64.audit(), args: [0; 6] }).0
    };
    // openat2 is 437.
    assert_eq!(answer("SCMP_ACT_ERRNO", 436), 0x0005_0001);
    assert_eq!(answer("SCMP_ACT_ERRNO", 438), ENOSYS);
    assert_eq!(answer("SCMP_ACT_KILL_PROCESS", 9999), ENOSYS);
    assert_eq!(answer("SCMP_ACT_ALLOW", 438), 0x7fff_0000);
    assert_eq!(answer("SCMP_ACT_LOG", 438), 0x7ffc_0000);
}

#[test]
fn filter_beyond_the_kernels_bound_is_refused_with_both_lengths() {
    let wide = |count: usize| {
        let arg =
            |i: usize| SyscallArg { index: 0, value: (i as u64) << 33 | 1, value_two: 0, op: "SCMP_CMP_EQ".into() };
        let one = |i| SyscallRule { args: vec![arg(i)], ..rule(&["read"], "SCMP_ACT_ALLOW") };
        let syscalls = (0..count).map(one).collect();
        Seccomp { default_action: "SCMP_ACT_ERRNO".into(), syscalls, ..Seccomp::default() }
    };
    let error = compile(&wide(2000), Arch::X86_64).unwrap_err();
    assert!(matches!(error, SeccompError::TooLong { max: 4096, instructions } if instructions > 4096), "{error}");
    let fits = compile(&wide(800), Arch::X86_64).unwrap();
    verify(&fits.filter);
    let call = Call { number: 0, architecture: Arch::X86_64.audit(), args: [799 << 33 | 1, 0, 0, 0, 0, 0] };
    assert_eq!(run(&fits.filter, &call).0, 0x7fff_0000);
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let good = || Seccomp { default_action: "SCMP_ACT_ALLOW".into(), ..Seccomp::default() };
    let with_rule = |r: SyscallRule| Seccomp { syscalls: vec![r], ..good() };
    let arg = |index, op: &str| SyscallArg { index, op: op.into(), ..SyscallArg::default() };
    let argued = |a: SyscallArg| with_rule(SyscallRule { args: vec![a], ..rule(&["read"], "SCMP_ACT_ALLOW") });
    for (bad, word) in [
        (Seccomp { default_action: "ALLOW".into(), ..good() }, "`ALLOW`"),
        (Seccomp { default_action: "SCMP_ACT_NOTIFY".into(), ..good() }, "NOTIFY"),
        (Seccomp { architectures: vec!["SCMP_ARCH_Z80".into()], ..good() }, "Z80"),
        (Seccomp { flags: vec!["FLAG".into()], ..good() }, "`FLAG`"),
        (with_rule(rule(&["read"], "")), "action"),
        (with_rule(rule(&["write"], "SCMP_ACT_NOTIFY")), "write"),
        (with_rule(SyscallRule { errno_ret: Some(4096), ..rule(&["read"], "SCMP_ACT_ERRNO") }), "4096"),
        (argued(arg(6, "SCMP_CMP_EQ")), "argument 6"),
        (argued(arg(0, "SCMP_CMP_XX")), "SCMP_CMP_XX"),
    ] {
        let error = compile(&bad, Arch::X86_64).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let foreign = Seccomp { architectures: vec!["SCMP_ARCH_S390X".into()], ..good() };
    assert!(compile(&foreign, Arch::X86_64).is_ok());
}

#[test]
fn notify_asks_for_a_listener_and_flags_are_passed_on() {
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|f| format!("SECCOMP_FILTER_FLAG_{f}"));
    let profile = Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        flags: flags.to_vec(),
        syscalls: vec![rule(&["mount"], "SCMP_ACT_NOTIFY")],
        listener_path: Some("/run/listener".into()),
        listener_metadata: Some("mine".into()),
        ..Seccomp::default()
    };
    let program = compile(&profile, Arch::X86_64).unwrap();
    let listener = program.listener.unwrap();
    assert_eq!((listener.path.to_str(), listener.metadata.as_deref()), (Some("/run/listener"), Some("mine")));
    for path in [None, Some("relative".into())] {
        let error = compile(&Seccomp { listener_path: path, ..profile.clone() }, Arch::X86_64).unwrap_err();
        assert!(error.to_string().contains("listenerPath"), "{error}");
    }
    assert_eq!(program.flags, 1 | 2 | 4 | 32);
}

#[test]
fn tables_are_sorted_and_hold_known_numbers() {
    for arch in Arch::ALL {
        let table = arch.table();
        assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0), "{arch:?}");
    }
    let number = |arch: Arch, name: &str| arch.table().iter().find(|(n, _)| *n == name).map(|(_, number)| *number);
    for (arch, name, wanted) in [
        (Arch::X86_64, "read", 0),
        (Arch::X86_64, "openat2", 437),
        (Arch::X86, "read", 3),
        (Arch::X86, "socketcall", 102),
        (Arch::X32, "readv", 515),
        (Arch::Aarch64, "openat", 56),
        (Arch::Arm, "read", 3),
    ] {
        assert_eq!(number(arch, name), Some(wanted), "{arch:?} {name}");
    }
    let own = [("openat2", 437), ("clone3", 435), ("landlock_add_rule", 445)];
    for (name, wanted) in own {
        assert_eq!(number(Arch::native(), name), Some(wanted), "{name}");
    }
}
