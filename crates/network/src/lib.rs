//! Networks of containers: links, bridges, addresses, the way out, published ports, names.
//!
//! Owns the networks' records and all kernel state they need, set by netlink. Knows no images, no processes and no pods: it
//! is handed a network namespace by descriptor and plain records.

mod attach;
mod bridge;
mod change;
pub mod cni;
pub mod dns;
mod driver_option;
mod error;
mod firewall;
mod flow;
mod keeper;
mod lease;
mod live;
mod networks;
pub mod path;
mod port;
mod published;
mod record;
pub mod relay;
mod store;
mod subnet;
mod sysctl;
mod tap;
mod up;

pub use attach::{JoinRequest, Joined};
pub use change::Hold;
pub use error::Error;
pub use keeper::KeeperLink;
pub use networks::{Networks, Roots};
pub use published::{Published, Standing};
pub use store::{NetworkRequest, isolation_word};
pub use tap::{Tap, guest_links};

#[cfg(test)]
mod tests_support;
