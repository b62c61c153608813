//! The image run as one kind or the other: what is measured of each, in order.
//!
//! ```text
//! run echo       first output; a machine boots anew
//! run true       start to end; a machine may come from a template, and then echo once more for its first output
//! run sleep      memory on the host, then the probe copied in and run
//! run COMMAND    start to end
//! ```

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use holm_spec::probe;
use holm_spec::state::{ContainerState, MachineState};
use serde_json::Value;

use super::child::{Commands, Ran};
use super::measure::{self, Values};
use super::{echo, memory};
use crate::commands::context::Context;
use crate::error::Failure;

/// Where the probe is put inside.
const PROBE: &str = "/holm-probe";

/// How the image is isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By namespaces.
    Container,
    /// By a kernel of its own.
    Vm,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Vm => "vm",
        }
    }
}

/// What is compared.
pub struct Workload<'a> {
    /// Settings and roots.
    pub context: &'a Context,
    /// Runs commands.
    pub commands: &'a Commands,
    /// The image.
    pub image: &'a str,
    /// The person's own command.
    pub command: &'a [String],
    /// The probe's file on the host.
    pub probe: &'a Path,
}

/// One run of everything.
pub struct Sample {
    /// Its numbers.
    pub values: Values,
    /// Its machine, where it is one.
    pub machine: Option<MachineState>,
}

/// A container that is removed when this is dropped, however far it came.
struct Made<'a> {
    commands: &'a Commands,
    name: String,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        self.commands.remove(&self.name);
    }
}

impl Workload<'_> {
    /// Runs `true` once and forgets it.
    pub fn warm_up(&self, kind: Kind) -> Result<(), Failure> {
        let made = self.made(kind);
        self.expect_done(kind, &self.run(kind, &made, &[], &["true"])?)
    }

    /// Measures everything once.
    pub fn measure(&self, kind: Kind) -> Result<Sample, Failure> {
        let anew: &[&str] = if kind == Kind::Vm { &["--no-template"] } else { &[] };
        let mut values = Values { first_output: self.first_output(kind, anew)?, ..Values::default() };
        let made = self.made(kind);
        let ran = self.run(kind, &made, &[], &["true"])?;
        self.expect_done(kind, &ran)?;
        values.exit = Some(ran.wall);
        let templated = self.state(&made.name)?.machine.is_some_and(|machine| machine.from_template);
        drop(made);
        if templated {
            values.first_output_template = self.first_output(kind, &[])?;
        }
        let machine = self.running(kind, &mut values)?;
        if !self.command.is_empty() {
            let made = self.made(kind);
            let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
            let ran = self.run(kind, &made, &[], &words)?;
            if ran.code >= 125 && ran.code <= 127 {
                return Err(ran.failure(&format!("cannot run your command in a {}", kind.word())));
            }
            (values.command, values.command_code) = (Some(ran.wall), Some(ran.code));
        }
        Ok(Sample { values, machine })
    }

    fn first_output(&self, kind: Kind, flags: &[&str]) -> Result<Option<std::time::Duration>, Failure> {
        let made = self.made(kind);
        let ran = self.run(kind, &made, flags, &["echo", "ready"])?;
        self.expect_done(kind, &ran)?;
        Ok(ran.first_output)
    }

    /// What is measured while it runs.
    fn running(&self, kind: Kind, values: &mut Values) -> Result<Option<MachineState>, Failure> {
        let made = self.made(kind);
        let ran = self.run(kind, &made, &["-d"], &["sleep", "100000"])?;
        self.expect_done(kind, &ran)?;
        let state = self.state(&made.name)?;
        values.memory_bytes = memory::of_tree(state.supervisor_pid);
        let to = format!("{}:/", made.name);
        let ran = self.commands.run(&["cp", &self.probe.to_string_lossy(), &to])?;
        if ran.code != 0 {
            return Err(ran.failure("cannot copy the probe into the image's root"));
        }
        let peer = self.gateway(&made.name)?.and_then(echo::serve).map(|address| address.to_string());
        let mut line = vec!["exec", "-u", "0", &made.name, PROBE, probe::WORD];
        line.extend(peer.as_deref());
        let ran = self.commands.run(&line)?;
        if ran.code != 0 {
            return Err(ran.failure("cannot run the probe"));
        }
        let parsed = measure::parse(&ran.stdout);
        values.probe = parsed.map_err(|why| {
            let mut failure = Failure::new("cannot read what the probe said");
            failure.causes.push(why);
            failure
        })?;
        Ok(state.machine)
    }

    fn made(&self, kind: Kind) -> Made<'_> {
        let name = format!("compare-{}-{}", std::process::id(), kind.word());
        Made { commands: self.commands, name }
    }

    /// The program is named as the entry point, so that the image's own does not come before it.
    fn run(&self, kind: Kind, made: &Made<'_>, flags: &[&str], words: &[&str]) -> Result<Ran, Failure> {
        let mut line = vec!["run", "--isolation", kind.word(), "--name", &made.name];
        line.extend(flags);
        line.extend(["--entrypoint", words[0], self.image]);
        line.extend(&words[1..]);
        self.commands.run(&line)
    }

    fn expect_done(&self, kind: Kind, ran: &Ran) -> Result<(), Failure> {
        if ran.code == 0 {
            return Ok(());
        }
        let mut failure = ran.failure(&format!("cannot run image `{}` as a {}", self.image, kind.word()));
        if ran.code == 127 && failure.hint.is_none() {
            failure.hint = Some("a comparison needs an image with the programs echo, true and sleep".to_owned());
        }
        Err(failure)
    }

    fn state(&self, name: &str) -> Result<ContainerState, Failure> {
        Ok(self.context.get(&self.context.engine()?, name)?.state)
    }

    /// The host's own address in the first network of a container; none without networks.
    fn gateway(&self, name: &str) -> Result<Option<IpAddr>, Failure> {
        let ran = self.commands.run(&["container", "inspect", name])?;
        Ok(serde_json::from_slice(&ran.stdout).ok().as_ref().and_then(gateway_in))
    }
}

fn gateway_in(document: &Value) -> Option<IpAddr> {
    let networks = document[0]["NetworkSettings"]["Networks"].as_object()?;
    networks.values().find_map(|network| network["Gateway"].as_str()?.parse().ok())
}

/// The probe in a folder of its own, gone when this is dropped.
pub struct ProbeFile {
    folder: PathBuf,
    path: PathBuf,
}

impl ProbeFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        // It is in the folder of temporary files, where somebody else may have been faster.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Writes the probe where `cp` can take it from, under the name that it has inside.
pub fn probe_file() -> Result<ProbeFile, Failure> {
    let folder = std::env::temp_dir().join(format!("holm-compare-{}", std::process::id()));
    let failed = |e: std::io::Error| Failure::because(format!("cannot write into `{}`", folder.display()), &e);
    std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
    let path = folder.join(PROBE.trim_start_matches('/'));
    let made = ProbeFile { folder: folder.clone(), path: path.clone() };
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o755).open(&path).map_err(failed)?;
    file.write_all(holm_pod::host::PROBE).map_err(failed)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gateways_are_found_where_there_is_a_network() {
        let document = json!([{"NetworkSettings": {"Networks": {"a": {"Gateway": ""}, "b": {"Gateway": "10.1.2.1"}}}}]);
        assert_eq!(gateway_in(&document), Some([10, 1, 2, 1].into()));
        assert_eq!(gateway_in(&json!([{"NetworkSettings": {"Networks": {"none": {"Gateway": ""}}}}])), None);
        assert_eq!(gateway_in(&json!([])), None);
    }
}
