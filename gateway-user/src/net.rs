//! The kernel's network configuration as the gateway sees it, over netlink.
//!
//! [`NetMirror`] keeps a snapshot of links, addresses, routes and neighbours; [`RouteTable`] answers the workers' question for the
//! next hop; [`SlowPath`] is the veth pair through which the kernel handles what the workers cannot.

mod ethtool;
mod mirror;
pub mod route_table;
mod slow_path;

pub use mirror::{Address, Link, NetMirror, NetSnapshot};
pub use route_table::{Adjacency, NextHop, RouteTable};
pub use slow_path::{SLOW_PATH_DATAPLANE, SLOW_PATH_KERNEL, SlowPath};

/// What can go wrong between the gateway and the kernel's network configuration.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The netlink socket cannot be opened.
    #[error("cannot open a netlink socket")]
    Socket(#[source] std::io::Error),
    /// The kernel refused a request.
    #[error("{what}")]
    Netlink {
        /// What was asked for.
        what: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A setting under /proc/sys/net could not be written.
    #[error("cannot set {path}")]
    Sysctl {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An offload setting could not be changed.
    #[error("cannot switch off transmit checksum offload of {interface}")]
    Offload {
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An interface that was just made is not there.
    #[error("interface {0} is missing")]
    Missing(String),
}
