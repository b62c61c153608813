//! From a profile to a filter.
//!
//! Per architecture, each call number gets a class: an action, or rules about arguments that end in one. Neighbours of
//! one class become a range, and a binary search over the ranges finds the class: the default profile needs some sixty
//! ranges for its 380 numbers.
//!
//! Meaning of a profile: the rules of a call that look at arguments come first, in the order of the file; then the
//! first that does not; then the default action. Conditions of one rule must all hold, except that two on the same
//! argument make two rules (what runc does and profiles in use rely on). Names that an architecture does not have are
//! passed over. A number above the greatest that the profile names gets ENOSYS, so that programs fall back from calls
//! younger than the profile; not so where the default action lets calls through.

use holm_spec::oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use holm_sys::seccomp::SockFilter;

use super::action::{self, ACTION_MASK, ALLOW, ERRNO, KILL_PROCESS, LOG, NO_SUCH_CALL, NOTIFY, TRACE};
use super::arch::{Arch, X32_BIT};
use super::assemble::{Assembler, Compare, Label};
use super::error::SeccompError;
use super::{Listener, Program};

/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;
/// Names in all rules together.
const MAX_NAMES: usize = 32_768;
/// Conditions in one rule: each takes up to five instructions.
const MAX_CONDITIONS: usize = 64;
/// Offsets in `struct seccomp_data`. *Source*: linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    index: u32,
    operator: Operator,
    value: u64,
    /// For `Masked`, what must be under the mask.
    datum: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    Masked,
}

/// A rule of the profile, read.
#[derive(Debug)]
struct Rule {
    action: u32,
    /// Alternatives of conditions that must all hold; none at all is an unconditional rule.
    alternatives: Vec<Vec<Condition>>,
}

/// What happens to a call number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Class {
    Action(u32),
    /// Indices of rules with conditions, in order, and the action after them.
    Rules(Vec<usize>, u32),
}

/// Compiles a profile for programs of `native` and the architectures that the profile lists beside it.
///
/// *Errors*: words that mean nothing, arguments and error numbers out of range, a filter longer than the kernel takes.
/// A profile may not notify by default or of `write` and `sendmsg`: the descriptor could then never be handed on.
pub fn compile(profile: &Seccomp, native: Arch) -> Result<Program, SeccompError> {
    let default = action::parse(&profile.default_action, profile.default_errno_ret)?;
    if default == NOTIFY {
        return Err(SeccompError::Contradiction("the default action cannot be SCMP_ACT_NOTIFY"));
    }
    let rules = profile.syscalls.iter().map(read_rule).collect::<Result<Vec<_>, _>>()?;
    let names = sorted_names(profile)?;
    let arches = architectures(profile, native)?;
    let mut code = Assembler::default();
    let mut blocks: Vec<(Arch, Label)> = Vec::new();
    for &arch in &arches {
        let ranges = ranges(arch, &names, &rules, default);
        let label = emit_ranges(&mut code, arch, &rules, &ranges)?;
        blocks.push((arch, label));
    }
    let filter = emit_head(code, native, &blocks, &arches)?;
    let flags = action::parse_flags(&profile.flags)?;
    let listener = if rules.iter().any(|rule| rule.action == NOTIFY) { Some(listener(profile)?) } else { None };
    Ok(Program { filter, flags, listener })
}

/// Who gets the listener: without anybody, every call that notifies would wait for ever.
fn listener(profile: &Seccomp) -> Result<Listener, SeccompError> {
    let path = profile.listener_path.clone().filter(|path| path.is_absolute());
    let path = path.ok_or(SeccompError::Contradiction("SCMP_ACT_NOTIFY needs an absolute `listenerPath`"))?;
    Ok(Listener { path, metadata: profile.listener_metadata.clone() })
}

/// The listed architectures that can run here, the native one last: it is written last and so comes first.
fn architectures(profile: &Seccomp, native: Arch) -> Result<Vec<Arch>, SeccompError> {
    let mut arches: Vec<Arch> = Vec::new();
    for name in &profile.architectures {
        let known = Arch::from_oci(name);
        let known =
            known.ok_or_else(|| SeccompError::Unknown { kind: "architecture", name: action::shortened(name) })?;
        // Foreign ones cannot occur; to this kernel they would be unknown, and unknown ones end the process.
        if let Some(arch) = known.filter(|a| native.runs_beside().contains(a))
            && !arches.contains(&arch)
        {
            arches.push(arch);
        }
    }
    arches.push(native);
    Ok(arches)
}

