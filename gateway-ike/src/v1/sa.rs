//! Keys of an ISAKMP SA, and the protected messages of phase 2.

use crate::crypto::ct_eq;
use crate::ike_sa::Spis;
use crate::wire::v1::{
    DeletePayload, Doi, Message, MessageBuilder, NotifyPayload, NotifyType, Payload, Protection,
};
use crate::wire::{ExchangeType, Flags, Header, ProtocolId};

use super::Refusal;
use super::keys::{Iv, Phase1Cipher, SealError, Skeyid};

impl Spis {
    /// Both as one SPI, as Notify and Delete name an ISAKMP SA.
    pub(crate) fn joined(self) -> Vec<u8> {
        [self.initiator.0, self.responder.0].concat()
    }

    pub(crate) fn message(self, exchange: ExchangeType, message_id: u32) -> MessageBuilder {
        MessageBuilder::new(self.initiator, self.responder, exchange, message_id)
    }
}

/// Everything that protects the messages of one ISAKMP SA.
#[derive(Debug)]
pub(crate) struct SaKeys {
    pub(crate) spis: Spis,
    pub(crate) skeyid: Skeyid,
    pub(crate) cipher: Phase1Cipher,
}

/// A message after decryption, not authenticated yet.
#[derive(Debug)]
pub(crate) struct Opened {
    plain: Vec<u8>,
    header: Header,
    /// The IV of the next message of the exchange.
    pub(crate) next_iv: Iv,
}

impl Opened {
    pub(crate) fn message(&self) -> Result<Message<'_>, Refusal> {
        Ok(Message::parse(
            self.header.next_payload,
            &self.plain,
            Protection::Decrypted,
        )?)
    }
}

impl SaKeys {
    /// Decrypts a message with the IV that its exchange has arrived at; `None` for the first message of a phase 2 exchange.
    ///
    /// V12: a message in the clear is refused wherever this is used.
    pub(crate) fn open(&self, header: &Header, body: &[u8], iv: Option<&Iv>) -> Result<Opened, Refusal> {
        if !header.flags.contains(Flags::ENCRYPTION) {
            return Err(Refusal::Drop("in the clear where encryption is due"));
        }
        let opened = match iv {
            Some(iv) => self.cipher.decrypt(iv, body),
            None => self
                .cipher
                .phase_2_iv(header.message_id)
                .and_then(|iv| self.cipher.decrypt(&iv, body)),
        };
        let (plain, next_iv) = opened.map_err(|_not_blocks| Refusal::Drop("not whole blocks"))?;
        Ok(Opened {
            plain,
            header: *header,
            next_iv,
        })
    }

    /// Compares HASH(1), or the hash of an Informational, with what the message should have. V4, V11: nothing else is looked at
    /// before, and every failure looks the same.
    pub(crate) fn check_hash_1(&self, message_id: u32, message: &Message<'_>) -> Result<(), Refusal> {
        let expected = self.skeyid.hash_1(message_id, message.after_first());
        check_hash(&expected, message)
    }

    /// An Informational message with the payloads, protected.
    pub(crate) fn informational(&self, message_id: u32, payloads: &[Payload]) -> Result<Vec<u8>, SealError> {
        let message = self
            .spis
            .message(ExchangeType::INFORMATIONAL_V1, message_id)
            .payloads(payloads)?
            .hashed(|after| self.skeyid.hash_informational(message_id, after))?;
        let iv = self.cipher.phase_2_iv(message_id)?;
        Ok(self.cipher.seal(&iv, message)?.0)
    }

    /// Encrypts a message of phase 1 and moves the chain on.
    pub(crate) fn seal_phase_1(&mut self, message: MessageBuilder) -> Result<Vec<u8>, SealError> {
        let iv = self.cipher.phase_1_iv().clone();
        let (datagram, next) = self.cipher.seal(&iv, message)?;
        self.cipher.commit(next);
        Ok(datagram)
    }

    /// A notification about this ISAKMP SA.
    pub(crate) fn notify(&self, notify_type: NotifyType, data: Vec<u8>) -> Payload {
        Payload::Notify(NotifyPayload {
            doi: Doi::IPSEC,
            protocol: ProtocolId::IKE,
            spi: self.spis.joined(),
            notify_type,
            data,
        })
    }

    /// The end of this ISAKMP SA.
    pub(crate) fn delete(&self) -> Payload {
        Payload::Delete(DeletePayload {
            doi: Doi::IPSEC,
            protocol: ProtocolId::IKE,
            spis: vec![self.spis.joined()],
        })
    }
}

/// Compares the hash at the head of a message.
pub(crate) fn check_hash(expected: &[u8], message: &Message<'_>) -> Result<(), Refusal> {
    match message.leading_hash() {
        Some(hash) if ct_eq(expected, hash) => Ok(()),
        Some(_) | None => Err(Refusal::Drop("wrong hash")),
    }
}
