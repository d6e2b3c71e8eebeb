//! IKEv1 fragmentation of Microsoft and Cisco, which strongSwan and libreswan speak too ([MS-IKEE] section 2.2.3).
//!
//! A message that is too large for the path travels in pieces, each in an ISAKMP message of its own that has the header of the
//! whole and a single payload:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ! Next Payload  !   RESERVED    !         Payload Length        !
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! !          Fragment ID          !  Fragment No  !     Flags     !
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~          Octets of the whole message, its header included     ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Nothing proves who sent a fragment, so what is kept is bounded (P9): one set for each IKE SA, of few and small pieces. What comes
//! of it is judged as any datagram.

use std::collections::BTreeMap;

use crate::wire::{Flags, Header, PayloadType, Reader, WireError, Writer};

/// Octets of an IP packet that we do not exceed without need: what every path of the field carries.
const MAX_PACKET: usize = 1280;
/// Octets in front of an IKE message: IPv4, UDP, the non-ESP marker.
const OUTER_LEN: usize = 20 + 8 + 4;
/// Octets in front of a piece: the ISAKMP header and that of the fragment payload.
const INNER_LEN: usize = Header::LEN + FRAGMENT_HEADER_LEN;
/// Octets of the payload's header.
const FRAGMENT_HEADER_LEN: usize = 8;
/// This is the last fragment.
const LAST: u8 = 1;
/// Fragments of one message that we keep. The largest message of IKEv1 with a pre-shared key needs three.
const MAX_FRAGMENTS: u8 = 16;
/// Octets of a message that we put together.
const MAX_MESSAGE: usize = 16 * 1024;

/// Whether a header announces a fragment.
pub(crate) fn is_fragment(header: &Header) -> bool {
    header.next_payload == PayloadType::FRAGMENT
}

/// The datagrams that carry a message: itself, if it is small enough.
pub(crate) fn split(message: Vec<u8>, id: u16) -> Vec<Vec<u8>> {
    let room = MAX_PACKET - OUTER_LEN - INNER_LEN;
    let Ok((header, _)) = Header::parse(&message) else {
        return vec![message];
    };
    let count = message.len().div_ceil(room);
    if message.len() + OUTER_LEN <= MAX_PACKET || count > usize::from(MAX_FRAGMENTS) {
        return vec![message];
    }
    (1..=MAX_FRAGMENTS)
        .zip(message.chunks(room))
        .map(|(number, piece)| {
            let last = usize::from(number) == count;
            fragment(header, id, number, last, piece)
        })
        .collect()
}

fn fragment(whole: Header, id: u16, number: u8, last: bool, piece: &[u8]) -> Vec<u8> {
    let length = INNER_LEN + piece.len();
    let header = Header {
        next_payload: PayloadType::FRAGMENT,
        // The fragment itself is not encrypted, whatever it carries.
        flags: Flags::NONE,
        length: u32::try_from(length).unwrap_or(u32::MAX),
        ..whole
    };
    let mut w = Writer::new();
    header.emit(&mut w);
    w.u8(PayloadType::NONE.0);
    w.u8(0);
    w.u16(u16::try_from(length - Header::LEN).unwrap_or(u16::MAX));
    w.u16(id);
    w.u8(number);
    w.u8(if last { LAST } else { 0 });
    w.bytes(piece);
    w.into_vec()
}

/// The fragments of one message, as far as they have come in.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    id: u16,
    last: Option<u8>,
    pieces: BTreeMap<u8, Vec<u8>>,
    len: usize,
}

/// Why a fragment is not kept. The set is what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FragmentError {
    /// It does not parse.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// Its number is zero, too high, or behind the last one.
    #[error("fragment {0} is out of range")]
    OutOfRange(u8),
    /// There is one with this number and other octets, or another last one.
    #[error("fragment {0} contradicts an earlier one")]
    Contradiction(u8),
    /// The message would be too large.
    #[error("the message would be larger than {MAX_MESSAGE} octets")]
    TooLarge,
}

