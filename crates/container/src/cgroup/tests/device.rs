//! Device rules: the table, its v1 lines, and the program run by an interpreter.

use holm_spec::oci::runtime::DeviceRule;
use holm_sys::bpf::Instruction;

use crate::cgroup::device::{DeviceTable, Kind, MKNOD, READ, WRITE};
use crate::cgroup::device_program::assemble;

/// `a c 1:3 rwm` style shorthand: `+` or `-`, kind, major, minor, access.
fn rules(list: &[(&str, &str, i64, i64, &str)]) -> Vec<DeviceRule> {
    list.iter()
        .map(|(sign, kind, major, minor, access)| DeviceRule {
            allow: *sign == "+",
            kind: Some((*kind).to_owned()),
            major: Some(*major),
            minor: Some(*minor),
            access: Some((*access).to_owned()),
        })
        .collect()
}

fn table(list: &[(&str, &str, i64, i64, &str)]) -> DeviceTable {
    DeviceTable::new(&rules(list)).unwrap()
}

/// What the kernel does with the instructions that the assembler uses.
fn run(program: &[Instruction], context: [u32; 3]) -> bool {
    let (mut at, mut r0, mut r2) = (0usize, 0u64, 0u64);
    loop {
        let one = program[at];
        at += 1;
        match one.code {
            0x61 => r2 = u64::from(context[one.offset as usize / 4]),
            0x54 => r2 = u64::from(r2 as u32 & one.immediate as u32),
            0x74 => r2 = u64::from((r2 as u32) >> one.immediate),
            0x55 if r2 != one.immediate as i64 as u64 => at += one.offset as usize,
            0x15 if r2 == one.immediate as i64 as u64 => at += one.offset as usize,
            0x55 | 0x15 => {}
            0xb7 => r0 = one.immediate as u64,
            0x95 => return r0 != 0,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What the kernel's v1 controller answers, from its documentation.
fn v1_answer(table: &DeviceTable, kind: Kind, major: u32, minor: u32, access: u8) -> bool {
    let meets = table.exceptions.iter().any(|e| {
        let device = e.kind == kind && e.major.is_none_or(|m| m == major) && e.minor.is_none_or(|m| m == minor);
        device && if table.allow { e.access & access != 0 } else { access & !e.access == 0 }
    });
    table.allow != meets
}

fn check_program(list: &[(&str, &str, i64, i64, &str)]) {
    let table = table(list);
    let program = assemble(&table);
    for kind in [Kind::Block, Kind::Char] {
        for major in [0, 1, 5, 8, 10, 136] {
            for minor in [0, 1, 2, 3, 5, 200] {
                for access in 1..8u8 {
                    let number = if kind == Kind::Block { 1 } else { 2 };
                    let got = run(&program, [u32::from(access) << 16 | number, major, minor]);
                    let wanted = v1_answer(&table, kind, major, minor, access);
                    assert_eq!(got, wanted, "{list:?}: {kind:?} {major}:{minor} access {access}");
                }
            }
        }
    }
}

#[test]
fn program_answers_as_the_v1_controller_does() {
    check_program(&[]);
    check_program(&[("-", "a", -1, -1, "rwm")]);
    check_program(&[
        ("-", "a", -1, -1, "rwm"),
        ("+", "c", 1, 3, "rwm"),
        ("+", "c", 136, -1, "rwm"),
        ("+", "b", -1, -1, "m"),
    ]);
    check_program(&[("-", "a", -1, -1, "rwm"), ("+", "c", -1, 5, "r"), ("+", "c", 1, 3, "r"), ("+", "c", 1, 3, "w")]);
    check_program(&[("-", "b", 8, -1, "w"), ("-", "c", 10, 200, "rwm")]);
    check_program(&[("-", "a", -1, -1, "rwm"), ("+", "c", 1, 3, "rwm"), ("-", "c", 1, 3, "w"), ("+", "c", 5, 1, "rw")]);
}

#[test]
fn table_of_all_and_then_some_starts_over() {
    let table = table(&[("+", "c", 1, 3, "rwm"), ("-", "a", -1, -1, "rwm"), ("+", "c", 1, 5, "rm")]);
    assert!(!table.allow);
    assert_eq!(table.exceptions.iter().map(|e| e.line()).collect::<Vec<_>>(), ["c 1:5 rm"]);
}

#[test]
fn table_merges_accesses_of_one_device() {
    let table = table(&[("-", "a", -1, -1, "rwm"), ("+", "c", 1, 3, "r"), ("+", "c", 1, 3, "w")]);
    assert_eq!(table.exceptions.len(), 1);
    assert_eq!(table.exceptions[0].access, READ | WRITE);
    assert_eq!(table.exceptions[0].access & MKNOD, 0);
}

#[test]
fn rule_that_a_wider_one_makes_void_is_refused() {
    let list = rules(&[("-", "a", -1, -1, "rwm"), ("+", "c", 1, -1, "rwm"), ("-", "c", 1, 3, "w")]);
    let error = DeviceTable::new(&list).unwrap_err().to_string();
    assert!(error.contains("deny `c 1:3 w`") && error.contains("`c 1:* rwm`"), "{error}");
}

#[test]
fn rule_with_unknown_words_is_refused() {
    for (kind, access, major) in [("x", "r", 1), ("c", "rx", 1), ("c", "r", -2), ("c", "r", 1 << 40)] {
        assert!(DeviceTable::new(&rules(&[("+", kind, major, 1, access)])).is_err(), "{kind} {access} {major}");
    }
    let many = vec![DeviceRule { allow: true, ..DeviceRule::default() }; 1025];
    assert!(DeviceTable::new(&many).is_err());
    assert!(DeviceTable::new(&many[..1024]).is_ok());
}
