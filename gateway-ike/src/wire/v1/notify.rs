//! Notification and Delete payloads (RFC 2408 sections 3.14 and 3.15, RFC 2407 section 4.6.3).

use super::{Doi, MAX_DELETED_SPIS, MAX_SPI_LEN, NotifyType};
use crate::wire::{ProtocolId, Reader, WireError, Writer};

/// A notification.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !              Domain of Interpretation  (DOI)                  !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !  Protocol-ID  !   SPI Size    !      Notify Message Type      !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                Security Parameter Index (SPI)                 ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       Notification Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyPayload {
    /// [`Doi::IPSEC`], or [`Doi::ISAKMP`] from some peers in phase 1.
    pub doi: Doi,
    /// The protocol of the SA that this is about.
    pub protocol: ProtocolId,
    /// The SA that this is about: both IKE SPIs for an ISAKMP SA, four octets for ESP, or empty.
    pub spi: Vec<u8>,
    /// What is notified.
    pub notify_type: NotifyType,
    /// Data of the notification, by its type.
    pub data: Vec<u8>,
}

impl NotifyPayload {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let doi = Doi(r.u32("notify doi")?);
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
            doi,
            protocol,
            spi,
            notify_type,
            data: r.take_rest().to_vec(),
        })
    }

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        w.u32(self.doi.0);
        w.u8(self.protocol.0);
        w.u8(spi_size(&self.spi)?);
        w.u16(self.notify_type.0);
        w.bytes(&self.spi);
        w.bytes(&self.data);
        Ok(())
    }
}

/// A list of SAs that the sender has deleted.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !              Domain of Interpretation  (DOI)                  !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !  Protocol-Id  !   SPI Size    !           # of SPIs           !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~               Security Parameter Index(es) (SPI)              ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletePayload {
    /// As in [`NotifyPayload::doi`].
    pub doi: Doi,
    /// The protocol of the deleted SAs.
    pub protocol: ProtocolId,
    /// The sender's inbound SPIs, all of the same size; for the ISAKMP SA both IKE SPIs as one of 16 octets.
    pub spis: Vec<Vec<u8>>,
}

impl DeletePayload {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let doi = Doi(r.u32("delete doi")?);
        let protocol = ProtocolId(r.u8("delete protocol")?);
        let spi_len = usize::from(r.u8("delete spi size")?);
        let count = usize::from(r.u16("number of spis")?);
        if spi_len == 0 || spi_len > MAX_SPI_LEN {
            return Err(WireError::BadLength {
                what: "delete spi size",
                got: spi_len,
            });
        }
        if count == 0 || r.remaining() != spi_len * count {
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
        let spis = r.take_rest().chunks_exact(spi_len).map(<[u8]>::to_vec).collect();
        Ok(Self { doi, protocol, spis })
    }

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        let first = self.spis.first().map_or(&[][..], Vec::as_slice);
        if let Some(odd) = self.spis.iter().find(|spi| spi.len() != first.len()) {
            return Err(WireError::BadLength {
                what: "delete spi size",
                got: odd.len(),
            });
        }
        let count = u16::try_from(self.spis.len()).map_err(|_too_many| WireError::TooMany {
            what: "deleted spis",
            limit: 65_535,
        })?;
        w.u32(self.doi.0);
        w.u8(self.protocol.0);
        w.u8(spi_size(first)?);
        w.u16(count);
        self.spis.iter().for_each(|spi| w.bytes(spi));
        Ok(())
    }
}

fn spi_size(spi: &[u8]) -> Result<u8, WireError> {
    u8::try_from(spi.len()).map_err(|_too_long| WireError::BadLength {
        what: "spi",
        got: spi.len(),
    })
}
