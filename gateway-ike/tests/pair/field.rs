//! IKEv1 as peers in the field speak it: dialects of NAT traversal, fragments, lifetimes that differ, the commit bit, key exchanges
//! that take their time.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use gateway_ike::config::{DpdAction, EspCipher, EspIntegrity, PairIndex, Phase1Mode};
use gateway_ike::crypto::{DhGroup, Hash};
use gateway_ike::wire::v1::{Message, MessageBuilder, Payload, Protection};
use gateway_ike::wire::{Header, PayloadType, vendor};
use gateway_ike::{Endpoint, EndpointConfig};

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::node::Node;
use crate::setup::{Setup, esp};

const SECOND: Duration = Duration::from_secs(1);
/// Octet of the header with the type of the first payload.
const NEXT_PAYLOAD: usize = 16;
/// Octet of the header with the flags.
const FLAGS: usize = 19;
const COMMIT: u8 = 2;
/// Type of the payload that carries a fragment.
const FRAGMENT: u8 = 132;

fn addresses(to: End) -> (SocketAddrV4, SocketAddrV4) {
    let (a, b) = (
        "192.0.2.1:500".parse().unwrap(),
        "198.51.100.2:500".parse().unwrap(),
    );
    match to {
        End::A => (a, b),
        End::B => (b, a),
    }
}

/// Hands a datagram to an end as if its peer had sent it, and returns what the end answers.
fn deliver(pair: &mut Pair, to: End, octets: &[u8]) -> Vec<Vec<u8>> {
    let (local, peer) = addresses(to);
    let before = pair.sent.len();
    pair.with(to, |endpoint, now| {
        endpoint.handle_datagram(now, local, peer, octets)
    });
    pair.sent[before..]
        .iter()
        .map(|(_, _, octets)| octets.clone())
        .collect()
}

