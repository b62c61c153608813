//! `-v`, `--mount` and `--tmpfs`: docker's short and long forms of a mount.

use std::path::{Component, Path, PathBuf};

use holm_spec::Name;
use holm_spec::container::{MountKind, MountSpec};

use super::limit;
use crate::args::create::FileFlags;
use crate::error::Failure;

/// All mounts of the flags; no two at one place.
pub fn mounts(flags: &FileFlags, folder: &Path) -> Result<Vec<MountSpec>, Failure> {
    let mut list: Vec<MountSpec> = Vec::new();
    let short = flags.volume.iter().map(|text| ("--volume", text, volume(text, folder)));
    let long = flags.mount.iter().map(|text| ("--mount", text, mount(text, folder)));
    let memory = flags.tmpfs.iter().map(|text| ("--tmpfs", text, tmpfs(text)));
    for (flag, text, mount) in short.chain(long).chain(memory) {
        let mount = mount.map_err(|why| why.into_failure(flag, text))?;
        if list.iter().any(|other| other.destination == mount.destination) {
            let why = format!("something is mounted at `{}` already", mount.destination);
            return Err(Failure::flag(flag, text, why));
        }
        list.push(mount);
    }
    Ok(list)
}

/// Why a mount is not usable, and what to type instead.
struct Why(String, Option<String>);

impl Why {
    fn into_failure(self, flag: &str, text: &str) -> Failure {
        let failure = Failure::flag(flag, text, self.0);
        match self.1 {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<&str> for Why {
    fn from(why: &str) -> Self {
        Self(why.to_owned(), None)
    }
}

impl From<String> for Why {
    fn from(why: String) -> Self {
        Self(why, None)
    }
}

fn empty(kind: MountKind) -> MountSpec {
    MountSpec {
        kind,
        source: String::new(),
        destination: String::new(),
        read_only: false,
        propagation: None,
        no_copy: false,
        non_recursive: false,
        create_source: false,
        subpath: None,
        options: Vec::new(),
    }
}

/// `[SOURCE:]TARGET[:OPTIONS]`
fn volume(text: &str, folder: &Path) -> Result<MountSpec, Why> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] if !target.starts_with('/') && target.split(',').all(is_volume_option) => {
            let hint = format!("-v {source}:{source}:{target}");
            return Err(Why("a place and options alone name no source".to_owned(), Some(hint)));
        }
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err("it must be [SOURCE:]TARGET[:OPTIONS]".into()),
    };
    if source.is_empty() && parts.len() > 1 {
        return Err("the source is empty".into());
    }
    let is_path = source.starts_with(['/', '.']);
    let mut mount = empty(if is_path { MountKind::Bind } else { MountKind::Volume });
    mount.create_source = is_path;
    mount.source = if is_path { host_path(source, folder)? } else { volume_name(source)? };
    mount.destination = destination(target)?;
    for option in options.split(',').filter(|o| !o.is_empty()) {
        volume_option(&mut mount, option)?;
    }
    Ok(mount)
}

fn is_volume_option(word: &str) -> bool {
    volume_option(&mut empty(MountKind::Bind), word).is_ok()
}

fn volume_option(mount: &mut MountSpec, option: &str) -> Result<(), Why> {
    match option {
        "ro" | "readonly" => mount.read_only = true,
        // Of no meaning on Linux, or the default.
        "rw" | "copy" | "consistent" | "cached" | "delegated" | "rbind" => {}
        "bind" => mount.non_recursive = true,
        "nocopy" => mount.no_copy = true,
        "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
            if mount.kind != MountKind::Bind {
                return Err(format!("`{option}` is for host paths, not for volumes").into());
            }
            mount.propagation = Some(option.to_owned());
        }
        "idmap" | "ridmap" => mount.options.push(option.to_owned()),
        "z" | "Z" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" => {
            mount.options.push(option.to_owned());
        }
        _ => {
            let known = "ro, rw, z, Z, nocopy, idmap, rshared, rslave, rprivate, noexec, nosuid, nodev";
            return Err(Why(format!("there is no option `{option}`"), Some(format!("options are {known}"))));
        }
    }
    Ok(())
}

