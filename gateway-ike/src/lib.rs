//! The IKE engine: IKEv1 (and the shape for IKEv2) without sockets, clocks or operating system randomness.
//!
//! [`wire`] turns octets into messages and back, [`crypto`] holds the primitives, [`v1`] the protocol of RFC 2409.

pub mod crypto;
pub mod v1;
pub mod wire;
