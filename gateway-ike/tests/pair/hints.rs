//! INVALID_SPI that nothing protects: forged by anybody, or said by a peer that has restarted.

use std::net::SocketAddrV4;
use std::time::Duration;

use gateway_common::Spi;
use gateway_ike::Code;
use gateway_ike::config::DpdAction;
use gateway_ike::wire::{ExchangeType, Flags, IkeSpi, ProtocolId, v1, v2};

use crate::net::{End, FIRST, Pair};
use crate::setup::Setup;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any of these tests takes.
const DPD: Duration = Duration::from_secs(3600);
/// The hint is about what A seals with.
const B_ADDRESS: &str = "198.51.100.2:500";

type Forge = fn(IkeSpi, Spi) -> Vec<u8>;

fn v2_hint(ike_spi: IkeSpi, spi: Spi) -> Vec<u8> {
    let data = spi.to_be_bytes().to_vec();
    let payload = v2::Payload::Notify(v2::NotifyPayload::new(v2::NotifyType::INVALID_SPI, data));
    let exchange = ExchangeType::INFORMATIONAL;
    v2::MessageBuilder::new(ike_spi, ike_spi, exchange, 0, Flags::INITIATOR)
        .payload(&payload)
        .and_then(v2::MessageBuilder::clear)
        .unwrap()
}

fn v1_notify(ike_spi: IkeSpi, protocol: ProtocolId, spi: Vec<u8>, data: Vec<u8>) -> Vec<u8> {
    let payload = v1::Payload::Notify(v1::NotifyPayload {
        doi: v1::Doi::IPSEC,
        protocol,
        spi,
        notify_type: v1::NotifyType::INVALID_SPI,
        data,
    });
    v1::MessageBuilder::new(ike_spi, ike_spi, ExchangeType::INFORMATIONAL_V1, 77)
        .payload(&payload)
        .and_then(v1::MessageBuilder::clear)
        .unwrap()
}

fn v1_hint(ike_spi: IkeSpi, spi: Spi) -> Vec<u8> {
    v1_notify(ike_spi, ProtocolId::ESP, spi.to_be_bytes().to_vec(), Vec::new())
}

fn v1_hint_in_the_data(ike_spi: IkeSpi, spi: Spi) -> Vec<u8> {
    v1_notify(ike_spi, ProtocolId::ESP, Vec::new(), spi.to_be_bytes().to_vec())
}

/// Both versions with what says in them that an SPI is unknown.
fn versions() -> Vec<(Setup, Forge)> {
    let with_dpd = |setup: Setup| setup.both(|side| side.dpd_delay = Some(DPD));
    vec![
        (with_dpd(Setup::v2()), v2_hint as Forge),
        (with_dpd(Setup::new()), v1_hint),
        (with_dpd(Setup::new()), v1_hint_in_the_data),
    ]
}

/// Hands a datagram to A.
fn inject(pair: &mut Pair, from: &str, octets: &[u8]) {
    let local: SocketAddrV4 = "192.0.2.1:500".parse().unwrap();
    let from = from.parse().unwrap();
    pair.with(End::A, |endpoint, now| {
        endpoint.handle_datagram(now, local, from, octets)
    });
}

fn sealed_with(pair: &Pair, end: End) -> Spi {
    let node = pair.node(end);
    node.installed[&node.sealing[&FIRST]].sa.outbound.spi
}

/// Datagrams of each end.
fn sent(pair: &Pair) -> (usize, usize) {
    let of = |end| pair.sent.iter().filter(|(_, from, _)| *from == end).count();
    (of(End::A), of(End::B))
}

#[test]
fn s7_v4_forged_hints_cost_one_question_in_ten_seconds_and_end_nothing() {
    for (setup, forge) in versions() {
        let mut pair = Pair::established(setup);
        let spi = sealed_with(&pair, End::A);
        let (a, b) = sent(&pair);
        // The IKE SPIs are the sender's to choose.
        for ike_spi in [IkeSpi::ZERO, IkeSpi([0x5a; 8])] {
            for _ in 0..48 {
                inject(&mut pair, B_ADDRESS, &forge(ike_spi, spi));
                pair.run_for(SECOND / 10);
            }
        }
        assert_eq!(sent(&pair), (a + 1, b + 1), "{:#?}", pair.a.log);
        assert_eq!(pair.a.endpoint.totals().invalid_spi_hints, 96);
        pair.run_for(SECOND);
        inject(&mut pair, B_ADDRESS, &forge(IkeSpi::ZERO, spi));
        pair.run_for(300 * SECOND);
        assert_eq!(sent(&pair), (a + 2, b + 2), "{:#?}", pair.a.log);
        pair.assert_up(1);
        assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (1, 1));
        assert_eq!(pair.a.failures, []);
    }
}

