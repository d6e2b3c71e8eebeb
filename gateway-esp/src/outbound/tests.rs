use super::*;
use crate::ip::checksum;
use crate::testing::{ROOM, all_transforms, endpoints, frame, keys, opened, pair, sealed, spi, udp_packet};
use crate::{Cipher, Integrity};

fn gcm() -> Transform {
    Transform::new(Cipher::Aes128Gcm, None).unwrap()
}

fn cbc() -> Transform {
    Transform::new(Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96)).unwrap()
}

fn sa(transform: Transform, endpoints: TunnelEndpoints, nonce_space: NonceSpace) -> OutboundSa {
    OutboundSa::new(spi(), transform, &keys(transform, 1), endpoints, nonce_space).unwrap()
}

/// The next sequence number.
fn number(sa: &OutboundSa) -> SequenceNumber {
    sa.reserve(1).unwrap().next().unwrap()
}

#[test]
fn the_outer_header_is_constructed_from_tunnel_and_inner_packet() {
    for (inner_tos, inner_flags) in [(0, 0), (0xb8, 0x40), (0b01, 0), (0b10, 0x40), (0xff, 0)] {
        let mut inner = udp_packet(100);
        (inner[1], inner[6]) = (inner_tos, inner_flags);
        let outer = sealed(&sa(cbc(), endpoints(), NonceSpace::default()), &inner);
        let header = Ipv4Header::parse(&outer).unwrap();
        assert_eq!(checksum(&outer[..20]), 0);
        assert_eq!(
            (header.source, header.destination),
            (endpoints().local, endpoints().peer)
        );
        assert_eq!(
            (header.total_len, header.protocol, header.ttl),
            (outer.len(), protocol::ESP, 64)
        );
        assert_eq!(
            (header.tos, header.dont_fragment),
            (inner_tos, inner_flags == 0x40)
        );
        assert!(!header.is_fragment());
        assert_eq!(outer[20..28], [0xc0, 0xde, 0, 1, 0, 0, 0, 1]);
    }
}

#[test]
fn udp_encapsulation_puts_ports_and_no_checksum_before_esp() {
    let udp = Some(UdpPorts {
        local: 4500,
        peer: 31_337,
    });
    let inner = udp_packet(100);
    let outer = sealed(
        &sa(
            gcm(),
            TunnelEndpoints { udp, ..endpoints() },
            NonceSpace::default(),
        ),
        &inner,
    );
    let header = Ipv4Header::parse(&outer).unwrap();
    assert_eq!((header.total_len, header.protocol), (outer.len(), protocol::UDP));
    let udp_len = u16::try_from(outer.len() - 20).unwrap().to_be_bytes();
    assert_eq!(
        outer[20..28],
        [0x11, 0x94, 0x7a, 0x69, udp_len[0], udp_len[1], 0, 0]
    );
    assert_eq!(opened(&pair(gcm()).1, &outer[28..], 0), Ok(inner));
}

#[test]
fn after_a_move_the_numbers_go_on_towards_the_new_endpoints() {
    let (old, inbound) = pair(cbc());
    let inner = udp_packet(10);
    let udp = Some(UdpPorts {
        local: 4500,
        peer: 1025,
    });
    let new = old.with_endpoints(TunnelEndpoints {
        udp,
        peer: Ipv4Addr::new(203, 0, 113, 7),
        ..endpoints()
    });
    let packets = [sealed(&old, &inner), sealed(&new, &inner), sealed(&old, &inner)];
    assert_eq!(packets[1][16..20], [203, 0, 113, 7]);
    for (packet, (head, sequence)) in packets.iter().zip([(20, 1), (28, 2), (20, 3)]) {
        assert_eq!(packet[head + 4..head + 8], [0, 0, 0, sequence]);
        assert_eq!(opened(&inbound, &packet[head..], 0), Ok(inner.clone()));
    }
    assert_eq!((old.highest_sequence(), new.highest_sequence()), (3, 3));
}

#[test]
fn the_outer_length_never_exceeds_what_the_mtu_arithmetic_promises() {
    for transform in all_transforms() {
        let sa = sa(transform, endpoints(), NonceSpace::default());
        let mtu = transform.inner_mtu(1500, crate::Encapsulation::Esp);
        assert!(sealed(&sa, &udp_packet(mtu - 28)).len() <= 1500, "{transform:?}");
        assert!(
            sealed(&sa, &udp_packet(mtu + 1 - 28)).len() > 1500,
            "{transform:?}"
        );
    }
}

