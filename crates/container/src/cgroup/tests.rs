//! Tests of control groups: plans as data, and real groups under names of their own.
//!
//! The real ones need root and a writable hierarchy, and use whatever version the machine has.

mod device;
mod host;
mod limit;
mod tree;