fn lose(end: End, number: usize) -> crate::net::Filter {
    Box::new(move |from, count, _| {
        if (from, count) == (end, number) {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    })
}

/// The payload types of a message in the clear, and its vendor ids.
fn payloads(octets: &[u8]) -> (Vec<PayloadType>, Vec<Vec<u8>>) {
    let (header, body) = Header::parse(octets).unwrap();
    let message = Message::parse(header.next_payload, body, Protection::Clear).unwrap();
    let types = message
        .payloads
        .iter()
        .map(|parsed| parsed.payload.payload_type())
        .collect();
    let ids = message
        .of_type(PayloadType::VENDOR_ID)
        .map(|parsed| parsed.raw.to_vec())
        .collect();
    (types, ids)
}

/// Message 1 with these vendor ids and no others.
fn with_vendor_ids(first: &[u8], ids: &[&[u8]]) -> Vec<u8> {
    let (header, body) = Header::parse(first).unwrap();
    let message = Message::parse(header.next_payload, body, Protection::Clear).unwrap();
    let rest = message
        .payloads
        .iter()
        .map(|parsed| parsed.payload.clone())
        .filter(|payload| !matches!(payload, Payload::VendorId(_)));
    let all: Vec<_> = rest
        .chain(ids.iter().map(|id| Payload::VendorId(id.to_vec())))
        .collect();
    MessageBuilder::new(
        header.initiator_spi,
        header.responder_spi,
        header.exchange_type,
        0,
    )
    .payloads(&all)
    .and_then(MessageBuilder::clear)
    .unwrap()
}

/// The first message of A, with the given vendor ids, is the only one that B gets to see.
fn start_with(setup: Setup, ids: &[&[u8]]) -> (Pair, Vec<u8>) {
    let mut pair = setup.start();
    pair.filter = Some(lose(End::A, 0));
    pair.initiate(End::A);
    let first = with_vendor_ids(&pair.sent[0].2.clone(), ids);
    let answer = deliver(&mut pair, End::B, &first).remove(0);
    (pair, answer)
}

#[test]
fn each_dialect_of_nat_traversal_is_spoken() {
    let dialects = [
        (vendor::NAT_T_RFC3947, PayloadType::NAT_D),
        (vendor::NAT_T_DRAFT_03, PayloadType::NAT_D_DRAFT),
        (vendor::NAT_T_DRAFT_02, PayloadType::NAT_D_DRAFT),
        (vendor::NAT_T_DRAFT_02_N, PayloadType::NAT_D_DRAFT),
    ];
    for (id, numbering) in dialects {
        for pretends in [End::A, End::B] {
            let mut setup = Setup::new();
            match pretends {
                End::A => setup.a.force_udp = true,
                End::B => setup.b.force_udp = true,
            }
            let (mut pair, answer) = start_with(setup, &[&id]);
            assert_eq!(
                payloads(&answer).1,
                [id],
                "the dialect is agreed on, and nothing else"
            );
            pair.run_for(SECOND);
            pair.assert_up(1);
            let third = &pair.sent[2].2;
            assert_eq!(
                payloads(third)
                    .0
                    .iter()
                    .filter(|&&kind| kind == numbering)
                    .count(),
                2
            );
            for end in [End::A, End::B] {
                let child = pair.node(end).installed.values().next().unwrap();
                assert_eq!(child.sa.encapsulation.unwrap().local_port, 4500);
            }
            assert!(pair.send_esp(End::A, FIRST) && pair.send_esp(End::B, FIRST));
            pair.run_for(SECOND);
            assert_eq!((pair.delivered_esp, pair.lost_esp.len()), (2, 0));
        }
    }
}

#[test]
fn a_peer_without_nat_traversal_gets_esp_over_ip() {
    let mut setup = Setup::new();
    setup.a.force_udp = true;
    let (mut pair, answer) = start_with(setup, &[]);
    assert!(payloads(&answer).1.is_empty());
    pair.run_for(SECOND);
    pair.assert_up(1);
    assert!(
        pair.a
            .installed
            .values()
            .all(|child| child.sa.encapsulation.is_none())
    );
}

#[test]
fn vendor_ids_of_others_change_nothing() {
    let unity = vendor::CISCO_UNITY;
    let foreign: [&[u8]; 4] = [&unity, &vendor::XAUTH, b"%n\x1b[2J'; drop", &[]];
    let (mut pair, answer) = start_with(Setup::new(), &foreign);
    assert!(payloads(&answer).1.is_empty(), "none of them is ours");
    pair.run_for(SECOND);
    pair.assert_up(1);
}

/// Proposals that make message 1 of Quick Mode larger than a packet.
fn many_proposals() -> Setup {
    Setup::new().both(|side| {
        side.esp = vec![esp(EspCipher::Aes128Cbc, Some(EspIntegrity::HmacSha1)); 60];
    })
}

#[test]
fn a_large_message_travels_in_fragments() {
    let pair = Pair::established(many_proposals());
    let fragments = pair
        .sent
        .iter()
        .filter(|(_, _, octets)| octets[NEXT_PAYLOAD] == FRAGMENT)
        .count();
    assert_eq!(fragments, 2);
    assert!(pair.sent.iter().all(|(_, _, octets)| octets.len() <= 1248));
}

#[test]
fn without_fragmentation_on_one_end_a_large_message_stays_whole() {
    for end in [End::A, End::B] {
        let mut setup = many_proposals();
        match end {
            End::A => setup.a.fragmentation = false,
            End::B => setup.b.fragmentation = false,
        }
        let pair = Pair::established(setup);
        assert!(
            pair.sent
                .iter()
                .all(|(_, _, octets)| octets[NEXT_PAYLOAD] != FRAGMENT)
        );
        assert!(pair.sent.iter().any(|(_, _, octets)| octets.len() > 1248));
    }
}

#[test]
fn a_lost_fragment_is_made_up_for_by_the_next_attempt() {
    for lost in [3, 4] {
        let mut pair = many_proposals().start();
        pair.filter = Some(lose(End::A, lost));
        pair.initiate(End::A);
        pair.run_for(3 * SECOND);
        pair.assert_up(1);
    }
}

/// P9: whoever has seen the SPIs can send fragments.
#[test]
fn p9_forged_fragments_neither_end_nor_grow_anything() {
    let mut pair = Pair::established(Setup::new());
    let spis = pair.sent.last().unwrap().2[..16].to_vec();
    let forged = |id: u16, number: u8, last: u8, piece: &[u8]| {
        let len = u16::try_from(8 + piece.len()).unwrap();
        let header = [&spis[..], &[FRAGMENT, 0x10, 5, 0], &[0; 4]].concat();
        let total = (28 + u32::from(len)).to_be_bytes();
        let head = [
            &[0, 0][..],
            &len.to_be_bytes(),
            &id.to_be_bytes(),
            &[number, last],
        ]
        .concat();
        [&header[..], &total, &head, piece].concat()
    };
    let last = pair.sent.last().unwrap().2.clone();
    let inner = forged(9, 1, 1, b"x");
    for id in 1..200u16 {
        for number in [0, 1, 2, 16, 17, 255] {
            for end in [End::A, End::B] {
                deliver(&mut pair, end, &forged(id, number, 0, &[0xaa; 1200]));
            }
        }
    }
    for end in [End::A, End::B] {
        // A fragment in a fragment, a message that was seen, something that is no message, nothing at all.
        for piece in [&inner[..], &last[..], b"garbage", b""] {
            assert!(deliver(&mut pair, end, &forged(999, 1, 1, piece)).len() <= 1);
        }
    }
    pair.run_for(SECOND);
    pair.assert_up(1);
    let current = *pair.a.sealing.get(&FIRST).unwrap();
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, current));
    pair.run_with_traffic(10 * SECOND, SECOND);
    pair.assert_up(1);
    assert_eq!(pair.lost_esp, []);
}

