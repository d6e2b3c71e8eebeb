//! Extended sequence numbers, RFC 4303 section 2.2.1 and appendix A2: rows E5 to E7 of the attack catalogue.

use super::*;
use crate::SequenceNumber;
use crate::testing::endpoints;

/// One subspace: the numbers with the same upper half.
const SPACE: u64 = 1 << 32;

fn extended() -> impl Iterator<Item = Transform> {
    all_transforms().into_iter().filter(|transform| transform.esn())
}

/// The ESP packet with this number.
fn numbered(transform: Transform, number: u64) -> Vec<u8> {
    forged(transform, number, &padded(transform, &udp_packet(20), 4))
}

/// Both ends, of which the receiver has accepted `top` and everything before it.
fn at(transform: Transform, top: u64) -> (OutboundSa, InboundSa) {
    let (outbound, inbound) = pair(transform);
    outbound.skip_to(top);
    inbound.skip_to(top);
    (outbound, inbound)
}

#[test]
fn packets_go_on_across_the_end_of_a_subspace() {
    for transform in extended() {
        for space in [SPACE, 2 * SPACE, 77 * SPACE] {
            let (outbound, inbound) = at(transform, space - 40);
            let inner = udp_packet(20);
            let packets: Vec<_> = (0..80).map(|_| esp(&outbound, &inner)).collect();
            // Pairs in reverse: some numbers before the end arrive behind it.
            for pair in packets.chunks(2) {
                for packet in pair.iter().rev() {
                    assert_eq!(opened(&inbound, packet, 0).as_ref(), Ok(&inner), "{transform:?}");
                }
            }
            // Left of the window of 64 a number is taken for one of the next round, and the ICV says no.
            for (at, packet) in packets.iter().enumerate() {
                let expected = if at < 80 - 64 {
                    OpenError::Icv
                } else {
                    OpenError::Replay
                };
                assert_eq!(opened(&inbound, packet, 0), Err(expected), "{transform:?}, {at}");
            }
            assert_eq!(inbound.highest_sequence(), space + 40);
        }
    }
}

#[test]
fn a_batch_across_the_end_of_a_subspace_opens_whole() {
    for transform in extended() {
        let (outbound, inbound) = at(transform, SPACE - 35);
        let inner = udp_packet(20);
        let packets: Vec<_> = (0..70).map(|_| esp(&outbound, &inner)).collect();
        let mut frames: Vec<_> = packets.iter().map(|esp| frame(esp)).collect();
        let mut descriptors: Vec<_> = frames
            .iter_mut()
            .zip(&packets)
            .map(|(frame, esp)| Packet::new(frame, ROOM, esp.len()))
            .collect();
        let mut results = vec![Ok(()); packets.len()];
        inbound.open_batch(&mut descriptors, &[0; 70], &mut results);
        assert_eq!(results, [Ok(()); 70], "{transform:?}");
        assert_eq!(inbound.highest_sequence(), SPACE + 35);
    }
}

/// What the peer's number is and what the window makes of it.
#[test]
fn the_window_decides_what_a_number_means() {
    let last = u64::from(u32::MAX);
    #[rustfmt::skip]
    let cases = [
        // Receiver's highest, sender's number, outcome. The window has 64 numbers.
        (0, 1, Ok(())),
        (0, last, Err(OpenError::Replay)),               // would lie before the first number
        (0, SPACE, Err(OpenError::Replay)),              // taken for number 0
        (0, last - 63, Ok(())),
        (1000, 1001, Ok(())),
        (1000, SPACE + 936, Ok(())),                     // 2^32 - 64 ahead: as far as can be told
        (1000, SPACE + 937, Err(OpenError::Replay)),     // taken for 937, which was seen
        (1000, SPACE + 1001, Err(OpenError::Icv)),       // taken for 1001
        (SPACE + 10, last, Err(OpenError::Replay)),      // in the window, seen
        (SPACE + 10, last - 60, Err(OpenError::Icv)),    // left of the window: taken for the next round
        (SPACE + 10, SPACE + 11, Ok(())),
        (SPACE + 10, 11, Err(OpenError::Icv)),           // an old subspace under the same keys
        (5 * SPACE, 5 * SPACE + 1, Ok(())),
        (5 * SPACE, 4 * SPACE + 1, Err(OpenError::Icv)),
        (5 * SPACE, 6 * SPACE + 1, Err(OpenError::Icv)),
    ];
    for transform in extended() {
        for (top, number, expected) in cases {
            let (_, inbound) = at(transform, top);
            let result = opened(&inbound, &numbered(transform, number), 0).map(|_| ());
            assert_eq!(result, expected, "{transform:?}: {number:#x} with top {top:#x}");
            let highest = if expected.is_ok() { number.max(top) } else { top };
            assert_eq!(
                inbound.highest_sequence(),
                highest,
                "only an authentic packet moves the window"
            );
        }
    }
}

