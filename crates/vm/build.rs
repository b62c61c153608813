//! Builds the agent, so that the library can hold it: a static program, small rather than fast, for the machine's own
//! architecture.
//!
//! Cargo has no way yet to say that a library holds another program of the workspace, so this runs a cargo of its own. It has
//! a target folder of its own too, one for all profiles: the outer cargo holds the lock of its folder meanwhile, and a check
//! or a lint finds the agent that a build has made.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROFILE: &str = "guest";
/// What the agent is made from.
const CRATES: [&str; 4] = ["guest", "container", "spec", "sys"];
/// Static, since it is alone in its root; at fixed addresses, since there is nobody to relocate it.
const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";
/// What the outer cargo, or a tool around it, has set for its own compilers.
const NOT_INHERITED: [&str; 7] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
];

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|e| panic!("cannot read variable `{name}`: {e}"));
    let crates = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let root = crates.join("..");
    for name in CRATES {
        watch(&crates.join(name).join("src"));
        watch(&crates.join(name).join("Cargo.toml"));
    }
    watch(&root.join("Cargo.toml"));
    watch(&root.join("Cargo.lock"));
    watch(Path::new("build.rs"));
    let out = PathBuf::from(variable("OUT_DIR"));
    // OUT_DIR is `<target>/<profile>/build/<package>/out`.
    let target_dir = out.ancestors().nth(4).expect("a target folder above OUT_DIR").join("guest");
    let triple = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--package", "holm-guest", "--profile", PROFILE, "--target", &triple]);
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml")).arg("--target-dir").arg(&target_dir);
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    let status = cargo.current_dir(&root).env("RUSTFLAGS", FLAGS).status();
    let status = status.unwrap_or_else(|e| panic!("cannot run cargo for the agent: {e}"));
    assert!(status.success(), "cannot build the agent: cargo ended with {status}");
    let (made, kept) = (target_dir.join(triple).join(PROFILE).join("holm-guest"), out.join("agent"));
    fs::copy(&made, &kept).unwrap_or_else(|e| panic!("cannot copy `{}`: {e}", made.display()));
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
