//! The row of `network path`.

use clap::{Args, FromArgMatches};

use super::super::{Action, Command, Entry, Topic, network_path, row};

pub(super) const PATH: Entry = row!(
    "path",
    [],
    System,
    NetworkPath(network_path::NetworkPath),
    "Tell why one cannot reach another, hop by hop",
    "holm network path web db:5432\nholm network path outside host:8080"
);