fn read_rule(rule: &SyscallRule) -> Result<Rule, SeccompError> {
    let action = action::parse(&rule.action, rule.errno_ret)?;
    if action == NOTIFY && rule.names.iter().any(|name| name == "write" || name == "sendmsg") {
        return Err(SeccompError::Contradiction("SCMP_ACT_NOTIFY cannot be used for `write` and `sendmsg`"));
    }
    if rule.args.len() > MAX_CONDITIONS {
        return Err(SeccompError::TooMany { what: "arguments in a rule", count: rule.args.len(), max: MAX_CONDITIONS });
    }
    let conditions = rule.args.iter().map(|arg| read_condition(rule, arg)).collect::<Result<Vec<_>, _>>()?;
    let doubled = conditions.iter().enumerate().any(|(i, c)| conditions[..i].iter().any(|b| b.index == c.index));
    let alternatives = match (conditions.is_empty(), doubled) {
        (true, _) => Vec::new(),
        (false, true) => conditions.into_iter().map(|c| vec![c]).collect(),
        (false, false) => vec![conditions],
    };
    Ok(Rule { action, alternatives })
}

fn read_condition(rule: &SyscallRule, arg: &SyscallArg) -> Result<Condition, SeccompError> {
    let operator = match arg.op.as_str() {
        "SCMP_CMP_NE" => Operator::NotEqual,
        "SCMP_CMP_LT" => Operator::Less,
        "SCMP_CMP_LE" => Operator::LessOrEqual,
        "SCMP_CMP_EQ" => Operator::Equal,
        "SCMP_CMP_GE" => Operator::GreaterOrEqual,
        "SCMP_CMP_GT" => Operator::Greater,
        "SCMP_CMP_MASKED_EQ" => Operator::Masked,
        other => return Err(SeccompError::Unknown { kind: "operator", name: action::shortened(other) }),
    };
    if arg.index > 5 {
        let syscall = rule.names.first().map(|n| action::shortened(n)).unwrap_or_default();
        return Err(SeccompError::Argument { syscall, index: arg.index });
    }
    Ok(Condition { index: arg.index, operator, value: arg.value, datum: arg.value_two })
}

/// Name and rule index, sorted by name and within it by rule.
fn sorted_names(profile: &Seccomp) -> Result<Vec<(&str, usize)>, SeccompError> {
    let count = profile.syscalls.iter().map(|rule| rule.names.len()).sum();
    if count > MAX_NAMES {
        return Err(SeccompError::TooMany { what: "system call names", count, max: MAX_NAMES });
    }
    let mut names = Vec::with_capacity(count);
    for (index, rule) in profile.syscalls.iter().enumerate() {
        names.extend(rule.names.iter().map(|name| (name.as_str(), index)));
    }
    // Mostly runs in order already, which this sort makes use of.
    names.sort();
    Ok(names)
}

/// Whether an action lets a call go on.
fn lets_through(action: u32) -> bool {
    matches!(action & ACTION_MASK, ALLOW | LOG | TRACE | NOTIFY)
}

/// The classes of all numbers as ranges: each goes from its number to the next range's.
fn ranges(arch: Arch, names: &[(&str, usize)], rules: &[Rule], default: u32) -> Vec<(u32, Class)> {
    let base = arch.number_base();
    let mut named = classes(arch, names, rules, default);
    named.sort_unstable_by_key(|(number, _)| *number);
    let mut ranges: Vec<(u32, Class)> = Vec::with_capacity(96);
    let mut put = |start: u32, class: Class| match ranges.last() {
        Some((_, last)) if *last == class => {}
        _ => ranges.push((start, class)),
    };
    let mut next = base;
    for (number, class) in named {
        let number = base | number;
        if number < next {
            // Two names of one number.
            continue;
        }
        if number > next {
            put(next, Class::Action(default));
        }
        put(number, class);
        next = number + 1;
    }
    let stub = !lets_through(default) && default != NO_SUCH_CALL && next > base;
    put(next, Class::Action(if stub { NO_SUCH_CALL } else { default }));
    ranges
}

/// Number and class of each name that the architecture has: one walk along two sorted lists.
fn classes(arch: Arch, names: &[(&str, usize)], rules: &[Rule], default: u32) -> Vec<(u32, Class)> {
    let mut classes = Vec::with_capacity(512);
    let mut table = arch.table().iter();
    let mut entry = table.next();
    let mut at = 0;
    while at < names.len() {
        let name = names[at].0;
        let end = at + names[at..].iter().take_while(|(n, _)| *n == name).count();
        while entry.is_some_and(|(known, _)| *known < name) {
            entry = table.next();
        }
        let Some((known, number)) = entry else { break };
        if *known == name {
            classes.push((*number, class(&names[at..end], rules, default)));
        }
        at = end;
    }
    classes
}

fn class(names: &[(&str, usize)], rules: &[Rule], default: u32) -> Class {
    let mut conditional = Vec::new();
    let mut last = None;
    for &(_, index) in names {
        if rules[index].alternatives.is_empty() {
            last = last.or(Some(rules[index].action));
        } else {
            conditional.push(index);
        }
    }
    let last = last.unwrap_or(default);
    if conditional.is_empty() { Class::Action(last) } else { Class::Rules(conditional, last) }
}

