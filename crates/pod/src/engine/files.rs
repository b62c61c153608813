//! Files of a container from outside.

use std::ffi::OsStr;
use std::io::{Read, Write};

use holm_spec::ContainerId;

use super::Engine;
use crate::{Change, Error, PathStat};

#[allow(unused_variables, reason = "being written")]
impl Engine {
    /// What a path inside is; symbolic links at its end are not followed.
    pub fn stat_path(&self, id: &ContainerId, path: &OsStr) -> Result<PathStat, Error> {
        Err(Error::invalid("cp", "not written yet"))
    }

    /// Writes the file or folder at `path` as a tar, named by its last component (`path/.` gives the content only).
    pub fn copy_from(
        &self,
        id: &ContainerId,
        path: &OsStr,
        follow_link: bool,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        Err(Error::invalid("cp", "not written yet"))
    }

    /// Unpacks a tar into the existing folder `path`. Owners are kept as in the tar where `keep_owner`, else root.
    pub fn copy_to(&self, id: &ContainerId, path: &OsStr, keep_owner: bool, tar: &mut dyn Read) -> Result<(), Error> {
        Err(Error::invalid("cp", "not written yet"))
    }

    /// What changed against the image.
    pub fn diff(&self, id: &ContainerId) -> Result<Vec<Change>, Error> {
        Err(Error::invalid("diff", "not written yet"))
    }

    /// Writes its whole root file system as a tar (volumes left out).
    pub fn export(&self, id: &ContainerId, out: &mut dyn Write) -> Result<(), Error> {
        Err(Error::invalid("export", "not written yet"))
    }
}
