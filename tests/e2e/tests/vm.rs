//! Virtual machines. What both isolations must do the same is told once, in `both`, and run for each.

#[path = "vm/both.rs"]
mod both;
#[path = "vm/machine_only.rs"]
mod machine_only;
