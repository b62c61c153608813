//! Pulling and pushing against registries: a real one with TLS and users, and one that misbehaves in every way.

mod credential;
mod hostile;
mod place;
mod policy;
mod real;
mod server;
mod setup;
mod thread;
mod tls;
mod upload;
