//! Writing a message: header, chain, and the hash and the encryption that go over it.

use super::Payload;
use crate::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType, Version, WireError, Writer};

/// A message under construction.
///
/// Payloads are appended in order. Phase 2 messages then get their hash put in front with [`MessageBuilder::hashed`], which shows
/// the octets that the hash covers, and every message ends in [`MessageBuilder::clear`] or [`MessageBuilder::encrypted`].
#[derive(Debug)]
pub struct MessageBuilder {
    header: Header,
    chain: Writer,
    /// Where the last payload announces the type of the next one.
    last_next_payload: Option<usize>,
}

impl MessageBuilder {
    /// Starts a message without payloads.
    pub const fn new(
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
        exchange_type: ExchangeType,
        message_id: u32,
    ) -> Self {
        let header = Header {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType::NONE,
            version: Version::V1,
            exchange_type,
            flags: Flags::NONE,
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
        self.last_next_payload = Some(self.chain.len());
        emit_payload(&mut self.chain, PayloadType::NONE, payload)?;
        Ok(self)
    }

    /// Appends payloads in order.
    ///
    /// # Errors
    /// As [`MessageBuilder::payload`].
    pub fn payloads<'a>(self, payloads: impl IntoIterator<Item = &'a Payload>) -> Result<Self, WireError> {
        payloads.into_iter().try_fold(self, Self::payload)
    }

    /// The octets of the chain so far.
    pub fn chain(&self) -> &[u8] {
        self.chain.as_slice()
    }

    /// Puts a Hash payload in front of all others. `hash` gets the octets behind it, which HASH(1), HASH(2) and the hash of an
    /// Informational cover.
    ///
    /// # Errors
    /// As [`MessageBuilder::payload`].
    pub fn hashed(mut self, hash: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<Self, WireError> {
        let after = std::mem::take(&mut self.chain);
        let next = std::mem::replace(&mut self.header.next_payload, PayloadType::HASH);
        emit_payload(&mut self.chain, next, &Payload::Hash(hash(after.as_slice())))?;
        let shift = self.chain.len();
        self.last_next_payload = Some(self.last_next_payload.map_or(0, |at| at + shift));
        self.chain.bytes(after.as_slice());
        Ok(self)
    }

    /// Finishes the message in the clear.
    ///
    /// # Errors
    /// The message is larger than its length field can say.
    pub fn clear(self) -> Result<Vec<u8>, WireError> {
        let body = self.chain.into_vec();
        finish(self.header, &body)
    }

    /// Pads the chain with zeros to a multiple of `block_len` octets, lets `encrypt` turn it into ciphertext in place, and finishes
    /// the message with the encryption flag set. What `encrypt` returns comes back with the message.
    ///
    /// # Errors
    /// The message is larger than its length field can say, or `encrypt` failed.
    pub fn encrypted<T, E: From<WireError>>(
        mut self,
        block_len: usize,
        encrypt: impl FnOnce(&mut [u8]) -> Result<T, E>,
    ) -> Result<(Vec<u8>, T), E> {
        self.header.flags = self.header.flags.with(Flags::ENCRYPTION);
        let mut body = self.chain.into_vec();
        body.resize(body.len().next_multiple_of(block_len.max(1)), 0);
        let result = encrypt(&mut body)?;
        Ok((finish(self.header, &body)?, result))
    }
}

fn emit_payload(w: &mut Writer, next: PayloadType, payload: &Payload) -> Result<(), WireError> {
    let start = w.len();
    w.u8(next.0);
    w.u8(0);
    let slot = w.length_from(start);
    payload.emit(w)?;
    w.patch(slot, "payload")
}

fn finish(mut header: Header, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let length = Header::LEN + body.len();
    header.length = u32::try_from(length).map_err(|_too_long| WireError::BadLength {
        what: "message",
        got: length,
    })?;
    let mut w = Writer::new();
    header.emit(&mut w);
    w.bytes(body);
    Ok(w.into_vec())
}