fn host_path(source: &str, folder: &Path) -> Result<String, Why> {
    if source.contains('\0') {
        return Err("a path cannot hold a zero byte".into());
    }
    let path = if source.starts_with('/') { PathBuf::from(source) } else { folder.join(source) };
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean.into_os_string().into_string().map_err(|_| "the working folder is not UTF-8".into())
}

fn volume_name(source: &str) -> Result<String, Why> {
    if source.is_empty() {
        return Ok(String::new());
    }
    match source.parse::<Name>() {
        Ok(_) => Ok(source.to_owned()),
        Err(_) => Err(Why(
            "the source is neither an absolute path nor a volume's name".to_owned(),
            Some(format!("for a folder write its path: ./{source}")),
        )),
    }
}

/// An absolute path inside, without `.` and `..`, that is not the root.
fn destination(target: &str) -> Result<String, Why> {
    if !target.starts_with('/') {
        return Err(format!("the target `{target}` must be an absolute path").into());
    }
    let clean = host_path(target, Path::new("/"))?;
    if clean == "/" { Err("the target must not be the root".into()) } else { Ok(clean) }
}

/// `TARGET[:OPTIONS]`
fn tmpfs(text: &str) -> Result<MountSpec, Why> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = empty(MountKind::Tmpfs);
    mount.destination = destination(target)?;
    mount.options = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            "rw" => mount.read_only = false,
            _ => mount.options.push(tmpfs_option(option)?),
        }
    }
    Ok(mount)
}

fn tmpfs_option(option: &str) -> Result<String, Why> {
    const FLAGS: [&str; 14] = [
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "sync",
        "async",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
    ];
    const VALUED: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    let key = option.split('=').next().unwrap_or(option);
    match (FLAGS.contains(&option), option.split_once('=')) {
        (true, _) => Ok(option.to_owned()),
        (_, Some((key @ ("uid" | "gid"), value))) if value.parse::<u32>().is_err() => {
            Err(format!("`{key}` must be a number").into())
        }
        (_, Some(("mode", value))) if u32::from_str_radix(value, 8).map_or(true, |m| m > 0o7777) => {
            Err("`mode` must be octal, as 1777".into())
        }
        (_, Some(("size", value))) if !value.ends_with('%') => {
            let bytes = holm_spec::quantity::parse_size_bytes(value).map_err(|e| e.to_string())?;
            Ok(format!("size={bytes}"))
        }
        (_, Some((key, _))) if VALUED.contains(&key) => Ok(option.to_owned()),
        _ => Err(format!("there is no option `{key}` of a tmpfs").into()),
    }
}

/// `type=…,source=…,target=…,…`, one CSV record.
fn mount(text: &str, folder: &Path) -> Result<MountSpec, Why> {
    let fields = csv(text)?;
    let pairs: Vec<(&str, Option<&str>)> = fields
        .iter()
        .map(|field| field.split_once('=').map_or((field.as_str(), None), |(k, v)| (k, Some(v))))
        .collect();
    let kind = match pairs.iter().rev().find(|(key, _)| *key == "type").map(|(_, value)| *value) {
        None | Some(Some("volume")) => MountKind::Volume,
        Some(Some("bind")) => MountKind::Bind,
        Some(Some("tmpfs")) => MountKind::Tmpfs,
        Some(other) => return Err(format!("type `{}` must be bind, volume or tmpfs", other.unwrap_or("")).into()),
    };
    let mut mount = empty(kind);
    if kind == MountKind::Tmpfs {
        mount.options = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    }
    for (key, value) in pairs {
        mount_key(&mut mount, key, value, folder)?;
    }
    if mount.destination.is_empty() {
        return Err("the target is missing".into());
    }
    match (kind, mount.source.is_empty()) {
        (MountKind::Bind, true) => Err("a bind needs a source".into()),
        (MountKind::Tmpfs, false) => Err("a tmpfs takes no source".into()),
        _ => Ok(mount),
    }
}