#[test]
fn the_responder_says_what_is_shorter_than_the_initiator_offered() {
    let mut setup = Setup::new();
    setup.a.lifetime.time = Duration::from_secs(3000);
    setup.b.lifetime.time = Duration::from_secs(1000);
    setup.b.lifetime.kilobytes = Some(4000);
    let pair = Pair::established(setup);
    for end in [End::A, End::B] {
        let child = &pair.node(end).installed.values().next().unwrap().sa;
        let left = (child.expires_at - pair.now).as_secs();
        assert!((997..=1000).contains(&left), "{end:?}: {left}");
        assert_eq!(child.octets, Some(4000 * 1024), "{end:?}");
    }
}

#[test]
fn an_initiator_honours_the_shorter_lifetime_of_the_ike_sa() {
    for mode in [Phase1Mode::Main, Phase1Mode::Aggressive] {
        let mut setup = Setup::new().both(|side| side.mode = mode);
        setup.b.ike_lifetime = 60 * SECOND;
        setup.b.may_initiate = false;
        let mut pair = Pair::established(setup);
        assert!(
            pair.a.log.iter().any(|line| line.contains("for 60 seconds only")),
            "{:#?}",
            pair.a.log
        );
        pair.run_with_traffic(70 * SECOND, SECOND);
        let up = pair.a.log.iter().filter(|line| line.contains("ike up")).count();
        assert_eq!(up, 2, "{:#?}", pair.a.log);
        pair.assert_up(1);
        assert_eq!(pair.lost_esp, []);
    }
}

/// RFC 2408 section 3.1, and a peer that never says CONNECTED.
#[test]
fn a_child_sa_with_the_commit_bit_waits_and_not_for_ever() {
    let mut pair = Setup::new().start();
    pair.filter = Some(lose(End::B, 3));
    pair.initiate(End::A);
    pair.run_for(Duration::from_millis(75));
    let (_, from, second) = pair.sent.last().unwrap().clone();
    assert_eq!((from, second[18]), (End::B, 32), "message 2 of quick mode");
    let mut committed = second;
    committed[FLAGS] |= COMMIT;
    assert_eq!(deliver(&mut pair, End::A, &committed).len(), 1, "message 3");
    pair.run_for(4 * SECOND);
    assert!(!pair.b.sealing.is_empty());
    assert!(pair.a.sealing.is_empty(), "{:#?}", pair.a.log);
    pair.run_for(2 * SECOND);
    pair.assert_up(1);
}

