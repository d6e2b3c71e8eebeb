//! What becomes of which packet.

use gateway_common::abi::{DIRECTION_INBOUND, DIRECTION_OUTBOUND};
use gateway_esp::ip::Ipv4Header;
use gateway_esp::{Cipher, Integrity, OpenError};

use super::world::*;
use crate::dataplane::counters::{Direction, PathError};
use crate::dataplane::{DataplaneEvent, Message, SaMark};

/// The header of the IP packet in a frame.
fn ip_of(frame: &[u8]) -> Ipv4Header {
    Ipv4Header::parse(&frame[14..]).expect("IPv4")
}

/// A packet as it is after two hops: sealing and opening gateway.
fn two_hops_later(packet: &Ip) -> Vec<u8> {
    Ip {
        ttl: packet.ttl - 2,
        ..packet.clone()
    }
    .build()
}

#[test]
fn packets_of_every_length_come_through_in_order() {
    for (cipher, integrity) in TRANSFORMS {
        let mut world = World::established(cipher, integrity);
        for start in (20..1400).step_by(64) {
            let packets: Vec<_> = (start..start + 40).map(Ip::of).collect();
            let built: Vec<_> = packets.iter().map(Ip::build).collect();
            let out = world.round_trip(&built);
            let expected: Vec<_> = packets.iter().map(two_hops_later).collect();
            let inner: Vec<_> = out.iter().map(|frame| frame[14..].to_vec()).collect();
            assert_eq!(inner, expected, "{cipher:?} from {start}");
            assert!(
                out.iter()
                    .all(|frame| frame.starts_with(&[HOST, MAC[LAN]].concat()))
            );
        }
        assert_eq!(world.all_drops(), 0);
    }
}

#[test]
fn a_sealed_packet_leaves_to_the_router_of_the_peer() {
    let mut world = World::gcm();
    // Ethernet pads short frames; the padding must not travel.
    let mut padded = Ip::of(30).build();
    padded.extend([0xaa; 16]);
    let received = world.sent_by_vpc(&padded);
    world.process(vec![received]);
    let [frame] = &world.sent(WAN)[..] else {
        panic!("one packet")
    };
    assert!(frame.starts_with(&[ROUTER, MAC[WAN]].concat()));
    let outer = ip_of(frame);
    assert_eq!((outer.source, outer.protocol), (OUTSIDE, 50));
    assert_eq!(outer.total_len, 20 + 8 + 8 + 32 + 16);
    let counters = world.counters();
    assert_eq!(
        (counters.outbound[0].1.packets, counters.outbound[0].1.octets),
        (1, 30)
    );
}

#[test]
fn an_answer_to_our_probe_ends_here_and_every_other_packet_goes_on() {
    let reply = |kind: u8, identifier: u16| {
        let mut payload = vec![kind, 0, 0, 0];
        payload.extend(identifier.to_be_bytes());
        payload.extend(9_u16.to_be_bytes());
        let sum = gateway_esp::ip::checksum(&payload);
        payload[2..4].copy_from_slice(&sum.to_be_bytes());
        Ip {
            protocol: 1,
            payload,
            ..Ip::of(28)
        }
    };
    let mut damaged = reply(0, 7);
    damaged.payload[7] ^= 1;
    let mut short = reply(0, 7);
    short.payload.truncate(7);
    let elsewhere = Ip {
        destination: std::net::Ipv4Addr::from_bits(FAR.to_bits() + 1),
        ..reply(0, 7)
    };
    for (packet, answers, ours) in [
        (reply(0, 7), Some((FAR, 7)), true),
        (reply(0, 7), None, false),
        (reply(0, 8), Some((FAR, 7)), false),
        // A question of the peer.
        (reply(8, 7), Some((FAR, 7)), false),
        (elsewhere, Some((FAR, 7)), false),
        (damaged, Some((FAR, 7)), false),
        (short, Some((FAR, 7)), false),
    ] {
        let mut world = World::gcm();
        world.apply(Message::Probe {
            tunnel: TUNNEL,
            answers,
        });
        let out = world.round_trip(&[packet.build()]);
        world.assert_conserved();
        let told = std::mem::take(&mut *world.events.lock().expect("no panic"));
        let told = told.iter().any(|event| {
            matches!(
                event,
                DataplaneEvent::ProbeAnswered {
                    tunnel: TUNNEL,
                    from: NEAR,
                    sequence: 9,
                    ..
                }
            )
        });
        let went_on = out.len() as u64 + world.slow_path_packets();
        assert_eq!(
            (told, went_on),
            (ours, u64::from(!ours)),
            "{answers:?}: {:?}",
            packet.payload
        );
    }
}

