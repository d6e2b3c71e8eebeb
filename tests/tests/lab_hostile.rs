//! Garbage and floods on everything that is open to the public side.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use gateway_tests::config::TUNNEL;
use gateway_tests::inject::{ESP, Garbage, Injector, ipv4, udp};
use gateway_tests::lab::WIRE;
use gateway_tests::matrix::Exchange;
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Capture, Config, Lab, Side, wait};

/// Packets of each kind.
const PACKETS: u32 = 20_000;
/// Memory that a flood may cost, in octets.
const MEMORY: u64 = 32 << 20;

struct Kind {
    what: &'static str,
    /// Makes a packet to the gateway of side A.
    make: fn(&mut Garbage) -> Vec<u8>,
}

fn spoofed(garbage: &mut Garbage) -> SocketAddrV4 {
    let [a, b, c, d, e, f, ..] = garbage.number().to_be_bytes();
    // Unicast sources outside of 0/8, 10/8 and 127/8.
    SocketAddrV4::new(
        Ipv4Addr::new(128 + a % 64, b, c, d),
        u16::from_be_bytes([e, f]).max(1),
    )
}

fn peer(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Side::B.outside(), port)
}

fn own(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Side::A.outside(), port)
}

/// A header of main mode with garbage behind it: version 1.0, exchange type 2, true length.
fn main_mode(garbage: &mut Garbage, length: usize) -> Vec<u8> {
    let mut message = garbage.bytes(8);
    message.extend([0; 8]);
    message.extend([1, 0x10, 2, 0, 0, 0, 0, 0]);
    let total = u32::try_from(28 + length).expect("short");
    message.extend(total.to_be_bytes());
    message.extend(garbage.bytes(length));
    message
}

fn length(garbage: &mut Garbage) -> usize {
    usize::try_from(garbage.number() % 1400).expect("below 1400")
}

const KINDS: [Kind; 9] = [
    Kind {
        what: "garbage on 500",
        make: |garbage| {
            let length = length(garbage);
            udp(spoofed(garbage), own(500), &garbage.bytes(length))
        },
    },
    Kind {
        what: "garbage on 500 from the peer",
        make: |garbage| {
            let length = length(garbage);
            udp(peer(500), own(500), &garbage.bytes(length))
        },
    },
    Kind {
        what: "first messages from everywhere",
        make: |garbage| {
            let message = main_mode(garbage, 200);
            udp(spoofed(garbage), own(500), &message)
        },
    },
    Kind {
        what: "first messages from the peer",
        make: |garbage| {
            let message = main_mode(garbage, 200);
            udp(peer(500), own(500), &message)
        },
    },
    Kind {
        what: "garbage behind the non-ESP marker on 4500",
        make: |garbage| {
            let length = length(garbage);
            let payload = [vec![0; 4], garbage.bytes(length)].concat();
            udp(peer(4500), own(4500), &payload)
        },
    },
    Kind {
        what: "garbage on 4500",
        make: |garbage| {
            let length = length(garbage);
            udp(spoofed(garbage), own(4500), &garbage.bytes(length))
        },
    },
    Kind {
        what: "NAT keepalives and runts on 4500",
        make: |garbage| {
            let length = usize::try_from(garbage.number() % 8).expect("below 8");
            udp(peer(4500), own(4500), &vec![0xff; length])
        },
    },
    Kind {
        what: "ESP with unknown SPIs",
        make: |garbage| {
            let length = length(garbage);
            ipv4(*spoofed(garbage).ip(), *own(0).ip(), ESP, &garbage.bytes(length))
        },
    },
    Kind {
        what: "ESP runts",
        make: |garbage| {
            let length = usize::try_from(garbage.number() % 12).expect("below 12");
            ipv4(*peer(0).ip(), *own(0).ip(), ESP, &garbage.bytes(length))
        },
    },
];

#[test]
fn a_flood_of_garbage_costs_little_and_harms_nothing() {
    let lab = Lab::new().unwrap();
    let mut a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let _b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 5, 20, &[])
            .unwrap()
            .lost(),
        0
    );
    let spis = a.status().unwrap().tunnel(TUNNEL).unwrap().spis();
    let memory = a.process().resident_memory().unwrap();
    let injector = Injector::open(lab.gateway(Side::B)).unwrap();
    let mut garbage = Garbage::new(7);
    for kind in &KINDS {
        for _ in 0..PACKETS {
            injector.send(&(kind.make)(&mut garbage)).unwrap();
        }
        let grown = a.process().resident_memory().unwrap().saturating_sub(memory);
        assert!(grown < MEMORY, "{}: {grown} octets more", kind.what);
        let report = ping(lab.host(Side::A), Side::B.host(), 10, 20, &[]).unwrap();
        assert_eq!(report.lost(), 0, "after {}: {report:?}", kind.what);
        assert!(a.process().exited().is_none(), "{}: {}", kind.what, a.log());
    }
    let status = a.status().unwrap();
    assert_eq!(status.tunnel(TUNNEL).unwrap().state(), "up");
    assert_eq!(
        status.tunnel(TUNNEL).unwrap().spis(),
        spis,
        "garbage negotiated something: {status}"
    );
    assert!(status.verdicts("unknown_spi") > u64::from(PACKETS), "{status}");
    assert!(status.verdicts("ike_rate") > 0, "{status}");
    assert!(!a.log().contains("panicked"), "{}", a.log());
    assert!(
        a.log().len() < 4 << 20,
        "a flood must not flood the log: {} octets",
        a.log().len()
    );
}