impl Fragments {
    /// Takes the body of a fragment. Returns the whole message once all of its fragments are there.
    ///
    /// A fragment with another ID begins anew: the peer sends one message after the other.
    pub(crate) fn add(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, FragmentError> {
        let mut r = Reader::new(body);
        let next = PayloadType(r.u8("next payload")?);
        r.u8("reserved")?;
        let len = usize::from(r.u16("fragment length")?);
        let id = r.u16("fragment id")?;
        let number = r.u8("fragment number")?;
        let last = r.u8("fragment flags")? & LAST != 0;
        let piece = r.take_rest();
        if next != PayloadType::NONE || len != body.len() || piece.is_empty() {
            return Err(WireError::BadLength {
                what: "fragment",
                got: len,
            }
            .into());
        }
        if !(1..=MAX_FRAGMENTS).contains(&number) {
            return Err(FragmentError::OutOfRange(number));
        }
        if self.id != id {
            *self = Self {
                id,
                ..Self::default()
            };
        }
        self.insert(number, last, piece)?;
        Ok(self.take_complete())
    }

    fn insert(&mut self, number: u8, last: bool, piece: &[u8]) -> Result<(), FragmentError> {
        if let Some(earlier) = self.pieces.get(&number) {
            let same = earlier == piece && last == (self.last == Some(number));
            return if same {
                Ok(())
            } else {
                Err(FragmentError::Contradiction(number))
            };
        }
        let newest = self.pieces.last_key_value().map_or(0, |(&newest, _)| newest);
        if self.last.is_some_and(|last| number > last) || (last && number < newest) {
            return Err(FragmentError::OutOfRange(number));
        }
        if last && self.last.is_some() {
            return Err(FragmentError::Contradiction(number));
        }
        if self.len + piece.len() > MAX_MESSAGE {
            return Err(FragmentError::TooLarge);
        }
        self.len += piece.len();
        self.pieces.insert(number, piece.to_vec());
        if last {
            self.last = Some(number);
        }
        Ok(())
    }

    fn take_complete(&mut self) -> Option<Vec<u8>> {
        // Numbers are distinct and none is behind the last, so that their count tells.
        let complete = self.last.map(usize::from) == Some(self.pieces.len());
        complete.then(|| {
            let pieces = std::mem::take(self).pieces;
            pieces.into_values().flatten().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ExchangeType, IkeSpi, Version};

    fn message(len: usize) -> Vec<u8> {
        let header = Header {
            initiator_spi: IkeSpi([1; 8]),
            responder_spi: IkeSpi([2; 8]),
            next_payload: PayloadType::KE,
            version: Version::V1,
            exchange_type: ExchangeType::QUICK_MODE,
            flags: Flags::ENCRYPTION,
            message_id: 7,
            length: u32::try_from(len).unwrap(),
        };
        let mut w = Writer::new();
        header.emit(&mut w);
        let body: Vec<u8> = (0..=250u8).cycle().take(len - Header::LEN).collect();
        w.bytes(&body);
        w.into_vec()
    }

    fn body(fragment: &[u8]) -> &[u8] {
        let (header, body) = Header::parse(fragment).unwrap();
        assert!(is_fragment(&header));
        assert_eq!(header.flags, Flags::NONE);
        body
    }

    #[test]
    fn a_message_comes_out_as_it_went_in_whatever_the_order() {
        for len in [1249, 1300, 2424, 5000, 16_000] {
            let whole = message(len);
            let fragments = split(whole.clone(), 9);
            assert_eq!(fragments.len(), len.div_ceil(1212), "{len}");
            assert!(
                fragments
                    .iter()
                    .all(|fragment| fragment.len() + OUTER_LEN <= MAX_PACKET)
            );
            for reverse in [false, true] {
                let mut order: Vec<_> = fragments.iter().collect();
                if reverse {
                    order.reverse();
                }
                let mut set = Fragments::default();
                let (final_one, before) = order.split_last().unwrap();
                for fragment in before {
                    assert_eq!(set.add(body(fragment)), Ok(None));
                    assert_eq!(set.add(body(fragment)), Ok(None), "a repetition");
                }
                assert_eq!(set.add(body(final_one)), Ok(Some(whole.clone())));
            }
        }
    }

    #[test]
    fn a_message_that_fits_stays_whole() {
        for len in [28, 1248] {
            assert_eq!(split(message(len), 1), [message(len)]);
        }
    }

    fn raw(id: u16, number: u8, flags: u8, piece: &[u8]) -> Vec<u8> {
        let len = u16::try_from(8 + piece.len()).unwrap();
        [
            &[0, 0][..],
            &len.to_be_bytes(),
            &id.to_be_bytes(),
            &[number, flags],
            piece,
        ]
        .concat()
    }

    #[test]
    fn p9_fragments_that_contradict_each_other_or_the_bounds_change_nothing() {
        let mut set = Fragments::default();
        assert_eq!(set.add(&raw(1, 2, 0, b"b")), Ok(None));
        let refused = [
            (raw(1, 0, 0, b"x"), FragmentError::OutOfRange(0)),
            (raw(1, 17, 0, b"x"), FragmentError::OutOfRange(17)),
            (raw(1, 255, 1, b"x"), FragmentError::OutOfRange(255)),
            (raw(1, 1, 1, b"x"), FragmentError::OutOfRange(1)),
            (raw(1, 2, 0, b"x"), FragmentError::Contradiction(2)),
            (raw(1, 2, 1, b"b"), FragmentError::Contradiction(2)),
            (raw(1, 3, 0, &[0; MAX_MESSAGE]), FragmentError::TooLarge),
        ];
        for (fragment, error) in refused {
            assert_eq!(set.add(&fragment), Err(error));
        }
        assert_eq!(set.add(&raw(1, 3, 1, b"c")), Ok(None));
        assert_eq!(set.add(&raw(1, 4, 0, b"d")), Err(FragmentError::OutOfRange(4)));
        assert_eq!(set.add(&raw(1, 1, 0, b"a")), Ok(Some(b"abc".to_vec())));
        assert!(set.pieces.is_empty() && set.len == 0);
    }

    #[test]
    fn p9_fragments_that_do_not_parse_are_refused() {
        let good = raw(1, 1, 0, b"abc");
        for len in 0..8 {
            assert!(Fragments::default().add(&good[..len]).is_err());
        }
        for (at, value) in [(0, 1), (3, 7), (3, 255)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Fragments::default().add(&bad).is_err(), "{at}");
        }
        assert!(Fragments::default().add(&raw(1, 1, 1, b"")).is_err(), "empty");
    }

    #[test]
    fn another_id_begins_anew() {
        let mut set = Fragments::default();
        assert_eq!(set.add(&raw(1, 1, 0, b"a")), Ok(None));
        assert_eq!(set.add(&raw(2, 2, 1, b"y")), Ok(None));
        assert_eq!(set.add(&raw(2, 1, 0, b"x")), Ok(Some(b"xy".to_vec())));
    }
}