#[test]
fn the_explicit_iv_of_an_aead_is_node_epoch_and_counter() {
    let sa = sa(
        gcm(),
        endpoints(),
        NonceSpace {
            node: true,
            epoch: 0x1234,
        },
    );
    sa.skip_to(0x0102_0303);
    let outer = sealed(&sa, &udp_packet(10));
    assert_eq!(outer[28..36], [0x92, 0x34, 0, 0, 1, 2, 3, 4]);
}

#[test]
fn an_epoch_beyond_15_bits_is_refused() {
    let space = NonceSpace {
        node: false,
        epoch: 0x8000,
    };
    let refused = OutboundSa::new(spi(), gcm(), &keys(gcm(), 1), endpoints(), space);
    assert_eq!(refused.err(), Some(KeyError::Epoch(0x8000)));
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for transform in all_transforms() {
        let (encryption, integrity) = (transform.encryption_key_len(), transform.integrity_key_len());
        let make = |encryption: usize, integrity: usize| {
            let keys = Keys::new(vec![1; encryption], vec![1; integrity]);
            OutboundSa::new(spi(), transform, &keys, endpoints(), NonceSpace::default()).err()
        };
        assert_eq!(make(encryption, integrity), None);
        for got in [0, encryption - 1, encryption + 1] {
            assert_eq!(
                make(got, integrity),
                Some(KeyError::EncryptionLength {
                    expected: encryption,
                    got
                })
            );
        }
        assert_eq!(
            make(encryption, integrity + 1),
            Some(KeyError::IntegrityLength {
                expected: integrity,
                got: integrity + 1
            })
        );
    }
}

#[test]
fn cbc_ivs_are_never_repeated_or_zero() {
    let sa = sa(cbc(), endpoints(), NonceSpace::default());
    let mut ivs = IvGenerator::from_seed([1; 32]);
    let mut seen = std::collections::BTreeSet::new();
    for number in sa.reserve(100).unwrap() {
        let mut frame = frame(&udp_packet(10));
        let mut packet = Packet::new(&mut frame, ROOM, 38);
        sa.seal(&mut packet, number, &mut ivs).unwrap();
        assert!(seen.insert(packet.bytes()[28..44].to_vec()));
    }
    assert!(!seen.contains(&[0; 16][..]));
}

/// Seals a packet of 38 octets with exactly this much room.
fn seal_with_room(sa: &OutboundSa, headroom: usize, tailroom: usize) -> Result<usize, SealError> {
    let inner = udp_packet(10);
    let mut frame = [&vec![0; headroom], &inner[..], &vec![0; tailroom]].concat();
    let before = frame.clone();
    let mut packet = Packet::new(&mut frame, headroom, inner.len());
    let number = number(sa);
    let result = sa.seal(&mut packet, number, &mut IvGenerator::from_seed([1; 32]));
    let span = (packet.start, packet.len);
    if result.is_err() {
        assert_eq!(
            (span, &frame),
            ((headroom, inner.len()), &before),
            "unchanged after an error"
        );
    } else {
        assert_eq!(span.0, 0);
    }
    result.map(|()| span.1)
}

