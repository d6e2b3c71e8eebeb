//! The ISAKMP header, shared by IKEv1 (RFC 2408 section 3.1) and IKEv2 (RFC 7296 section 3.1).

use std::fmt;

use super::{ExchangeType, PayloadType, Reader, WireError, Writer};

/// The value by which one end knows an IKE SA; IKEv1 calls it a cookie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IkeSpi(pub [u8; 8]);

impl IkeSpi {
    /// The responder's SPI while only the initiator has chosen one.
    pub const ZERO: Self = Self([0; 8]);

    /// Whether no SPI was chosen yet.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The protocol version of a message, four bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1 or 2; what the two versions call "major".
    pub major: u8,
    /// Zero in everything that we send, ignored on receipt.
    pub minor: u8,
}

impl Version {
    /// IKEv1.
    pub const V1: Self = Self { major: 1, minor: 0 };
    /// IKEv2.
    pub const V2: Self = Self { major: 2, minor: 0 };

    const fn from_octet(octet: u8) -> Self {
        Self {
            major: octet >> 4,
            minor: octet & 0x0f,
        }
    }

    const fn to_octet(self) -> u8 {
        (self.major << 4) | (self.minor & 0x0f)
    }
}

/// Header flags. IKEv1 and IKEv2 use different bits of the same octet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No bit set.
    pub const NONE: Self = Self(0);
    /// IKEv1: everything after the header is encrypted.
    pub const ENCRYPTION: Self = Self(0x01);
    /// IKEv1: the peer waits for a CONNECTED notification.
    pub const COMMIT: Self = Self(0x02);
    /// IKEv1: authenticated and not encrypted.
    pub const AUTHENTICATION_ONLY: Self = Self(0x04);
    /// IKEv2: sent by the original initiator of the IKE SA.
    pub const INITIATOR: Self = Self(0x08);
    /// IKEv2: the sender speaks a higher major version too.
    pub const HIGHER_VERSION: Self = Self(0x10);
    /// IKEv2: a response to the request of the same Message ID.
    pub const RESPONSE: Self = Self(0x20);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// The fixed header of every IKE message.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       IKE SA Initiator's SPI                  |
/// |                                                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       IKE SA Responder's SPI                  |
/// |                                                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                          Message ID                           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                            Length                             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the initiator, never zero.
    pub initiator_spi: IkeSpi,
    /// Chosen by the responder, zero in the first message.
    pub responder_spi: IkeSpi,
    /// Type of the first payload.
    pub next_payload: PayloadType,
    /// Protocol version of this message.
    pub version: Version,
    /// The exchange that this message belongs to.
    pub exchange_type: ExchangeType,
    /// See [`Flags`].
    pub flags: Flags,
    /// IKEv1: names the exchange in phase 2, zero in phase 1. IKEv2: counts requests.
    pub message_id: u32,
    /// Octets of the whole message, header included.
    pub length: u32,
}

impl Header {
    /// Octets of the header.
    pub const LEN: usize = 28;

    /// Reads the header of a datagram (without the non-ESP marker of port 4500) and returns it with the octets behind it.
    ///
    /// # Errors
    /// The datagram is shorter than a header, or its size is not what the length field says.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let mut r = Reader::new(datagram);
        if r.remaining() < Self::LEN {
            return Err(WireError::Truncated {
                what: "header",
                needed: Self::LEN,
                have: r.remaining(),
            });
        }
        let header = Self {
            initiator_spi: IkeSpi(r.array("initiator spi")?),
            responder_spi: IkeSpi(r.array("responder spi")?),
            next_payload: PayloadType(r.u8("next payload")?),
            version: Version::from_octet(r.u8("version")?),
            exchange_type: ExchangeType(r.u8("exchange type")?),
            flags: Flags(r.u8("flags")?),
            message_id: r.u32("message id")?,
            length: r.u32("length")?,
        };
        if usize::try_from(header.length) != Ok(datagram.len()) {
            return Err(WireError::BadLength {
                what: "message",
                got: datagram.len(),
            });
        }
        Ok((header, r.take_rest()))
    }

    /// Writes the header.
    pub fn emit(&self, w: &mut Writer) {
        w.bytes(&self.initiator_spi.0);
        w.bytes(&self.responder_spi.0);
        w.u8(self.next_payload.0);
        w.u8(self.version.to_octet());
        w.u8(self.exchange_type.0);
        w.u8(self.flags.0);
        w.u32(self.message_id);
        w.u32(self.length);
    }
}
