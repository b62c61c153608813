//! The checks of what containers need: functions of the facts.

use super::cgroup::{self, Layout};
use super::fact::{Facts, Tried};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Ok,
    /// It works without, with less.
    Note,
    /// It does not work without.
    Missing,
}

impl Verdict {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Missing => "missing",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked for.
    pub name: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to type, where something helps.
    pub fix: Option<String>,
}

impl Check {
    /// One that is fine.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    /// One that is fine, with less.
    pub fn note(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Note, found: found.into(), fix: Some(fix.into()) }
    }

    /// One that is not.
    pub fn missing(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Missing, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Oldest kernel. *Source*: SPECIFICATION.md.
const KERNEL_MIN: (u32, u32) = (5, 15);

/// What containers need.
pub fn containers(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![kernel(&facts.release), calls(facts), privilege(facts), control_groups(facts)];
    checks.extend([user_namespaces(facts), overlay(facts), seccomp(facts)]);
    for (name, tried, module) in
        [("nftables", &facts.nftables, "nf_tables"), ("bridge", &facts.bridge, "bridge"), ("veth", &facts.veth, "veth")]
    {
        checks.push(of_network(name, tried, module));
    }
    checks
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return Check::ok("kernel", release);
    }
    let (major, minor) = KERNEL_MIN;
    let fix = format!("a kernel of {major}.{minor} or later: `apt-get install linux-image-amd64` and a reboot");
    Check::missing("kernel", release, fix)
}

fn calls(facts: &Facts) -> Check {
    let refused: Vec<&str> = facts.calls.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if refused.is_empty() {
        let names: Vec<&str> = facts.calls.iter().map(|(name, _)| *name).collect();
        return Check::ok("system calls", names.join(" "));
    }
    let fix = "allow them in what contains this host, such as an outer runtime's seccomp profile";
    Check::missing("system calls", format!("refused: {}", refused.join(" ")), fix)
}

fn privilege(facts: &Facts) -> Check {
    match (facts.root, facts.administrates) {
        (true, true) => Check::ok("privilege", "root"),
        (false, true) => Check::ok("privilege", "CAP_SYS_ADMIN"),
        (true, false) => {
            Check::missing("privilege", "root without CAP_SYS_ADMIN", "run outside of the outer container")
        }
        (false, false) => Check::missing("privilege", "an ordinary user", "sudo holm doctor"),
    }
}

fn control_groups(facts: &Facts) -> Check {
    let found = cgroup::found(&facts.mountinfo, &facts.unified_controllers);
    let lacking = found.lacking();
    let shown = format!("{}: {}", found.layout.word(), found.controllers.join(" "));
    match found.layout {
        Layout::None => {
            let fix = "mount -t cgroup2 none /sys/fs/cgroup";
            Check::missing("control groups", "not mounted", fix)
        }
        _ if lacking.is_empty() => Check::ok("control groups", shown),
        layout => {
            let fix = match layout {
                Layout::V2 => "have systemd delegate them, or boot without cgroup_disable=",
                _ => "mount them below /sys/fs/cgroup, or boot without cgroup_disable=",
            };
            Check::note("control groups", format!("{shown}; without {}", lacking.join(" ")), fix)
        }
    }
}

fn user_namespaces(facts: &Facts) -> Check {
    match facts.user_namespaces {
        None => Check::note("user namespaces", "not in this kernel", "--userns auto needs CONFIG_USER_NS"),
        Some(0) => {
            let fix = "sysctl -w user.max_user_namespaces=15000";
            Check::note("user namespaces", "none allowed: no --userns auto", fix)
        }
        Some(most) => Check::ok("user namespaces", format!("at most {most}")),
    }
}

fn overlay(facts: &Facts) -> Check {
    if facts.filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        return Check::ok("overlayfs", "in the kernel");
    }
    if facts.overlay_module {
        return Check::ok("overlayfs", "a module, not loaded yet");
    }
    Check::missing("overlayfs", "not in this kernel", "modprobe overlay")
}

