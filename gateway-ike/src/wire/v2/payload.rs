//! The closed set of payloads that the engine understands, and the way through for all others.

use super::{
    AuthMethod, DeletePayload, IdPayload, NONCE_LEN, NotifyPayload, NotifyType, SaPayload, TsPayload,
};
use crate::wire::{PayloadType, Reader, WireError, Writer};

/// The Key Exchange payload (RFC 7296 section 3.4).
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   Diffie-Hellman Group Num    |           RESERVED            |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       Key Exchange Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KePayload {
    /// Key exchange method, see [`crate::crypto::DhGroup::from_number`].
    pub group: u16,
    /// The public value. Its length is the group's to judge.
    pub data: Vec<u8>,
}

/// The Authentication payload (RFC 7296 section 3.8).
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Auth Method   |                RESERVED                       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                      Authentication Data                      ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthPayload {
    /// How the sender proves its identity.
    pub method: AuthMethod,
    /// The proof.
    pub data: Vec<u8>,
}

/// The body of one payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Security Association.
    Sa(SaPayload),
    /// Key Exchange.
    Ke(KePayload),
    /// Identity of the initiator.
    IdI(IdPayload),
    /// Identity of the responder.
    IdR(IdPayload),
    /// Authentication.
    Auth(AuthPayload),
    /// Nonce, 16 to 256 octets.
    Nonce(Vec<u8>),
    /// Notify.
    Notify(NotifyPayload),
    /// Delete.
    Delete(DeletePayload),
    /// Vendor ID, see [`crate::wire::vendor`].
    VendorId(Vec<u8>),
    /// Traffic selectors of the initiator's side.
    TsI(TsPayload),
    /// Traffic selectors of the responder's side.
    TsR(TsPayload),
    /// Anything else, as it came: certificates, configuration, EAP, and unknown payloads without the critical bit.
    Other {
        /// Its number.
        payload_type: PayloadType,
        /// Its octets.
        body: Vec<u8>,
    },
}

impl Payload {
    /// A notification without SPI and data.
    pub const fn notify(notify_type: NotifyType) -> Self {
        Self::Notify(NotifyPayload::new(notify_type, Vec::new()))
    }

    /// The number that the payload before this one (or the header) announces.
    pub const fn payload_type(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::V2_SA,
            Self::Ke(_) => PayloadType::V2_KE,
            Self::IdI(_) => PayloadType::V2_ID_I,
            Self::IdR(_) => PayloadType::V2_ID_R,
            Self::Auth(_) => PayloadType::V2_AUTH,
            Self::Nonce(_) => PayloadType::V2_NONCE,
            Self::Notify(_) => PayloadType::V2_NOTIFY,
            Self::Delete(_) => PayloadType::V2_DELETE,
            Self::VendorId(_) => PayloadType::V2_VENDOR_ID,
            Self::TsI(_) => PayloadType::V2_TS_I,
            Self::TsR(_) => PayloadType::V2_TS_R,
            Self::Other { payload_type, .. } => *payload_type,
        }
    }

    /// Reads the body of a payload whose number and length were read before. `critical` is the bit of its generic header; on
    /// payloads that RFC 7296 defines it is ignored (section 2.5).
    ///
    /// # Errors
    /// The body does not fit its type; the type cannot stand here: IKEv1's payloads, and encrypted ones, which the chain reads
    /// itself; [`WireError::CriticalPayload`].
    pub fn parse(payload_type: PayloadType, critical: bool, body: &[u8]) -> Result<Self, WireError> {
        Ok(match payload_type {
            PayloadType::V2_SA => Self::Sa(SaPayload::parse(body)?),
            PayloadType::V2_KE => Self::Ke(KePayload::parse(body)?),
            PayloadType::V2_ID_I => Self::IdI(IdPayload::parse(body)?),
            PayloadType::V2_ID_R => Self::IdR(IdPayload::parse(body)?),
            PayloadType::V2_AUTH => Self::Auth(AuthPayload::parse(body)?),
            PayloadType::V2_NONCE if NONCE_LEN.contains(&body.len()) => Self::Nonce(body.to_vec()),
            PayloadType::V2_NONCE => {
                return Err(WireError::BadLength {
                    what: "nonce",
                    got: body.len(),
                });
            }
            PayloadType::V2_NOTIFY => Self::Notify(NotifyPayload::parse(body)?),
            PayloadType::V2_DELETE => Self::Delete(DeletePayload::parse(body)?),
            PayloadType::V2_VENDOR_ID => Self::VendorId(body.to_vec()),
            PayloadType::V2_TS_I => Self::TsI(TsPayload::parse(body)?),
            PayloadType::V2_TS_R => Self::TsR(TsPayload::parse(body)?),
            PayloadType::NONE | PayloadType::V2_ENCRYPTED | PayloadType::V2_ENCRYPTED_FRAGMENT => {
                return Err(out_of_place(payload_type));
            }
            other if other.is_v1() => return Err(out_of_place(other)),
            other if critical && !is_defined(other) => {
                return Err(WireError::CriticalPayload { payload: other });
            }
            other => Self::Other {
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
            Self::Ke(ke) => {
                w.u16(ke.group);
                w.u16(0);
                w.bytes(&ke.data);
            }
            Self::IdI(id) | Self::IdR(id) => id.emit(w),
            Self::Auth(auth) => {
                w.u8(auth.method.0);
                w.bytes(&[0; 3]);
                w.bytes(&auth.data);
            }
            Self::Notify(notify) => notify.emit(w)?,
            Self::Delete(delete) => delete.emit(w)?,
            Self::TsI(ts) | Self::TsR(ts) => ts.emit(w)?,
            Self::Nonce(octets) | Self::VendorId(octets) | Self::Other { body: octets, .. } => {
                w.bytes(octets);
            }
        }
        Ok(())
    }

    /// The body as octets, for what is computed over it.
    ///
    /// # Errors
    /// As [`Payload::emit`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let mut w = Writer::new();
        self.emit(&mut w)?;
        Ok(w.into_vec())
    }
}

impl KePayload {
    fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let group = r.u16("key exchange method")?;
        r.u16("key exchange reserved")?;
        if r.is_empty() {
            return Err(WireError::BadLength {
                what: "key exchange data",
                got: 0,
            });
        }
        Ok(Self {
            group,
            data: r.take_rest().to_vec(),
        })
    }
}

impl AuthPayload {
    fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let method = AuthMethod(r.u8("auth method")?);
        r.array::<3>("auth reserved")?;
        Ok(Self {
            method,
            data: r.take_rest().to_vec(),
        })
    }
}

/// Whether RFC 7296 defines the payload, so that its critical bit says nothing.
const fn is_defined(payload_type: PayloadType) -> bool {
    payload_type.0 >= PayloadType::V2_SA.0 && payload_type.0 <= PayloadType::V2_EAP.0
}

fn out_of_place(payload_type: PayloadType) -> WireError {
    WireError::Unexpected {
        what: "payload type",
        got: u32::from(payload_type.0),
    }
}
