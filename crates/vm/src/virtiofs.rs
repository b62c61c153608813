//! virtiofsd, which serves one folder or file of the host to a machine: finding it, which of the two programs of that name it
//! is, and how it is shut in.
//!
//! A server has root's hand on files, since it makes them in the names of the guest's users. So it sees nothing but the host's
//! public programs and what it serves, as `/share`; a single file is alone in a folder that nothing can be made in. No network,
//! no process but itself, no device, nothing that another process could be taken over by. It serves who is connected from the
//! start, and ends with that connection. Runs no server; whoever has a container runtime does.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_spec::oci::runtime::{
    Capabilities, Linux, Mount, Namespace, NamespaceKind, Process, Rlimit, Root, Seccomp, Spec, SyscallArg,
    SyscallRule, VERSION,
};
use holm_sys::program::Program;
use serde::{Deserialize, Serialize};

use crate::jail::{bind, programs};
use crate::machine::{Error, RootTree};
use crate::qemu::probe::identity;

/// Where distributions put it, which is in no folder of `PATH`; the newer program first.
const PLACES: [&str; 3] = ["/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"];
/// Name of the file in the cache folder.
const CACHE: &str = "virtiofsd.json";
const MAX_OUTPUT_BYTES: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(20);
/// What is served, in the jail.
const SHARE: &str = "/share";
/// Name of a file that is served alone.
pub const FILE: &str = "file";
/// Number of the descriptor on which it listens.
const LISTENER: u32 = 3;
/// Most descriptors: it holds one for each file that the guest knows of. Kernels allow 1048576 unless told otherwise, and who may
/// not raise limits gets what this process may have.
const MAX_FILES: u64 = 1_000_000;
/// What it takes to make files as any user: the servers ask for exactly these. DAC_READ_SEARCH is not among them, since it
/// opens files by number, wherever they are (CVE-2014-9357 and its kin).
const RIGHTS: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
];
/// With this it gives up the rest for good.
const RIGHT_TO_GIVE_UP: &str = "CAP_SETPCAP";
/// The C program cannot do without a change of root, after which it gives this up too.
const RIGHT_TO_CHANGE_ROOT: &str = "CAP_SYS_CHROOT";
/// `CLONE_FS`. *Source*: linux/sched.h.
const OWN_WORKING_FOLDER: u64 = 0x200;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// QEMU's, to version 7.2.
    C,
    /// Its successor.
    Rust,
}

#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    identity: String,
    kind: Kind,
}

/// A usable virtiofsd.
#[derive(Debug)]
pub struct Virtiofsd {
    program: PathBuf,
    kind: Kind,
}

/// What is to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The host's path, every link in it followed.
    pub source: PathBuf,
    /// A single file, which is served as [`FILE`] in a folder of its own.
    pub is_file: bool,
    /// Nothing can be written.
    pub read_only: bool,
    /// With what is mounted below.
    pub recursive: bool,
}

/// How a server is run.
#[derive(Debug)]
pub struct ServerPlan {
    /// The server as a container.
    pub spec: Spec,
    /// Of what its root file system consists, besides the document's mounts.
    pub root: RootTree,
    /// Its descriptors from 3 on.
    pub files: Vec<OwnedFd>,
}

impl Virtiofsd {
    /// Finds it in the folders of `path` (as the variable `PATH` has them), or else where distributions put it, and learns which
    /// it is; that is kept in the folder `cache` for as long as its file stays the same.
    pub fn find(path: &str, cache: &Path) -> Result<Self, Error> {
        let folders = path.split(':').filter(|folder| folder.starts_with('/'));
        let in_path = folders.map(|folder| Path::new(folder).join("virtiofsd"));
        let mut all = in_path.chain(PLACES.iter().map(PathBuf::from));
        let program = all.find_map(|file| file.canonicalize().ok()).ok_or(Error::NoFileServer)?;
        let kind = kind_of(&program, cache)?;
        Ok(Self { program, kind })
    }

