//! What is opened and what is not: rows E1 to E8, E17 and E18 of the attack catalogue.

mod extended;

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::testing::{
    ROOM, TRANSFORMS, all_transforms, any_selector, frame, ipv4_packet, keys, opened, pair, sealed, spi,
    udp_packet,
};
use crate::{Cipher, Integrity, OutboundSa, TunnelEndpoints};

fn cbc() -> Transform {
    Transform::new(Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96)).unwrap()
}

/// An authentic packet around any plaintext, which must fill whole blocks.
fn forged(transform: Transform, sequence: u64, plaintext: &[u8]) -> Vec<u8> {
    let mut esp = vec![0; 8 + transform.iv_len()];
    let low = u32::try_from(sequence & u64::from(u32::MAX)).unwrap();
    wire::write_esp_header(&mut esp, spi(), low);
    esp.extend_from_slice(plaintext);
    esp.resize(esp.len() + transform.icv_len(), 0);
    crate::crypto::Sealer::new(transform, &keys(transform, 1))
        .unwrap()
        .seal(&mut Esp {
            octets: &mut esp,
            high: transform.esn().then(|| high_half(sequence)),
        });
    esp
}

/// A plaintext with correct padding.
fn padded(transform: Transform, payload: &[u8], next_header: u8) -> Vec<u8> {
    let mut plaintext = payload.to_vec();
    let trailer = wire::padding_len(payload.len(), transform.block_len()) + wire::TRAILER_LEN;
    plaintext.resize(payload.len() + trailer, 0);
    wire::write_trailer(&mut plaintext[payload.len()..], next_header);
    plaintext
}

/// The ESP packet of an inner packet, without the outer header.
fn esp(sa: &OutboundSa, inner: &[u8]) -> Vec<u8> {
    sealed(sa, inner).split_off(20)
}

#[test]
fn every_transform_opens_what_it_sealed() {
    for transform in all_transforms() {
        let (outbound, inbound) = pair(transform);
        for len in (0..100).chain([1370, 1400, 8900]) {
            let inner = udp_packet(len);
            assert_eq!(
                opened(&inbound, &esp(&outbound, &inner), 0),
                Ok(inner),
                "{transform:?}, {len} octets"
            );
        }
    }
}

#[test]
fn each_number_is_accepted_once_in_any_order() {
    let (outbound, inbound) = pair(cbc());
    let inner = udp_packet(20);
    let packets: Vec<_> = (0..100).map(|_| esp(&outbound, &inner)).collect();
    let story = [
        (1, Ok(())),
        (3, Ok(())),
        (2, Ok(())),
        (2, Err(OpenError::Replay)),
        (90, Ok(())),
        (26, Err(OpenError::Replay)), // left of the window of 64
        (27, Ok(())),
        (89, Ok(())),
        (90, Err(OpenError::Replay)),
        (100, Ok(())),
    ];
    for (number, expected) in story {
        let result = opened(&inbound, &packets[number - 1], 0).map(|_| ());
        assert_eq!(result, expected, "number {number}");
    }
    assert_eq!(inbound.highest_sequence(), 100);
}

#[test]
fn sequence_number_zero_is_refused() {
    let (_, inbound) = pair(cbc());
    let packet = forged(cbc(), 0, &padded(cbc(), &udp_packet(4), 4));
    assert_eq!(opened(&inbound, &packet, 0), Err(OpenError::Replay));
}

/// E6: the ICV comes before the window.
#[test]
fn a_forged_number_far_ahead_does_not_move_the_window() {
    for transform in all_transforms() {
        let (outbound, inbound) = pair(transform);
        let inner = udp_packet(20);
        let first = esp(&outbound, &inner);
        let second = esp(&outbound, &inner);
        opened(&inbound, &second, 0).unwrap();
        let mut far = second;
        far[4..8].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        assert_eq!(opened(&inbound, &far, 0), Err(OpenError::Icv), "{transform:?}");
        assert_eq!(inbound.highest_sequence(), 2);
        assert_eq!(opened(&inbound, &first, 0), Ok(inner));
    }
}

