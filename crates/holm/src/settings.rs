//! Settings: one file, the environment, flags; the later is the stronger. Knows where each came from.
//!
//! ```toml
//! data-root = "/var/lib/holm"
//! run-root = "/run/holm"
//! log-level = "warn"
//! cgroup-parent = "holm"
//! cgroup-driver = "auto"        # auto, cgroupfs or systemd
//! detach-keys = "ctrl-p,ctrl-q"
//! pull = "missing"              # always, missing or never
//! network = "bridge"            # of containers that name none; also none or host
//! isolation = "container"       # of containers that name none: container or vm
//! kernel = ""                   # of virtual machines: a file or an unpacked package; empty is the host's own
//! accel = "auto"                # who runs virtual machines: auto, kvm or tcg
//! cni-config = "/etc/cni/net.d" # folders of CNI configurations, separated by colons
//! cni-plugins = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"
//! ```
//!
//! Reading costs one failed open where there is no file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Globals;
use crate::error::{CODE_HOLM, Failure};
use crate::intent::environment::read_capped;

/// Most bytes of a settings file.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// The system's settings file.
pub const SYSTEM_FILE: &str = "/etc/holm/config.toml";

/// Where CNI configurations are.
const CNI_CONFIG: &str = "/etc/cni/net.d";
/// Where CNI plugins are: the specification's own place, Debian's and Fedora's.
const CNI_PLUGINS: &str = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni";

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// Its value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Folder of images, containers and volumes.
    pub data_root: Setting<PathBuf>,
    /// Folder of what lives until the next boot.
    pub run_root: Setting<PathBuf>,
    /// What is told on standard error.
    pub log_level: Setting<String>,
    /// Control group under which all containers' are made.
    pub cgroup_parent: Setting<String>,
    /// Who makes control groups.
    pub cgroup_driver: Setting<String>,
    /// Keys that leave a container running.
    pub detach_keys: Setting<String>,
    /// When images are pulled.
    pub pull: Setting<String>,
    /// The network of containers that name none.
    pub network: Setting<String>,
    /// How containers that do not say it are isolated.
    pub isolation: Setting<String>,
    /// Kernel of virtual machines that name none; empty for the host's own.
    pub kernel: Setting<String>,
    /// Who runs virtual machines that do not say it.
    pub accel: Setting<String>,
    /// Folders of CNI configurations, separated by colons.
    pub cni_config: Setting<String>,
    /// Folders of CNI plugins, separated by colons.
    pub cni_plugins: Setting<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data_root: Option<PathBuf>,
    run_root: Option<PathBuf>,
    log_level: Option<String>,
    cgroup_parent: Option<String>,
    cgroup_driver: Option<String>,
    detach_keys: Option<String>,
    pull: Option<String>,
    network: Option<String>,
    isolation: Option<String>,
    kernel: Option<String>,
    accel: Option<String>,
    cni_config: Option<String>,
    cni_plugins: Option<String>,
}

