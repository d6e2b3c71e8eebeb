//! ESP (RFC 4303) in tunnel mode for IPv4, as pure functions on buffers.
//!
//! [`OutboundSa::seal`] turns an inner IP packet into an outer one, in place: the tunnel header, the UDP header of RFC 3948, the
//! ESP header and the IV grow into the frame's headroom; padding and ICV into its tailroom. [`InboundSa::open`] is the way back,
//! with the anti-replay window and the check of the inner addresses against the SA's selectors. Both work on `&self`, so that
//! several workers can share an SA, and both have a batch form that interleaves the cryptography of its packets.
//!
//! Nothing here performs I/O, reads a clock or asks the operating system for randomness: IVs come from an [`IvGenerator`] whose
//! seed is an argument, sequence numbers from [`OutboundSa::reserve`].
//!
//! Beside ESP stand the packet helpers that a tunnel needs: [`mtu`] arithmetic, [`mss`] clamping, the ICMP message of path MTU
//! discovery ([`icmp`]), IPv4 fragmentation ([`fragment`]) and the IPv4 header itself ([`ip`]).

mod crypto;
mod ecn;
pub mod fragment;
pub mod icmp;
mod inbound;
pub mod ip;
mod iv;
mod keys;
pub mod mss;
pub mod mtu;
mod outbound;
mod packet;
mod replay;
mod selector;
mod sequence;
mod transform;
mod wire;

#[cfg(test)]
mod captures;
#[cfg(test)]
mod testing;

pub use gateway_common::Spi;
pub use inbound::{DEFAULT_REPLAY_WINDOW, InboundSa, OpenError};
pub use iv::{IvGenerator, NonceSpace};
pub use keys::{KeyError, Keys};
pub use outbound::{OutboundSa, SealError, TunnelEndpoints, UdpPorts};
pub use packet::Packet;
pub use replay::{ReplayError, ReplayWindow};
pub use selector::Selector;
pub use sequence::{SequenceBlock, SequenceExhausted, SequenceNumber};
pub use transform::{Cipher, Encapsulation, Integrity, Transform, TransformError};
