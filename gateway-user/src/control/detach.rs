//! Takes away what an agent leaves in place on purpose when it ends.

use std::path::Path;

use crate::net::{NetError, SlowPath};
use crate::xdp::{XdpError, XdpProgram};

/// Why not everything could be taken away.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The program or its pins.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// The slow path.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Netlink.
    #[error("cannot open a netlink socket")]
    Netlink(#[source] std::io::Error),
}

/// Detaches the pinned XDP program and removes the helper interfaces with their routes: traffic flows as the kernel routes it, in
/// the clear. Tells the interfaces.
///
/// # Errors
/// What could not be taken away; calling it again continues.
pub fn detach(pin_dir: &Path) -> Result<Vec<String>, DetachError> {
    let interfaces = XdpProgram::detach_pinned(pin_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DetachError::Netlink)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(DetachError::Netlink)?;
        tokio::spawn(connection);
        SlowPath::remove(&handle).await.map_err(DetachError::Net)
    })?;
    Ok(interfaces)
}