/// A binary search over the ranges, the number being in the accumulator.
fn emit_ranges(
    code: &mut Assembler,
    arch: Arch,
    rules: &[Rule],
    ranges: &[(u32, Class)],
) -> Result<Label, SeccompError> {
    check_length(code.len())?;
    if let [(_, class)] = ranges {
        return emit_class(code, arch, rules, class);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let from = right[0].0;
    let right = emit_ranges(code, arch, rules, right)?;
    let left = emit_ranges(code, arch, rules, left)?;
    Ok(code.branch(Compare::GreaterOrEqual, from, right, left))
}

fn emit_class(code: &mut Assembler, arch: Arch, rules: &[Rule], class: &Class) -> Result<Label, SeccompError> {
    let (indices, last) = match class {
        Class::Action(action) => return Ok(code.ret(*action)),
        Class::Rules(indices, last) => (indices, last),
    };
    let mut next = code.ret(*last);
    for rule in indices.iter().rev().map(|&i| &rules[i]) {
        for conditions in rule.alternatives.iter().rev() {
            let otherwise = next;
            let mut target = code.ret(rule.action);
            for condition in conditions.iter().rev() {
                target = emit_condition(code, arch, condition, target, otherwise);
            }
            next = target;
        }
        // One name may stand in thousands of rules.
        check_length(code.len())?;
    }
    Ok(next)
}

/// Compares an argument of 64 bits by halves.
fn emit_condition(code: &mut Assembler, arch: Arch, condition: &Condition, yes: Label, no: Label) -> Label {
    use Compare::{Equal, Greater, GreaterOrEqual};
    let wide = arch.has_wide_arguments();
    // Negated operators swap the ways out.
    let (compare, yes, no) = match condition.operator {
        Operator::Masked => return emit_masked(code, wide, condition, yes, no),
        Operator::Equal => (Equal, yes, no),
        Operator::NotEqual => (Equal, no, yes),
        Operator::Greater => (Greater, yes, no),
        Operator::LessOrEqual => (Greater, no, yes),
        Operator::GreaterOrEqual => (GreaterOrEqual, yes, no),
        Operator::Less => (GreaterOrEqual, no, yes),
    };
    let (low_at, high_at) = halves(condition.index);
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    code.branch(compare, low, yes, no);
    let low_half = code.load(low_at);
    if !wide {
        return low_half;
    }
    let same_high = code.branch(Equal, high, low_half, no);
    if compare != Equal {
        code.branch(Greater, high, yes, same_high);
    }
    code.load(high_at)
}

fn emit_masked(code: &mut Assembler, wide: bool, condition: &Condition, yes: Label, no: Label) -> Label {
    let (low_at, high_at) = halves(condition.index);
    let (mask, datum) = (condition.value, condition.datum & condition.value);
    code.branch(Compare::Equal, datum as u32, yes, no);
    code.and(mask as u32);
    let low_half = code.load(low_at);
    if !wide || mask >> 32 == 0 {
        return low_half;
    }
    code.branch(Compare::Equal, (datum >> 32) as u32, low_half, no);
    code.and((mask >> 32) as u32);
    code.load(high_at)
}

/// Offsets of the halves of an argument. Both machine families are little-endian.
fn halves(index: u32) -> (u32, u32) {
    (ARGUMENTS + 8 * index, ARGUMENTS + 8 * index + 4)
}

/// The dispatch by architecture. Unknown ones end the process. x32 numbers of a profile without x32 do not exist.
fn emit_head(
    mut code: Assembler,
    native: Arch,
    blocks: &[(Arch, Label)],
    arches: &[Arch],
) -> Result<Vec<SockFilter>, SeccompError> {
    let mut next = code.ret(KILL_PROCESS);
    let block = |arch: Arch| blocks.iter().find(|(a, _)| *a == arch).map(|(_, label)| *label);
    // The native architecture is tested first, so it is written last.
    for &arch in arches {
        let own = match (arch, block(arch)) {
            // Reached through x86_64, which has the same architecture number.
            (Arch::X32, _) | (_, None) => continue,
            (Arch::X86_64, Some(own)) => {
                let x32 = block(Arch::X32).unwrap_or_else(|| code.ret(ERRNO | 38));
                code.branch(Compare::GreaterOrEqual, X32_BIT, x32, own);
                code.load(NUMBER)
            }
            (_, Some(own)) => {
                // A jump to `own` whatever the comparison says, behind a load of the number.
                code.branch(Compare::Equal, 0, own, own);
                code.load(NUMBER)
            }
        };
        next = code.branch(Compare::Equal, arch.audit(), own, next);
    }
    debug_assert_eq!(arches.last(), Some(&native));
    code.load(ARCHITECTURE);
    check_length(code.len())?;
    Ok(code.finish())
}

fn check_length(instructions: usize) -> Result<(), SeccompError> {
    if instructions > MAX_INSTRUCTIONS {
        return Err(SeccompError::TooLong { instructions, max: MAX_INSTRUCTIONS });
    }
    Ok(())
}
