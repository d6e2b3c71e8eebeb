//! The chain of payloads behind the header, received.

use super::{MAX_PAYLOADS, Payload};
use crate::wire::{PayloadType, Reader, WireError};

/// Octets of the generic payload header.
const GENERIC_HEADER_LEN: usize = 4;
/// Octets of padding behind the last payload of an encrypted message. RFC 2409 pads to the cipher's block; some peers pad more.
const MAX_PADDING: usize = 255;

/// Whether the octets of a body came in the clear or were decrypted, which decides whether padding may follow the last payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// As received: the last payload ends the message.
    Clear,
    /// Decrypted: up to 255 octets of any value may follow.
    Decrypted,
}

/// One payload of a received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedPayload<'a> {
    /// The octets of the body, without the generic header (SAi_b, IDii_b, ... of RFC 2409).
    pub raw: &'a [u8],
    /// What they say.
    pub payload: Payload,
}

/// The payloads of one message in their order, at most [`MAX_PAYLOADS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Every payload. At least one.
    pub payloads: Vec<ParsedPayload<'a>>,
    after_first: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the chain that starts with a payload of type `first`.
    ///
    /// The reserved octet of the generic header is ignored, as other implementations do.
    ///
    /// # Errors
    /// The chain is empty, too long, or does not end where the body ends; a payload does not parse or is out of place.
    pub fn parse(first: PayloadType, body: &'a [u8], protection: Protection) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let mut payloads = Vec::new();
        let mut first_end = 0;
        let mut kind = first;
        loop {
            if payloads.len() == MAX_PAYLOADS {
                return Err(WireError::TooMany {
                    what: "payloads",
                    limit: MAX_PAYLOADS,
                });
            }
            let next = PayloadType(r.u8("next payload")?);
            r.u8("reserved")?;
            let len = usize::from(r.u16("payload length")?);
            let body_len = len.checked_sub(GENERIC_HEADER_LEN).ok_or(WireError::BadLength {
                what: "payload length",
                got: len,
            })?;
            let raw = r.take(body_len, "payload")?;
            payloads.push(ParsedPayload {
                raw,
                payload: Payload::parse(kind, raw)?,
            });
            if payloads.len() == 1 {
                first_end = len;
            }
            if next == PayloadType::NONE {
                break;
            }
            kind = next;
        }
        let padding = r.remaining();
        let allowed = match protection {
            Protection::Clear => 0,
            Protection::Decrypted => MAX_PADDING,
        };
        if padding > allowed {
            return Err(WireError::BadLength {
                what: "octets after the last payload",
                got: padding,
            });
        }
        let after_first = body.get(first_end..body.len() - padding).unwrap_or_default();
        Ok(Self {
            payloads,
            after_first,
        })
    }

    /// The octets from the end of the first payload to the end of the last, padding excluded: what HASH(1), HASH(2) and the
    /// hash of an Informational cover when the first payload is a Hash (RFC 2409 sections 5.5 and 5.7).
    pub const fn after_first(&self) -> &'a [u8] {
        self.after_first
    }

    /// The hash that stands at the head of the message, where RFC 2409 wants it in phase 2.
    pub fn leading_hash(&self) -> Option<&[u8]> {
        let first = self.payloads.first()?;
        if let Payload::Hash(hash) = &first.payload {
            Some(hash)
        } else {
            None
        }
    }

    /// The payloads that have the number `kind`, in order.
    pub fn of_type(&self, kind: PayloadType) -> impl Iterator<Item = &ParsedPayload<'a>> {
        self.payloads
            .iter()
            .filter(move |parsed| parsed.payload.payload_type() == kind)
    }
}
