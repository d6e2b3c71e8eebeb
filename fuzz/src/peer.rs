//! A peer that knows the keys, so that the input gets behind the encryption of a live engine.

pub(crate) mod v1;
pub(crate) mod v2;

use std::net::SocketAddrV4;

use crate::engine::{A, B, Packet};

/// A datagram from the peer (A) to the engine (B).
const fn to_engine(payload: Vec<u8>) -> Packet {
    Packet {
        source: SocketAddrV4::new(A, 500),
        destination: SocketAddrV4::new(B, 500),
        payload,
    }
}
