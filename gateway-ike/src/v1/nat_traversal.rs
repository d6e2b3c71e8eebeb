//! Finding out whether a NAT is in between, and moving to UDP port 4500 (RFC 3947).

use std::net::SocketAddr;

use crate::crypto::{Hash, RandomSource, ct_eq};
use crate::ike_sa::Spis;
use crate::path::{NatSides, Path};
use crate::wire::v1::{Message, NatNumbering, Payload};
use crate::wire::{PayloadType, vendor};

use super::keys::nat_d_hash;

/// What the NAT-D payloads of both ends have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nat {
    /// The dialect that was agreed on.
    pub(crate) numbering: NatNumbering,
    /// A NAT stands in front of us, or we were told to behave as if.
    pub(crate) local: bool,
    /// A NAT stands in front of the peer, or it behaves as if (strongSwan without kernel ESP always does).
    pub(crate) peer: bool,
}

impl Nat {
    pub(crate) const fn sides(self) -> NatSides {
        NatSides {
            local: self.local,
            peer: self.peer,
        }
    }

    /// Whether ESP must travel in UDP.
    pub(crate) const fn found(self) -> bool {
        self.sides().found()
    }
}

/// The vendor ids that announce NAT traversal, best first.
pub(crate) fn announcements() -> impl Iterator<Item = Payload> {
    [
        vendor::NAT_T_RFC3947,
        vendor::NAT_T_DRAFT_03,
        vendor::NAT_T_DRAFT_02_N,
        vendor::NAT_T_DRAFT_02,
    ]
    .into_iter()
    .map(|id| Payload::VendorId(id.to_vec()))
}

/// The best dialect that the peer announces, with the vendor id to answer with.
pub(crate) fn agree(message: &Message<'_>) -> Option<(NatNumbering, [u8; 16])> {
    let announced = |id: &[u8; 16]| {
        message
            .of_type(PayloadType::VENDOR_ID)
            .any(|parsed| parsed.raw == id)
    };
    [
        (NatNumbering::Rfc3947, vendor::NAT_T_RFC3947),
        (NatNumbering::Draft, vendor::NAT_T_DRAFT_03),
        (NatNumbering::Draft, vendor::NAT_T_DRAFT_02_N),
        (NatNumbering::Draft, vendor::NAT_T_DRAFT_02),
    ]
    .into_iter()
    .find(|(_, id)| announced(id))
}

/// Our NAT-D payloads: the destination of the message first, then its source (RFC 3947 section 3.2).
///
/// With `fake` the source is random, so that the peer takes us to be behind a NAT and encapsulates.
pub(crate) fn payloads(
    numbering: NatNumbering,
    hash: Hash,
    spis: Spis,
    path: Path,
    fake: bool,
    rng: &mut impl RandomSource,
) -> [Payload; 2] {
    let of = |address| nat_d_hash(hash, spis.initiator, spis.responder, SocketAddr::V4(address));
    let mut source = of(path.local);
    if fake {
        rng.fill(&mut source);
    }
    [
        Payload::NatD {
            numbering,
            hash: of(path.peer),
        },
        Payload::NatD {
            numbering,
            hash: source,
        },
    ]
}

/// Compares the peer's NAT-D payloads with the addresses as we see them. Without any there is no NAT to find.
pub(crate) fn detect(
    numbering: NatNumbering,
    message: &Message<'_>,
    hash: Hash,
    spis: Spis,
    path: Path,
    fake: bool,
) -> Nat {
    let of = |address| nat_d_hash(hash, spis.initiator, spis.responder, SocketAddr::V4(address));
    let mut hashes = message
        .payloads
        .iter()
        .filter_map(|parsed| match &parsed.payload {
            Payload::NatD {
                numbering: theirs,
                hash,
            } if *theirs == numbering => Some(hash.as_slice()),
            Payload::NatD { .. }
            | Payload::Sa(_)
            | Payload::Ke(_)
            | Payload::Id(_)
            | Payload::Hash(_)
            | Payload::Nonce(_)
            | Payload::Notify(_)
            | Payload::Delete(_)
            | Payload::VendorId(_)
            | Payload::NatOa(_)
            | Payload::Unknown { .. } => None,
        });
    let Some(destination) = hashes.next() else {
        return Nat {
            numbering,
            local: false,
            peer: false,
        };
    };
    let (ours, theirs) = (of(path.local), of(path.peer));
    Nat {
        numbering,
        local: fake || !ct_eq(&ours, destination),
        peer: !hashes.any(|source| ct_eq(&theirs, source)),
    }
}
