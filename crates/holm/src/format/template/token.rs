//! Words of the template language.

use super::TemplateError;

/// One word of an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// `.` alone, or a chain that starts at the dot.
    Field(Vec<String>),
    /// A variable (without `$`) and a chain.
    Variable(String, Vec<String>),
    /// A word: function, keyword, `true`, `false`, `nil`.
    Word(String),
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `|`, `(`, `)`, `,`, `:=`, `=`
    Mark(&'static str),
    /// A chain behind a closing parenthesis.
    Chain(Vec<String>),
}

/// A piece of a template: text, or the words of an action with its place and source.
#[derive(Debug)]
pub enum Piece {
    /// Text between actions.
    Text(String),
    /// An action.
    Action {
        /// Its words.
        tokens: Vec<Token>,
        /// Byte at which it starts.
        at: usize,
        /// Its source, for messages.
        source: String,
    },
}

fn error(why: impl Into<String>, at: usize) -> TemplateError {
    TemplateError::Syntax { why: why.into(), at }
}

/// Parts a template into text and actions, trim marks applied.
pub fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = 0;
    let mut trim_next = false;
    loop {
        let open = text[rest..].find("{{").map(|at| rest + at);
        let mut plain = &text[rest..open.unwrap_or(text.len())];
        if trim_next {
            plain = plain.trim_start();
        }
        let Some(open) = open else {
            push_text(&mut pieces, plain);
            return Ok(pieces);
        };
        let mut inner = open + 2;
        if text[inner..].starts_with('-') && text[inner + 1..].starts_with([' ', '\t', '\n', '\r']) {
            inner += 1;
            plain = plain.trim_end();
        }
        push_text(&mut pieces, plain);
        let close = close_of(text, inner).ok_or_else(|| error("{{ is not closed by }}", open))?;
        let mut end = close;
        trim_next = text[inner..close].ends_with('-') && text[inner..close - 1].ends_with([' ', '\t', '\n', '\r']);
        if trim_next {
            end -= 1;
        }
        let source = text[inner..end].trim();
        rest = close + 2;
        if source.starts_with("/*") && source.ends_with("*/") && source.len() >= 4 {
            continue;
        }
        let tokens = tokens(&text[inner..end], inner)?;
        pieces.push(Piece::Action { tokens, at: open, source: source.to_owned() });
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The byte of the `}}` that closes the action whose inside starts at `start`; one in a text does not.
fn close_of(text: &str, start: usize) -> Option<usize> {
    if let Some(comment) = text[start..].trim_start().strip_prefix("/*") {
        let from = text.len() - comment.len();
        let end = from + comment.find("*/")?;
        return text[end..].find("}}").map(|at| end + at);
    }
    let bytes = text.as_bytes();
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            quote @ (b'"' | b'`' | b'\'') => {
                at += 1;
                while *bytes.get(at)? != quote {
                    at += if bytes[at] == b'\\' && quote != b'`' { 2 } else { 1 };
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    None
}

fn tokens(text: &str, offset: usize) -> Result<Vec<Token>, TemplateError> {
    let mut list = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let here = offset + at;
        match c {
            c if c.is_whitespace() => at += c.len_utf8(),
            '|' => (at, _) = (at + 1, list.push(Token::Mark("|"))),
            '(' => (at, _) = (at + 1, list.push(Token::Mark("("))),
            ')' => {
                let (chain, length) = chain(&text[at + 1..]);
                list.push(Token::Mark(")"));
                if !chain.is_empty() {
                    list.push(Token::Chain(chain));
                }
                at += 1 + length;
            }
            ',' => (at, _) = (at + 1, list.push(Token::Mark(","))),
            ':' if text[at + 1..].starts_with('=') => (at, _) = (at + 2, list.push(Token::Mark(":="))),
            '=' => (at, _) = (at + 1, list.push(Token::Mark("="))),
            '"' | '`' | '\'' => {
                let (value, length) = quoted(&text[at..], here)?;
                list.push(if c == '\'' { character(&value, here)? } else { Token::Text(value) });
                at += length;
            }
            '.' if !text[at + 1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let (chain, length) = chain(&text[at..]);
                list.push(Token::Field(chain));
                at += length.max(1);
            }
            '$' => {
                let name = word(&text[at + 1..]);
                let (chain, length) = chain(&text[at + 1 + name.len()..]);
                list.push(Token::Variable(name.to_owned(), chain));
                at += 1 + name.len() + length;
            }
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                let length = text[at + 1..]
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
                    .map_or(text.len() - at, |n| n + 1);
                list.push(number(&text[at..at + length]).ok_or_else(|| error("bad number", here))?);
                at += length;
            }
            c if c.is_alphabetic() || c == '_' => {
                let name = word(&text[at..]);
                list.push(Token::Word(name.to_owned()));
                at += name.len();
            }
            c => return Err(error(format!("unexpected `{}`", c.escape_default()), here)),
        }
    }
    Ok(list)
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// `.A.B` and its length; nothing for a lone dot.
fn chain(text: &str) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(rest) = text[at..].strip_prefix('.') {
        let name = word(rest);
        if name.is_empty() {
            break;
        }
        names.push(name.to_owned());
        at += 1 + name.len();
    }
    (names, at)
}

fn quoted(text: &str, at: usize) -> Result<(String, usize), TemplateError> {
    let mut characters = text.char_indices();
    let Some((_, quote)) = characters.next() else { return Err(error("text is not closed", at)) };
    let mut value = String::new();
    while let Some((index, c)) = characters.next() {
        match c {
            c if c == quote => return Ok((value, index + c.len_utf8())),
            '\\' if quote != '`' => match characters.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                _ => return Err(error("unknown escape in text", at + index)),
            },
            c => value.push(c),
        }
    }
    Err(error("text is not closed", at))
}

fn character(text: &str, at: usize) -> Result<Token, TemplateError> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(c), None) => Ok(Token::Integer(i64::from(u32::from(c)))),
        _ => Err(error("a character must stand alone between single quotes", at)),
    }
}

fn number(text: &str) -> Option<Token> {
    if let Ok(number) = text.strip_prefix('+').unwrap_or(text).parse() {
        return Some(Token::Integer(number));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Token::Integer);
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b".eE-+".contains(&b));
    text.parse().ok().filter(|n: &f64| plain && n.is_finite()).map(Token::Float)
}
