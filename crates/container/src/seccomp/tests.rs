//! Tests of system call filters: compiled ones run by an interpreter against a plain reading of the rules, and real
//! ones in children.

mod compiled;
mod file;
mod kernel;
mod standard;
