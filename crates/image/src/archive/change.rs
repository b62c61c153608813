//! Changes of a configuration written as lines of a Containerfile, as `import --change` and `commit --change` take
//! them.

use holm_spec::oci::image::RunConfig;
use serde_json::{Map, Value};

/// Why a change is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// The instruction is not one that changes a configuration.
    #[error(
        "cannot apply change `{0}`: expected CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR"
    )]
    Instruction(String),
    /// The instruction lacks its argument.
    #[error("cannot apply change `{0}`: it has no value")]
    NoValue(String),
    /// The argument is malformed.
    #[error("cannot apply change `{line}`: {reason}")]
    Malformed {
        /// The whole line, escaped.
        line: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Applies one line to a configuration.
pub fn apply_change(config: &mut RunConfig, line: &str) -> Result<(), ChangeError> {
    let shown = || line.escape_debug().to_string();
    let (instruction, value) = line.trim().split_once([' ', '\t']).unwrap_or((line.trim(), ""));
    let value = value.trim();
    let malformed = |reason| ChangeError::Malformed { line: shown(), reason };
    let instruction = instruction.to_ascii_uppercase();
    if value.is_empty() && !matches!(instruction.as_str(), "CMD" | "ENTRYPOINT") {
        return Err(ChangeError::NoValue(shown()));
    }
    match instruction.as_str() {
        "CMD" => config.cmd = Some(command(value)),
        "ENTRYPOINT" => config.entrypoint = Some(command(value)),
        "USER" => config.user = Some(value.to_owned()),
        "STOPSIGNAL" => config.stop_signal = Some(value.to_owned()),
        "WORKDIR" => {
            let base = config.working_dir.as_deref().unwrap_or("/").trim_end_matches('/');
            let path = if value.starts_with('/') { value.to_owned() } else { format!("{base}/{value}") };
            config.working_dir = Some(path);
        }
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (key, value) in pairs(value).map_err(malformed)? {
                env.retain(|known| known.split_once('=').is_none_or(|(name, _)| name != key));
                env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.get_or_insert_default().extend(pairs(value).map_err(malformed)?),
        "EXPOSE" => {
            let ports = config.exposed_ports.get_or_insert_default();
            for port in words(value).map_err(malformed)? {
                let port = port_with_protocol(&port).ok_or_else(|| malformed("a port is NUMBER[/tcp|udp|sctp]"))?;
                ports.insert(port, Value::Object(Map::new()));
            }
        }
        "VOLUME" => {
            let volumes = config.volumes.get_or_insert_default();
            let paths = json_list(value).map_or_else(|| words(value).map_err(malformed), Ok)?;
            volumes.extend(paths.into_iter().map(|path| (path, Value::Object(Map::new()))));
        }
        _ => return Err(ChangeError::Instruction(shown())),
    }
    Ok(())
}

/// A JSON list is taken as it is, anything else is a shell's line.
fn command(value: &str) -> Vec<String> {
    if value.is_empty() {
        return Vec::new();
    }
    json_list(value).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), value.to_owned()])
}

fn json_list(value: &str) -> Option<Vec<String>> {
    serde_json::from_str(value).ok()
}

/// A number from 1 to 65535, or a range of them, with `/tcp` where no protocol is named.
fn port_with_protocol(text: &str) -> Option<String> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |n: &str| n.parse::<u16>().is_ok_and(|n| n > 0);
    let valid = match numbers.split_once('-') {
        Some((first, last)) => number(first) && number(last),
        None => number(numbers),
    };
    (valid && matches!(protocol, "tcp" | "udp" | "sctp")).then(|| format!("{numbers}/{protocol}"))
}

/// `KEY=value …`, or the old form `KEY value`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let words = words(text)?;
    let old_form = words.first().is_some_and(|word| !word.contains('='));
    if old_form {
        let (key, value) = text.split_once([' ', '\t']).ok_or("expected KEY=VALUE")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value.to_owned())),
            _ => return Err("expected KEY=VALUE"),
        }
    }
    Ok(pairs)
}

/// Splits at white space, with quotes and backslashes as a shell has them.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().push(chars.next().ok_or("it ends in a backslash")?)
            }
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("a quote is not closed") } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> RunConfig {
        let mut config = RunConfig::default();
        for line in lines {
            apply_change(&mut config, line).unwrap();
        }
        config
    }

    #[test]
    fn every_instruction_has_its_effect() {
        let config = changed(&[
            r#"CMD ["a", "b c"]"#,
            "entrypoint exec x",
            "ENV A=1 B=\"two words\"",
            "ENV A=2",
            "ENV OLD some text",
            "EXPOSE 80 53/udp 1000-1010",
            r#"LABEL "a.b"="c d" e='f g'"#,
            "USER 1000:1000",
            "WORKDIR /srv",
            "WORKDIR app",
            r#"VOLUME ["/data", "/more"]"#,
            "VOLUME /third",
            "STOPSIGNAL SIGQUIT",
        ]);
        assert_eq!(config.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "exec x"]);
        assert_eq!(config.env.unwrap(), ["B=two words", "A=2", "OLD=some text"]);
        assert_eq!(
            config.exposed_ports.unwrap().into_keys().collect::<Vec<_>>(),
            ["1000-1010/tcp", "53/udp", "80/tcp"]
        );
        let labels = config.labels.unwrap();
        assert_eq!((labels["a.b"].as_str(), labels["e"].as_str()), ("c d", "f g"));
        assert_eq!(config.user.as_deref(), Some("1000:1000"));
        assert_eq!(config.working_dir.as_deref(), Some("/srv/app"));
        assert_eq!(config.volumes.unwrap().into_keys().collect::<Vec<_>>(), ["/data", "/more", "/third"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
    }

    #[test]
    fn malformed_changes_are_refused() {
        for line in
            ["", "RUN x", "ENV", "ENV A", "ENV =x", "LABEL a=\"b", "EXPOSE 0", "EXPOSE 70000", "EXPOSE 80/http", "USER"]
        {
            let mut config = RunConfig::default();
            assert!(apply_change(&mut config, line).is_err(), "{line}");
        }
    }
}
