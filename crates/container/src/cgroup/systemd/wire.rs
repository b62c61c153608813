//! D-Bus messages as bytes: just what the scope driver says and hears. *Source*: the D-Bus specification, "Message
//! Protocol".

/// Bytes of a message at most; the protocol allows 128 MiB.
pub const MAX_MESSAGE: usize = 1 << 16;

/// Message types.
pub const METHOD_CALL: u8 = 1;
/// An answer.
pub const METHOD_RETURN: u8 = 2;
/// An answer that it did not work.
pub const ERROR: u8 = 3;

/// A property's value.
#[derive(Clone, Debug)]
pub enum Value {
    /// `s`.
    Text(String),
    /// `b`.
    Flag(bool),
    /// `au`.
    Numbers(Vec<u32>),
}

/// Arguments of a call, aligned from the start of a body, which is aligned to eight.
#[derive(Clone, Debug)]
pub struct Body {
    /// Their types.
    pub signature: &'static str,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

impl Body {
    /// No arguments yet, of these types.
    pub fn new(signature: &'static str) -> Body {
        Body { signature, bytes: Vec::new() }
    }

    /// A string.
    pub fn text(&mut self, text: &str) {
        put_text(&mut self.bytes, text);
    }

    /// `a(sv)`.
    pub fn properties(&mut self, list: &[(&str, Value)]) {
        let length_at = begin_array(&mut self.bytes, 8);
        let start = self.bytes.len();
        for (name, value) in list {
            align(&mut self.bytes, 8);
            put_text(&mut self.bytes, name);
            put_variant(&mut self.bytes, value);
        }
        end_array(&mut self.bytes, length_at, start);
    }

    /// An array of structures with nothing in it.
    pub fn empty_structures(&mut self) {
        begin_array(&mut self.bytes, 8);
    }
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_number(bytes: &mut Vec<u8>, number: u32) {
    align(bytes, 4);
    bytes.extend(number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    // Texts here are unit names and the like; the message's bound is checked when it is sent.
    put_number(bytes, text.len() as u32);
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend(signature.as_bytes());
    bytes.push(0);
}

/// Returns where the length goes. The padding before the first element does not count towards it.
fn begin_array(bytes: &mut Vec<u8>, element: usize) -> usize {
    put_number(bytes, 0);
    let at = bytes.len() - 4;
    align(bytes, element);
    at
}

fn end_array(bytes: &mut [u8], length_at: usize, start: usize) {
    let length = (bytes.len() - start) as u32;
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_variant(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => {
            put_signature(bytes, "s");
            put_text(bytes, text);
        }
        Value::Flag(flag) => {
            put_signature(bytes, "b");
            put_number(bytes, u32::from(*flag));
        }
        Value::Numbers(numbers) => {
            put_signature(bytes, "au");
            let at = begin_array(bytes, 4);
            let start = bytes.len();
            numbers.iter().for_each(|n| put_number(bytes, *n));
            end_array(bytes, at, start);
        }
    }
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Bus name.
    pub destination: &'a str,
    /// Object.
    pub path: &'a str,
    /// Interface.
    pub interface: &'a str,
    /// Method.
    pub member: &'a str,
}

/// A whole method call.
pub fn call(serial: u32, target: Target<'_>, body: Option<&Body>) -> Vec<u8> {
    let length = body.map_or(0, |b| b.bytes.len() as u32);
    let mut bytes = vec![b'l', METHOD_CALL, 0, 1];
    put_number(&mut bytes, length);
    put_number(&mut bytes, serial);
    let length_at = begin_array(&mut bytes, 8);
    let start = bytes.len();
    let Target { destination, path, interface, member } = target;
    for (code, kind, text) in [(1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination)] {
        align(&mut bytes, 8);
        bytes.push(code);
        put_signature(&mut bytes, kind);
        put_text(&mut bytes, text);
    }
    if let Some(body) = body {
        align(&mut bytes, 8);
        bytes.push(8);
        put_signature(&mut bytes, "g");
        put_signature(&mut bytes, body.signature);
    }
    end_array(&mut bytes, length_at, start);
    align(&mut bytes, 8);
    bytes.extend(body.iter().flat_map(|b| &b.bytes));
    bytes
}

/// What is read of a message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Heard {
    /// Its type.
    pub kind: u8,
    /// The call that it answers.
    pub reply_serial: u32,
    /// The error's name and, where it has one, its text.
    pub error: String,
}

/// Length of a message from its first 16 bytes. None where they are no beginning that is understood.
pub fn length(head: &[u8; 16]) -> Option<usize> {
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let total = 16usize.checked_add(number(12))?.checked_next_multiple_of(8)?.checked_add(number(4))?;
    (head[0] == b'l' && head[3] == 1 && total <= MAX_MESSAGE).then_some(total)
}

/// Reads a whole message. None where its fields lie.
pub fn parse(bytes: &[u8]) -> Option<Heard> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let text = |at: usize| {
        let length = number(at)? as usize;
        String::from_utf8(bytes.get(at + 4..at.checked_add(4)?.checked_add(length)?)?.to_vec()).ok()
    };
    let fields_end = 16usize.checked_add(number(12)? as usize)?;
    let mut heard = Heard { kind: *bytes.get(1)?, ..Heard::default() };
    let mut signature = String::new();
    let mut at = 16;
    while at < fields_end {
        let code = *bytes.get(at)?;
        // Every header field has a basic type, so a signature of one letter.
        let (count, kind) = (*bytes.get(at + 1)?, *bytes.get(at + 2)?);
        if count != 1 {
            return None;
        }
        let value = at + 4;
        let end = match kind {
            b'g' => {
                let length = usize::from(*bytes.get(value)?);
                signature = String::from_utf8(bytes.get(value + 1..value + 1 + length)?.to_vec()).ok()?;
                value + 2 + length
            }
            b'u' => {
                if code == 5 {
                    heard.reply_serial = number(value)?;
                }
                value + 4
            }
            b's' | b'o' => {
                let text = text(value)?;
                let end = value + 5 + text.len();
                if code == 4 {
                    heard.error = text;
                }
                end
            }
            _ => return None,
        };
        at = end.next_multiple_of(8);
    }
    if heard.kind == ERROR && signature.starts_with('s') {
        heard.error = format!("{}: {}", heard.error, text(fields_end.next_multiple_of(8))?);
    }
    Some(heard)
}