    /// Plans a server and makes the connection over which it serves; no process is made. `private` is a folder of the host that
    /// no other user can look into: for a moment there is a socket in it.
    pub fn plan(&self, served: &Served, private: &Path) -> Result<(ServerPlan, OwnedFd), Error> {
        let (listener, connection) = connection(private)?;
        let (mut root, mut mounts) = programs(&self.program)?;
        let target = if served.is_file { Path::new(SHARE).join(FILE) } else { SHARE.into() };
        let place = target.strip_prefix("/").unwrap_or(&target).to_owned();
        if served.is_file {
            root.files.push(place)
        } else {
            root.folders.push(place)
        }
        let all = served.recursive && !served.is_file;
        let mut options = if all { vec!["rbind", "rnosuid", "rnodev"] } else { vec!["bind", "nosuid", "nodev"] };
        if served.read_only {
            options.push(if all { "rro" } else { "ro" });
        }
        mounts.push(bind(&served.source, target, &options));
        // For the names of its own descriptors. Root could write the kernel's settings in it.
        root.folders.push("proc".into());
        let options = ["ro", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
        mounts.push(Mount { destination: "/proc".into(), kind: Some("proc".into()), options, ..Mount::default() });
        Ok((ServerPlan { spec: self.spec(mounts), root, files: vec![listener] }, connection))
    }

    fn spec(&self, mounts: Vec<Mount>) -> Spec {
        use NamespaceKind::{Cgroup, Ipc, Network, Pid, Uts};
        let mut rights: Vec<String> = RIGHTS.into_iter().chain([RIGHT_TO_GIVE_UP]).map(str::to_owned).collect();
        if self.kind == Kind::C {
            rights.push(RIGHT_TO_CHANGE_ROOT.to_owned());
        }
        let limit = |kind: &str, n| Rlimit { kind: kind.to_owned(), soft: n, hard: n };
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let files = files.map_or(MAX_FILES, |most| most.min(MAX_FILES));
        // Its users are the host's: a file is to have the owner that the guest means.
        let namespaces = [NamespaceKind::Mount, Pid, Network, Ipc, Uts, Cgroup];
        Spec {
            oci_version: VERSION.to_owned(),
            process: Some(Process {
                args: self.args(),
                cwd: "/".into(),
                capabilities: Some(Capabilities {
                    bounding: rights.clone(),
                    effective: rights.clone(),
                    permitted: rights,
                    ..Capabilities::default()
                }),
                no_new_privileges: true,
                rlimits: vec![limit("RLIMIT_CORE", 0), limit("RLIMIT_NOFILE", files)],
                oom_score_adj: Some(0),
                ..Process::default()
            }),
            root: Some(Root { path: "rootfs".into(), readonly: true }),
            hostname: Some("share".to_owned()),
            mounts,
            linux: Some(Linux {
                namespaces: namespaces.map(|kind| Namespace { kind, path: None }).to_vec(),
                ..Linux::default()
            }),
            ..Spec::default()
        }
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec![self.program.to_string_lossy().into_owned(), format!("--fd={LISTENER}")];
        // It is shut in already, and has the limit that it needs.
        let rest: &[&str] = match self.kind {
            Kind::C => &[
                "-f",
                "--rlimit-nofile=0",
                "-o",
                "source=/share,sandbox=chroot,cache=auto,xattr,announce_submounts,log_level=warn",
            ],
            Kind::Rust => &[
                "--rlimit-nofile=0",
                "--shared-dir=/share",
                "--sandbox=none",
                "--cache=auto",
                "--xattr",
                "--announce-submounts",
                "--inode-file-handles=never",
                "--log-level=warn",
            ],
        };
        args.extend(rest.iter().map(|word| (*word).to_owned()));
        args
    }
}

/// Adds to a system call filter what a server must be able to do beside the ordinary: each thread has a working folder of its
/// own, which is the one thing that may be unshared.
pub fn permit(filter: &mut Seccomp) {
    filter.syscalls.push(SyscallRule {
        names: vec!["unshare".to_owned()],
        action: "SCMP_ACT_ALLOW".to_owned(),
        args: vec![SyscallArg { index: 0, value: OWN_WORKING_FOLDER, value_two: 0, op: "SCMP_CMP_EQ".to_owned() }],
        ..SyscallRule::default()
    });
}

/// A socket that listens, and a connection that waits at it: servers take the first and no other.
fn connection(private: &Path) -> Result<(OwnedFd, OwnedFd), Error> {
    let folder = fs::File::open(private).map_err(Error::io("open", private))?;
    // Addresses are short, and the path of a folder may be long.
    let address = PathBuf::from(format!("/proc/self/fd/{}/share.sock", folder.as_raw_fd()));
    let _ = fs::remove_file(&address);
    let listener = UnixListener::bind(&address).map_err(Error::io("make a socket in", private))?;
    let connection = UnixStream::connect(&address).map_err(Error::io("connect to a socket in", private));
    let _ = fs::remove_file(&address);
    Ok((listener.into(), connection?.into()))
}

fn kind_of(program: &Path, cache: &Path) -> Result<Kind, Error> {
    let identity = identity(program)?;
    let file = cache.join(CACHE);
    let kept = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Facts>(&bytes).ok());
    if let Some(kept) = kept.filter(|kept| kept.identity == identity) {
        return Ok(kept.kind);
    }
    let facts = Facts { kind: ask(program)?, identity };
    // A cache that cannot be written costs time alone.
    let new = cache.join(format!(".{CACHE}.{}", std::process::id()));
    let _ = serde_json::to_vec(&facts).map(|bytes| fs::write(&new, bytes).and_then(|()| fs::rename(&new, &file)));
    Ok(facts.kind)
}

