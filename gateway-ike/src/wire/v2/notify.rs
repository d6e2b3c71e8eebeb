//! Notify and Delete payloads (RFC 7296 sections 3.10 and 3.11).

use super::{MAX_DELETED_SPIS, MAX_SPI_LEN, NotifyType};
use crate::wire::{ProtocolId, Reader, WireError, Writer};

/// A notification.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Protocol ID  |   SPI Size    |      Notify Message Type      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                Security Parameter Index (SPI)                 ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       Notification Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyPayload {
    /// The protocol of the SA that `spi` names; [`ProtocolId::NONE`] without SPI.
    pub protocol: ProtocolId,
    /// The SA that this is about: four octets for ESP, else empty.
    pub spi: Vec<u8>,
    /// What is notified.
    pub notify_type: NotifyType,
    /// Data of the notification, by its type.
    pub data: Vec<u8>,
}

impl NotifyPayload {
    /// A notification about the IKE SA or the message itself.
    pub const fn new(notify_type: NotifyType, data: Vec<u8>) -> Self {
        Self {
            protocol: ProtocolId::NONE,
            spi: Vec::new(),
            notify_type,
            data,
        }
    }

    /// A notification about the ESP SA with this SPI: REKEY_SA, CHILD_SA_NOT_FOUND.
    pub fn about_esp(notify_type: NotifyType, spi: [u8; 4]) -> Self {
        Self {
            protocol: ProtocolId::ESP,
            spi: spi.to_vec(),
            notify_type,
            data: Vec::new(),
        }
    }

    /// The SPI of the ESP SA that this is about.
    pub fn esp_spi(&self) -> Option<[u8; 4]> {
        if self.protocol == ProtocolId::ESP {
            (&*self.spi).try_into().ok()
        } else {
            None
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let protocol = ProtocolId(r.u8("notify protocol")?);
        let spi_len = usize::from(r.u8("notify spi size")?);
        let notify_type = NotifyType(r.u16("notify type")?);
        if spi_len > MAX_SPI_LEN {
            return Err(WireError::BadLength {
                what: "notify spi size",
                got: spi_len,
            });
        }
        let spi = r.take(spi_len, "notify spi")?.to_vec();
        Ok(Self {
            protocol,
            spi,
            notify_type,
            data: r.take_rest().to_vec(),
        })
    }

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        w.u8(self.protocol.0);
        w.u8(
            u8::try_from(self.spi.len()).map_err(|_too_long| WireError::BadLength {
                what: "notify spi size",
                got: self.spi.len(),
            })?,
        );
        w.u16(self.notify_type.0);
        w.bytes(&self.spi);
        w.bytes(&self.data);
        Ok(())
    }
}

/// A list of SAs that the sender deletes.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Protocol ID   |   SPI Size    |          Num of SPIs          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~               Security Parameter Index(es) (SPI)              ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletePayload {
    /// [`ProtocolId::IKE`], [`ProtocolId::ESP`] or [`ProtocolId::AH`].
    pub protocol: ProtocolId,
    /// The sender's inbound SPIs. None for the IKE SA, which the header names.
    pub spis: Vec<[u8; 4]>,
}

impl DeletePayload {
    /// Deletes the IKE SA that carries the message.
    pub const fn ike() -> Self {
        Self {
            protocol: ProtocolId::IKE,
            spis: Vec::new(),
        }
    }

    /// Deletes ESP SAs by the sender's inbound SPIs.
    pub const fn esp(spis: Vec<[u8; 4]>) -> Self {
        Self {
            protocol: ProtocolId::ESP,
            spis,
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let protocol = ProtocolId(r.u8("delete protocol")?);
        let spi_len = usize::from(r.u8("delete spi size")?);
        let count = usize::from(r.u16("number of spis")?);
        let expected = match protocol {
            ProtocolId::IKE => 0,
            ProtocolId::AH | ProtocolId::ESP => 4,
            other => {
                return Err(WireError::Unexpected {
                    what: "delete protocol",
                    got: u32::from(other.0),
                });
            }
        };
        if spi_len != expected {
            return Err(WireError::BadLength {
                what: "delete spi size",
                got: spi_len,
            });
        }
        if r.remaining() != spi_len * count || (expected == 0 && count != 0) {
            return Err(WireError::BadLength {
                what: "number of spis",
                got: count,
            });
        }
        if count > MAX_DELETED_SPIS {
            return Err(WireError::TooMany {
                what: "deleted spis",
                limit: MAX_DELETED_SPIS,
            });
        }
        let (spis, _rest) = r.take_rest().as_chunks();
        Ok(Self {
            protocol,
            spis: spis.to_vec(),
        })
    }

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        let count = u16::try_from(self.spis.len()).map_err(|_too_many| WireError::TooMany {
            what: "deleted spis",
            limit: 65_535,
        })?;
        w.u8(self.protocol.0);
        w.u8(if self.protocol == ProtocolId::IKE { 0 } else { 4 });
        w.u16(count);
        self.spis.iter().for_each(|spi| w.bytes(spi));
        Ok(())
    }
}