#[test]
fn the_peer_is_heard_of_once_per_sa() {
    let mut world = World::gcm();
    assert_eq!(
        world.round_trip(&[Ip::of(40).build(), Ip::of(50).build()]).len(),
        2
    );
    assert_eq!(world.round_trip(&[Ip::of(40).build()]).len(), 1);
    let event = DataplaneEvent::InboundFirstUse {
        index: SA,
        generation: GENERATION,
    };
    assert_eq!(*world.events.lock().expect("no panic"), [event]);
    let (_, sa) = world.counters().inbound[0];
    assert_eq!((sa.packets, sa.octets, sa.highest_sequence), (3, 130, 3));
    let outbound = world.counters().outbound[0].1;
    assert_eq!(world.tables.read_sas(SA, SA), (sa, outbound));
    assert_eq!(world.tables.read_sas(SA + 1, u32::MAX), Default::default());
}

#[test]
fn the_port_of_the_newest_packet_is_the_peers() {
    let mut world = World::gcm();
    let sealed: Vec<_> = (0..4)
        .map(|_| {
            let packet = world.sent_by_vpc(&Ip::of(40).build());
            world.process(vec![packet]);
            world.sent(WAN).remove(0)
        })
        .collect();
    let mut damaged = sealed[3].clone();
    *damaged.last_mut().expect("an octet") ^= 1;
    for (packet, port, told) in [
        (&sealed[0], 4500, true),
        (&sealed[2], 4501, true),
        // Overtaken by the one above.
        (&sealed[1], 4500, false),
        (&damaged, 4502, false),
        // A replay.
        (&sealed[2], 4502, false),
        (&sealed[3], 4501, false),
    ] {
        let packet = world.sent_by_peer_in_udp(packet, port);
        world.process(vec![packet]);
        let mut events = std::mem::take(&mut *world.events.lock().expect("no panic"));
        events.retain(|event| matches!(event, DataplaneEvent::PeerPort { .. }));
        let event = DataplaneEvent::PeerPort {
            index: SA,
            generation: GENERATION,
            port,
        };
        assert_eq!(events, if told { vec![event] } else { vec![] }, "{port}");
    }
}

#[test]
fn an_outbound_sa_goes_on_with_its_sequence_numbers_towards_another_port() {
    let mut world = World::gcm();
    world.switch_on_in_udp(4500);
    let send = |world: &mut World| {
        let packet = world.sent_by_vpc(&Ip::of(40).build());
        world.process(vec![packet]);
        let sealed = world.sent(WAN).remove(0);
        let udp = 14 + 20;
        (
            u16::from_be_bytes([sealed[udp + 2], sealed[udp + 3]]),
            sealed[udp + 8 + 7],
        )
    };
    assert_eq!(send(&mut world), (4500, 1));
    world.apply(Message::MoveOutbound {
        index: SA,
        peer_port: 20_001,
    });
    assert_eq!(send(&mut world), (20_001, 2));
    world.apply(Message::RaiseSequence { index: SA, by: 100 });
    assert_eq!(send(&mut world), (20_001, 103));
}

#[test]
fn a_packet_classified_for_an_older_generation_is_dropped() {
    let mut world = World::gcm();
    let packet = Ip::of(40).build();
    for (direction, counted) in [
        (DIRECTION_OUTBOUND, Direction::Outbound),
        (DIRECTION_INBOUND, Direction::Inbound),
    ] {
        for (index, generation) in [
            (POLICY, GENERATION - 1),
            (SA, GENERATION + 1),
            (3, GENERATION),
            (99, 0),
        ] {
            let received = world.received(direction, index, generation, &packet);
            world.process(vec![received]);
        }
        assert_eq!(world.dropped_elsewhere(counted, PathError::StaleGeneration), 4);
    }
    world.apply(Message::RemovePolicy { index: POLICY });
    let received = world.sent_by_vpc(&packet);
    world.process(vec![received]);
    assert_eq!(
        world.dropped_elsewhere(Direction::Outbound, PathError::StaleGeneration),
        5
    );
}

