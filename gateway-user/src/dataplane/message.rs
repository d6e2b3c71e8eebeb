//! The boundary between control and data plane, as messages that could cross a socket.

use std::net::Ipv4Addr;
use std::time::Instant;

use gateway_esp::{InboundSa, OutboundSa};

use super::{SaLimits, SaMark};

/// A change that control asks for.
///
/// Order on install: inbound SA, then its map entry; outbound SA, then [`Message::Switch`]. Removal is the other way round. A message
/// with an index beyond the [`super::Capacity`] is refused: logged, and without effect.
#[derive(Debug)]
pub enum Message {
    /// A policy exists. Its packets wait until a [`Message::Switch`] names an outbound SA.
    InstallPolicy {
        /// Index of the policy.
        index: u32,
        /// Generation of the index, the same as in the map.
        generation: u32,
        /// Number of the tunnel.
        tunnel: u32,
    },
    /// A policy is gone; packets that wait for it are dropped.
    RemovePolicy {
        /// Index of the policy.
        index: u32,
    },
    /// An SA from the peer is being negotiated, and the peer may seal with it before we have its keys: packets wait for
    /// [`Message::InstallInbound`] with the same index and generation.
    ExpectInbound {
        /// Index of the SA.
        index: u32,
        /// Generation of the index, the same as in the map.
        generation: u32,
        /// Number of the tunnel.
        tunnel: u32,
    },
    /// An SA from the peer.
    InstallInbound {
        /// Index of the SA.
        index: u32,
        /// Generation of the index, the same as in the map.
        generation: u32,
        /// Number of the tunnel.
        tunnel: u32,
        /// Keys, selectors and replay window.
        sa: Box<InboundSa>,
    },
    /// An SA from the peer is gone, or will not come.
    RemoveInbound {
        /// Index of the SA.
        index: u32,
    },
    /// An SA to the peer. Nothing uses it before a [`Message::Switch`].
    InstallOutbound {
        /// Index of the SA.
        index: u32,
        /// Number of the tunnel.
        tunnel: u32,
        /// Keys, endpoints and sequence numbers.
        sa: Box<OutboundSa>,
        /// After what it carries nothing more (hard lifetime).
        limits: SaLimits,
    },
    /// The NAT in front of the peer gave it another port. The SA keeps its keys and sequence numbers.
    MoveOutbound {
        /// Index of the SA; one that is not there, or not encapsulated in UDP, stays as it is.
        index: u32,
        /// UDP port of the peer.
        peer_port: u16,
    },
    /// The SA leaves out its next sequence numbers.
    RaiseSequence {
        /// Index of the SA; one that is not there stays away.
        index: u32,
        /// How many.
        by: u64,
    },
    /// An SA to the peer is gone; policies that still name it wait for another.
    RemoveOutbound {
        /// Index of the SA.
        index: u32,
    },
    /// Which outbound SA a policy uses. Packets that waited leave at once.
    Switch {
        /// Index of the policy.
        policy: u32,
        /// Index of the SA; `None`: packets wait.
        outbound: Option<u32>,
    },
    /// Which answers to probes are control's and end in the worker; none at first.
    Probe {
        /// Number of the tunnel.
        tunnel: u32,
        /// Destination and identifier of the echo replies.
        answers: Option<(Ipv4Addr, u16)>,
    },
}

/// What control learns without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataplaneEvent {
    /// A packet waits for an SA. At most one per policy and second.
    Acquire {
        /// Index of the policy.
        policy: u32,
        /// Number of the tunnel.
        tunnel: u32,
    },
    /// The peer uses an inbound SA for the first time, so the SA before it can go.
    InboundFirstUse {
        /// Index of the SA.
        index: u32,
        /// Generation of the index.
        generation: u32,
    },
    /// The newest packet of an inbound SA came from another UDP port than those before it; its first one always tells its port, as a NAT may have
    /// moved it since the negotiation. Eight such events a second and tunnel at most.
    PeerPort {
        /// Index of the SA.
        index: u32,
        /// Generation of the index.
        generation: u32,
        /// UDP port of the peer, as its NAT made it.
        port: u16,
    },
    /// An outbound SA comes near its end, or is there.
    SaLimit {
        /// Index of the SA.
        index: u32,
        /// Number of the tunnel.
        tunnel: u32,
        /// How near.
        mark: SaMark,
    },
    /// A probe was answered.
    ProbeAnswered {
        /// Number of the tunnel.
        tunnel: u32,
        /// Who answered.
        from: Ipv4Addr,
        /// Sequence number of the echo.
        sequence: u16,
        /// When the answer was opened.
        at: Instant,
    },
    /// A worker ended, or lost an interface that was removed. Packets of its queue, or of that interface, are dropped from here on.
    WorkerFailed {
        /// RX queue index.
        queue: u32,
        /// Why.
        error: String,
    },
}

/// Takes events; called from the workers, so it must not wait.
pub type EventSink = dyn Fn(DataplaneEvent) + Send + Sync;
