//! The chain of payloads behind the header, received.

use super::{
    AuthPayload, DeletePayload, GENERIC_HEADER_LEN, IdPayload, KePayload, MAX_PAYLOADS, NotifyPayload,
    NotifyType, Payload, SaPayload, TsPayload,
};
use crate::wire::{PayloadType, Reader, WireError};

/// The critical bit of the generic payload header (RFC 7296 section 3.2). The other seven are ignored.
const CRITICAL: u8 = 0x80;

/// One payload of a received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedPayload<'a> {
    /// The octets of the body, without the generic header.
    pub raw: &'a [u8],
    /// What they say.
    pub payload: Payload,
}

/// The encrypted payload SK or SKF, always the last of its message (RFC 7296 section 3.14, RFC 7383 section 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encrypted<'a> {
    /// Type of the first payload inside. Of a fragment behind the first it means nothing.
    pub first: PayloadType,
    /// Which fragment this is; `None` for SK.
    pub fragment: Option<Fragment>,
    /// IV, ciphertext and ICV: the last octets of the datagram. All octets of the datagram before them are authenticated too.
    pub body: &'a [u8],
}

/// Place of an encrypted fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// From 1 to `total`: parsing refuses anything else.
    pub number: u16,
    /// How many fragments the message has.
    pub total: u16,
}

/// The payloads of one chain in their order, at most [`MAX_PAYLOADS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Every payload but the encrypted one. May be empty.
    pub payloads: Vec<ParsedPayload<'a>>,
    /// The encrypted payload, if the message has one.
    pub encrypted: Option<Encrypted<'a>>,
}

impl<'a> Message<'a> {
    /// Reads the chain behind a header, which starts with a payload of type `first`.
    ///
    /// # Errors
    /// The chain is too long or does not end where the body ends; a payload does not parse, is out of place or comes twice;
    /// [`WireError::CriticalPayload`].
    pub fn parse(first: PayloadType, body: &'a [u8]) -> Result<Self, WireError> {
        parse_chain(first, body, true)
    }

    /// Reads the chain that an encrypted payload contained; it cannot contain another.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse_decrypted(first: PayloadType, body: &'a [u8]) -> Result<Self, WireError> {
        parse_chain(first, body, false)
    }

    /// The payloads that have the number `kind`, in order.
    pub fn of_type(&self, kind: PayloadType) -> impl Iterator<Item = &ParsedPayload<'a>> {
        self.payloads
            .iter()
            .filter(move |parsed| parsed.payload.payload_type() == kind)
    }

    /// The octets of the first payload that has the number `kind`: of the identities, which AUTH covers as they came.
    pub fn raw(&self, kind: PayloadType) -> Option<&'a [u8]> {
        self.of_type(kind).next().map(|parsed| parsed.raw)
    }

    /// Every deletion, in order.
    pub fn deletes(&self) -> impl Iterator<Item = &DeletePayload> {
        self.payloads.iter().filter_map(|parsed| {
            if let Payload::Delete(delete) = &parsed.payload {
                Some(delete)
            } else {
                None
            }
        })
    }

    /// Every notification, in order.
    pub fn notifies(&self) -> impl Iterator<Item = &NotifyPayload> {
        self.payloads.iter().filter_map(|parsed| {
            if let Payload::Notify(notify) = &parsed.payload {
                Some(notify)
            } else {
                None
            }
        })
    }

    /// The first notification of this type.
    pub fn notify(&self, notify_type: NotifyType) -> Option<&NotifyPayload> {
        self.notifies().find(|notify| notify.notify_type == notify_type)
    }

    /// The first notification that reports an error.
    pub fn error(&self) -> Option<&NotifyPayload> {
        self.notifies().find(|notify| notify.notify_type.is_error())
    }
}

/// Accessors of the payloads that a message has at most once.
macro_rules! single_payloads {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($body:ty),)*) => {
        impl Message<'_> {
            $($(#[$doc])*
            pub fn $name(&self) -> Option<&$body> {
                self.payloads.iter().find_map(|parsed| {
                    if let Payload::$variant(body) = &parsed.payload { Some(body) } else { None }
                })
            })*
        }
    };
}

single_payloads! {
    /// The SA payload.
    sa: Sa(SaPayload),
    /// The KE payload.
    ke: Ke(KePayload),
    /// The octets of the nonce.
    nonce: Nonce(Vec<u8>),
    /// IDi.
    id_i: IdI(IdPayload),
    /// IDr.
    id_r: IdR(IdPayload),
    /// AUTH.
    auth: Auth(AuthPayload),
    /// TSi.
    ts_i: TsI(TsPayload),
    /// TSr.
    ts_r: TsR(TsPayload),
}

fn parse_chain(first: PayloadType, body: &[u8], encrypted_allowed: bool) -> Result<Message<'_>, WireError> {
    let mut r = Reader::new(body);
    let mut payloads: Vec<ParsedPayload<'_>> = Vec::new();
    let mut encrypted = None;
    let mut seen = 0_u64;
    let mut kind = first;
    while kind != PayloadType::NONE && encrypted.is_none() {
        if payloads.len() == MAX_PAYLOADS {
            return Err(WireError::TooMany {
                what: "payloads",
                limit: MAX_PAYLOADS,
            });
        }
        let next = PayloadType(r.u8("next payload")?);
        let critical = r.u8("critical bit")? & CRITICAL != 0;
        let len = usize::from(r.u16("payload length")?);
        let body_len = len.checked_sub(GENERIC_HEADER_LEN).ok_or(WireError::BadLength {
            what: "payload length",
            got: len,
        })?;
        let raw = r.take(body_len, "payload")?;
        match kind {
            PayloadType::V2_ENCRYPTED | PayloadType::V2_ENCRYPTED_FRAGMENT if encrypted_allowed => {
                encrypted = Some(Encrypted::parse(kind, next, raw)?);
            }
            _ => {
                refuse_repetition(kind, &mut seen)?;
                payloads.push(ParsedPayload {
                    raw,
                    payload: Payload::parse(kind, critical, raw)?,
                });
            }
        }
        kind = next;
    }
    r.finish("octets after the last payload")?;
    Ok(Message { payloads, encrypted })
}

impl<'a> Encrypted<'a> {
    fn parse(kind: PayloadType, first: PayloadType, raw: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(raw);
        let fragment = if kind == PayloadType::V2_ENCRYPTED_FRAGMENT {
            let number = r.u16("fragment number")?;
            let total = r.u16("total fragments")?;
            if number == 0 || number > total {
                return Err(WireError::Unexpected {
                    what: "fragment number",
                    got: u32::from(number),
                });
            }
            Some(Fragment { number, total })
        } else {
            None
        };
        Ok(Self {
            first,
            fragment,
            body: r.take_rest(),
        })
    }
}

/// Refuses a second payload of a type of which no exchange has two. `seen` has a bit per payload number below 64.
fn refuse_repetition(kind: PayloadType, seen: &mut u64) -> Result<(), WireError> {
    let single = matches!(
        kind,
        PayloadType::V2_SA
            | PayloadType::V2_KE
            | PayloadType::V2_NONCE
            | PayloadType::V2_ID_I
            | PayloadType::V2_ID_R
            | PayloadType::V2_AUTH
            | PayloadType::V2_TS_I
            | PayloadType::V2_TS_R
    );
    if !single {
        return Ok(());
    }
    let bit = 1_u64 << kind.0;
    if *seen & bit != 0 {
        return Err(WireError::Unexpected {
            what: "repeated payload",
            got: u32::from(kind.0),
        });
    }
    *seen |= bit;
    Ok(())
}
