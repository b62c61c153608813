//! Device access rules: from the ordered OCI list to one table that means the same on v1 and on v2.
//!
//! The table is what the kernel's v1 controller holds: a default and exceptions to it. On v2 it becomes a program
//! ([`super::device_program`]). A rule that v1 would accept and not enforce is an error on both.

use holm_spec::oci::runtime::DeviceRule;

use super::error::CgroupError;

/// `BPF_DEVCG_ACC_MKNOD`. *Source*: linux/bpf.h.
pub const MKNOD: u8 = 1;
/// `BPF_DEVCG_ACC_READ`.
pub const READ: u8 = 2;
/// `BPF_DEVCG_ACC_WRITE`.
pub const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;
/// Rules taken from one document at most.
const MAX_RULES: usize = 1024;

/// Kind of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Block,
    Char,
}

/// One exception to the default. `None` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Kind of node.
    pub kind: Kind,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
    /// [`MKNOD`], [`READ`] and [`WRITE`] bits.
    pub access: u8,
}

impl Exception {
    fn same_device(&self, other: &Exception) -> bool {
        self.kind == other.kind && self.major == other.major && self.minor == other.minor
    }

    /// Whether some device and access fall under both.
    fn overlaps(&self, other: &Exception) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
            && self.access & other.access != 0
    }

    /// As v1 writes it: `c 1:3 rwm`.
    pub fn line(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        let mut line = format!("{kind} {}:{} ", number(self.major), number(self.minor));
        for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
            if self.access & bit != 0 {
                line.push(letter);
            }
        }
        line
    }
}

/// Which devices may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTable {
    /// Devices that no exception names.
    pub allow: bool,
    /// The exceptions.
    pub exceptions: Vec<Exception>,
}

impl DeviceTable {
    /// Plays the rules in order, as writes to `devices.allow` and `devices.deny` would be.
    ///
    /// *Errors*: an unknown kind or access letter, a number out of range, a rule that a wider one makes void.
    pub fn new(rules: &[DeviceRule]) -> Result<DeviceTable, CgroupError> {
        if rules.len() > MAX_RULES {
            return Err(value_error(format!("{} rules are more than {MAX_RULES}", rules.len())));
        }
        let mut table = DeviceTable { allow: true, exceptions: Vec::new() };
        for rule in rules {
            table.play(rule)?;
        }
        Ok(table)
    }

    /// Whether nothing is forbidden, so that nothing needs to be enforced.
    pub fn allows_everything(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }

    fn play(&mut self, rule: &DeviceRule) -> Result<(), CgroupError> {
        let access = parse_access(rule.access.as_deref())?;
        let major = parse_number(rule.major)?;
        let minor = parse_number(rule.minor)?;
        let kinds: &[Kind] = match rule.kind.as_deref() {
            None | Some("a" | "") => &[Kind::Block, Kind::Char],
            Some("c" | "u") => &[Kind::Char],
            Some("b") => &[Kind::Block],
            Some(other) => return Err(value_error(format!("kind `{}` is none of a, b, c", other.escape_debug()))),
        };
        if access == 0 {
            return Ok(());
        }
        if kinds.len() == 2 && major.is_none() && minor.is_none() && access == ALL {
            *self = DeviceTable { allow: rule.allow, exceptions: Vec::new() };
            return Ok(());
        }
        for &kind in kinds {
            let exception = Exception { kind, major, minor, access };
            if rule.allow == self.allow { self.subtract(exception)? } else { self.add(exception) }
        }
        Ok(())
    }

    fn add(&mut self, new: Exception) {
        match self.exceptions.iter_mut().find(|e| e.same_device(&new)) {
            Some(present) => present.access |= new.access,
            None => self.exceptions.push(new),
        }
    }

    /// Takes accesses back from the exception for exactly this device. One that overlaps but is not the same would stay
    /// in force without a word on v1.
    fn subtract(&mut self, rule: Exception) -> Result<(), CgroupError> {
        if let Some(present) = self.exceptions.iter_mut().find(|e| e.same_device(&rule)) {
            present.access &= !rule.access;
        }
        self.exceptions.retain(|e| e.access != 0);
        match self.exceptions.iter().find(|e| e.overlaps(&rule)) {
            None => Ok(()),
            Some(wider) => {
                let verb = if self.allow { "allow" } else { "deny" };
                let (rule, wider) = (rule.line(), wider.line());
                Err(value_error(format!(
                    "the rule to {verb} `{rule}` cannot take effect beside the rule for `{wider}`"
                )))
            }
        }
    }
}

fn value_error(reason: String) -> CgroupError {
    CgroupError::Value { what: "the device rules", reason }
}

fn parse_access(text: Option<&str>) -> Result<u8, CgroupError> {
    let Some(text) = text else { return Ok(ALL) };
    text.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        _ => Err(value_error(format!("access `{}` has letters other than r, w, m", text.escape_debug()))),
    })
}

/// -1 and nothing are any.
fn parse_number(number: Option<i64>) -> Result<Option<u32>, CgroupError> {
    match number {
        None | Some(-1) => Ok(None),
        Some(n) => match i32::try_from(n) {
            Ok(small) if small >= 0 => Ok(Some(small as u32)),
            _ => Err(value_error(format!("device number {n} is not within 0 and {}", i32::MAX))),
        },
    }
}
