//! The plugin's side: `holm cni`, which other runtimes run to give their containers Holm's networks.
//!
//! ```text
//! run/network/cni-plugin/<internal id>     whose interface it is: written before anything is made for it, removed last
//! ```
//! A runtime's container is known here by an internal identifier that follows from its own and the interface's name. Its
//! endpoints are like those of Holm's containers, but nobody's supervisor stands behind them: they stay until DEL or GC, and
//! published ports are elements of the firewall alone.
//!
//! Owns what comes in by environment and input, and what goes out. What the verbs do is in `verb`, what the configuration
//! means in `conf`, what is remembered of whom in `owner`.

mod conf;
mod owner;
mod reply;
mod verb;

use serde_json::{Value, json};

use crate::{Error, Networks, Roots};

pub use conf::Conf;

/// Versions of the specification that the plugin speaks to runtimes.
pub const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];
/// Most bytes of a configuration.
pub const INPUT_MAX_BYTES: u64 = 1 << 20;

/// Codes of errors. *Source*: CNI specification, section 5, "Error".
mod code {
    pub(super) const VERSION: u64 = 1;
    pub(super) const UNSUPPORTED: u64 = 2;
    pub(super) const UNKNOWN_CONTAINER: u64 = 3;
    pub(super) const ENVIRONMENT: u64 = 4;
    pub(super) const IO: u64 = 5;
    pub(super) const DECODE: u64 = 6;
    pub(super) const CONFIG: u64 = 7;
    pub(super) const NOT_AVAILABLE: u64 = 50;
    /// Our own: the network could not give what was asked.
    pub(super) const NETWORK: u64 = 100;
    /// Our own: the interface is there already.
    pub(super) const EXISTS: u64 = 101;
    /// Our own: something is not as it was made.
    pub(super) const BROKEN: u64 = 102;
}

/// Why the plugin fails, as runtimes are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Code of the specification, or 100 and more.
    pub code: u64,
    /// What failed, on what.
    pub message: String,
    /// Why.
    pub details: String,
}

impl Failed {
    fn new(code: u64, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: details.into() }
    }

    fn network(error: &Error) -> Self {
        let mut details = Vec::new();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            details.push(cause.to_string());
            next = cause.source();
        }
        details.extend(error.hint());
        Self::new(code::NETWORK, error.to_string(), details.join(": "))
    }
}

/// What is printed, and whether all is well.
#[derive(Clone, Debug)]
pub struct Answer {
    /// JSON, or nothing.
    pub text: String,
    /// Whether it is no error.
    pub well: bool,
}

/// What comes by the environment.
#[derive(Clone, Debug, Default)]
struct Called {
    verb: String,
    container: String,
    netns: String,
    ifname: String,
    args: String,
}

/// Does what a runtime asks by environment and input. `roots` are Holm's own unless the configuration names others.
///
/// *Privilege*: CAP_NET_ADMIN, and CAP_SYS_ADMIN over the container's namespace. *Order*: the caller has one thread: a keeper
/// may be forked from it.
pub fn run(variable: &dyn Fn(&str) -> Option<String>, input: &[u8], roots: &Roots) -> Answer {
    let read = |name: &str| variable(name).unwrap_or_default();
    let called = Called {
        verb: read("CNI_COMMAND"),
        container: read("CNI_CONTAINERID"),
        netns: read("CNI_NETNS"),
        ifname: read("CNI_IFNAME"),
        args: read("CNI_ARGS"),
    };
    let mut version = VERSIONS[VERSIONS.len() - 1].to_owned();
    match answer(&called, input, roots, &mut version) {
        Ok(Value::Null) => Answer { text: String::new(), well: true },
        Ok(value) => Answer { text: format!("{value}\n"), well: true },
        Err(Failed { code, message, details }) => {
            let mut value = json!({"cniVersion": version, "code": code, "msg": message});
            if !details.is_empty() {
                value["details"] = details.into();
            }
            Answer { text: format!("{value}\n"), well: false }
        }
    }
}

fn answer(called: &Called, input: &[u8], roots: &Roots, version: &mut String) -> Result<Value, Failed> {
    if called.verb == "VERSION" {
        // Its input has a version and nothing else; it is answered in that one, whichever it is.
        let asked = serde_json::from_slice::<Value>(input).ok();
        let asked = asked.as_ref().and_then(|value| value.get("cniVersion")).and_then(Value::as_str);
        return Ok(json!({"cniVersion": asked.unwrap_or(version), "supportedVersions": VERSIONS}));
    }
    let conf = Conf::read(input)?;
    conf.version.clone_into(version);
    let roots = Roots {
        data: conf.data_root.clone().unwrap_or_else(|| roots.data.clone()),
        run: conf.run_root.clone().unwrap_or_else(|| roots.run.clone()),
    };
    let networks = Networks::new(roots);
    let needs = |least: (u32, u32)| match super::at_least(&conf.version, least) {
        true => Ok(()),
        false => {
            let what = format!("cannot do {} in version {}", called.verb, conf.version);
            Err(Failed::new(code::VERSION, what, format!("it came with {}.{}.0", least.0, least.1)))
        }
    };
    match called.verb.as_str() {
        "ADD" => verb::add(&networks, called, &conf),
        "DEL" => verb::delete(&networks, called),
        "CHECK" => verb::check(&networks, called, &conf),
        "GC" => needs((1, 1)).and_then(|()| verb::collect(&networks, &conf)),
        "STATUS" => needs((1, 1)).and_then(|()| verb::status(&networks, &conf)),
        other => {
            let what = format!("cannot use CNI_COMMAND `{}`", other.escape_debug());
            Err(Failed::new(code::ENVIRONMENT, what, "it must be ADD, DEL, CHECK, GC, STATUS or VERSION"))
        }
    }
}
