//! How a command fails: what is printed, and the exit code. The only place that writes an `error:` line.
//!
//! Exit codes are docker's: 0 done, 1 failed, 2 usage, 125 Holm itself failed, 126 not executable, 127 not found, 128+n
//! ended by signal n.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

/// Holm itself failed, before the container's program had a say.
pub const CODE_HOLM: u8 = 125;
/// A usage error, for commands that do not run anything in a container.
pub const CODE_USAGE: u8 = 2;

/// What a command ends with when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code of the process.
    pub code: u8,
    /// What failed, on what.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to type or do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A failure whose message is `message` and whose causes are `error` and its sources.
    pub fn because(message: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        Self { causes: chain(error), ..Self::new(message) }
    }

    /// The failure that `error` describes, its sources as causes.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut causes = chain(error);
        let message = causes.remove(0);
        Self { causes, ..Self::new(message) }
    }

    /// A bad value of a flag, as every flag reports it. Exit code 125.
    pub fn flag(flag: &str, value: &str, why: impl Into<String>) -> Self {
        let message = format!("cannot use `{value}` for {flag}");
        Self { causes: vec![why.into()], ..Self::new(message) }.with_code(CODE_HOLM)
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same with exit code 125 where it was the general 1: nothing was run.
    #[must_use]
    pub fn before_start(mut self) -> Self {
        if self.code == 1 {
            self.code = CODE_HOLM;
        }
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the failure to standard error: `error:`, `caused by:` and `hint:` lines.
    ///
    /// One without a message says nothing.
    pub fn report(&self) {
        if self.message.is_empty() {
            return;
        }
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        // Nobody is left to tell when standard error is gone.
        let _ = std::io::stderr().write_all(self.render(colour).as_bytes());
    }

    /// The lines of [`Failure::report`].
    pub fn render(&self, colour: bool) -> String {
        let paint =
            |code: &str, word: &str| if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        let mut text = String::new();
        let _ = writeln!(text, "{} {}", paint("1;31", "error:"), printable_lines(&self.message));
        let mut last = self.message.as_str();
        for cause in self.causes.iter().filter(|c| !c.is_empty()) {
            if cause != last {
                let _ = writeln!(text, "{} {}", paint("1", "caused by:"), printable_lines(cause));
            }
            last = cause;
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{} {}", paint("1;36", "hint:"), printable(hint));
        }
        text
    }
}

/// Failures that say nothing but what failed and why.
macro_rules! plain_failures {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::from_error(&error)
            }
        })*
    };
}
plain_failures!(
    holm_image::store::StoreError,
    holm_image::archive::ArchiveError,
    holm_image::archive::ChangeError,
    holm_image::reference::ReferenceError,
    holm_image::reference::RegistriesError,
    holm_image::registry::CredentialError,
    holm_image::pull::platform::PlatformError,
    holm_spec::IdError,
);

/// Failures that know what to do about it.
macro_rules! hinting_failures {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self { hint: error.hint(), ..Self::from_error(&error) }
            }
        })*
    };
}
hinting_failures!(holm_image::pull::PullError, holm_image::push::PushError, holm_image::registry::RegistryError,);

impl From<holm_pod::Error> for Failure {
    fn from(error: holm_pod::Error) -> Self {
        let code = u8::try_from(error.exit_code()).unwrap_or(1);
        Self { code, hint: error.hint(), ..Self::from_error(&error) }
    }
}

/// Writes a warning to standard error.
pub fn warn(message: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "warning: {}", printable(message));
}

fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// As [`printable`], but line feeds stay: for messages that list things.
fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// `text` with control characters escaped, so that a string from an image or a container cannot drive the terminal. Tabs
/// and line feeds are escaped too: what is printed by this stays on its line.
pub fn printable(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hostile) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hostile(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_one_line_each_and_escapes_control_characters() {
        let failure = Failure::flag("--memory", "5\x1b[2Jx", "not a size").with_hint("use 512m");
        assert_eq!(
            failure.render(false),
            "error: cannot use `5\\u{1b}[2Jx` for --memory\ncaused by: not a size\nhint: use 512m\n"
        );
        assert!(failure.render(true).starts_with("\x1b[1;31merror:\x1b[0m "));
    }

    #[test]
    fn printable_escapes_direction_overrides_but_keeps_words() {
        assert_eq!(printable("größe 大"), "größe 大");
        assert_eq!(printable("a\u{202e}b\n"), "a\\u{202e}b\\n");
    }
}
