//! Mount options as fstab writes them, sorted into attributes, propagation and file system data.

use holm_sys::mount::{MountAttr, attr};

/// Options of one mount.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// `bind` (false) or `rbind` (true).
    pub bind: Option<bool>,
    /// Owners are mapped: of the mount itself (`idmap`, false) or of all below it too (`ridmap`, true).
    pub idmap: Option<bool>,
    /// Of the mount itself.
    pub attr: MountAttr,
    /// Of the mount and all below it.
    pub recursive_attr: MountAttr,
    /// What is left, for the file system.
    pub data: Vec<(String, Option<String>)>,
}

/// Name, bits to set, bits to clear. Each also exists with an `r` in front, for a whole tree.
const ATTRIBUTES: [(&str, u64, u64); 14] = [
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("noatime", attr::NOATIME, attr::ATIME_MASK),
    ("relatime", attr::RELATIME, attr::ATIME_MASK),
    ("strictatime", attr::STRICTATIME, attr::ATIME_MASK),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
];

/// Name and `MS_*` bit. *Source*: mount(2), linux/mount.h.
const PROPAGATION: [(&str, u64); 4] =
    [("private", 1 << 18), ("shared", 1 << 20), ("slave", 1 << 19), ("unbindable", 1 << 17)];

impl Options {
    pub(super) fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.take(option);
        }
        parsed
    }

    fn take(&mut self, option: &str) {
        match option {
            "" | "defaults" | "async" | "loud" | "nomand" | "noiversion" | "noacl" => {}
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "idmap" => self.idmap = Some(self.idmap.unwrap_or(false)),
            "ridmap" => self.idmap = Some(true),
            _ => {
                if self.take_flag(option) {
                    return;
                }
                let (key, value) = match option.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (option, None),
                };
                self.data.push((key.to_owned(), value));
            }
        }
    }

    fn take_flag(&mut self, option: &str) -> bool {
        // Exact names first: `relatime` begins with an r too.
        let exact = |name: &str| ATTRIBUTES.iter().find(|(n, ..)| *n == name);
        if let Some(&(_, set, clear)) = exact(option) {
            change(&mut self.attr, set, clear);
            return true;
        }
        if let Some(&(_, bit)) = PROPAGATION.iter().find(|(n, _)| *n == option) {
            self.attr.propagation = bit;
            return true;
        }
        let Some(rest) = option.strip_prefix('r') else { return false };
        if let Some(&(_, set, clear)) = exact(rest) {
            change(&mut self.recursive_attr, set, clear);
            return true;
        }
        if let Some(&(_, bit)) = PROPAGATION.iter().find(|(n, _)| *n == rest) {
            self.recursive_attr.propagation = bit;
            return true;
        }
        false
    }
}

/// The later option wins.
fn change(attr: &mut MountAttr, set: u64, clear: u64) {
    attr.set = (attr.set & !clear) | set;
    attr.clear = (attr.clear & !set) | clear;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Options {
        Options::parse(&options.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn later_options_win_and_clearing_is_kept() {
        let options = parse(&["ro", "nosuid", "rw", "exec"]);
        assert_eq!(options.attr.set, attr::NOSUID);
        assert_eq!(options.attr.clear, attr::RDONLY | attr::NOEXEC);
    }

    #[test]
    fn recursive_forms_are_told_from_names_that_begin_with_r() {
        let options = parse(&["rbind", "rro", "relatime", "rslave", "rw"]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.recursive_attr.set, attr::RDONLY);
        assert_eq!(options.recursive_attr.propagation, 1 << 19);
        assert_eq!(options.attr.clear, attr::ATIME_MASK | attr::RDONLY);
        assert!(options.data.is_empty());
    }

    #[test]
    fn the_rest_is_file_system_data() {
        let options = parse(&["mode=1777", "size=64m", "newinstance", "noexec"]);
        let data: Vec<_> = options.data.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        assert_eq!(data, [("mode", Some("1777")), ("size", Some("64m")), ("newinstance", None)]);
    }
}
