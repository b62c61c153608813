//! Changing the files of a running container in place when its networks change: only the lines that came from them, since the
//! container may have changed others.

use std::os::fd::OwnedFd;
use std::path::Path;

use holm_container::rootfs::Rootfs;
use holm_spec::container::ContainerSpec;
use holm_spec::oci::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags, SeekFrom};

use super::{MAX_BYTES, OfNetworks, of_networks, read, resolv_conf};
use crate::Error;
use crate::layout::write_all;

/// Where a container's files are while it runs.
#[derive(Clone, Copy)]
pub(in super::super) struct Place<'a> {
    /// What it sees.
    pub rootfs: &'a Rootfs,
    /// Its folder, which has those that are mounted.
    pub folder: &'a Path,
    /// What is mounted.
    pub oci: &'a Spec,
}

/// Makes `/etc/hosts` and `/etc/resolv.conf` follow a change of networks.
pub(in super::super) fn follow(
    place: &Place<'_>,
    spec: &ContainerSpec,
    host_name: &str,
    before: &OfNetworks,
    after: &OfNetworks,
) -> Result<(), Error> {
    if before.addresses != after.addresses {
        change(place, "hosts", &|text| hosts(text, spec, host_name, before, after))?;
    }
    if before.servers != after.servers {
        let wanted = resolv_conf(spec, &of_networks(&read("/etc/resolv.conf"), spec, after), after);
        change(place, "resolv.conf", &|text| resolvers(text, &wanted))?;
    }
    Ok(())
}

/// The lines with addresses that went are taken out, those with new ones are added.
fn hosts(text: &str, spec: &ContainerSpec, host_name: &str, before: &OfNetworks, after: &OfNetworks) -> String {
    let gone: Vec<String> =
        before.addresses.iter().filter(|a| !after.addresses.contains(a)).map(ToString::to_string).collect();
    let own = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().is_some_and(|address| gone.iter().any(|g| g == address)) && words.next() == Some(host_name)
    };
    let mut text: String = text.split_inclusive('\n').filter(|line| !own(line)).collect();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let name = spec.name.as_str();
    let more = if name == host_name { String::new() } else { format!(" {name}") };
    for address in after.addresses.iter().filter(|a| !before.addresses.contains(a)) {
        text.push_str(&format!("{address}\t{host_name}{more}\n"));
    }
    text
}

/// The name servers of `wanted` and all other lines of `text`.
fn resolvers(text: &str, wanted: &str) -> String {
    let is_server = |line: &&str| line.split_ascii_whitespace().next() == Some("nameserver");
    let servers = wanted.split_inclusive('\n').filter(is_server);
    let others = text.split_inclusive('\n').filter(|line| !is_server(line));
    servers.chain(others).collect()
}

/// Rewrites one of the files where Holm has put it. One that the user has mounted, or that is no file any more, is left alone.
fn change(place: &Place<'_>, name: &str, edit: &dyn Fn(&str) -> String) -> Result<(), Error> {
    let inside = Path::new("/etc").join(name);
    let own = place.folder.join(name);
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match place.oci.mounts.iter().find(|m| Path::new(&m.destination) == inside) {
        Some(mount) if mount.source.as_deref().map(Path::new) == Some(own.as_path()) => {
            rustix::fs::openat(CWD, &own, flags, Mode::empty()).map_err(std::io::Error::from)
        }
        Some(_) => return Ok(()),
        None => place.rootfs.open_in_root(&inside, flags),
    };
    // Gone, or a link by now: the container wants it so.
    let Ok(file) = opened else { return Ok(()) };
    rewrite(&file, edit).map_err(|e| Error::io("write", inside.display().to_string(), e))
}

fn rewrite(file: &OwnedFd, edit: &dyn Fn(&str) -> String) -> std::io::Result<()> {
    use std::io::Read;
    if !FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode).is_file() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file.try_clone()?).take(MAX_BYTES).read_to_end(&mut bytes)?;
    let text = edit(&String::from_utf8_lossy(&bytes));
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    write_all(file, text.as_bytes())?;
    rustix::fs::ftruncate(file, text.len() as u64)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;

    #[test]
    fn only_lines_that_came_from_networks_change() {
        let of = |addresses: &[&str]| OfNetworks {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ..OfNetworks::default()
        };
        let mut spec = spec();
        spec.name = "web".parse().unwrap();
        let text = "10.0.0.2\th web\n10.0.0.2\tmine\n10.9.9.9\th";
        let changed = hosts(text, &spec, "h", &of(&["10.0.0.2"]), &of(&["10.1.0.2"]));
        assert_eq!(changed, "10.0.0.2\tmine\n10.9.9.9\th\n10.1.0.2\th web\n");
        let changed = resolvers("nameserver 1.1.1.1\nsearch mine\n", "nameserver 10.1.0.1\nsearch its\n");
        assert_eq!(changed, "nameserver 10.1.0.1\nsearch mine\n");
    }
}