fn seccomp(facts: &Facts) -> Check {
    if facts.seccomp_actions.split_whitespace().any(|action| action == "errno") {
        return Check::ok("seccomp", facts.seccomp_actions.trim());
    }
    Check::missing("seccomp", "not in this kernel", "a kernel with CONFIG_SECCOMP_FILTER")
}

/// What was tried in a network namespace; absent where trying takes more than this user may.
pub fn of_network(name: &'static str, tried: &Tried, module: &str) -> Check {
    match tried {
        Tried::Works => Check::ok(name, "works"),
        Tried::Failed(why) => Check::missing(name, why.clone(), format!("modprobe {module}")),
        Tried::NotAllowed => Check::note(name, "not tried: it takes root", "sudo holm doctor"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_old_or_not() {
        for (release, verdict) in [
            ("5.15.0", Verdict::Ok),
            ("5.14.99-generic", Verdict::Missing),
            ("6.1.0-48-cloud-amd64", Verdict::Ok),
            ("10.0", Verdict::Ok),
            ("4.19", Verdict::Missing),
            ("", Verdict::Missing),
        ] {
            assert_eq!(kernel(release).verdict, verdict, "{release}");
        }
    }

    fn whole() -> Facts {
        Facts {
            release: "6.1.0".to_owned(),
            root: true,
            administrates: true,
            calls: vec![("openat2", true)],
            mountinfo: "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n".to_owned(),
            unified_controllers: "cpuset cpu io memory pids".to_owned(),
            user_namespaces: Some(100),
            filesystems: "nodev\toverlay\n".to_owned(),
            overlay_module: false,
            seccomp_actions: "kill_process errno allow\n".to_owned(),
            nftables: Tried::Works,
            bridge: Tried::Works,
            veth: Tried::Works,
            tap: Tried::Works,
            memory_free_bytes: 4 << 30,
        }
    }

    #[test]
    fn a_whole_host_is_fine() {
        let checks = containers(&whole());
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok && check.fix.is_none()), "{checks:?}");
    }

    #[test]
    fn what_is_amiss_is_told_with_what_to_type() {
        let check = |name: &str, verdict: Verdict, change: &dyn Fn(&mut Facts)| {
            let mut facts = whole();
            change(&mut facts);
            let checks = containers(&facts);
            let amiss: Vec<&Check> = checks.iter().filter(|check| check.verdict != Verdict::Ok).collect();
            let [found] = amiss.as_slice() else { panic!("{name}: {amiss:?}") };
            assert_eq!((found.name, found.verdict), (name, verdict));
            assert!(found.fix.is_some());
        };
        check("system calls", Verdict::Missing, &|f| f.calls = vec![("openat2", false)]);
        check("privilege", Verdict::Missing, &|f| (f.root, f.administrates) = (false, false));
        check("control groups", Verdict::Missing, &|f| f.mountinfo.clear());
        check("control groups", Verdict::Note, &|f| f.unified_controllers = "cpu memory pids".to_owned());
        check("user namespaces", Verdict::Note, &|f| f.user_namespaces = Some(0));
        check("user namespaces", Verdict::Note, &|f| f.user_namespaces = None);
        check("overlayfs", Verdict::Missing, &|f| f.filesystems = "nodev\tproc\n".to_owned());
        check("seccomp", Verdict::Missing, &|f| f.seccomp_actions.clear());
        check("nftables", Verdict::Missing, &|f| f.nftables = Tried::Failed("why".to_owned()));
        check("bridge", Verdict::Note, &|f| f.bridge = Tried::NotAllowed);
        let mut facts = whole();
        (facts.filesystems, facts.overlay_module) = (String::new(), true);
        assert!(containers(&facts).iter().all(|check| check.verdict == Verdict::Ok));
    }
}
