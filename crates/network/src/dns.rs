//! The name server of Holm's networks: answers for containers from memory, asks the host's resolvers for the rest.
//!
//! Owns its sockets, its cache and the names; knows no files of records and starts no thread. It is turned by somebody
//! else's event loop. Every byte that it reads was written by a stranger.
//!
//! ```text
//! query --> Query::parse --> resolve (Catalog) --> answer                      names of ours
//!                              '--> Forwarder: cache --> answer                the others
//!                                     '--> flight: server, next server, TCP --> Reply::parse --> all that wait
//! ```

mod answer;
pub mod cache;
mod catalog;
mod dice;
mod flight;
mod forward;
mod listener;
mod poll;
pub mod query;
pub mod reply;
pub mod resolv_conf;
mod resolve;
mod server;
mod slab;
mod stream;
mod tcp;
mod upstream;
pub mod wire;

pub use catalog::{Catalog, NetworkNames};
pub use listener::listen;
pub use resolve::answer_alone;
pub use server::Server;
pub use upstream::Upstreams;
