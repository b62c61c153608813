//! The functions of templates: Go's own and docker's.

use std::cmp::Ordering;

use serde_json::Value;

use super::evaluate::{Item, printed, truth};

const NAMES: &[&str] = &[
    "json",
    "join",
    "upper",
    "lower",
    "title",
    "split",
    "truncate",
    "pad",
    "println",
    "print",
    "printf",
    "len",
    "index",
    "slice",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
    "not",
    "trim",
    "replace",
    "html",
    "js",
    "urlquery",
    "hasPrefix",
    "hasSuffix",
    "contains",
    "default",
];

/// Whether there is such a function.
pub fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function. The piped value is the last argument.
pub fn call(name: &str, items: &[Item], values: &[Value]) -> Result<Value, String> {
    match name {
        "json" => {
            one(values).and_then(|value| serde_json::to_string(value).map_err(|e| e.to_string())).map(Value::from)
        }
        "upper" => text(values, str::to_uppercase),
        "lower" => text(values, str::to_lowercase),
        "title" => text(values, title),
        "trim" => text(values, |text| text.trim().to_owned()),
        "html" => text(values, html),
        "print" => Ok(print(items, false).into()),
        "println" => Ok(format!("{}\n", print(items, true)).into()),
        "printf" => printf(items).map(Value::from),
        "len" => length(one(values)?),
        "index" => index(values),
        "slice" => slice(values),
        "not" => one(values).map(|value| (!truth(value)).into()),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => comparison(name, values),
        _ => text_function(name, values),
    }
}

fn one(values: &[Value]) -> Result<&Value, String> {
    match values {
        [value] => Ok(value),
        _ => Err(format!("wrong number of args: want 1 got {}", values.len())),
    }
}

fn text(values: &[Value], change: impl Fn(&str) -> String) -> Result<Value, String> {
    match one(values)? {
        Value::String(text) => Ok(change(text).into()),
        other => Err(format!("expected string; got {other}")),
    }
}

fn text_function(name: &str, values: &[Value]) -> Result<Value, String> {
    let string =
        |n: usize| values.get(n).and_then(Value::as_str).ok_or_else(|| format!("argument {} must be a string", n + 1));
    let number = |n: usize| {
        let number = values.get(n).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        number.filter(|n| *n <= 1_000_000).ok_or_else(|| format!("argument {} must be a number", n + 1))
    };
    match (name, values.len()) {
        // The list comes first, or last through a pipe.
        ("join", 2) => {
            let (list, separator) = match &values[0] {
                Value::Array(list) => (list.clone(), string(1)?),
                Value::Null => return Ok("".into()),
                _ => match &values[1] {
                    Value::Array(list) => (list.clone(), string(0)?),
                    Value::Null => return Ok("".into()),
                    _ => return Err("argument 1 must be a list".to_owned()),
                },
            };
            let words: Vec<String> = list.into_iter().map(|value| printed(&value.into())).collect();
            Ok(words.join(separator).into())
        }
        ("split", 2) => Ok(string(0)?.split(string(1)?).collect::<Vec<_>>().into()),
        ("truncate", 2) => Ok(string(0)?.chars().take(number(1)?).collect::<String>().into()),
        ("pad", 3) if string(0)?.is_empty() => Ok("".into()),
        ("pad", 3) => Ok(format!("{}{}{}", " ".repeat(number(1)?), string(0)?, " ".repeat(number(2)?)).into()),
        ("replace", 3) => Ok(string(2)?.replace(string(0)?, string(1)?).into()),
        ("hasPrefix", 2) => Ok(string(0)?.starts_with(string(1)?).into()),
        ("hasSuffix", 2) => Ok(string(0)?.ends_with(string(1)?).into()),
        ("contains", 2) => Ok(string(0)?.contains(string(1)?).into()),
        ("default", 2) => Ok(if truth(&values[1]) { values[1].clone() } else { values[0].clone() }),
        ("js", 1) => Ok(string(0)?.escape_default().to_string().into()),
        ("urlquery", 1) => Ok(url_query(string(0)?).into()),
        (_, count) => Err(format!("wrong number of args: got {count}")),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    let mut change = |c: char| {
        let upper = std::mem::replace(&mut start, !c.is_alphanumeric() && c != '\'');
        if upper { c.to_uppercase().collect::<String>() } else { c.to_string() }
    };
    text.chars().map(&mut change).collect()
}

fn html(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn url_query(text: &str) -> String {
    let mut safe = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => safe.push(char::from(byte)),
            b' ' => safe.push('+'),
            byte => safe.push_str(&format!("%{byte:02X}")),
        }
    }
    safe
}

/// Go's `fmt.Sprint` puts spaces between operands when neither is a string; `Sprintln` always.
fn print(items: &[Item], always: bool) -> String {
    let mut out = String::new();
    for (n, item) in items.iter().enumerate() {
        let apart = n > 0 && !item.value.is_string() && !items[n - 1].value.is_string();
        if n > 0 && (always || apart) {
            out.push(' ');
        }
        out.push_str(&printed(item));
    }
    out
}

