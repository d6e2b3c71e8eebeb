//! What comes out of the engine.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use gateway_common::Spi;

use crate::config::{ConnectionId, EspProposal, IkeVersion, PairIndex, SelectorPair};
use crate::crypto::Secret;
use crate::diagnosis::Diagnosis;
use crate::wire::IkeSpi;

/// What a datagram carries, and so what the driver puts in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitKind {
    /// An IKE message: the non-ESP marker goes in front when `local.port()` is 4500 (RFC 3948 section 2.2).
    Ike,
    /// A NAT-keepalive: one octet 0xff, sent as it is (RFC 3948 section 2.3).
    NatKeepalive,
}

/// A datagram to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Our address and port (500 or 4500): the socket to send from.
    pub local: SocketAddrV4,
    /// The peer's address and port.
    pub peer: SocketAddrV4,
    /// The IKE message or the keepalive.
    pub payload: Vec<u8>,
    /// Whether the non-ESP marker goes in front on port 4500.
    pub kind: TransmitKind,
}

/// Names one Child SA (a pair of ESP SAs) for as long as it exists; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

/// One direction of a Child SA.
#[derive(Debug)]
pub struct EspSa {
    /// SPI: chosen by the receiver of the packets.
    pub spi: Spi,
    /// Encryption key, for GCM with its 4-octet salt at the end (RFC 4106 section 8.1).
    pub encryption_key: Secret,
    /// Integrity key; empty for AEAD.
    pub integrity_key: Secret,
}

/// ESP in UDP (RFC 3948): ports on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpEncapsulation {
    /// Our port, 4500.
    pub local_port: u16,
    /// The peer's port as seen from here.
    pub peer_port: u16,
}

/// A selector pair of the tunnel that a Child SA serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its index in the tunnel.
    pub pair: PairIndex,
    /// Its ranges.
    pub selectors: SelectorPair,
}

/// A Child SA as the data plane needs it.
#[derive(Debug)]
pub struct ChildSa {
    /// Its name.
    pub id: ChildId,
    /// The tunnel.
    pub connection: ConnectionId,
    /// The selector pairs of the tunnel that it serves: one, except as responder of IKEv2. Never empty.
    pub serves: Vec<Served>,
    /// Our outer address.
    pub local: Ipv4Addr,
    /// The peer's outer address.
    pub peer: Ipv4Addr,
    /// `None`: ESP directly over IP.
    pub encapsulation: Option<UdpEncapsulation>,
    /// Algorithms.
    pub proposal: EspProposal,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// From the peer to us.
    pub inbound: EspSa,
    /// From us to the peer.
    pub outbound: EspSa,
    /// When the engine will rekey it and when it ends.
    pub rekey_at: Instant,
    /// Hard end of the lifetime.
    pub expires_at: Instant,
    /// Hard limit of octets per SA; the driver asks for a rekey (`Endpoint::rekey_child`) before.
    pub octets: Option<u64>,
}

/// What the driver must know or do. Events come in the order in which they must be carried out.
#[derive(Debug)]
pub enum Event {
    /// An IKE SA is established.
    IkeUp {
        /// The tunnel.
        connection: ConnectionId,
        /// What the two ends speak: [`IkeVersion::V1`] or [`IkeVersion::V2`].
        version: IkeVersion,
        /// The SPIs (cookies), initiator's first.
        spis: (IkeSpi, IkeSpi),
        /// Whether we initiated.
        initiator: bool,
        /// Algorithms as text, for status: "aes-128/sha1/group14".
        algorithms: String,
        /// When it will be rekeyed and when it ends.
        rekey_at: Instant,
        /// Hard end.
        expires_at: Instant,
        /// Whether a NAT was detected (or forced).
        nat: bool,
        /// True when it replaces an older IKE SA of the tunnel.
        rekeyed: bool,
    },
    /// An IKE SA ended.
    IkeDown {
        /// The tunnel.
        connection: ConnectionId,
        /// The SPIs (cookies), initiator's first.
        spis: (IkeSpi, IkeSpi),
        /// True when no other IKE SA of the tunnel is left.
        last: bool,
    },
    /// We ask the peer for a Child SA whose inbound SPI will be this one. The peer may seal with it as soon as it has agreed, which is
    /// before we have its answer and so the keys (RFC 7296 section 2.8): such packets wait for `InstallChild` or `ForgetInbound`.
    ExpectInbound {
        /// The tunnel.
        connection: ConnectionId,
        /// The SPI, at the tunnel's local address.
        spi: Spi,
    },
    /// No Child SA will have this SPI. One that was never expected is nothing to worry about.
    ForgetInbound {
        /// The SPI.
        spi: Spi,
    },
    /// Install the inbound SA at once (the next transmit lets the peer use it). The outbound SA is kept until `UseOutbound`.
    InstallChild {
        /// Both directions.
        child: Box<ChildSa>,
        /// The Child SA that this one replaces.
        replaces: Option<ChildId>,
    },
    /// Seal with this Child SA's outbound SA from now on.
    UseOutbound {
        /// The Child SA.
        child: ChildId,
    },
    /// What is sealed with this Child SA from here on leaves out so many sequence numbers (RFC 6311 section 5.2).
    RaiseSequence {
        /// The Child SA.
        child: ChildId,
        /// The numbers to leave out; at most a quarter of all.
        by: u64,
    },
    /// Remove both directions. When it was the one in use and no other serves the pair, the pair is down.
    RemoveChild {
        /// The Child SA.
        child: ChildId,
    },
    /// The NAT in front of the peer gave it another port: an authenticated message came from there. All Child SAs of the
    /// tunnel that are encapsulated in UDP send to it from here on.
    PeerPortChanged {
        /// The tunnel.
        connection: ConnectionId,
        /// Ports to use.
        encapsulation: UdpEncapsulation,
    },
    /// A negotiation failed or a peer was refused.
    Failed {
        /// The tunnel, when the peer could be matched to one.
        connection: Option<ConnectionId>,
        /// The peer.
        peer: SocketAddrV4,
        /// What differed.
        diagnosis: Diagnosis,
    },
    /// Something worth a line in the tunnel's timeline ("main mode started", "retransmitted twice").
    Note {
        /// The tunnel.
        connection: ConnectionId,
        /// What happened.
        text: String,
    },
}

/// Totals since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams that did not parse or could not belong to anything, dropped.
    pub dropped_datagrams: u64,
    /// Messages outside of any IKE SA that name an SA in use as unknown to the peer (RFC 7296 section 1.5): it has restarted, or
    /// somebody forges them.
    pub invalid_spi_hints: u64,
    /// Messages sent again.
    pub retransmits: u64,
    /// Phase 1 negotiations that are not finished.
    pub half_open: u64,
    /// Key exchanges that the driver has not taken.
    pub queued_jobs: u64,
}

/// An IKE SA for status.
#[derive(Clone, Debug)]
pub struct IkeSaSnapshot {
    /// The tunnel.
    pub connection: ConnectionId,
    /// The SPIs (cookies), initiator's first.
    pub spis: (IkeSpi, IkeSpi),
    /// Whether we initiated.
    pub initiator: bool,
    /// Name of its state: "main mode, waiting for message 4", "established".
    pub state: String,
    /// Time since the last authenticated message of the peer.
    pub idle: Duration,
    /// Time since its first message.
    pub age: Duration,
    /// IKEv1: octets of messages that it has protected, and the limit that both ends have agreed on, if there is one.
    pub volume: Option<(u64, u64)>,
}
