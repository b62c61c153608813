//! Content digests: their grammar and nothing else. Hashing lives with whoever reads the bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A content digest, `sha256:<64 hex>` or `sha512:<128 hex>`, checked when made, so safe as a path component.
///
/// *Source*: OCI image-spec, descriptor.md, "Digests".
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is not a digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// The algorithm is missing or not one Holm verifies.
    #[error("cannot use digest `{0}`: the algorithm must be sha256 or sha512")]
    Algorithm(String),
    /// The encoded part has the wrong length or alphabet.
    #[error("cannot use digest `{0}`: expected {1} lower-case hex digits after the colon")]
    Encoded(String, usize),
}

/// The hash functions that Holm verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name used before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl Digest {
    /// Makes a SHA-256 digest from the 32 bytes of a finished hash.
    pub fn sha256(hash: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(7 + 64);
        text.push_str("sha256:");
        push_hex(&mut text, hash);
        Self(text)
    }

    /// Makes a SHA-512 digest from the 64 bytes of a finished hash.
    pub fn sha512(hash: &[u8; 64]) -> Self {
        let mut text = String::with_capacity(7 + 128);
        text.push_str("sha512:");
        push_hex(&mut text, hash);
        Self(text)
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha256:") { Algorithm::Sha256 } else { Algorithm::Sha512 }
    }

    /// The hex part, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }
}

/// Appends the lower-case hex form of `bytes` to `text`.
pub fn push_hex(text: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for b in bytes {
        text.push(HEX[usize::from(b >> 4)] as char);
        text.push(HEX[usize::from(b & 15)] as char);
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = match text.split_once(':') {
            Some(("sha256", hex)) => (Algorithm::Sha256, hex),
            Some(("sha512", hex)) => (Algorithm::Sha512, hex),
            _ => return Err(DigestError::Algorithm(text.escape_default().take(100).collect())),
        };
        let lower_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != algorithm.hex_len() || !hex.as_bytes().iter().all(lower_hex) {
            return Err(DigestError::Encoded(text.escape_default().take(160).collect(), algorithm.hex_len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_grammar_is_exact() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(good.parse::<Digest>().map(|d| d.hex().to_owned()), Ok("0a".repeat(32)));
        assert!(format!("sha512:{}", "0a".repeat(64)).parse::<Digest>().is_ok());
        for bad in [
            "",
            "sha256",
            "sha256:",
            "md5:00",
            "sha256:../../etc/passwd",
            &format!("sha256:{}", "0A".repeat(32)),
            &format!("sha256:{}", "0a".repeat(31)),
            &format!("sha256:{}/", "0a".repeat(32)),
            &format!("sha512:{}", "0a".repeat(32)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_from_bytes_parses_back() {
        let digest = Digest::sha256(&[0xa5; 32]);
        assert_eq!(digest.as_str().parse::<Digest>(), Ok(digest.clone()));
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
    }
}
