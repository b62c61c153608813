//! Which control groups there are, from the table of mounts. *Source*: cgroups(7), proc(5) on mountinfo.

/// Controllers that limits need, by the names of version 2.
const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// How control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Not at all.
    None,
    /// One tree with all controllers.
    V2,
    /// A tree for each controller.
    V1,
    /// As [`Layout::V1`], with a tree of version 2 beside them.
    Hybrid,
}

impl Layout {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::V2 => "v2",
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
        }
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How.
    pub layout: Layout,
    /// By the names of version 2 where both have one.
    pub controllers: Vec<String>,
}

impl Found {
    /// What limits need and is not there.
    pub fn lacking(&self) -> Vec<&'static str> {
        WANTED.into_iter().filter(|wanted| !self.controllers.iter().any(|there| there == wanted)).collect()
    }
}

/// Reads a table of mounts and the controllers of the tree of version 2.
pub fn found(mountinfo: &str, unified_controllers: &str) -> Found {
    let (mut one, mut two) = (Vec::new(), false);
    for line in mountinfo.lines() {
        let Some((_, behind)) = line.split_once(" - ") else { continue };
        let mut fields = behind.split(' ');
        match fields.next() {
            Some("cgroup2") => two = true,
            // Of a tree of version 1 the options name its controllers, with others that mean none.
            Some("cgroup") => one.extend(fields.nth(1).unwrap_or_default().split(',')),
            _ => {}
        }
    }
    let known = ["blkio", "cpu", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids"];
    let mut controllers: Vec<String> =
        one.iter().filter(|name| known.contains(name)).map(|n| (*n).to_owned()).collect();
    let layout = match (controllers.is_empty(), two) {
        (true, false) => Layout::None,
        (true, true) => Layout::V2,
        (false, false) => Layout::V1,
        (false, true) => Layout::Hybrid,
    };
    if two {
        controllers.extend(unified_controllers.split_whitespace().map(str::to_owned));
    }
    for name in &mut controllers {
        if name == "blkio" {
            "io".clone_into(name);
        }
    }
    controllers.sort_unstable();
    controllers.dedup();
    Found { layout, controllers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mountinfo: &str, unified: &str, layout: Layout, controllers: &str, lacking: &[&str]) {
        let found = found(mountinfo, unified);
        assert_eq!((found.layout, found.controllers.join(" ").as_str()), (layout, controllers), "{mountinfo}");
        assert_eq!(found.lacking(), lacking, "{mountinfo}");
    }

    #[test]
    fn layouts_are_told_from_mounts() {
        let two = "30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let one = "31 1 0:27 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n32 1 0:28 / /c/m rw - cgroup none rw,memory\n\
                   33 1 0:29 / /c/blkio rw - cgroup cgroup rw,blkio\n34 1 0:30 / /c/pids rw - cgroup cgroup rw,pids\n\
                   35 1 0:31 / /c/cpuset rw shared:7 - cgroup cgroup rw,cpuset\n36 1 0:32 / /c/n rw - cgroup n rw,name=systemd\n";
        let other = "36 1 0:33 / / rw - ext4 /dev/sda1 rw\n";
        check(&format!("{other}{two}"), "cpuset cpu io memory pids", Layout::V2, "cpu cpuset io memory pids", &[]);
        check(two, "memory pids", Layout::V2, "memory pids", &["cpu", "cpuset", "io"]);
        check(one, "", Layout::V1, "cpu cpuset io memory pids", &[]);
        check(&format!("{one}{two}"), "hugetlb", Layout::Hybrid, "cpu cpuset hugetlb io memory pids", &[]);
        check(other, "", Layout::None, "", &["cpu", "cpuset", "io", "memory", "pids"]);
        check("nonsense\n - \n", "", Layout::None, "", &["cpu", "cpuset", "io", "memory", "pids"]);
    }
}