#[test]
fn packets_wait_for_their_sa_and_leave_in_order() {
    let (cipher, integrity) = TRANSFORMS[0];
    let mut world = World::without_outbound(cipher, integrity);
    let batch = (0..18)
        .map(|extra| world.sent_by_vpc(&Ip::of(40 + extra).build()))
        .collect();
    world.process(batch);
    assert_eq!(world.waiting.len(), 16);
    assert_eq!(world.dropped(Direction::Outbound, PathError::WaitOverflow), 2);
    let acquire = DataplaneEvent::Acquire {
        policy: POLICY,
        tunnel: TUNNEL,
    };
    assert_eq!(*world.events.lock().expect("no panic"), [acquire]);
    world.release();
    assert_eq!(world.waiting.len(), 16, "nothing changed");

    world.switch_on(cipher, integrity, None);
    world.release();
    assert_eq!(world.waiting.len(), 0);
    let sealed = world.sent(WAN);
    let batch = sealed.iter().map(|frame| world.sent_by_peer(frame)).collect();
    world.process(batch);
    let lengths: Vec<_> = world
        .sent(LAN)
        .iter()
        .map(|frame| ip_of(frame).total_len)
        .collect();
    assert_eq!(lengths, (40..56).collect::<Vec<_>>());
}

#[test]
fn packets_do_not_wait_forever_nor_for_a_policy_that_is_gone() {
    let (cipher, integrity) = TRANSFORMS[0];
    let mut world = World::without_outbound(cipher, integrity);
    let received = world.sent_by_vpc(&Ip::of(40).build());
    world.process(vec![received]);
    world.now += 3_000_000_000;
    let received = world.sent_by_vpc(&Ip::of(40).build());
    world.process(vec![received]);
    world.now += 2_000_000_000;
    world.release();
    assert_eq!(world.waiting.len(), 1);
    assert_eq!(world.dropped(Direction::Outbound, PathError::WaitTimeout), 1);
    world.apply(Message::RemovePolicy { index: POLICY });
    world.release();
    assert_eq!(world.waiting.len(), 0);
    assert_eq!(
        world.dropped_elsewhere(Direction::Outbound, PathError::StaleGeneration),
        1
    );
}

#[test]
fn packets_of_a_peer_wait_for_the_keys_of_an_expected_sa() {
    let (cipher, integrity) = TRANSFORMS[0];
    let mut world = World::established(cipher, integrity);
    let seal = |world: &mut World, count: usize| -> Vec<Vec<u8>> {
        let batch = (0..count).map(|extra| world.sent_by_vpc(&Ip::of(40 + extra).build()));
        let batch = batch.collect();
        world.process(batch);
        world.sent(WAN)
    };
    let open = |world: &mut World, sealed: &[Vec<u8>]| {
        let batch = sealed.iter().map(|frame| world.sent_by_peer(frame)).collect();
        world.process(batch);
    };
    let expect = |world: &World| {
        world.apply(Message::RemoveInbound { index: SA });
        world.apply(Message::ExpectInbound {
            index: SA,
            generation: GENERATION,
            tunnel: TUNNEL,
        });
    };

    expect(&world);
    let sealed = seal(&mut world, 3);
    open(&mut world, &sealed);
    world.release();
    assert_eq!((world.waiting.len(), world.sent(LAN).len()), (3, 0));
    world.install_inbound(cipher, integrity);
    world.release();
    let lengths: Vec<_> = world
        .sent(LAN)
        .iter()
        .map(|frame| ip_of(frame).total_len)
        .collect();
    assert_eq!(lengths, [40, 41, 42]);

    // Nothing came of it.
    expect(&world);
    let sealed = seal(&mut world, 2);
    open(&mut world, &sealed);
    world.apply(Message::RemoveInbound { index: SA });
    world.release();
    assert_eq!((world.waiting.len(), world.sent(LAN).len()), (0, 0));
    assert_eq!(
        world.dropped_elsewhere(Direction::Inbound, PathError::StaleGeneration),
        2
    );
}

#[test]
fn an_sa_of_another_tunnel_is_never_used() {
    let mut world = World::gcm();
    world.apply(Message::InstallPolicy {
        index: 0,
        generation: 1,
        tunnel: 0,
    });
    world.apply(Message::Switch {
        policy: 0,
        outbound: Some(SA),
    });
    let received = world.received(DIRECTION_OUTBOUND, 0, 1, &Ip::of(40).build());
    world.process(vec![received]);
    assert_eq!((world.sent(WAN).len(), world.waiting.len()), (0, 1));
}

