//! Networks as a user meets them, on a host of the test's own. One module per subject.

mod network_attack;
mod network_basic;
mod network_cni;
mod network_cni_plugin;
mod network_commands;
mod network_path;
mod network_programs;
mod network_repair;
mod probe;
