//! Why the agent does not start, one sentence each.

use std::net::SocketAddr;

use crate::config::LoadError;
use crate::control_socket::SocketError;
use crate::dataplane::DataplaneError;
use crate::ike_io::BindError;
use crate::net::NetError;
use crate::xdp::XdpError;

/// Why the agent does not start. Nothing that was there before is changed, except where the message says so.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The control socket, or another agent.
    #[error(transparent)]
    Control(#[from] SocketError),
    /// The process lacks capabilities.
    #[error("the agent needs {0} (or root)")]
    Capabilities(String),
    /// The IKE sockets.
    #[error(transparent)]
    Ike(#[from] BindError),
    /// The listener of /metrics.
    #[error("cannot listen on {address} for /metrics: {source}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Links, addresses, routes, the slow path.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The XDP program.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The workers.
    #[error("the data plane does not start: {0}")]
    Dataplane(#[from] DataplaneError),
    /// The store.
    #[error(transparent)]
    Store(#[from] gateway_management::store::StoreError),
    /// The key of the store.
    #[error("{}: {source}", file.display())]
    StoreKey {
        /// The key file.
        file: std::path::PathBuf,
        /// Why.
        source: gateway_management::store::KeyError,
    },
    /// The API's certificate.
    #[error("the API has no certificate: {0}")]
    Tls(#[from] gateway_management::api::TlsError),
    /// The API's listener.
    #[error(transparent)]
    Api(#[from] gateway_management::api::ServeError),
    /// The rules do not fit.
    #[error("the configuration does not fit: {0}")]
    Rules(String),
    /// The slow path's interface was made and did not appear.
    #[error("the interface {0} was made and did not come up within five seconds")]
    SlowPath(&'static str),
    /// Something that every process has.
    #[error("cannot {what}: {source}")]
    Process {
        /// What failed.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}