#[test]
fn e2_room_is_used_to_the_last_octet_and_a_shortage_is_an_error() {
    for transform in all_transforms() {
        for udp in [
            None,
            Some(UdpPorts {
                local: 4500,
                peer: 4500,
            }),
        ] {
            let sa = sa(
                transform,
                TunnelEndpoints { udp, ..endpoints() },
                NonceSpace::default(),
            );
            let head = 20 + if udp.is_some() { 8 } else { 0 } + 8 + transform.iv_len();
            let tail = wire::padding_len(38, transform.block_len()) + 2 + transform.icv_len();
            assert_eq!(
                seal_with_room(&sa, head, tail),
                Ok(head + 38 + tail),
                "{transform:?}"
            );
            for room in 0..head {
                assert_eq!(
                    seal_with_room(&sa, room, tail),
                    Err(SealError::Headroom),
                    "{transform:?}"
                );
            }
            for room in 0..tail {
                assert_eq!(
                    seal_with_room(&sa, head, room),
                    Err(SealError::Tailroom),
                    "{transform:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_ipv4_is_refused() {
    let sa = sa(gcm(), endpoints(), NonceSpace::default());
    let seal = |inner: &[u8]| {
        let mut frame = frame(inner);
        let mut packet = Packet::new(&mut frame, ROOM, inner.len());
        let number = number(&sa);
        sa.seal(&mut packet, number, &mut IvGenerator::from_seed([1; 32]))
    };
    let good = udp_packet(10);
    let mut v6 = good.clone();
    v6[0] = 0x65;
    assert_eq!(seal(&v6), Err(SealError::NotIpv4));
    assert_eq!(seal(&[]), Err(SealError::NotIpv4));
    assert_eq!(seal(&good[..37]), Err(SealError::NotIpv4));
    assert_eq!(seal(&good), Ok(()));
}

#[test]
fn a_packet_that_would_not_fit_ipv4_is_refused() {
    let sa = sa(cbc(), endpoints(), NonceSpace::default());
    let inner = udp_packet(65_535 - 28);
    let mut frame = frame(&inner);
    let mut packet = Packet::new(&mut frame, ROOM, inner.len());
    let number = number(&sa);
    let result = sa.seal(&mut packet, number, &mut IvGenerator::from_seed([1; 32]));
    assert_eq!(result, Err(SealError::TooLarge));
}

#[test]
fn ethernet_padding_does_not_travel() {
    let (outbound, inbound) = pair(cbc());
    let inner = udp_packet(1);
    let padded = [inner.as_slice(), &[0xee; 17]].concat();
    let outer = sealed(&outbound, &padded);
    assert_eq!(outer.len(), sealed(&outbound, &inner).len());
    assert_eq!(opened(&inbound, &outer[20..], 0), Ok(inner));
}

#[test]
fn a_batch_gives_the_octets_of_packets_sealed_one_by_one() {
    for transform in all_transforms() {
        let (single, batch) = (pair(transform).0, pair(transform).0);
        let inners: Vec<_> = (0..75).map(|i| udp_packet(i * 37 % 1400)).collect();
        let mut ivs = IvGenerator::from_seed([9; 32]);
        let expected: Vec<_> = inners
            .iter()
            .map(|inner| {
                let mut frame = frame(inner);
                let mut packet = Packet::new(&mut frame, ROOM, inner.len());
                let number = number(&single);
                single.seal(&mut packet, number, &mut ivs).unwrap();
                packet.bytes().to_vec()
            })
            .collect();

        let mut frames: Vec<_> = inners.iter().map(|inner| frame(inner)).collect();
        let mut packets: Vec<_> = frames
            .iter_mut()
            .zip(&inners)
            .map(|(frame, inner)| Packet::new(frame, ROOM, inner.len()))
            .collect();
        let mut results = vec![Err(SealError::NotIpv4); packets.len()];
        let block = batch.reserve(75).unwrap();
        batch.seal_batch(
            &mut packets,
            block,
            &mut IvGenerator::from_seed([9; 32]),
            &mut results,
        );
        assert!(results.iter().all(Result::is_ok));
        for (packet, expected) in packets.iter().zip(&expected) {
            assert_eq!(packet.bytes(), expected, "{transform:?}");
        }
    }
}

#[test]
fn in_a_batch_a_bad_packet_and_a_short_block_hurt_only_themselves() {
    let (outbound, inbound) = pair(cbc());
    let inner = udp_packet(40);
    let mut frames = vec![frame(&inner); 5];
    frames[1][ROOM] = 0x60;
    let mut packets: Vec<_> = frames
        .iter_mut()
        .map(|frame| Packet::new(frame, ROOM, inner.len()))
        .collect();
    let mut results = vec![Ok(()); 5];
    let block = outbound.reserve(4).unwrap();
    outbound.seal_batch(
        &mut packets,
        block,
        &mut IvGenerator::from_seed([1; 32]),
        &mut results,
    );
    assert_eq!(
        results,
        [
            Ok(()),
            Err(SealError::NotIpv4),
            Ok(()),
            Ok(()),
            Err(SealError::NoSequenceNumber)
        ]
    );
    for (packet, result) in packets.iter().zip(results) {
        match result {
            Ok(()) => assert_eq!(opened(&inbound, &packet.bytes()[20..], 0), Ok(inner.clone())),
            Err(_) => assert_eq!((packet.start, packet.len), (ROOM, inner.len())),
        }
    }
}

#[test]
fn sealing_stops_at_the_last_number() {
    let sa = sa(gcm(), endpoints(), NonceSpace::default());
    sa.skip_to(u64::from(u32::MAX) - 1);
    assert_eq!(sealed(&sa, &udp_packet(1))[24..28], [0xff; 4]);
    assert!(sa.reserve(1).is_err() && sa.reserve(1).is_err());
    assert_eq!(sa.highest_sequence(), u64::from(u32::MAX));
}

#[test]
fn indices_follow_the_list_of_reasons() {
    for (index, reason) in SealError::ALL.iter().enumerate() {
        assert_eq!(reason.index(), index, "{}", reason.name());
    }
}