#[test]
fn a_long_packet_that_must_not_be_fragmented_is_answered() {
    let mut world = World::gcm();
    // 1500 - 20 outer - 8 ESP - 8 IV - 16 ICV = 1448, less the 2 octets of the trailer.
    for (len, sent, answered) in [(1446, 1, 0), (1447, 0, 1)] {
        let packet = Ip {
            dont_fragment: true,
            ..Ip::of(len)
        };
        let received = world.sent_by_vpc(&packet.build());
        world.process(vec![received]);
        assert_eq!(world.sent(WAN).len(), sent, "{len}");
        let answers = world.sent(LAN);
        assert_eq!(answers.len(), answered, "{len}");
        for answer in answers {
            assert!(
                answer.starts_with(&[HOST, MAC[LAN]].concat()),
                "back to where it came from"
            );
            let ip = ip_of(&answer);
            assert_eq!((ip.source, ip.destination, ip.protocol), (INSIDE, NEAR, 1));
            assert_eq!(answer[34..36], [3, 4]);
            assert_eq!(answer[40..42], 1446u16.to_be_bytes());
        }
    }
    assert_eq!(world.dropped(Direction::Outbound, PathError::Mtu), 1);
}

/// E17: as a router does, so that traceroute shows the gateway.
#[test]
fn the_end_of_a_ttl_is_answered_and_the_answers_are_limited() {
    let mut world = World::gcm();
    for (ttl, sent) in [(0, 0), (1, 0), (2, 1)] {
        let packet = Ip { ttl, ..Ip::of(100) };
        let received = world.sent_by_vpc(&packet.build());
        world.process(vec![received]);
        assert_eq!(world.sent(WAN).len(), sent, "{ttl}");
        let answers = world.sent(LAN);
        assert_eq!(answers.len(), 1 - sent, "{ttl}");
        for answer in answers {
            assert!(answer.starts_with(&[HOST, MAC[LAN]].concat()));
            let ip = ip_of(&answer);
            assert_eq!((ip.source, ip.destination, ip.protocol), (INSIDE, NEAR, 1));
            assert_eq!(answer[34..36], [11, 0]);
            assert_eq!(answer[42..], packet.build(), "the packet as it came");
        }
    }
    assert_eq!(world.dropped(Direction::Outbound, PathError::Ttl), 2);
    let last_hop = Ip {
        ttl: 1,
        ..Ip::of(100)
    }
    .build();
    let mut answers = 2;
    for _ in 0..30 {
        let batch = (0..40).map(|_| world.sent_by_vpc(&last_hop)).collect();
        world.process(batch);
        answers += world.sent(LAN).len();
    }
    assert_eq!(answers, 1000, "per worker and second");
    let counters = world.counters().tunnels[0].1.clone();
    assert_eq!((counters.icmp_time_exceeded_sent, counters.mtu), (1000, 1446));
    assert_eq!(world.tables.read_tunnel(TUNNEL), counters);
    assert_eq!(world.tables.read_tunnel(u32::MAX), Default::default());
}

#[test]
fn a_long_packet_is_fragmented_before_it_is_sealed() {
    let mut world = World::gcm();
    let out = world.round_trip(&[Ip::of(1500).build()]);
    let pieces: Vec<_> = out.iter().map(|frame| ip_of(frame)).collect();
    assert_eq!(pieces.iter().map(|ip| ip.total_len - 20).sum::<usize>(), 1480);
    assert!(
        pieces.len() == 2 && pieces[0].more_fragments && pieces[1].fragment_offset > 0,
        "{pieces:?}"
    );
    assert!(pieces.iter().all(|ip| ip.ttl == 62));
    assert_eq!(world.counters().tunnels[0].1.fragmented, 1);
}

#[test]
fn without_frames_for_its_fragments_a_packet_is_dropped_whole() {
    let mut world = World::gcm();
    // All frames but two are queued, and the packet has one of these: what is left is enough for its first fragment only.
    let queued = FRAMES as usize - 2;
    let batch = (0..queued)
        .map(|_| world.sent_by_vpc(&Ip::of(40).build()))
        .collect();
    world.process(batch);
    let received = world.sent_by_vpc(&Ip::of(1500).build());
    world.process(vec![received]);
    assert_eq!(world.sent(WAN).len(), queued);
    assert_eq!(world.dropped(Direction::Outbound, PathError::NoFrame), 1);
}

