//! The protected messages of one IKE SA.

use crate::crypto::RandomSource;
use crate::ike_sa::Spis;
use crate::wire::v2::{Message, MessageBuilder, Payload};
use crate::wire::{ExchangeType, Flags, Header};

use super::Role;
use super::keys::IkeKeys;
use super::refusal::{Refusal, malformed, unreadable};
use super::sk::{Opened, Reassembly, SkError, SkKeys};

/// Octets of the largest datagram that is sent in one piece when the peer puts fragments together: 1,280, less the headers of IP
/// and UDP and the non-ESP marker (RFC 7383 section 2.5.1 recommends such a size for IPv4 too).
const FRAGMENT_LIMIT: usize = 1280 - 20 - 8 - 4;

/// Keys of an IKE SA and what its messages look like.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) spis: Spis,
    /// Ours, for as long as the IKE SA lives.
    pub(crate) role: Role,
    pub(crate) keys: IkeKeys,
    outbound: SkKeys,
    inbound: SkKeys,
    /// Whether messages may be cut, both ways.
    fragmentation: bool,
    /// Fragments of the one request and the one response that the window lets through.
    pieces: [Reassembly; 2],
}

/// An authentic message.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) header: Header,
    pub(crate) content: Opened,
}

/// What a datagram brought.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A whole message.
    Whole(Received),
    /// An authentic fragment; others are missing.
    Piece,
}

impl Received {
    /// Its payloads. What does not parse was protected, so its sender is told.
    pub(crate) fn message(&self) -> Result<Message<'_>, Refusal> {
        Message::parse_decrypted(self.content.first, &self.content.chain).map_err(|error| {
            let diagnosis = malformed(&format!(
                "{} that does not parse: {error}",
                self.header.exchange_type
            ));
            Refusal::End(diagnosis, Some(unreadable(&error)))
        })
    }
}

impl Channel {
    pub(crate) fn new(spis: Spis, role: Role, keys: IkeKeys, fragmentation: bool) -> Result<Self, SkError> {
        Ok(Self {
            spis,
            role,
            outbound: keys.message_keys(role)?,
            inbound: keys.message_keys(role.other())?,
            keys,
            fragmentation,
            pieces: Default::default(),
        })
    }

    /// Whether messages may be cut.
    pub(crate) const fn fragmentation(&self) -> bool {
        self.fragmentation
    }

    /// The same IKE SA with other keys, after an additional key exchange.
    pub(crate) fn with_keys(self, keys: IkeKeys) -> Result<Self, SkError> {
        Self::new(self.spis, self.role, keys, self.fragmentation)
    }

    /// A message without payloads.
    pub(crate) fn start(&self, exchange: ExchangeType, message_id: u32, response: bool) -> MessageBuilder {
        let role = match self.role {
            Role::Initiator => Flags::INITIATOR,
            Role::Responder => Flags::NONE,
        };
        let flags = if response {
            role.with(Flags::RESPONSE)
        } else {
            role
        };
        MessageBuilder::new(
            self.spis.initiator,
            self.spis.responder,
            exchange,
            message_id,
            flags,
        )
    }

    /// Seals a message into one datagram, or into several fragments.
    pub(crate) fn seal(
        &mut self,
        message: MessageBuilder,
        rng: &mut impl RandomSource,
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        if self.fragmentation {
            return Ok(self.outbound.seal_fragmented(message, FRAGMENT_LIMIT, rng)?);
        }
        Ok(vec![self.outbound.seal(message, rng)?])
    }

    /// A whole message: header, payloads, seal.
    pub(crate) fn message(
        &mut self,
        (exchange, message_id, response): (ExchangeType, u32, bool),
        payloads: &[Payload],
        rng: &mut impl RandomSource,
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        let message = self.start(exchange, message_id, response).payloads(payloads)?;
        self.seal(message, rng)
    }

    /// Opens a datagram of the peer. S12: one that this end could have sent itself is refused.
    pub(crate) fn open(&mut self, datagram: &[u8], header: &Header, body: &[u8]) -> Result<Arrival, Refusal> {
        let from_initiator = header.flags.contains(Flags::INITIATOR);
        if from_initiator != (self.role == Role::Responder) {
            return Err(Refusal::Drop("our own message, reflected"));
        }
        let outer = Message::parse(header.next_payload, body)?;
        let encrypted = outer.encrypted.ok_or(Refusal::Drop("in the clear"))?;
        let opened = self
            .inbound
            .open(datagram, &encrypted)
            .map_err(|_error| Refusal::Drop("not authentic"))?;
        let Some(fragment) = encrypted.fragment else {
            return Ok(Arrival::Whole(Received {
                header: *header,
                content: opened,
            }));
        };
        if !self.fragmentation {
            return Err(Refusal::Drop("a fragment that was not agreed on"));
        }
        let [request, response] = &mut self.pieces;
        let waiting = if header.flags.contains(Flags::RESPONSE) {
            response
        } else {
            request
        };
        match waiting.add(header, fragment, opened) {
            Ok(Some(content)) => Ok(Arrival::Whole(Received {
                header: *header,
                content,
            })),
            Ok(None) => Ok(Arrival::Piece),
            Err(_error) => Err(Refusal::Drop("fragments that do not fit together")),
        }
    }
}