#[test]
fn copied_and_changed_esp_packets_are_dropped_and_counted() {
    let lab = Lab::with_wire().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let _b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    let capture = Capture::start(&lab, lab.wire().unwrap(), WIRE).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 5, 20, &[])
            .unwrap()
            .lost(),
        0
    );
    let packets = capture.stop().unwrap();
    let inbound: Vec<_> = packets
        .iter()
        .filter(|packet| packet.addresses().is_some_and(|(_, to)| to == Side::A.outside()))
        .filter(|packet| packet.protocol() == Some(ESP))
        .collect();
    assert_eq!(inbound.len(), 5, "{packets:?}");

    let injector = Injector::open(lab.gateway(Side::B)).unwrap();
    for packet in &inbound {
        injector.send(packet.ip()).unwrap();
        let mut changed = packet.ip().to_vec();
        // A far higher sequence number passes the window, and then the ICV must fail.
        changed[24] ^= 0x01;
        injector.send(&changed).unwrap();
    }
    let dropped = |reason: &str| {
        let status = a.status().unwrap();
        status.tunnel(TUNNEL).unwrap().json()["dropped"][reason]
            .as_u64()
            .unwrap_or_default()
    };
    a.wait_status("the drops to be counted", Duration::from_secs(3), |_| {
        (dropped("replay") == 5 && dropped("icv") == 5).then_some(())
    })
    .unwrap();
    assert_eq!(a.status().unwrap().tunnel(TUNNEL).unwrap().count("packets_in"), 6);
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 5, 20, &[])
            .unwrap()
            .lost(),
        0
    );
}

/// INVALID_SPI outside of any IKE SA, as a peer sends it that has restarted (RFC 7296 section 1.5, RFC 2408 section 3.14).
fn invalid_spi(exchange: Exchange, spi: u32) -> Vec<u8> {
    let spi = spi.to_be_bytes();
    let (head, notify): ([u8; 4], _) = match exchange {
        // Notify (41) alone, IKEv2, INFORMATIONAL (37), flag of an initiator; the SPI is data.
        Exchange::V2 => (
            [41, 0x20, 37, 8],
            [&[0, 0, 0, 12, 0, 0, 0, 11], &spi[..]].concat(),
        ),
        // Notification (11) alone, IKEv1, Informational (5), in the clear; DOI 1, ESP (3), the SPI in its field.
        Exchange::Main | Exchange::Aggressive => (
            [11, 0x10, 5, 0],
            [&[0, 0, 0, 16, 0, 0, 0, 1, 3, 4, 0, 11], &spi[..]].concat(),
        ),
    };
    let length = u32::try_from(28 + notify.len()).unwrap().to_be_bytes();
    [&[0x5a; 16][..], &head, &[0, 0, 0, 77], &length, &notify].concat()
}

/// RFC 7296 section 1.5: a peer that seals with what we do not have learns of it inside the IKE SA, rarely, and nothing else changes.
#[test]
fn unknown_spis_are_told_in_either_direction_and_the_tunnel_stays() {
    const TOLD: &str = "peer seals with an spi that is unknown here";
    for exchange in [Exchange::Main, Exchange::V2] {
        let lab = Lab::new().unwrap();
        let start = |side| Agent::start(&lab, side, &Config::new(&lab, side).speaking(exchange)).unwrap();
        let (a, b) = (start(Side::A), start(Side::B));
        bring_up(&lab, Side::A).unwrap();
        let spis = a.status().unwrap().tunnel(TUNNEL).unwrap().spis();
        let told = || {
            let status = a.operate(&format!("status {TUNNEL} --json")).unwrap();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let events = status["tunnels"][0]["events"].as_array().unwrap();
            let told = events.iter().find(|event| event["text"] == TOLD)?;
            told["times"].as_u64()
        };
        let injector = Injector::open(lab.gateway(Side::B)).unwrap();
        let esp = [[0x77, 1, 2, 3].as_slice(), &[0; 60]].concat();
        let packet = ipv4(*peer(0).ip(), *own(0).ip(), ESP, &esp);
        wait::until("the peer is told", Duration::from_secs(8), || {
            injector.send(&packet).unwrap();
            told()
        })
        .unwrap();
        for _ in 0..20 {
            injector.send(&packet).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(told(), Some(1), "not again within ten seconds");
        for agent in [&a, &b] {
            assert_eq!(agent.status().unwrap().tunnel(TUNNEL).unwrap().state(), "up");
        }
        let hints = || {
            a.metrics()
                .unwrap()
                .sum("ipsecgw_ike_invalid_spi_hints_total", &[])
        };
        assert_eq!(hints(), Some(0.0));
        let sealed_with =
            u32::from_str_radix(spis[0].1.trim_matches('"').trim_start_matches("0x"), 16).unwrap();
        injector
            .send(&udp(peer(500), own(500), &invalid_spi(exchange, sealed_with)))
            .unwrap();
        wait::until("the hint is counted", Duration::from_secs(8), || {
            (hints() == Some(1.0)).then_some(())
        })
        .unwrap();
        assert_eq!(a.status().unwrap().tunnel(TUNNEL).unwrap().state(), "up");
        assert_eq!(a.status().unwrap().tunnel(TUNNEL).unwrap().spis(), spis);
        assert!(a.status().unwrap().verdicts("unknown_spi") > 20);
    }
}
