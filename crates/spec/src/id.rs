//! Container identifiers and user-given names: their grammar, not where they are recorded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier or name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not 64 lower-case hex digits.
    #[error("cannot use container id `{0}`: expected 64 lower-case hex digits")]
    Id(String),
    /// Not a name that podman would take.
    #[error("cannot use name `{0}`: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, 1 to 128 characters")]
    Name(String),
}

/// A container's identifier: 64 lower-case hex digits, safe as a path component.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Makes an identifier from 32 random bytes.
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        crate::digest::push_hex(&mut text, bytes);
        Self(text)
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as lists show it and as the default host name.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Id(text.escape_default().take(100).collect()))
        }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name a user gave (container, volume, network): podman's grammar, which is docker's and one letter too, safe as a path
/// component.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let first = |b: u8| b.is_ascii_alphanumeric();
        let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let ok = (1..=128).contains(&text.len()) && first(text.as_bytes()[0]) && text.bytes().all(rest);
        if ok { Ok(Self(text.to_owned())) } else { Err(IdError::Name(text.escape_default().take(140).collect())) }
    }
}

impl TryFrom<String> for Name {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_grammar_is_podmans() {
        for good in ["web", "a", "a1", "A_b.c-d", &"a".repeat(128)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", ".", ".a", "-ab", "a/b", "a b", "../x", "a\0", "ä1", &"a".repeat(129)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn id_is_64_hex_digits() {
        let id = ContainerId::from_random(&[0x1f; 32]);
        assert_eq!(id.short(), "1f1f1f1f1f1f");
        assert_eq!(id.as_str().parse::<ContainerId>(), Ok(id.clone()));
        assert!("..".parse::<ContainerId>().is_err());
        assert!("G".repeat(64).parse::<ContainerId>().is_err());
    }
}
