//! A host of the test's own: a network namespace in which Holm runs, with an outside that it reaches over a pair of links.
//!
//! ```text
//! outside 192.0.2.2, 2001:db8::2  ──uplink──  192.0.2.1, 2001:db8::1 host, default routes to the outside
//! ```
//! Owns both namespaces; nothing of the machine's own network is touched.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::Holm;

/// A network namespace that plays the host.
pub struct NetHost {
    name: String,
}

/// The host's addresses towards the outside.
pub const HOST_V4: &str = "192.0.2.1";
/// See [`HOST_V4`].
pub const HOST_V6: &str = "2001:db8::1";
/// The outside's addresses.
pub const OUTSIDE_V4: &str = "192.0.2.2";
/// See [`OUTSIDE_V4`].
pub const OUTSIDE_V6: &str = "2001:db8::2";

impl NetHost {
    /// A host with an outside.
    ///
    /// # Panics
    /// If it cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes namespaces, which no default should")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = Self { name: format!("holm-test-{}-{number}", std::process::id()) };
        for name in [host.name.clone(), host.outside()] {
            ip(&["netns", "add", &name]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        let (here, there) = (host.name.as_str(), host.outside());
        ip(&["-n", here, "link", "add", "uplink", "type", "veth", "peer", "name", "inside", "netns", &there]);
        for (name, link, addresses) in
            [(here, "uplink", [HOST_V4, HOST_V6]), (there.as_str(), "inside", [OUTSIDE_V4, OUTSIDE_V6])]
        {
            ip(&["-n", name, "address", "add", &format!("{}/24", addresses[0]), "dev", link]);
            ip(&["-n", name, "address", "add", &format!("{}/64", addresses[1]), "dev", link, "nodad"]);
            ip(&["-n", name, "link", "set", link, "up"]);
        }
        ip(&["-n", here, "route", "add", "default", "via", OUTSIDE_V4]);
        ip(&["-n", here, "-6", "route", "add", "default", "via", OUTSIDE_V6]);
        host
    }

    fn outside(&self) -> String {
        format!("{}-out", self.name)
    }

    /// What puts a command into the host.
    pub fn prefix(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.name)]
    }

    /// Its network namespace.
    pub fn netns(&self) -> std::path::PathBuf {
        format!("/run/netns/{}", self.name).into()
    }

    /// A command line of any program on the host.
    pub fn command<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Holm {
        Holm::program(program).args(args).through(self.prefix())
    }

    /// The same command line, run on the host.
    pub fn enter(&self, line: Holm) -> Holm {
        line.through(self.prefix())
    }

    /// A command line of any program outside.
    pub fn outside_command<A: AsRef<OsStr>>(&self, program: &str, args: impl IntoIterator<Item = A>) -> Holm {
        let prefix = ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.outside())];
        Holm::program(program).args(args).through(prefix)
    }

    /// What Holm made here: links beside the first two, and tables.
    pub fn left(&self) -> Vec<String> {
        let links = self.command("ip", ["-o", "link", "show"]).ok().stdout;
        let names =
            links.lines().filter_map(|line| line.split(": ").nth(1)).map(|name| name.split('@').next().unwrap_or(name));
        let mut left: Vec<String> =
            names.filter(|name| !matches!(*name, "lo" | "uplink")).map(|name| format!("link {name}")).collect();
        let tables = self.command("nft", ["list", "tables"]).ok().stdout;
        left.extend(tables.lines().filter(|line| line.ends_with(" holm")).map(str::to_owned));
        left
    }

    /// Wants nothing to be left. Networks go a second after their last container; ten are given.
    #[track_caller]
    pub fn assert_clean(&self) {
        let start = Instant::now();
        let mut left = self.left();
        while !left.is_empty() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
            left = self.left();
        }
        assert!(left.is_empty(), "left on the host:\n{}", left.join("\n"));
    }
}

impl Drop for NetHost {
    fn drop(&mut self) {
        for name in [self.name.clone(), self.outside()] {
            let _ = std::process::Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    Holm::program("ip").args(args).ok();
}
