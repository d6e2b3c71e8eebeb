//! The closed set of payloads that the engine understands, and the way through for all others.

use std::net::IpAddr;

use super::{DeletePayload, IdPayload, NotifyPayload, SaPayload};
use crate::wire::{IdType, PayloadType, Reader, WireError, Writer};

/// Which payload numbers NAT traversal uses, by the vendor id that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatNumbering {
    /// NAT-D is 20 and NAT-OA 21 (RFC 3947).
    Rfc3947,
    /// NAT-D is 130 and NAT-OA 131 (draft-ietf-ipsec-nat-t-ike-00 to 03).
    Draft,
}

/// The original address of a peer behind a NAT (RFC 3947 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatOa {
    /// The payload number in use.
    pub numbering: NatNumbering,
    /// The address.
    pub address: IpAddr,
}

/// The body of one payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Security Association.
    Sa(SaPayload),
    /// Key Exchange: a Diffie-Hellman public value.
    Ke(Vec<u8>),
    /// Identification.
    Id(IdPayload),
    /// Hash: HASH_I, HASH_R, HASH(1..3).
    Hash(Vec<u8>),
    /// Nonce, 8 to 256 octets (RFC 2409 section 5).
    Nonce(Vec<u8>),
    /// Notification.
    Notify(NotifyPayload),
    /// Delete.
    Delete(DeletePayload),
    /// Vendor ID, see [`crate::wire::vendor`].
    VendorId(Vec<u8>),
    /// NAT discovery: a hash over SPIs, address and port.
    NatD {
        /// The payload number in use.
        numbering: NatNumbering,
        /// The hash.
        hash: Vec<u8>,
    },
    /// NAT original address.
    NatOa(NatOa),
    /// Anything else, as it came.
    Unknown {
        /// Its number.
        payload_type: PayloadType,
        /// Its octets.
        body: Vec<u8>,
    },
}

/// Octets of a nonce (RFC 2409 section 5).
const NONCE_LEN: std::ops::RangeInclusive<usize> = 8..=256;
/// Octets of the digests that hash payloads and NAT-D carry: MD5 to SHA2-512.
const DIGEST_LEN: std::ops::RangeInclusive<usize> = 16..=64;

impl Payload {
    /// The number that the payload before this one (or the header) announces.
    pub const fn payload_type(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::Id(_) => PayloadType::ID,
            Self::Hash(_) => PayloadType::HASH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::NatD {
                numbering: NatNumbering::Rfc3947,
                ..
            } => PayloadType::NAT_D,
            Self::NatD {
                numbering: NatNumbering::Draft,
                ..
            } => PayloadType::NAT_D_DRAFT,
            Self::NatOa(NatOa {
                numbering: NatNumbering::Rfc3947,
                ..
            }) => PayloadType::NAT_OA,
            Self::NatOa(NatOa {
                numbering: NatNumbering::Draft,
                ..
            }) => PayloadType::NAT_OA_DRAFT,
            Self::Unknown { payload_type, .. } => *payload_type,
        }
    }

    /// Reads the body of a payload whose number and length were read before.
    ///
    /// # Errors
    /// The body does not fit its type, or the type cannot stand at the top of an IKEv1 message: IKEv2's payloads, and proposals
    /// and transforms outside an SA payload.
    pub fn parse(payload_type: PayloadType, body: &[u8]) -> Result<Self, WireError> {
        Ok(match payload_type {
            PayloadType::SA => Self::Sa(SaPayload::parse(body)?),
            PayloadType::KE if body.is_empty() => return Err(bad_length("key exchange", body)),
            PayloadType::KE => Self::Ke(body.to_vec()),
            PayloadType::ID => Self::Id(IdPayload::parse(body)?),
            PayloadType::HASH => Self::Hash(digest("hash", body)?),
            PayloadType::NONCE if !NONCE_LEN.contains(&body.len()) => return Err(bad_length("nonce", body)),
            PayloadType::NONCE => Self::Nonce(body.to_vec()),
            PayloadType::NOTIFY => Self::Notify(NotifyPayload::parse(body)?),
            PayloadType::DELETE => Self::Delete(DeletePayload::parse(body)?),
            PayloadType::VENDOR_ID => Self::VendorId(body.to_vec()),
            PayloadType::NAT_D => Self::NatD {
                numbering: NatNumbering::Rfc3947,
                hash: digest("nat-d", body)?,
            },
            PayloadType::NAT_D_DRAFT => Self::NatD {
                numbering: NatNumbering::Draft,
                hash: digest("nat-d", body)?,
            },
            PayloadType::NAT_OA => Self::NatOa(NatOa::parse(NatNumbering::Rfc3947, body)?),
            PayloadType::NAT_OA_DRAFT => Self::NatOa(NatOa::parse(NatNumbering::Draft, body)?),
            PayloadType::NONE | PayloadType::PROPOSAL | PayloadType::TRANSFORM => {
                return Err(out_of_place(payload_type));
            }
            other if other.is_v2() => return Err(out_of_place(other)),
            other => Self::Unknown {
                payload_type: other,
                body: body.to_vec(),
            },
        })
    }

    /// Writes the body, without the generic header.
    ///
    /// # Errors
    /// A part is larger than its length field can say.
    pub fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        match self {
            Self::Sa(sa) => sa.emit(w)?,
            Self::Id(id) => id.emit(w),
            Self::Notify(notify) => notify.emit(w)?,
            Self::Delete(delete) => delete.emit(w)?,
            Self::NatOa(nat_oa) => nat_oa.emit(w),
            Self::Ke(octets)
            | Self::Hash(octets)
            | Self::Nonce(octets)
            | Self::VendorId(octets)
            | Self::NatD { hash: octets, .. }
            | Self::Unknown { body: octets, .. } => w.bytes(octets),
        }
        Ok(())
    }

    /// The body as octets, for the hashes that cover it.
    ///
    /// # Errors
    /// As [`Payload::emit`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let mut w = Writer::new();
        self.emit(&mut w)?;
        Ok(w.into_vec())
    }
}

impl NatOa {
    fn parse(numbering: NatNumbering, body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let id_type = IdType(r.u8("nat-oa id type")?);
        r.array::<3>("nat-oa reserved")?;
        let address = match id_type {
            IdType::IPV4_ADDR => IpAddr::from(r.array::<4>("nat-oa address")?),
            IdType::IPV6_ADDR => IpAddr::from(r.array::<16>("nat-oa address")?),
            other => {
                return Err(WireError::Unexpected {
                    what: "nat-oa id type",
                    got: u32::from(other.0),
                });
            }
        };
        r.finish("octets after the nat-oa address")?;
        Ok(Self { numbering, address })
    }

    fn emit(&self, w: &mut Writer) {
        let (id_type, octets) = match self.address {
            IpAddr::V4(v4) => (IdType::IPV4_ADDR, v4.octets().to_vec()),
            IpAddr::V6(v6) => (IdType::IPV6_ADDR, v6.octets().to_vec()),
        };
        w.u8(id_type.0);
        w.bytes(&[0; 3]);
        w.bytes(&octets);
    }
}

fn digest(what: &'static str, body: &[u8]) -> Result<Vec<u8>, WireError> {
    if DIGEST_LEN.contains(&body.len()) {
        Ok(body.to_vec())
    } else {
        Err(bad_length(what, body))
    }
}

const fn bad_length(what: &'static str, body: &[u8]) -> WireError {
    WireError::BadLength {
        what,
        got: body.len(),
    }
}

fn out_of_place(payload_type: PayloadType) -> WireError {
    WireError::Unexpected {
        what: "payload type",
        got: u32::from(payload_type.0),
    }
}
