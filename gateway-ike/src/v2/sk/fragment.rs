//! Putting the fragments of a message together (RFC 7383 section 2.6).

use std::collections::BTreeMap;

use super::Opened;
use crate::wire::v2::Fragment;
use crate::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType};

/// Fragments that a message may have, in both directions.
pub const MAX_FRAGMENTS: u16 = 64;
/// Octets of a message that we put together. Without certificates none is a quarter as large.
pub const MAX_REASSEMBLED: usize = 16 * 1024;

/// Why a fragment was not taken. It is dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReassemblyError {
    /// More fragments than we are willing to wait for.
    #[error("a message of {total} fragments")]
    TooMany {
        /// The count that the fragment announces.
        total: u16,
    },
    /// The message would become larger than [`MAX_REASSEMBLED`].
    #[error("a message of more than {MAX_REASSEMBLED} octets")]
    TooLarge,
    /// The peer has cut the same message into more pieces since: this one was on the way for long.
    #[error("a fragment of {total}, {newer} are in use")]
    Outdated {
        /// The count that the fragment announces.
        total: u16,
        /// The count of the fragments that we have.
        newer: u16,
    },
}

/// The fragments of one message, as far as they came. Bounded: one message, [`MAX_FRAGMENTS`], [`MAX_REASSEMBLED`].
///
/// Takes [`Opened`] fragments only, so what is not authentic never displaces what is (section 2.6). A fragment of another message
/// displaces the message before: an IKE SA has one message to receive at a time.
#[derive(Debug, Default)]
pub struct Reassembly {
    message: Option<(MessageName, u16)>,
    pieces: BTreeMap<u16, Opened>,
    octets: usize,
}

/// What the fragments of one message have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MessageName {
    spis: [IkeSpi; 2],
    exchange_type: ExchangeType,
    flags: Flags,
    message_id: u32,
}

impl Reassembly {
    /// Starts without fragments.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an authentic fragment, and returns the message when this was the last that was missing. Duplicates are ignored.
    ///
    /// # Errors
    /// [`ReassemblyError`]; what was taken before stays.
    pub fn add(
        &mut self,
        header: &Header,
        fragment: Fragment,
        opened: Opened,
    ) -> Result<Option<Opened>, ReassemblyError> {
        let total = fragment.total;
        if total > MAX_FRAGMENTS {
            return Err(ReassemblyError::TooMany { total });
        }
        let name = MessageName {
            spis: [header.initiator_spi, header.responder_spi],
            exchange_type: header.exchange_type,
            flags: header.flags,
            message_id: header.message_id,
        };
        match self.message {
            Some((ours, newer)) if ours == name && total < newer => {
                return Err(ReassemblyError::Outdated { total, newer });
            }
            Some(ours) if ours == (name, total) => {}
            _ => {
                *self = Self {
                    message: Some((name, total)),
                    ..Self::default()
                };
            }
        }
        if self.pieces.contains_key(&fragment.number) {
            return Ok(None);
        }
        if self.octets + opened.chain.len() > MAX_REASSEMBLED {
            return Err(ReassemblyError::TooLarge);
        }
        self.octets += opened.chain.len();
        self.pieces.insert(fragment.number, opened);
        if self.pieces.len() < usize::from(total) {
            return Ok(None);
        }
        let mut whole = Opened {
            first: PayloadType::NONE,
            chain: Vec::with_capacity(self.octets),
        };
        for (number, piece) in std::mem::take(self).pieces {
            if number == 1 {
                whole.first = piece.first;
            }
            whole.chain.extend_from_slice(&piece.chain);
        }
        Ok(Some(whole))
    }

    /// Octets of content that wait for the rest of their message.
    pub const fn octets(&self) -> usize {
        self.octets
    }
}
