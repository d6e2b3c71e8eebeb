//! Many peers, and floods in the name of many (R-13 and R-14 of the attack catalogue), on virtual time.

mod ends;

use std::time::{Duration, Instant};

use gateway_ike::Transmit;
use gateway_ike::config::{ConnectionId, IkeVersion, PairIndex, Phase1Mode};
use gateway_ike::crypto::DhGroup;

use ends::{End, Kind, at, bring_up, exchange, mirrored, peer, tunnel};

/// Tunnels of the gateway.
const TUNNELS: u32 = 2000;
/// Forged messages a second.
const RATE: u32 = 2000;
/// Seconds of the flood.
const SECONDS: u32 = 50;
/// Half-open exchanges beyond which only a peer's first attempt is taken.
const LIMIT: u64 = 1000;

const fn kind(version: IkeVersion, mode: Phase1Mode) -> Kind {
    Kind {
        name: version.name(),
        version,
        mode,
        group: DhGroup::X25519,
        additional: None,
    }
}

/// The first message of a peer's own engine, to be sent in the name of others.
fn first_message(now: Instant, kind: Kind) -> Transmit {
    let mut peers = End::new(9);
    peers.call(now, |endpoint| endpoint.put_connection(now, mirrored(kind, 0)));
    peers.call(now, |endpoint| {
        endpoint.initiate(now, ConnectionId(0), PairIndex(0));
    });
    peers.sent.remove(0)
}

/// 100,000 first messages, each with a source and an SPI of its own; every second one is in the name of a configured peer. Tunnel 0
/// is established and gets a new Child SA each second, tunnel 1 comes up in the midst of it.
#[track_caller]
fn check_flood(kind: Kind) {
    let mut now = Instant::now();
    let (mut gateway, mut peers) = (End::new(1), End::new(2));
    for number in 0..TUNNELS {
        gateway.call(now, |endpoint| endpoint.put_connection(now, tunnel(kind, number)));
    }
    for number in 0..2 {
        peers.call(now, |endpoint| {
            endpoint.put_connection(now, mirrored(kind, number))
        });
    }
    bring_up(now, 0, &mut peers, &mut gateway);
    let first = first_message(now, kind);
    let (mut received, mut answered) = (0, 0);
    for second in 0..SECONDS {
        now += Duration::from_secs(1);
        for forged in 0..RATE {
            let number = second * RATE + forged;
            let source = if forged % 2 == 0 {
                2 + number / 2 % (TUNNELS - 2)
            } else {
                TUNNELS + number
            };
            let mut payload = first.payload.clone();
            payload[..4].copy_from_slice(&number.to_be_bytes());
            received += payload.len();
            // The flood comes faster than key exchanges are computed: jobs wait.
            gateway
                .endpoint
                .handle_datagram(now, first.peer, at(peer(source)), &payload);
        }
        gateway.call(now, |endpoint| endpoint.handle_timeout(now));
        let to_real_peer = |sent: &Transmit| *sent.peer.ip() == peer(0) || *sent.peer.ip() == peer(1);
        let forged = gateway.sent.iter().filter(|sent| !to_real_peer(sent));
        answered += forged.map(|sent| sent.payload.len()).sum::<usize>();
        gateway.sent.retain(to_real_peer);
        let half_open = gateway.endpoint.totals().half_open;
        assert!(
            half_open <= LIMIT + u64::from(TUNNELS),
            "{half_open} half-open exchanges"
        );

        peers.call(now, |endpoint| endpoint.handle_timeout(now));
        exchange(now, &mut peers, &mut gateway);
        let installed = gateway.installed;
        let child = peers.last_child.expect("a child sa is up");
        peers.call(now, |endpoint| endpoint.rekey_child(now, child));
        exchange(now, &mut peers, &mut gateway);
        let name = kind.name;
        assert_eq!(
            gateway.installed,
            installed + 1,
            "{name}: rekey in second {second}"
        );
        for end in [&mut gateway, &mut peers] {
            let child = end.last_child.expect("a child sa is up");
            // Traffic goes both ways.
            end.call(now, |endpoint| endpoint.child_inbound_used(now, child));
        }
        if second == SECONDS / 2 {
            bring_up(now, 1, &mut peers, &mut gateway);
        }
        if second == SECONDS / 2 + 3 {
            let expected = 1 + (second + 1) + 1;
            assert_eq!(
                gateway.installed, expected as usize,
                "{name}: a new peer within 3 s"
            );
        }
    }
    let limit = if matches!(kind.mode, Phase1Mode::Aggressive) {
        3
    } else {
        2
    };
    assert!(
        answered * 2 <= received * limit,
        "{answered} octets for {received}"
    );

    now += Duration::from_secs(31);
    gateway.call(now, |endpoint| endpoint.handle_timeout(now));
    assert_eq!(gateway.endpoint.totals().half_open, 0, "nothing stays behind");
}

#[test]
fn r13_a_flood_of_ike_sa_init_requests_disturbs_nobody() {
    check_flood(kind(IkeVersion::V2, Phase1Mode::Main));
}

#[test]
fn r14_a_flood_of_main_mode_starts_disturbs_nobody() {
    check_flood(Kind {
        group: DhGroup::Modp1024,
        ..kind(IkeVersion::V1, Phase1Mode::Main)
    });
}

#[test]
fn r14_a_flood_of_aggressive_mode_starts_disturbs_nobody() {
    check_flood(Kind {
        group: DhGroup::Modp768,
        ..kind(IkeVersion::V1, Phase1Mode::Aggressive)
    });
}