#[test]
fn both_ends_choose_the_same_ike_sa_when_both_have_initiated() {
    for seed in 1..20 {
        let mut setup = Setup::new();
        setup.seed = seed;
        let mut pair = setup.start();
        pair.initiate(End::A);
        pair.initiate(End::B);
        pair.run_for(10 * SECOND);
        pair.assert_up(1);
        assert_eq!(
            (pair.a.ike_sas.len(), pair.b.ike_sas.len()),
            (2, 2),
            "seed {seed}"
        );
        let used = |pair: &Pair, from: usize| pair.sent[from].2[..8].to_vec();
        let from = pair.sent.len();
        pair.with(End::A, |endpoint, now| {
            endpoint.initiate(now, TUNNEL, PairIndex(1))
        });
        let of_a = used(&pair, from);
        pair.run_for(SECOND);
        let from = pair.sent.len();
        let child = *pair.b.sealing.get(&FIRST).unwrap();
        pair.with(End::B, |endpoint, now| endpoint.rekey_child(now, child));
        assert_eq!(of_a, used(&pair, from), "seed {seed}");
    }
}

#[test]
fn rekeys_of_both_ends_at_once_make_one_successor() {
    for pfs in [None, Some(DhGroup::Modp1024)] {
        let mut pair = Pair::established(Setup::new().both(|side| side.pfs = pfs));
        let (a, b) = (
            *pair.a.sealing.get(&FIRST).unwrap(),
            *pair.b.sealing.get(&FIRST).unwrap(),
        );
        pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, a));
        pair.with(End::B, |endpoint, now| endpoint.rekey_child(now, b));
        pair.run_with_traffic(20 * SECOND, Duration::from_millis(50));
        pair.assert_up(1);
        assert_ne!(*pair.a.sealing.get(&FIRST).unwrap(), a);
        assert_eq!(pair.lost_esp, []);
    }
}

#[test]
fn a_dead_peer_is_treated_as_the_tunnel_says() {
    for (action, comes_back) in [
        (DpdAction::Clear, false),
        (DpdAction::Hold, false),
        (DpdAction::Restart, true),
    ] {
        let mut setup = Setup::new().both(|side| side.dpd_delay = Some(10 * SECOND));
        setup.a.dpd_action = action;
        let mut pair = Pair::established(setup);
        pair.filter = Some(Box::new(|_, _, _| Fate::Lose));
        pair.run_for(60 * SECOND);
        assert!(pair.a.installed.is_empty(), "{:#?}", pair.a.log);
        pair.filter = None;
        pair.run_for(130 * SECOND);
        assert_eq!(
            !pair.a.sealing.is_empty(),
            comes_back,
            "{action:?}: {:#?}",
            pair.a.log
        );
        // Traffic brings it up in any case.
        pair.run_with_traffic(10 * SECOND, SECOND);
        pair.assert_mirrored();
        assert!(!pair.a.sealing.is_empty(), "{action:?}");
    }
}

/// V1: aggressive mode answers with more than it gets, and not with much more.
#[test]
fn v1_a_spoofed_first_message_of_aggressive_mode_is_hardly_amplified_and_answered_once() {
    for hash in Hash::ALL {
        for group in [DhGroup::Modp768, DhGroup::Modp1024, DhGroup::X25519] {
            let setup = || {
                Setup::new().both(|side| {
                    side.mode = Phase1Mode::Aggressive;
                    side.ike[0].hash = hash;
                    side.ike[0].group = group;
                })
            };
            let mut pair = setup().start();
            pair.initiate(End::A);
            let full = pair.sent[0].2.clone();
            for ids in [None, Some(&[][..]), Some(&[&vendor::NAT_T_RFC3947[..]][..])] {
                let first = ids.map_or_else(|| full.clone(), |ids| with_vendor_ids(&full, ids));
                let mut pair = setup().start();
                let answers = deliver(&mut pair, End::B, &first);
                let answered: usize = answers.iter().map(Vec::len).sum();
                assert!(answers.len() <= 1);
                assert!(2 * answered <= 3 * first.len(), "{answered} for {}", first.len());
                let before = pair.sent.len();
                pair.run_for(60 * SECOND);
                assert_eq!(pair.sent.len(), before, "sent again by a timer");
                assert_eq!(pair.b.endpoint.totals().half_open, 0);
            }
        }
    }
}