#[test]
fn s7_v4_hints_that_name_nothing_we_seal_with_towards_their_sender_are_dropped() {
    for (setup, forge) in versions() {
        let mut pair = Pair::established(setup);
        let spi = sealed_with(&pair, End::A);
        let theirs = sealed_with(&pair, End::B);
        let unknown = Spi::from_be_bytes([0x20, 1, 2, 3]).unwrap();
        // What has a successor is not sealed with any more, though the peer may still have it.
        let child = pair.a.sealing[&FIRST];
        pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
        for _ in 0..50 {
            if sealed_with(&pair, End::A) == spi {
                pair.run_for(SECOND / 10);
            }
        }
        assert_ne!(sealed_with(&pair, End::A), spi);
        assert!(pair.a.installed.contains_key(&child), "it still opens");
        let (before, dropped) = (sent(&pair), pair.a.endpoint.totals().dropped_datagrams);
        let now_sealing = sealed_with(&pair, End::A);
        let mut hints = 0;
        for (from, spi) in [
            (B_ADDRESS, unknown),
            (B_ADDRESS, theirs),
            (B_ADDRESS, spi),
            ("203.0.113.9:500", now_sealing),
        ] {
            for ike_spi in [IkeSpi::ZERO, IkeSpi([0x5a; 8])] {
                inject(&mut pair, from, &forge(ike_spi, spi));
                hints += 1;
            }
        }
        assert_eq!(sent(&pair), before);
        let totals = pair.a.endpoint.totals();
        assert_eq!(
            (totals.invalid_spi_hints, totals.dropped_datagrams),
            (0, dropped + hints)
        );
    }
}

#[test]
fn v4_an_spi_of_another_protocol_or_length_is_no_hint() {
    let setup = Setup::new().both(|side| side.dpd_delay = Some(DPD));
    let mut pair = Pair::established(setup);
    let spi = sealed_with(&pair, End::A).to_be_bytes();
    let before = sent(&pair);
    for (protocol, spi, data) in [
        (ProtocolId::IKE, spi.to_vec(), Vec::new()),
        (ProtocolId::ESP, spi[..3].to_vec(), Vec::new()),
        (ProtocolId::ESP, Vec::new(), [&spi[..], &[0]].concat()),
        (ProtocolId::ESP, vec![1; 4], spi.to_vec()),
        (ProtocolId::ESP, Vec::new(), Vec::new()),
    ] {
        inject(
            &mut pair,
            B_ADDRESS,
            &v1_notify(IkeSpi([0x5a; 8]), protocol, spi, data),
        );
    }
    assert_eq!(sent(&pair), before);
    assert_eq!(pair.a.endpoint.totals().invalid_spi_hints, 0);
}

#[test]
fn without_dead_peer_detection_a_hint_is_counted_and_nobody_is_asked() {
    for (setup, forge) in versions() {
        let mut pair = Pair::established(setup.both(|side| side.dpd_delay = None));
        let (spi, before) = (sealed_with(&pair, End::A), sent(&pair));
        inject(&mut pair, B_ADDRESS, &forge(IkeSpi::ZERO, spi));
        assert_eq!(sent(&pair), before);
        assert_eq!(pair.a.endpoint.totals().invalid_spi_hints, 1);
    }
}

#[test]
fn a_peer_that_lost_its_state_is_found_out_by_its_hint_long_before_the_next_probe() {
    let versions: [(fn() -> Setup, Forge); 2] = [(Setup::v2, v2_hint), (Setup::new, v1_hint)];
    for (version, forge) in versions {
        let setup = || {
            version().both(|side| {
                side.dpd_delay = Some(DPD);
                side.dpd_action = DpdAction::Restart;
            })
        };
        for hinted in [false, true] {
            let mut pair = Pair::established(setup());
            pair.restart(End::B, &setup().b);
            let spi = sealed_with(&pair, End::A);
            if hinted {
                inject(&mut pair, B_ADDRESS, &forge(IkeSpi::ZERO, spi));
            }
            pair.run_for(70 * SECOND);
            let codes: Vec<_> = pair.a.failures.iter().map(|failure| failure.code).collect();
            if hinted {
                assert_eq!(codes, [Code::PeerDead], "{:#?}", pair.a.log);
                pair.assert_up(1);
                assert_ne!(sealed_with(&pair, End::A), spi);
            } else {
                assert_eq!(codes, []);
                assert!(pair.b.installed.is_empty(), "nobody has told A");
            }
        }
    }
}
