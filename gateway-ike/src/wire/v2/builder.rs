//! Writing a message: header and chain, finished in the clear or handed to `v2::sk` to be sealed.

use super::Payload;
use crate::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType, Version, WireError, Writer};

/// A message under construction. Payloads are appended in order.
#[derive(Debug)]
pub struct MessageBuilder {
    header: Header,
    chain: Writer,
    /// Where the last payload announces the type of the next one.
    last_next_payload: Option<usize>,
}

impl MessageBuilder {
    /// Starts a message without payloads. `flags` are [`Flags::INITIATOR`] from the original initiator, [`Flags::RESPONSE`] in a
    /// response.
    pub const fn new(
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
        exchange_type: ExchangeType,
        message_id: u32,
        flags: Flags,
    ) -> Self {
        let header = Header {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType::NONE,
            version: Version::V2,
            exchange_type,
            flags,
            message_id,
            length: 0,
        };
        Self {
            header,
            chain: Writer::new(),
            last_next_payload: None,
        }
    }

    /// Appends a payload.
    ///
    /// # Errors
    /// The payload is larger than its length field can say.
    pub fn payload(mut self, payload: &Payload) -> Result<Self, WireError> {
        let kind = payload.payload_type();
        match self.last_next_payload {
            Some(at) => self.chain.set_u8(at, kind.0),
            None => self.header.next_payload = kind,
        }
        let start = self.chain.len();
        self.last_next_payload = Some(start);
        self.chain.u8(PayloadType::NONE.0);
        self.chain.u8(0);
        let slot = self.chain.length_from(start);
        payload.emit(&mut self.chain)?;
        self.chain.patch(slot, "payload")?;
        Ok(self)
    }

    /// Appends payloads in order.
    ///
    /// # Errors
    /// As [`MessageBuilder::payload`].
    pub fn payloads<'a>(self, payloads: impl IntoIterator<Item = &'a Payload>) -> Result<Self, WireError> {
        payloads.into_iter().try_fold(self, Self::payload)
    }

    /// Finishes the message in the clear.
    ///
    /// # Errors
    /// The message is larger than its length field can say.
    pub fn clear(self) -> Result<Vec<u8>, WireError> {
        let (mut header, body) = self.into_parts();
        let length = Header::LEN + body.len();
        header.length = u32::try_from(length).map_err(|_too_long| WireError::BadLength {
            what: "message",
            got: length,
        })?;
        let mut w = Writer::new();
        header.emit(&mut w);
        w.bytes(&body);
        Ok(w.into_vec())
    }

    /// The header, whose next payload is the type of the first payload and whose length is open, and the chain.
    pub fn into_parts(self) -> (Header, Vec<u8>) {
        (self.header, self.chain.into_vec())
    }
}