fn mount_key(mount: &mut MountSpec, key: &str, value: Option<&str>, folder: &Path) -> Result<(), Why> {
    let needed = || value.ok_or_else(|| Why::from(format!("`{key}` needs a value")));
    let flag = || value.map_or(Ok(true), |v| crate::args::go_bool(v).map_err(|e| Why::from(format!("`{key}`: {e}"))));
    let of = |kind: MountKind| {
        if mount.kind == kind { Ok(()) } else { Err(Why::from(format!("`{key}` is not for this type of mount"))) }
    };
    match key {
        "type" | "consistency" => {}
        "source" | "src" if mount.kind == MountKind::Bind => mount.source = host_path(needed()?, folder)?,
        "source" | "src" if mount.kind == MountKind::Volume => mount.source = volume_name(needed()?)?,
        "source" | "src" => mount.source = needed()?.to_owned(),
        "target" | "destination" | "dst" => mount.destination = destination(needed()?)?,
        "readonly" | "ro" => mount.read_only = flag()?,
        "bind-propagation" => {
            of(MountKind::Bind)?;
            volume_option(mount, needed()?)?;
        }
        "idmap" => {
            of(MountKind::Bind)?;
            if flag()? {
                mount.options.push("idmap".to_owned());
            }
        }
        "bind-nonrecursive" => {
            of(MountKind::Bind)?;
            mount.non_recursive = flag()?;
        }
        "bind-recursive" => {
            of(MountKind::Bind)?;
            match needed()? {
                "enabled" | "readonly" => {}
                "disabled" => mount.non_recursive = true,
                other => return Err(format!("bind-recursive `{other}` must be enabled, disabled or readonly").into()),
            }
        }
        "bind-create-src" => {
            of(MountKind::Bind)?;
            mount.create_source = flag()?;
        }
        "volume-nocopy" => {
            of(MountKind::Volume)?;
            mount.no_copy = flag()?;
        }
        "volume-subpath" => {
            of(MountKind::Volume)?;
            mount.subpath = Some(subpath(needed()?)?);
        }
        "volume-driver" => {
            of(MountKind::Volume)?;
            if needed()? != "local" {
                return Err("the only volume driver is local".into());
            }
        }
        "tmpfs-size" => {
            of(MountKind::Tmpfs)?;
            let bytes =
                limit::size("--mount", needed()?).map_err(|_| Why::from("`tmpfs-size` must be a size, as 64m"))?;
            mount.options.push(format!("size={bytes}"));
        }
        "tmpfs-mode" => {
            of(MountKind::Tmpfs)?;
            mount.options.push(tmpfs_option(&format!("mode={}", needed()?))?);
        }
        _ => return Err(format!("there is no key `{key}`").into()),
    }
    Ok(())
}

fn subpath(text: &str) -> Result<String, Why> {
    let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    if text.is_empty() || !Path::new(text).components().all(inside) {
        return Err("`volume-subpath` must be a relative path without ..".into());
    }
    Ok(text.to_owned())
}

/// The fields of one CSV record: parted by commas, a field may stand in double quotes that double to mean themselves.
fn csv(text: &str) -> Result<Vec<String>, Why> {
    let mut fields = vec![String::new()];
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = characters.next() {
        let at_start = fields.last().is_none_or(String::is_empty);
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                push(&mut fields, '"');
            }
            '"' if quoted || at_start => quoted = !quoted,
            '"' => return Err("a quote must stand around a whole field".into()),
            ',' if !quoted => fields.push(String::new()),
            c => push(&mut fields, c),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    Ok(fields)
}

fn push(fields: &mut [String], c: char) {
    if let Some(last) = fields.last_mut() {
        last.push(c);
    }
}