/// V3: the answer does not tell whether the identity is a known one.
#[test]
fn v3_known_and_unknown_identities_get_answers_of_the_same_shape() {
    use gateway_ike::config::Identity;
    let shape = |name: &str| {
        let mut setup = Setup::new().both(|side| side.mode = Phase1Mode::Aggressive);
        setup.a.local_id = Identity::Fqdn(name.into());
        setup.b.peer_id = Identity::Fqdn("known.example".into());
        let mut pair = setup.start();
        pair.initiate(End::A);
        pair.run_for(Duration::from_millis(15));
        let answer = pair.sent.get(1).expect("an answer").2.clone();
        (payloads(&answer), answer.len())
    };
    assert_eq!(shape("known.example"), shape("other.example"));
}

/// The messages of both modes while the driver has not computed anything yet.
#[test]
fn messages_are_worked_on_once_however_long_a_key_exchange_takes() {
    let now = Instant::now();
    let setup = Setup::new().both(|side| side.mode = Phase1Mode::Aggressive);
    let mut pair = Setup::new()
        .both(|side| side.mode = Phase1Mode::Aggressive)
        .start();
    pair.initiate(End::A);
    let first = pair.sent[0].2.clone();
    let (local, peer) = addresses(End::B);
    let mut responder = Endpoint::new(EndpointConfig::new([3; 32]));
    responder.put_connection(now, setup.b.config());
    for _ in 0..5 {
        responder.handle_datagram(now, local, peer, &first);
        assert_eq!(responder.poll_transmit(), None);
    }
    let (id, job) = responder.poll_job().expect("one job");
    assert!(responder.poll_job().is_none(), "and one only");
    responder.handle_job(now, id, job.run());
    assert!(responder.poll_transmit().is_some());
    responder.handle_datagram(now, local, peer, &first);
    assert!(
        responder.poll_transmit().is_some(),
        "repeated, not computed again"
    );
    assert!(responder.poll_job().is_none());

    // The tunnel goes away while its key exchange is computed.
    let mut responder = Endpoint::new(EndpointConfig::new([4; 32]));
    responder.put_connection(now, setup.b.config());
    responder.handle_datagram(now, local, peer, &first);
    let (id, job) = responder.poll_job().expect("a job");
    responder.remove_connection(now, TUNNEL);
    responder.handle_job(now, id, job.run());
    assert_eq!(responder.poll_transmit(), None);
    assert_eq!(responder.totals().half_open, 0);
}

/// V7: aggressive mode with algorithms that nobody has, then again with a responder's SPI.
#[test]
fn v7_aggressive_mode_with_foreign_algorithms_and_made_up_spis_leaves_nothing() {
    let setup = || {
        let mut setup = Setup::new().both(|side| side.mode = Phase1Mode::Aggressive);
        setup.b.ike[0].hash = Hash::Sha2_512;
        setup
    };
    let mut pair = setup().start();
    pair.initiate(End::A);
    let mut first = pair.sent[0].2.clone();
    let mut pair = setup().start();
    assert_eq!(deliver(&mut pair, End::B, &first).len(), 1, "a refusal");
    first[8..16].copy_from_slice(&[0x55; 8]);
    assert!(deliver(&mut pair, End::B, &first).is_empty());
    pair.run_for(SECOND);
    assert_eq!(pair.b.endpoint.totals().half_open, 0);
    assert!(pair.b.ike_sas.is_empty());
}

