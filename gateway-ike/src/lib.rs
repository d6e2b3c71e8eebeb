//! The IKE engine: IKEv1 (and the shape for IKEv2) without sockets, clocks or operating system randomness.
//!
//! [`wire`] turns octets into messages and back.

pub mod wire;
