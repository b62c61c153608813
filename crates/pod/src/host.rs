//! What this host has for virtual machines, told instead of used: for `doctor`, `info` and `compare`.
//!
//! Owns the questions; they are answered by what makes machines, so that what is told here is what a start finds. Changes
//! nothing but the caches that a start fills too.

use std::path::{Path, PathBuf};

use holm_spec::container::AcceleratorChoice;
use holm_vm::machine::{Accelerator, Profile};
use holm_vm::qemu::Qemu;

use crate::machine::{self, Chosen};
use crate::{Error, Roots};

/// The program that measures inside a container or a virtual machine: [`holm_spec::probe`].
pub const PROBE: &[u8] = holm_vm::agent::AGENT;

/// Where distributions put the server of shared folders, besides `PATH`.
const SHARE_SERVERS: [&str; 3] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"];

/// How much may be done for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only what is in the caches, and a few looks at files: milliseconds.
    Known,
    /// Programs are run, a processor is tried, a kernel is unpacked: seconds, the first time.
    Examined,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who is to run machines.
    pub accelerator: AcceleratorChoice,
    /// Their kernel; this host's own where absent.
    pub kernel: Option<&'a Path>,
    /// How much may be done.
    pub depth: Depth,
}

/// Why something cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What is missing or failed.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What there is for virtual machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineHost {
    /// What runs them.
    pub hypervisor: Result<HypervisorFound, Lack>,
    /// What runs their instructions.
    pub accelerator: Result<AcceleratorFound, Lack>,
    /// What they boot.
    pub kernel: Result<KernelFound, Lack>,
    /// What serves folders of the host to them.
    pub share_server: Option<PathBuf>,
}

/// A hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HypervisorFound {
    /// With its version.
    pub name: String,
    /// Its file.
    pub program: PathBuf,
    /// The machines it has, of those that Holm uses.
    pub machines: Vec<String>,
}

/// What runs instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceleratorFound {
    /// `kvm` or `tcg`.
    pub name: &'static str,
    /// Instructions are emulated: no boundary for security.
    pub emulated: bool,
    /// Why, where they are.
    pub reason: String,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFound {
    /// Its release.
    pub release: String,
    /// Its file.
    pub path: PathBuf,
    /// The folder of its modules.
    pub modules: Option<PathBuf>,
}

/// Looks at what this host has.
///
/// *Order*: with [`Depth::Examined`] the caller has a single thread.
pub fn look(roots: &Roots, question: Question<'_>) -> MachineHost {
    if question.depth == Depth::Examined {
        // Caches that cannot be made cost time alone.
        let _ = crate::layout::make_folders(&roots.run);
    }
    MachineHost {
        hypervisor: hypervisor(roots, question.depth),
        accelerator: accelerator(roots, question),
        kernel: kernel(roots, question),
        share_server: share_server(&machine::programs()),
    }
}

fn hypervisor(roots: &Roots, depth: Depth) -> Result<HypervisorFound, Lack> {
    let qemu = match depth {
        Depth::Known => machine::known_hypervisor(roots)?.ok_or_else(unknown)?,
        Depth::Examined => machine::hypervisor(roots)?,
    };
    Ok(found(&qemu))
}

fn found(qemu: &Qemu) -> HypervisorFound {
    let (major, minor, micro) = qemu.facts().version;
    HypervisorFound {
        name: format!("QEMU {major}.{minor}.{micro}"),
        program: qemu.program().to_owned(),
        machines: qemu.facts().machines.clone(),
    }
}

fn accelerator(roots: &Roots, question: Question<'_>) -> Result<AcceleratorFound, Lack> {
    let Chosen { accelerator, reason } = match question.depth {
        Depth::Known => machine::known_accelerator(roots, question.accelerator).ok_or_else(unknown)??,
        Depth::Examined => machine::accelerator(roots, question.accelerator)?,
    };
    let emulated = accelerator != Accelerator::Kvm;
    Ok(AcceleratorFound { name: if emulated { "tcg" } else { "kvm" }, emulated, reason })
}

fn kernel(roots: &Roots, question: Question<'_>) -> Result<KernelFound, Lack> {
    let source = machine::kernel_source(question.kernel)?;
    let release = match question.depth {
        Depth::Known => source.release(),
        Depth::Examined => machine::kernel(roots, question.kernel, Profile::Microvm, false)?.release,
    };
    Ok(KernelFound { release, path: source.kernel, modules: source.modules })
}

fn share_server(programs: &str) -> Option<PathBuf> {
    let in_path = programs.split(':').filter(|folder| folder.starts_with('/')).map(|f| Path::new(f).join("virtiofsd"));
    in_path.chain(SHARE_SERVERS.map(PathBuf::from)).find(|file| file.is_file())
}

fn unknown() -> Lack {
    Lack {
        message: "not looked at since the last boot".to_owned(),
        hint: Some("holm doctor --isolation vm".to_owned()),
    }
}

impl From<Error> for Lack {
    fn from(error: Error) -> Self {
        match error {
            Error::Machine { message, hint } => Self { message, hint },
            other => Self { message: crate::error::chain(&other), hint: other.hint() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_found_out_where_only_what_is_known_was_asked() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots {
            data: folder.path().join("data"),
            run: folder.path().join("run"),
            cgroup_parent: "holm".to_owned(),
            cgroup_driver: crate::CgroupDriver::Cgroupfs,
            cni: holm_network::cni::Folders { config: Vec::new(), plugins: Vec::new() },
        };
        let kernel = Path::new("/no/such/kernel");
        let question = Question { accelerator: AcceleratorChoice::Auto, kernel: Some(kernel), depth: Depth::Known };
        let host = look(&roots, question);
        assert!(host.accelerator.is_err_and(|lack| lack.hint.is_some()));
        assert!(host.kernel.is_err_and(|lack| lack.message.contains("/no/such/kernel")));
        assert!(host.hypervisor.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a look leaves something behind");
    }
}