#[test]
fn a_peer_without_extended_numbers_is_not_understood() {
    for transform in extended() {
        let packet = numbered(transform.with_esn(false), 5);
        let (_, inbound) = pair(transform);
        assert_eq!(opened(&inbound, &packet, 0), Err(OpenError::Icv), "{transform:?}");
        let packet = numbered(transform, 5);
        let (_, inbound) = pair(transform.with_esn(false));
        assert_eq!(opened(&inbound, &packet, 0), Err(OpenError::Icv), "{transform:?}");
    }
}

/// E7: what the counter gives out at its end, and that it then stays silent.
#[test]
fn the_counter_ends_where_the_transform_says_and_never_wraps() {
    for transform in all_transforms() {
        let (outbound, inbound) = at(transform, transform.last_sequence() - 2);
        let inner = udp_packet(20);
        for _ in 0..2 {
            assert_eq!(opened(&inbound, &esp(&outbound, &inner), 0).as_ref(), Ok(&inner));
        }
        assert!(outbound.reserve(1).is_err(), "{transform:?}");
        assert!(outbound.reserve(u32::MAX).is_err(), "{transform:?}");
        assert_eq!(outbound.highest_sequence(), transform.last_sequence());
    }
}

/// Invariant 13: the explicit IV counts with all bits of the number, so that it does not come round with the lower half.
#[test]
fn explicit_ivs_differ_between_subspaces() {
    for transform in extended().filter(|transform| transform.cipher().is_aead()) {
        let iv = |highest: u64| {
            let sa = OutboundSa::new(
                spi(),
                transform,
                &keys(transform, 1),
                endpoints(),
                crate::NonceSpace::default(),
            );
            let sa = sa.unwrap();
            sa.skip_to(highest);
            sealed(&sa, &udp_packet(1))[28..36].to_vec()
        };
        assert_eq!(iv(4), 5u64.to_be_bytes());
        assert_eq!(iv(SPACE + 4), (SPACE + 5).to_be_bytes());
        assert_eq!(
            iv(transform.last_sequence() - 1),
            transform.last_sequence().to_be_bytes()
        );
    }
}

proptest! {
    /// Any number that the window can reach opens, whatever the window is and whichever algorithm.
    #[test]
    fn any_number_in_reach_opens_once(
        which in 0..TRANSFORMS / 2,
        top in prop_oneof![0u64..1000, SPACE - 1000..SPACE + 1000, 0u64..1 << 47],
        ahead in prop_oneof![1u64..200, 1u64..SPACE - 64],
    ) {
        let transform = extended().nth(which).unwrap();
        let (_, inbound) = at(transform, top);
        let packet = numbered(transform, top + ahead);
        prop_assert!(opened(&inbound, &packet, 0).is_ok());
        prop_assert_eq!(opened(&inbound, &packet, 0), Err(OpenError::Replay));
        prop_assert_eq!(inbound.highest_sequence(), top + ahead);
    }
}

/// The halves of a number, as they travel and as they do not.
#[test]
fn a_reserved_number_knows_both_halves() {
    let (outbound, _) = at(cbc().with_esn(true), 3 * SPACE + 6);
    let number: SequenceNumber = outbound.reserve(1).unwrap().next().unwrap();
    assert_eq!(
        (number.get(), number.high(), number.low()),
        (3 * SPACE + 7, [0, 0, 0, 3], 7)
    );
}
