//! Which system call filter a container gets, compiled for its capabilities.

use std::io::Read;

use holm_container::seccomp::{Arch, MAX_PROFILE_BYTES, Program, compile, default_profile, load_profile};
use holm_spec::container::Profile;
use holm_spec::oci::runtime::Spec;

use crate::error::chain;

/// Compiles the filter. The error is a text.
pub(crate) fn program(profile: &Profile, oci: &Spec) -> Result<Program, String> {
    let none = Vec::new();
    let capabilities = oci.process.as_ref().and_then(|p| p.capabilities.as_ref());
    let bounding = capabilities.map_or(&none, |c| &c.bounding);
    let filter = match profile {
        Profile::Named(path) => load_profile(&read(path)?, bounding, kernel()).map_err(|e| unusable(path, &e))?,
        Profile::Default | Profile::Unconfined => default_profile(bounding),
    };
    compile(&filter, Arch::native()).map_err(|e| chain(&e))
}

/// The filter of a server of files. The error is a text.
pub(crate) fn server_program(oci: &Spec) -> Result<Program, String> {
    let capabilities = oci.process.as_ref().and_then(|p| p.capabilities.as_ref());
    let mut filter = default_profile(capabilities.map_or(&[][..], |c| &c.bounding));
    holm_vm::virtiofs::permit(&mut filter);
    compile(&filter, Arch::native()).map_err(|e| chain(&e))
}

fn unusable(path: &str, error: &dyn std::error::Error) -> String {
    format!("cannot use seccomp profile `{path}`: {}", chain(error))
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| unusable(path, &e))?;
    file.take(MAX_PROFILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|e| unusable(path, &e))?;
    Ok(bytes)
}

/// The text of a profile, for another kernel to take. The error is a text.
pub(crate) fn text(path: &str) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|e| unusable(path, &e))
}

/// Major and minor version of the running kernel.
fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