#[test]
fn the_mss_of_both_directions_is_what_fits() {
    let mut world = World::established(Cipher::Aes128Cbc, Some(Integrity::HmacSha1_96));
    let mss_of = |frame: &[u8]| u16::from_be_bytes([frame[14 + 42], frame[14 + 43]]);
    let out = world.round_trip(&[syn(1460).build(), syn(1000).build()]);
    // 1438 is the inner MTU of AES-CBC with HMAC-SHA1-96.
    assert_eq!(
        out.iter().map(|frame| mss_of(frame)).collect::<Vec<_>>(),
        [1438 - 40, 1000]
    );
    assert_eq!(world.counters().tunnels[0].1.mss_clamped, 1);
}

#[test]
fn the_kernel_gets_what_the_worker_cannot_send() {
    let mut world = World::gcm();
    let packets = [
        Ip {
            destination: SILENT,
            ..Ip::of(40)
        },
        Ip {
            destination: INSIDE,
            ..Ip::of(50)
        },
    ];
    let built: Vec<_> = packets.iter().map(Ip::build).collect();
    assert_eq!(world.round_trip(&built).len(), 0);
    let to_kernel = world.sent(SLOW);
    assert!(
        to_kernel
            .iter()
            .all(|frame| frame.starts_with(&[KERNEL, MAC[SLOW]].concat()))
    );
    // The kernel takes one from the TTL itself.
    let inner: Vec<_> = to_kernel
        .iter()
        .map(|frame| (ip_of(frame).destination, ip_of(frame).ttl))
        .collect();
    assert_eq!(inner, [(SILENT, 63), (INSIDE, 63)]);
    assert_eq!(world.slow_path_packets(), 2);

    // A TTL that ends here: the kernel answers.
    let last_hop = Ip { ttl: 2, ..Ip::of(40) };
    assert_eq!(world.round_trip(&[last_hop.build()]).len(), 0);
    assert_eq!(world.sent(SLOW).len(), 1);
}

#[test]
fn without_a_slow_path_such_packets_are_dropped() {
    let mut world = World::gcm().without_slow_path();
    let packets = [
        Ip {
            destination: SILENT,
            ..Ip::of(40)
        },
        Ip { ttl: 2, ..Ip::of(40) },
    ];
    let built: Vec<_> = packets.iter().map(Ip::build).collect();
    assert_eq!(world.round_trip(&built).len(), 0);
    assert_eq!(world.dropped(Direction::Inbound, PathError::NoSlowPath), 1);
    assert_eq!(world.dropped(Direction::Inbound, PathError::Ttl), 1);
}

#[test]
fn each_bad_packet_has_its_reason() {
    let rows = [
        (
            Ip {
                source: INSIDE,
                ..Ip::of(40)
            },
            Direction::Inbound,
            PathError::OwnSource,
        ),
        (
            Ip {
                destination: [10, 77, 9, 1].into(),
                ..Ip::of(40)
            },
            Direction::Inbound,
            PathError::NoRoute,
        ),
    ];
    for (packet, direction, reason) in rows {
        let mut world = World::gcm();
        assert_eq!(world.round_trip(&[packet.build()]).len(), 0);
        assert_eq!(world.dropped(direction, reason), 1, "{reason:?}");
        assert_eq!(world.all_drops(), 1, "{reason:?}");
    }
}

/// E8: addresses outside of the selectors.
#[test]
fn a_spoofed_address_is_dropped_after_opening() {
    let mut world = World::gcm();
    let spoofed = Ip {
        source: [203, 0, 113, 1].into(),
        ..Ip::of(40)
    };
    assert_eq!(world.round_trip(&[spoofed.build()]).len(), 0);
    assert_eq!(world.dropped(Direction::Inbound, OpenError::Selector), 1);
}

#[test]
fn a_replayed_packet_is_dropped() {
    let mut world = World::gcm();
    let received = world.sent_by_vpc(&Ip::of(40).build());
    world.process(vec![received]);
    let sealed = world.sent(WAN);
    let batch = [0, 0, 0].map(|at: usize| world.sent_by_peer(&sealed[at]));
    world.process(batch.into());
    assert_eq!(world.sent(LAN).len(), 1);
    assert_eq!(world.dropped(Direction::Inbound, OpenError::Replay), 2);
}