/// Reads the settings. `variable` is the environment.
pub fn load(globals: &Globals, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Settings, Failure> {
    let files = match &globals.config {
        Some(path) => vec![(path.clone(), read(path, true)?)],
        None => match variable("HOLM_CONFIG").map(PathBuf::from) {
            Some(path) => vec![(path.clone(), read(&path, true)?)],
            None => default_files(variable)?,
        },
    };
    resolve(globals, variable, &files)
}

fn default_files(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Vec<(PathBuf, File)>, Failure> {
    let mut paths = vec![PathBuf::from(SYSTEM_FILE)];
    // Root's settings are the system's, so that one open is all.
    if !rustix::process::geteuid().is_root() {
        let home = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        let home = home.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
        paths.extend(home.map(|folder| folder.join("holm/config.toml")));
    }
    paths.into_iter().map(|path| read(&path, false).map(|file| (path, file))).collect()
}

fn read(path: &Path, required: bool) -> Result<File, Failure> {
    let shown = path.display();
    let bytes = match read_capped(path, FILE_MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(_) if !required && !path.exists() => return Ok(File::default()),
        Err(why) => {
            let mut failure = Failure::new(format!("cannot read the settings `{shown}`")).with_code(CODE_HOLM);
            failure.causes.push(why);
            return Err(failure);
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    toml::from_str(&text).map_err(|error| {
        let mut failure = Failure::new(format!("cannot read the settings `{shown}`")).with_code(CODE_HOLM);
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        failure.causes.push(format!("line {line}: {}", error.message().lines().next().unwrap_or_default()));
        failure
    })
}

type Files = [(PathBuf, File)];

fn resolve(globals: &Globals, variable: &dyn Fn(&str) -> Option<OsString>, files: &Files) -> Result<Settings, Failure> {
    let user = !rustix::process::geteuid().is_root();
    let xdg = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || variable("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let data = || match user {
        false => PathBuf::from("/var/lib/holm"),
        true => xdg("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share")).join("holm"),
    };
    let run = || match user {
        false => PathBuf::from("/run/holm"),
        true => xdg("XDG_RUNTIME_DIR").unwrap_or_else(|| home().join(".local/share/holm")).join("holm"),
    };
    let path = |flag: (&'static str, &Option<PathBuf>),
                name: &'static str,
                field: fn(&File) -> &Option<PathBuf>,
                default: PathBuf| {
        let from_env = variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let found = pick(flag, (name, from_env), files, field, default);
        if found.value.is_absolute() {
            return Ok(found);
        }
        Err(Failure::flag(
            flag.0,
            &found.value.display().to_string(),
            format!("it must be an absolute path ({})", found.origin),
        ))
    };
    let text = |flag: (&'static str, &Option<String>),
                name: &'static str,
                field: fn(&File) -> &Option<String>,
                default: &str,
                known: &[&str]| {
        let from_env = variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
        let found = pick(flag, (name, from_env), files, field, default.to_owned());
        if known.is_empty() || known.contains(&found.value.as_str()) {
            return Ok(found);
        }
        let mut failure = Failure::flag(flag.0, &found.value, format!("it must be one of {}", known.join(", ")));
        failure.causes.push(format!("it was set by {}", found.origin));
        Err(failure)
    };
    let drivers = ["auto", "cgroupfs", "systemd"];
    let levels = crate::log::LEVELS;
    Ok(Settings {
        data_root: path(("--data-root", &globals.data_root), "HOLM_DATA_ROOT", |f| &f.data_root, data())?,
        run_root: path(("--run-root", &globals.run_root), "HOLM_RUN_ROOT", |f| &f.run_root, run())?,
        log_level: text(("--log-level", &globals.log_level), "HOLM_LOG_LEVEL", |f| &f.log_level, "warn", &levels)?,
        cgroup_parent: text(("cgroup-parent", &None), "HOLM_CGROUP_PARENT", |f| &f.cgroup_parent, "holm", &[])?,
        cgroup_driver: text(("cgroup-driver", &None), "HOLM_CGROUP_DRIVER", |f| &f.cgroup_driver, "auto", &drivers)?,
        detach_keys: text(("detach-keys", &None), "HOLM_DETACH_KEYS", |f| &f.detach_keys, "ctrl-p,ctrl-q", &[])?,
        pull: text(("pull", &None), "HOLM_PULL", |f| &f.pull, "missing", &["always", "missing", "never"])?,
        network: text(("network", &None), "HOLM_NETWORK", |f| &f.network, holm_spec::network::DEFAULT_NETWORK, &[])?,
        isolation: text(("isolation", &None), "HOLM_ISOLATION", |f| &f.isolation, "container", &["container", "vm"])?,
        kernel: text(("kernel", &None), "HOLM_KERNEL", |f| &f.kernel, "", &[])?,
        accel: text(("accel", &None), "HOLM_ACCEL", |f| &f.accel, "auto", &["auto", "kvm", "tcg"])?,
        cni_config: text(("cni-config", &None), "HOLM_CNI_CONFIG", |f| &f.cni_config, CNI_CONFIG, &[])?,
        // The name that every runtime of CNI takes it by.
        cni_plugins: text(("cni-plugins", &None), "CNI_PATH", |f| &f.cni_plugins, CNI_PLUGINS, &[])?,
    })
}

fn pick<T: Clone>(
    (flag, given): (&'static str, &Option<T>),
    (name, in_environment): (&'static str, Option<T>),
    files: &Files,
    field: fn(&File) -> &Option<T>,
    default: T,
) -> Setting<T> {
    if let Some(value) = given {
        return Setting { value: value.clone(), origin: Origin::Flag(flag) };
    }
    if let Some(value) = in_environment {
        return Setting { value, origin: Origin::Environment(name) };
    }
    for (path, file) in files.iter().rev() {
        if let Some(value) = field(file) {
            return Setting { value: value.clone(), origin: Origin::File(path.clone()) };
        }
    }
    Setting { value: default, origin: Origin::Default }
}

impl Settings {
    /// Where CNI configurations and plugins are. What is no absolute path is nothing.
    pub fn cni_folders(&self) -> holm_network::cni::Folders {
        let folders = |setting: &Setting<String>| {
            setting.value.split(':').map(PathBuf::from).filter(|path| path.is_absolute()).collect()
        };
        holm_network::cni::Folders { config: folders(&self.cni_config), plugins: folders(&self.cni_plugins) }
    }

    /// Every setting: name, value, origin.
    pub fn all(&self) -> Vec<(&'static str, String, String)> {
        let path = |setting: &Setting<PathBuf>| (setting.value.display().to_string(), setting.origin.to_string());
        let text = |setting: &Setting<String>| (setting.value.clone(), setting.origin.to_string());
        [
            ("data-root", path(&self.data_root)),
            ("run-root", path(&self.run_root)),
            ("log-level", text(&self.log_level)),
            ("cgroup-parent", text(&self.cgroup_parent)),
            ("cgroup-driver", text(&self.cgroup_driver)),
            ("detach-keys", text(&self.detach_keys)),
            ("pull", text(&self.pull)),
            ("network", text(&self.network)),
            ("isolation", text(&self.isolation)),
            ("kernel", text(&self.kernel)),
            ("accel", text(&self.accel)),
            ("cni-config", text(&self.cni_config)),
            ("cni-plugins", text(&self.cni_plugins)),
        ]
        .map(|(name, (value, origin))| (name, value, origin))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(globals: &Globals, variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        load(globals, &|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn flags_beat_the_environment_and_that_beats_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "data-root = \"/file\"\nrun-root = \"/file\"\nlog-level = \"info\"\n").expect("file");
        let globals = Globals { config: Some(file.clone()), data_root: Some("/flag".into()), ..Globals::default() };
        let settings = loaded(&globals, &[("HOLM_DATA_ROOT", "/env"), ("HOLM_RUN_ROOT", "/env")]).expect("settings");
        assert_eq!(
            (settings.data_root.value, settings.data_root.origin),
            ("/flag".into(), Origin::Flag("--data-root"))
        );
        assert_eq!(
            (settings.run_root.value, settings.run_root.origin),
            ("/env".into(), Origin::Environment("HOLM_RUN_ROOT"))
        );
        assert_eq!((settings.log_level.value.as_str(), settings.log_level.origin), ("info", Origin::File(file)));
        assert_eq!((settings.cgroup_driver.value.as_str(), settings.cgroup_driver.origin), ("auto", Origin::Default));
    }

    #[test]
    fn bad_files_and_values_are_refused_with_their_place() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("c.toml");
        for (content, why) in [
            ("data-root = \"/x\"\ncolour = \"red\"\n", "unknown field"),
            ("data-root = 5\n", "line 1"),
            ("data-root = \"x\"\n", "absolute"),
            ("log-level = \"loud\"\n", "loud"),
            ("= nonsense", "line 1"),
        ] {
            std::fs::write(&file, content).expect("file");
            let globals = Globals { config: Some(file.clone()), ..Globals::default() };
            let failure = loaded(&globals, &[]).expect_err(content);
            assert_eq!(failure.code, 125);
            assert!(failure.render(false).contains(why), "{content}: {}", failure.render(false));
        }
        let globals = Globals { config: Some(folder.path().join("none.toml")), ..Globals::default() };
        assert!(loaded(&globals, &[]).is_err());
    }
}
