//! Virtual machines. What both isolations must do the same is told once, in `both`, and run for each.

#[macro_use]
#[path = "vm/both.rs"]
mod both;
#[path = "vm/attack.rs"]
mod attack;
#[path = "vm/crash.rs"]
mod crash;
#[path = "vm/hostile.rs"]
mod hostile;
#[path = "vm/machine_only.rs"]
mod machine_only;
#[path = "vm/many.rs"]
mod many;
#[path = "vm/network.rs"]
mod network;
mod probe;
#[path = "vm/told.rs"]
mod told;
#[path = "vm/volumes.rs"]
mod volumes;
#[path = "vm/whole.rs"]
mod whole;