fn printf(items: &[Item]) -> Result<String, String> {
    let Some((Value::String(form), rest)) = items.split_first().map(|(first, rest)| (&first.value, rest)) else {
        return Err("the first argument must be a string".to_owned());
    };
    let mut out = String::new();
    let mut arguments = rest.iter();
    let mut characters = form.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(c) = characters.next_if(|c| c.is_ascii_digit() || "-+ #.".contains(*c)) {
            flags.push(c);
        }
        match characters.next() {
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                Some(item) => out.push_str(&verb_text(verb, &flags, item)?),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
            None => out.push_str("%!(NOVERB)"),
        }
        if out.len() > super::OUTPUT_MAX_BYTES {
            return Err("the output is too large".to_owned());
        }
    }
    Ok(out)
}

fn verb_text(verb: char, flags: &str, item: &Item) -> Result<String, String> {
    let left = flags.contains('-');
    let zero = flags.trim_start_matches(['-', '+', ' ', '#']).starts_with('0');
    let sizes = flags.trim_start_matches(['-', '+', ' ', '#', '0']);
    let (width, precision) = sizes.split_once('.').map_or((sizes, None), |(width, p)| (width, Some(p)));
    let width: usize = width.parse().unwrap_or(0).min(10_000);
    let precision: Option<usize> = precision.map(|p| p.parse().unwrap_or(0).min(1000));
    let text = match (verb, &item.value) {
        ('s' | 'v', _) => match precision {
            Some(limit) => printed(item).chars().take(limit).collect(),
            None => printed(item),
        },
        ('q', value) => serde_json::to_string(value).map_err(|e| e.to_string())?,
        ('d', Value::Number(number)) => number.to_string(),
        ('x', Value::Number(number)) if number.is_u64() => format!("{:x}", number.as_u64().unwrap_or(0)),
        ('o', Value::Number(number)) if number.is_u64() => format!("{:o}", number.as_u64().unwrap_or(0)),
        ('f' | 'g', Value::Number(number)) => {
            format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or(0.0))
        }
        ('t', Value::Bool(truth)) => truth.to_string(),
        ('T', _) => "interface {}".to_owned(),
        (verb, value) => format!("%!{verb}({value})"),
    };
    let missing = width.saturating_sub(text.chars().count());
    Ok(match (left, zero && verb == 'd') {
        (true, _) => text + &" ".repeat(missing),
        (false, true) => "0".repeat(missing) + &text,
        (false, false) => " ".repeat(missing) + &text,
    })
}

fn length(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(list) => Ok(list.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        Value::Null => Ok(0.into()),
        other => Err(format!("len of {other}")),
    }
}

fn index(values: &[Value]) -> Result<Value, String> {
    let Some((first, keys)) = values.split_first() else { return Err("missing argument".to_owned()) };
    let mut value = first.clone();
    for key in keys {
        value = match (value, key) {
            (Value::Object(mut map), Value::String(key)) => match map.remove(key) {
                Some(value) => value,
                // Go's zero value: the maps of strings that users ask for (labels, options) give an empty string.
                None if map.values().all(Value::is_string) => "".into(),
                None => Value::Null,
            },
            (Value::Array(list), Value::Number(n)) => {
                let found = n.as_u64().and_then(|n| usize::try_from(n).ok()).and_then(|n| list.get(n));
                found.cloned().ok_or_else(|| format!("index out of range: {n}"))?
            }
            (Value::Null, Value::String(_)) => "".into(),
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            (_, key) => return Err(format!("cannot index by {key}")),
        };
    }
    Ok(value)
}

fn slice(values: &[Value]) -> Result<Value, String> {
    let Some((value, bounds)) = values.split_first() else { return Err("missing argument".to_owned()) };
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len(),
        _ => return Err("can't slice this".to_owned()),
    };
    let bound = |n: usize, default: usize| match bounds.get(n) {
        None => Ok(default),
        Some(value) => value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or("bounds must be numbers".to_owned()),
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    if start > end || end > length || bounds.len() > 2 {
        return Err(format!("slice index out of range: {start}:{end} of {length}"));
    }
    match value {
        Value::String(text) => {
            text.get(start..end).map(Value::from).ok_or_else(|| "slice inside a character".to_owned())
        }
        Value::Array(list) => Ok(list[start..end].to_vec().into()),
        _ => Ok(Value::Null),
    }
}

fn comparison(name: &str, values: &[Value]) -> Result<Value, String> {
    let Some((first, rest)) = values.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err("missing argument for comparison".to_owned());
    };
    if name == "eq" {
        return Ok(rest.iter().any(|other| equal(first, other)).into());
    }
    let [second] = rest else { return Err(format!("wrong number of args: want 2 got {}", values.len())) };
    if name == "ne" {
        return Ok((!equal(first, second)).into());
    }
    let order = match (first, second) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    let order = order.ok_or("incompatible types for comparison")?;
    Ok(match name {
        "lt" => order == Ordering::Less,
        "le" => order != Ordering::Greater,
        "gt" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }
    .into())
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}