/// V9: the end of what has ended, said twice and after everything else.
#[test]
fn v9_deletes_and_what_follows_them_are_safe_to_repeat() {
    for mode in [Phase1Mode::Main, Phase1Mode::Aggressive] {
        let mut pair = Pair::established(Setup::new().both(|side| side.mode = mode));
        pair.with(End::A, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.run_for(SECOND);
        let sent = pair.sent.clone();
        for (_, from, octets) in sent.iter().rev().chain(&sent) {
            deliver(&mut pair, from.other(), octets);
        }
        pair.run_for(100 * SECOND);
        pair.assert_empty();
    }
}

/// V13: XAUTH, Mode Config, New Group Mode and whatever else, in every state of aggressive mode.
#[test]
fn v13_other_exchanges_are_refused_in_every_state_of_aggressive_mode() {
    for sent in 0..6 {
        let mut pair = Setup::new()
            .both(|side| side.mode = Phase1Mode::Aggressive)
            .start();
        pair.initiate(End::A);
        pair.run_for(Duration::from_millis(10 * sent + 5));
        let last = pair.sent.last().unwrap().2.clone();
        for exchange in (0..=u8::MAX).filter(|exchange| ![4, 5, 32].contains(exchange)) {
            let mut octets = last.clone();
            octets[18] = exchange;
            for end in [End::A, End::B] {
                assert!(deliver(&mut pair, end, &octets).is_empty(), "exchange {exchange}");
            }
        }
        pair.run_for(2 * SECOND);
        pair.assert_up(1);
    }
}

#[test]
fn an_ike_sa_is_renewed_before_its_kilobytes_are_used_up_whichever_end_limits_them() {
    for (mode, end, initiates) in [
        (Phase1Mode::Main, End::A, End::A),
        (Phase1Mode::Main, End::B, End::A),
        (Phase1Mode::Main, End::B, End::B),
        (Phase1Mode::Aggressive, End::B, End::A),
    ] {
        let mut setup = Setup::new().both(|side| {
            side.mode = mode;
            side.lifetime.time = 20 * SECOND;
        });
        match end {
            End::A => setup.a.ike_kilobytes = Some(8),
            End::B => setup.b.ike_kilobytes = Some(8),
        }
        match initiates {
            End::A => setup.b.may_initiate = false,
            End::B => setup.a.may_initiate = false,
        }
        let mut pair = setup.start();
        pair.initiate(initiates);
        pair.run_with_traffic(SECOND, SECOND / 10);
        let before = pair.lost_esp.len();
        pair.run_with_traffic(900 * SECOND, SECOND / 10);
        let node = pair.node(initiates);
        let (up, down) = (count(node, "ike up"), count(node, "ike down"));
        assert!(up >= 4, "{mode:?} {end:?}: {up} times up, {:#?}", node.log);
        assert!(
            up - down <= 2,
            "{mode:?} {end:?}: {up} times up, {down} times down"
        );
        assert_eq!(pair.lost_esp.len(), before, "{mode:?} {end:?}");
        pair.assert_mirrored();
    }
}

#[test]
fn an_ike_sa_whose_kilobytes_are_used_up_falls_silent() {
    let mut setup = Setup::new().both(|side| side.dpd_delay = Some(SECOND));
    setup.b.ike_kilobytes = Some(8);
    let [mut a, mut b] = [Setup::new().a, Setup::new().b];
    b.ike_kilobytes = Some(8);
    let mut pair = Pair::established(setup);
    for (end, side) in [(End::A, &mut a), (End::B, &mut b)] {
        side.dpd_delay = Some(SECOND);
        side.may_initiate = false;
        pair.with(end, |endpoint, now| endpoint.put_connection(now, side.config()));
    }
    let before = pair.sent.len();
    pair.run_for(600 * SECOND);
    let octets: usize = pair.sent[before..].iter().map(|(_, _, sent)| sent.len()).sum();
    assert!((6 * 1024..9 * 1024).contains(&octets), "{octets} octets");
    assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (0, 0));
}

fn count(node: &Node, what: &str) -> usize {
    node.log.iter().filter(|line| line.contains(what)).count()
}
