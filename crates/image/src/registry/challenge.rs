//! The grammar of `WWW-Authenticate`. Answering a challenge is for `token`.
//!
//! *Source*: RFC 9110, section 11.6.1; distribution, `spec/auth/token.md`.

/// *Units*: bytes. Real challenges have some 200.
const HEADER_MAX_BYTES: usize = 8 << 10;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token from `realm`.
    Bearer {
        /// Where tokens are made.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
    /// User name and password.
    Basic,
}

/// Parses one header value, which may hold several challenges; schemes that Holm does not know are left out. Pure,
/// takes any input.
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    if header.len() > HEADER_MAX_BYTES {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            return found;
        }
        let (parameters, after) = parameters(after);
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let value = |name: &str| {
                let same = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                same.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            if let Some(realm) = value("realm") {
                found.push(Challenge::Bearer { realm, service: value("service"), scope: value("scope") });
            }
        }
        rest = after;
    }
}

/// `name=value` pairs parted by commas, up to where the next scheme or garbage begins.
fn parameters(mut rest: &str) -> (Vec<(&str, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(start);
        let Some(after) = after.trim_start_matches([' ', '\t']).strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (found, start);
        };
        let after = after.trim_start_matches([' ', '\t']);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let (value, after) = token(after);
                (value.to_owned(), after)
            }
        };
        found.push((name, value));
        rest = after;
    }
}

fn token(text: &str) -> (&str, &str) {
    let ok = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c);
    text.split_at(text.find(|c| !ok(c)).unwrap_or(text.len()))
}

/// The value of a quoted string whose opening quote is gone, and what follows its closing quote.
fn quoted_string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) }
    }

    #[test]
    fn challenges_of_real_registries_parse() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"));
        assert_eq!(parse_challenges(hub), [expected]);
        assert_eq!(parse_challenges(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse_challenges("basic"), [Challenge::Basic]);
        assert_eq!(parse_challenges("BEARER REALM=https://x/t"), [bearer("https://x/t", None, None)]);
        assert_eq!(
            parse_challenges(r#"Negotiate, Basic realm="a\"b,c", Bearer realm = "https://x" , service=y"#),
            [Challenge::Basic, bearer("https://x", Some("y"), None)]
        );
    }

    #[test]
    fn challenges_that_are_garbage_give_nothing() {
        for bad in
            ["", ",,,", "Bearer", "Bearer realm=", "Bearer realm", "=", "\"", "Bearer \"x\"", "ä ö", "Digest a=b"]
        {
            assert_eq!(parse_challenges(bad), [], "{bad}");
        }
        assert_eq!(parse_challenges(r#"Bearer realm="unterminated"#), [bearer("unterminated", None, None)]);
        assert_eq!(parse_challenges(r#"Bearer realm="x\"#), [bearer("x", None, None)]);
        assert_eq!(parse_challenges(&format!("Basic {}", " ".repeat(HEADER_MAX_BYTES))), []);
    }
}
