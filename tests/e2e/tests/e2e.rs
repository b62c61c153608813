//! The whole program as a user runs it, one module per subject. Each test has roots of its own and leaves nothing.

mod attach;
mod attack_files;
mod attack_image;
mod attack_kernel;
mod bad_input;
mod bad_registry;
mod exchange;
mod exec;
mod files;
mod health;
mod identity;
mod image_store;
mod inspect;
mod lifecycle;
mod limits;
mod logs;
mod mutation;
mod namespaces;
mod programs;
mod pull;
mod restart;
mod run;
mod start_calls;
mod volumes;
