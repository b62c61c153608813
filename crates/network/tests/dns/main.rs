//! The name server against real clients, real servers, servers that misbehave, and another parser.

mod differential;
mod forward;
mod local;
mod serving;