fn ask(program: &Path) -> Result<Kind, Error> {
    let failed = |reason: String| Error::Probe { program: program.to_owned(), reason };
    let args = [program.to_string_lossy().into_owned(), "--help".to_owned()];
    let run = Program {
        path: program,
        args: &args,
        env: Vec::new(),
        input: b"",
        output_max_bytes: MAX_OUTPUT_BYTES,
        timeout: Some(TIMEOUT),
    };
    let ended = run.run().map_err(|e| failed(e.to_string()))?;
    let text = String::from_utf8_lossy(&ended.output);
    kind_by_help(&text).ok_or_else(|| failed("it is none of the two programs of that name".to_owned()))
}

/// By what its help speaks of.
fn kind_by_help(text: &str) -> Option<Kind> {
    match (text.contains("--shared-dir"), text.contains("-o source=")) {
        (true, _) => Some(Kind::Rust),
        (false, true) => Some(Kind::C),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(kind: Kind, served: &Served) -> ServerPlan {
        let private = tempfile::tempdir().unwrap();
        let server = Virtiofsd { program: "/usr/libexec/virtiofsd".into(), kind };
        let (plan, _) = server.plan(served, private.path()).unwrap();
        assert_eq!(std::fs::read_dir(private.path()).unwrap().count(), 0, "the socket is no longer there");
        plan
    }

    fn share(plan: &ServerPlan) -> (String, String) {
        let mount = plan.spec.mounts.iter().find(|m| m.destination.starts_with(SHARE)).unwrap();
        (mount.destination.display().to_string(), mount.options.join(","))
    }

    #[test]
    fn programs_are_told_apart_by_their_help() {
        let rust = "Usage: virtiofsd [OPTIONS]\n      --shared-dir <SHARED_DIR>\n  -o <COMPAT_OPTIONS>";
        assert_eq!(kind_by_help(rust), Some(Kind::Rust));
        assert_eq!(kind_by_help("    -o source=PATH             shared directory tree"), Some(Kind::C));
        assert_eq!(kind_by_help("hello"), None);
    }

    #[test]
    fn a_file_is_served_without_what_is_beside_it() {
        let served = Served { source: "/etc/hosts".into(), is_file: true, read_only: false, recursive: true };
        let plan = planned(Kind::C, &served);
        assert_eq!(share(&plan), ("/share/file".to_owned(), "bind,nosuid,nodev".to_owned()));
        assert!(plan.root.files.contains(&"share/file".into()) && plan.spec.root.unwrap().readonly);
    }

    #[test]
    fn what_is_read_only_is_so_in_the_servers_own_mount() {
        for (read_only, recursive, options) in [
            (false, true, "rbind,rnosuid,rnodev"),
            (true, true, "rbind,rnosuid,rnodev,rro"),
            (true, false, "bind,nosuid,nodev,ro"),
        ] {
            let served = Served { source: "/srv".into(), is_file: false, read_only, recursive };
            assert_eq!(share(&planned(Kind::Rust, &served)), ("/share".to_owned(), options.to_owned()));
        }
    }

    #[test]
    fn rights_are_those_of_files_alone() {
        let served = Served { source: "/srv".into(), is_file: false, read_only: false, recursive: true };
        for (kind, changes_root) in [(Kind::C, true), (Kind::Rust, false)] {
            let process = planned(kind, &served).spec.process.unwrap();
            let rights = process.capabilities.unwrap().bounding;
            assert_eq!(rights.contains(&RIGHT_TO_CHANGE_ROOT.to_owned()), changes_root);
            assert!(!rights.iter().any(|right| right == "CAP_SYS_ADMIN" || right == "CAP_DAC_READ_SEARCH"));
            assert!(process.no_new_privileges);
        }
    }
}
