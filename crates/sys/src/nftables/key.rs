//! Keys and values of sets: fields one after the other, each in words of four bytes.

use std::net::IpAddr;

/// Types of fields. The numbers are those by which `nft` knows them. *Source*: nftables, include/datatype.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// What to do with a packet.
    Verdict,
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// Hardware address.
    Ether,
    /// Number of a protocol.
    Protocol,
    /// Port.
    Port,
    /// Name of a link.
    LinkName,
    /// Mark of a packet or connection.
    Mark,
}

impl Type {
    fn number(self) -> u32 {
        match self {
            Self::Verdict => 1,
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Ether => 9,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Mark => 19,
            Self::LinkName => 41,
        }
    }

    /// Bytes of a value that stands alone.
    fn bytes(self) -> usize {
        match self {
            Self::Verdict => 0,
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Ipv4 | Self::Mark => 4,
            Self::Ether => 6,
            Self::Ipv6 | Self::LinkName => 16,
        }
    }
}

/// The number of several types together: six bits each.
pub(super) fn type_number(fields: &[Type]) -> u32 {
    fields.iter().fold(0, |number, field| number << 6 | field.number())
}

/// Bytes of a key: of one field as they are, of several each in whole words.
pub(super) fn length(fields: &[Type]) -> u32 {
    let bytes = match fields {
        [one] => one.bytes(),
        several => several.iter().map(|field| field.bytes().next_multiple_of(4)).sum(),
    };
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// By what order of bytes `nft` reads a listed set: the machine's for what it keeps as text and numbers, else the network's.
/// *Source*: libnftnl, include/udata.h: type 0 is the key's, 1 the data's; 1 means the machine's, 2 the network's.
pub(super) fn byte_orders(key: &[Type], data: &[Type]) -> Vec<u8> {
    let order = |fields: &[Type]| match fields {
        [Type::LinkName | Type::Mark] => 1u32,
        _ => 2,
    };
    let mut bytes = Vec::new();
    for (kind, fields) in [(0, key), (1, data)].into_iter().filter(|(_, fields)| !fields.is_empty()) {
        bytes.extend([kind, 4]);
        bytes.extend(order(fields).to_ne_bytes());
    }
    bytes
}

/// A key or value being put together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    bytes: Vec<u8>,
    /// Bytes that are missing to the last field's whole words.
    padding: usize,
    fields: usize,
}

impl Key {
    /// No field yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, field: &[u8]) -> Self {
        self.bytes.resize(self.bytes.len() + self.padding, 0);
        self.bytes.extend_from_slice(field);
        self.padding = field.len().next_multiple_of(4) - field.len();
        self.fields += 1;
        self
    }

    /// Adds an address.
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.push(&v4.octets()),
            IpAddr::V6(v6) => self.push(&v6.octets()),
        }
    }

    /// Adds a hardware address.
    pub fn ether(self, mac: [u8; 6]) -> Self {
        self.push(&mac)
    }

    /// Adds the number of a protocol.
    pub fn protocol(self, number: u8) -> Self {
        self.push(&[number])
    }

    /// Adds a port.
    pub fn port(self, port: u16) -> Self {
        self.push(&port.to_be_bytes())
    }

    /// Adds the name of a link.
    pub fn link(self, name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        self.push(&bytes)
    }

    /// Its bytes: whole words where there are several fields.
    pub(super) fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        if self.fields < 2 || self.padding == 0 {
            return (&self.bytes).into();
        }
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + self.padding, 0);
        bytes.into()
    }
}

/// A comment in the form that `nft` writes: type 0, length, text with its end.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut end = text.len().min(127);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = vec![0, u8::try_from(end + 1).unwrap_or(128)];
    bytes.extend_from_slice(&text.as_bytes()[..end]);
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_laid_out_in_words() {
        let key = Key::new().protocol(6).port(80);
        assert_eq!(key.bytes().as_ref(), [6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(Key::new().port(80).bytes().as_ref(), [0, 80]);
        let sender = Key::new().link("a").ether([1, 2, 3, 4, 5, 6]).address([10, 0, 0, 1].into());
        assert_eq!(sender.bytes().len(), 28);
        assert_eq!(length(&[Type::LinkName, Type::Ether, Type::Ipv4]), 28);
        assert_eq!(type_number(&[Type::Protocol, Type::Port]), 12 << 6 | 13);
    }
}