/// E3: one reason, no reply, no effect.
#[test]
fn every_flipped_bit_drops_the_packet_and_changes_nothing() {
    for transform in all_transforms() {
        let (outbound, inbound) = pair(transform);
        let inner = udp_packet(21);
        let good = esp(&outbound, &inner);
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 32 { OpenError::Spi } else { OpenError::Icv };
            // Number 1 with its only bit flipped is number 0.
            let zero = flipped[4..8] == [0; 4];
            let expected = if zero { OpenError::Replay } else { expected };
            assert_eq!(
                opened(&inbound, &flipped, 0),
                Err(expected),
                "{transform:?}, bit {bit}"
            );
            assert_eq!(inbound.highest_sequence(), 0);
        }
        assert_eq!(opened(&inbound, &good, 0), Ok(inner));
    }
}

/// E1: for every algorithm, all lengths up to a whole packet.
#[test]
fn everything_shorter_than_a_packet_is_refused() {
    for transform in all_transforms() {
        let (outbound, inbound) = pair(transform);
        let good = esp(&outbound, &udp_packet(400));
        for len in 0..=8 + transform.iv_len() + transform.icv_len() + 2 {
            let head = opened(&inbound, &good[..len], 0);
            assert!(
                matches!(head, Err(OpenError::Malformed | OpenError::Icv)),
                "{transform:?}, {len} octets: {head:?}"
            );
            assert!(opened(&inbound, &vec![0; len], 0).is_err());
            assert!(opened(&inbound, &vec![0xff; len], 0).is_err());
        }
        for len in 0..good.len() {
            assert!(
                opened(&inbound, &good[..len], 0).is_err(),
                "{transform:?}, cut to {len} octets"
            );
        }
        assert_eq!(inbound.highest_sequence(), 0);
    }
}

