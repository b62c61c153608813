//! Virtual machines. What both isolations must do the same is told once, in `both`, and run for each.

#[macro_use]
#[path = "vm/both.rs"]
mod both;
#[path = "vm/attack.rs"]
mod attack;
#[path = "vm/machine_only.rs"]
mod machine_only;
#[path = "vm/volumes.rs"]
mod volumes;
