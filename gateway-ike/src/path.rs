//! Where the messages of an IKE SA go, and whether a NAT is on the way.

use std::net::SocketAddrV4;

/// UDP port of IKE before a NAT was found.
pub(crate) const IKE_PORT: u16 = 500;
/// UDP port of IKE and ESP in UDP after.
pub(crate) const NAT_T_PORT: u16 = 4500;

/// Where the messages of one IKE SA go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) local: SocketAddrV4,
    pub(crate) peer: SocketAddrV4,
}

impl Path {
    /// Both ends moved to port 4500.
    pub(crate) fn floated(self) -> Self {
        Self {
            local: SocketAddrV4::new(*self.local.ip(), NAT_T_PORT),
            peer: SocketAddrV4::new(*self.peer.ip(), NAT_T_PORT),
        }
    }
}

/// In front of whom a NAT stands, or who behaves as if one did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NatSides {
    /// In front of us: its mapping is ours to keep.
    pub(crate) local: bool,
    /// In front of the peer.
    pub(crate) peer: bool,
}

impl NatSides {
    /// Whether ESP must travel in UDP.
    pub(crate) const fn found(self) -> bool {
        self.local || self.peer
    }
}