#[test]
fn an_sa_carries_no_more_than_its_hard_lifetime() {
    let (cipher, integrity) = TRANSFORMS[3];
    let mut world = World::without_outbound(cipher, integrity);
    world.switch_on(cipher, integrity, Some(150));
    for _ in 0..4 {
        let received = world.sent_by_vpc(&Ip::of(100).build());
        world.process(vec![received]);
    }
    assert_eq!(world.sent(WAN).len(), 2);
    assert_eq!(world.dropped(Direction::Outbound, PathError::Lifetime), 2);
}

/// E7 and R-21: a rekey is asked for before the end, and at the end there is silence.
#[test]
fn near_its_last_sequence_number_an_sa_says_so_and_then_falls_silent() {
    let (cipher, integrity) = TRANSFORMS[0];
    let mut world = World::without_outbound(cipher, integrity);
    let last = u64::from(u32::MAX);
    world.switch_on_behind(last - 3, cipher, integrity, None);
    for (sent, mark) in [
        (1, Some(SaMark::Last)),
        (1, None),
        (1, Some(SaMark::End)),
        (0, None),
        (0, None),
    ] {
        let received = world.sent_by_vpc(&Ip::of(100).build());
        world.process(vec![received]);
        assert_eq!(world.sent(WAN).len(), sent);
        let told = std::mem::take(&mut *world.events.lock().expect("no panic"));
        let expected = mark.map(|mark| DataplaneEvent::SaLimit {
            index: SA,
            tunnel: TUNNEL,
            mark,
        });
        assert_eq!(told, Vec::from_iter(expected));
    }
    assert_eq!(
        world.dropped(Direction::Outbound, PathError::SequenceExhausted),
        2
    );
}

#[test]
fn each_mark_of_the_octets_is_told_once() {
    let (cipher, integrity) = TRANSFORMS[3];
    let mut world = World::without_outbound(cipher, integrity);
    world.switch_on(cipher, integrity, Some(1000));
    for _ in 0..12 {
        let received = world.sent_by_vpc(&Ip::of(100).build());
        world.process(vec![received]);
    }
    let told = std::mem::take(&mut *world.events.lock().expect("no panic"));
    let marks: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            DataplaneEvent::SaLimit { mark, .. } => Some(*mark),
            DataplaneEvent::Acquire { .. }
            | DataplaneEvent::InboundFirstUse { .. }
            | DataplaneEvent::PeerPort { .. }
            | DataplaneEvent::ProbeAnswered { .. }
            | DataplaneEvent::WorkerFailed { .. } => None,
        })
        .collect();
    // The tenth packet fills the limit: nothing lies between 900 and 1000 octets.
    assert_eq!(marks, [SaMark::Soft, SaMark::End]);
    assert_eq!(world.sent(WAN).len(), 10);
}

/// E15: like any other packet, and only once.
#[test]
fn a_packet_that_came_in_fragments_is_opened_once() {
    for (cipher, integrity) in TRANSFORMS {
        let mut world = World::established(cipher, integrity);
        let packet = Ip::of(1400);
        let received = world.sent_by_vpc(&packet.build());
        world.process(vec![received]);
        let sealed = world.sent(WAN).remove(0);
        let batch = vec![
            world.reassembled(&sealed).expect("a frame"),
            world.reassembled(&sealed).expect("a frame"),
            world.sent_by_peer(&sealed),
        ];
        world.process(batch);
        let out = world.sent(LAN);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0][14..], two_hops_later(&packet));
        assert_eq!(world.dropped(Direction::Inbound, OpenError::Replay), 2);
    }
}

/// E1 and E15: from nothing at all to the longest datagram.
#[test]
fn noise_that_came_in_fragments_is_dropped_and_no_frame_is_lost() {
    let mut world = World::gcm();
    let mut opened = 0;
    for len in (0..80).chain([1757, 1758, 1759, 2000, 65_515, 65_516, 100_000]) {
        match world.injected(vec![7; len]) {
            Ok(received) => {
                world.process(vec![received]);
                opened += 1;
            }
            Err(error) => assert_eq!((error, len > 1758), (PathError::Jumbo, true), "{len}"),
        }
        world.assert_conserved();
    }
    assert_eq!((opened, world.all_drops()), (82, 82));
    while world.injected(vec![7; 40]).is_ok() {}
    assert_eq!(world.injected(vec![7; 40]).err(), Some(PathError::NoFrame));
}