/// E4: what a peer with the right keys may send, and what not.
#[test]
fn an_authentic_packet_must_carry_a_sane_ipv4_packet() {
    let good = udp_packet(30);
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    let refreshed = |mut packet: Vec<u8>| {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let header = Err(OpenError::InnerHeader);
    type Case = (&'static str, Vec<u8>, u8, Result<(), OpenError>);
    let cases: &[Case] = &[
        ("good", good.clone(), 4, Ok(())),
        ("dummy", good.clone(), 59, Err(OpenError::Dummy)),
        ("dummy without content", vec![], 59, Err(OpenError::Dummy)),
        ("IPv6", good.clone(), 41, Err(OpenError::NextHeader)),
        ("transport mode", good.clone(), 17, Err(OpenError::NextHeader)),
        ("empty", vec![], 4, header),
        ("version 6", with(0, 0x65), 4, header),
        ("short header length", with(0, 0x44), 4, header),
        ("options beyond the packet", with(0, 0x4f), 4, header),
        (
            "total length beyond the payload",
            refreshed(with(3, 59)),
            4,
            header,
        ),
        ("total length below the header", refreshed(with(3, 19)), 4, header),
        ("wrong checksum", with(8, 63), 4, header),
        ("loopback source", refreshed(with(12, 127)), 4, header),
        ("multicast source", refreshed(with(12, 224)), 4, header),
        ("loopback destination", refreshed(with(16, 127)), 4, header),
        (
            "TFC padding behind the packet",
            [&good[..], &[0xee; 100]].concat(),
            4,
            Ok(()),
        ),
    ];
    for transform in all_transforms() {
        let (_, inbound) = pair(transform);
        for (sequence, (name, payload, next_header, expected)) in (1..).zip(cases) {
            let packet = forged(transform, sequence, &padded(transform, payload, *next_header));
            let result = opened(&inbound, &packet, 0);
            assert_eq!(result.clone().map(|_| ()), *expected, "{transform:?}: {name}");
            if let Ok(inner) = result {
                assert_eq!(inner, good, "{name}");
            }
            // Authentic packets are used up, whatever is in them.
            assert_eq!(opened(&inbound, &packet, 0), Err(OpenError::Replay), "{name}");
        }
    }
}

#[test]
fn bad_padding_is_one_reason() {
    let block = |tail: &[u8]| {
        let mut plaintext = udp_packet(100 - tail.len());
        plaintext.extend_from_slice(tail);
        assert_eq!(plaintext.len() % 16, 0);
        plaintext
    };
    let (_, inbound) = pair(cbc());
    let cases = [
        block(&[1, 2, 4, 3, 4]),
        block(&[0, 0, 0, 3, 4]),
        block(&[255, 4]),
        block(&[127, 4]),
    ];
    for (sequence, plaintext) in (1..).zip(cases) {
        let packet = forged(cbc(), sequence, &plaintext);
        assert_eq!(
            opened(&inbound, &packet, 0),
            Err(OpenError::Padding),
            "case {sequence}"
        );
    }
}

/// E8: spoofing inside the tunnel.
#[test]
fn inner_addresses_outside_of_the_selectors_are_dropped() {
    let (outbound, _) = pair(cbc());
    let net = |a, b, c, d, len| (Ipv4Addr::new(a, b, c, d), len);
    let inbound = |local, peer| {
        InboundSa::new(spi(), cbc(), &keys(cbc(), 1), vec![Selector { local, peer }], 64).unwrap()
    };
    // From 192.168.1.2 to 10.0.0.9.
    let packet = esp(&outbound, &udp_packet(5));
    let cases = [
        (net(10, 0, 0, 0, 24), net(192, 168, 1, 0, 24), true),
        (net(10, 0, 0, 9, 32), net(192, 168, 1, 2, 32), true),
        (net(10, 0, 0, 8, 32), net(192, 168, 1, 2, 32), false),
        (net(10, 0, 0, 9, 32), net(192, 168, 1, 3, 32), false),
        (net(192, 168, 1, 0, 24), net(10, 0, 0, 0, 24), false),
    ];
    for (local, peer, admitted) in cases {
        let result = opened(&inbound(local, peer), &packet, 0).map(|_| ());
        assert_eq!(
            result,
            if admitted {
                Ok(())
            } else {
                Err(OpenError::Selector)
            },
            "{local:?}, {peer:?}"
        );
    }
}

/// E17.
#[test]
fn congestion_marks_travel_inwards() {
    let (outbound, inbound) = pair(cbc());
    let inner = |tos: u8| {
        let mut packet = udp_packet(5);
        packet[1] = tos;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let cases = [
        (0xb8, 0x00, Ok(0xb8)),
        (0xb8 | 2, 3, Ok(0xb8 | 3)),
        (0xb8 | 1, 0xff, Ok(0xb8 | 3)),
        (2, 1, Ok(1)),
        (3, 0, Ok(3)),
        (0, 3, Err(OpenError::Ecn)),
    ];
    for (inner_tos, outer_tos, expected) in cases {
        let result = opened(&inbound, &esp(&outbound, &inner(inner_tos)), outer_tos);
        assert_eq!(
            result,
            expected.map(inner),
            "inner {inner_tos:#x}, outer {outer_tos:#x}"
        );
    }
}

#[test]
fn a_packet_of_another_sa_is_refused() {
    let transform = cbc();
    let inner = udp_packet(5);
    let (outbound, _) = pair(transform);
    let other_spi = Spi::new(0xc0de_0002).unwrap();
    let other = InboundSa::new(other_spi, transform, &keys(transform, 1), any_selector(), 64).unwrap();
    assert_eq!(opened(&other, &esp(&outbound, &inner), 0), Err(OpenError::Spi));
    let other = InboundSa::new(spi(), transform, &keys(transform, 2), any_selector(), 64).unwrap();
    assert_eq!(opened(&other, &esp(&outbound, &inner), 0), Err(OpenError::Icv));
}

#[test]
fn after_a_skip_old_numbers_are_refused() {
    let (outbound, inbound) = pair(cbc());
    let old = esp(&outbound, &udp_packet(5));
    inbound.skip_to(1000);
    outbound.skip_to(1000);
    assert_eq!(opened(&inbound, &old, 0), Err(OpenError::Replay));
    assert!(opened(&inbound, &esp(&outbound, &udp_packet(5)), 0).is_ok());
}

#[test]
fn replay_windows_outside_of_the_bounds_are_refused() {
    for window in [0, 1, 63, 65_537] {
        let refused = InboundSa::new(spi(), cbc(), &keys(cbc(), 1), any_selector(), window);
        assert_eq!(refused.err(), Some(KeyError::ReplayWindow(window)));
    }
}

#[test]
fn a_batch_gives_the_results_of_packets_opened_one_by_one() {
    for transform in all_transforms() {
        let (outbound, single) = pair(transform);
        let (_, batch) = pair(transform);
        let mut packets: Vec<_> = (0..70)
            .map(|i| esp(&outbound, &udp_packet(i * 41 % 1400)))
            .collect();
        packets[3][30] ^= 1; // forged
        packets[5].truncate(20); // malformed
        packets[8] = packets[7].clone(); // twice in one batch
        packets[40] = packets[2].clone(); // twice in two batches
        packets[50][3] ^= 1; // another SPI
        let tos: Vec<u8> = (0..70).map(|i| i % 3).collect();
        let expected: Vec<_> = packets
            .iter()
            .zip(&tos)
            .map(|(esp, tos)| opened(&single, esp, *tos))
            .collect();
        assert_eq!(expected.iter().filter(|result| result.is_err()).count(), 5);

        let mut frames: Vec<_> = packets.iter().map(|esp| frame(esp)).collect();
        let mut descriptors: Vec<_> = frames
            .iter_mut()
            .zip(&packets)
            .map(|(frame, esp)| Packet::new(frame, ROOM, esp.len()))
            .collect();
        let mut results = vec![Ok(()); 70];
        batch.open_batch(&mut descriptors, &tos, &mut results);
        for (i, (packet, result)) in descriptors.iter().zip(results).enumerate() {
            assert_eq!(
                result.map(|()| packet.bytes().to_vec()),
                expected[i],
                "{transform:?}, packet {i}"
            );
        }
        assert_eq!(batch.highest_sequence(), single.highest_sequence());
    }
}

#[test]
fn threads_that_share_an_sa_accept_each_number_once() {
    let (outbound, inbound) = pair(cbc());
    let packets: Vec<_> = (0..64).map(|_| esp(&outbound, &udp_packet(5))).collect();
    let accepted: usize = std::thread::scope(|scope| {
        let open_all = || {
            packets
                .iter()
                .filter(|esp| opened(&inbound, esp, 0).is_ok())
                .count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open_all)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, 64);
}

#[test]
fn indices_follow_the_list_of_reasons() {
    for (index, reason) in OpenError::ALL.iter().enumerate() {
        assert_eq!(reason.index(), index, "{}", reason.name());
    }
}

proptest! {
    #[test]
    fn any_payload_any_ports_round_trips(
        which in 0..TRANSFORMS,
        payload in prop::collection::vec(any::<u8>(), 0..1500),
        ports: Option<(u16, u16)>,
        tos: u8,
    ) {
        let transform = all_transforms()[which];
        let (_, inbound) = pair(transform);
        let udp = ports.map(|(local, peer)| crate::UdpPorts { local, peer });
        let endpoints = TunnelEndpoints { udp, ..crate::testing::endpoints() };
        let outbound =
            OutboundSa::new(spi(), transform, &keys(transform, 1), endpoints, crate::NonceSpace::default()).unwrap();
        let mut inner = ipv4_packet(200, &payload);
        inner[1] = tos;
        inner[10..12].fill(0);
        let sum = checksum(&inner[..20]);
        inner[10..12].copy_from_slice(&sum.to_be_bytes());
        let outer = sealed(&outbound, &inner);
        let head = if udp.is_some() { 28 } else { 20 };
        prop_assert_eq!(opened(&inbound, &outer[head..], outer[1]), Ok(inner));
    }

    /// E18: what an authenticated but malicious peer may send: any plaintext at all.
    #[test]
    fn any_authentic_plaintext_is_judged_without_panic(
        which in 0..TRANSFORMS,
        blocks in 1usize..12,
        octets: [u8; 192],
        tail in prop_oneof![Just(None), any::<[u8; 2]>().prop_map(Some), (0u8..40).prop_map(|pad| Some([pad, 4]))],
    ) {
        let transform = all_transforms()[which];
        let (_, inbound) = pair(transform);
        let mut plaintext = octets[..blocks * transform.block_len()].to_vec();
        if let Some(tail) = tail {
            let at = plaintext.len() - 2;
            plaintext[at..].copy_from_slice(&tail);
        }
        let result = opened(&inbound, &forged(transform, 1, &plaintext), 0);
        prop_assert!(result.is_ok() || inbound.highest_sequence() == 1);
    }

    #[test]
    fn noise_never_opens(which in 0..TRANSFORMS, noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let transform = all_transforms()[which];
        let (_, inbound) = pair(transform);
        let mut noise = noise;
        if let Some(head) = noise.first_chunk_mut::<4>() {
            *head = spi().to_be_bytes();
        }
        prop_assert!(opened(&inbound, &noise, 0).is_err());
        prop_assert_eq!(inbound.highest_sequence(), 0);
    }
}
