//! Sequences of packets to a gateway with a shield.

use gateway_common::abi::{LimiterConfig, SHIELD_ALLOW, SHIELD_BLOCK, SHIELD_PEER, ShieldValue, Verdict};

use super::{
    Addr, GATEWAY, GATEWAY_2, Outcome, PEER, PUBLIC, SPI, Story, Target,
    packets::{ESP, Ipv4, MORE_FRAGMENTS, TCP, UDP, esp, ike, udp},
    rows::inbound,
};

/// All stories of shields. Each has its own shield, sources and limits.
pub const STORIES: [Story; 6] = [
    ("each bucket refuses with its own reason", buckets),
    ("a loud source uses up nothing of the others", loud_source),
    ("an SA is served whatever the shield says", established),
    ("the longest prefix decides", prefixes),
    ("a closed shield takes peers and no strangers", closed),
    ("a shield that moves takes effect at once", moved),
];

const LOUD: Addr = [192, 0, 2, 10];
const QUIET: Addr = [192, 0, 2, 11];

/// So slow that no test lasts long enough to earn a packet.
const fn burst(packets: u64) -> LimiterConfig {
    LimiterConfig {
        rate: 1,
        burst: packets,
    }
}

const OPEN: ShieldValue = ShieldValue {
    source: LimiterConfig { rate: 0, burst: 0 },
    ike_source: LimiterConfig { rate: 0, burst: 0 },
    ike_total: LimiterConfig { rate: 0, burst: 0 },
    unknown_spi_source: LimiterConfig { rate: 0, burst: 0 },
    closed: 0,
    pad: 0,
};

fn shielded(target: &mut dyn Target, number: u32, limits: ShieldValue, prefixes: &[(Addr, u8, u32)]) {
    target.set_shield(number, limits, prefixes);
    target.put_local_addr(GATEWAY, number);
    target.set_iface(PUBLIC);
}

fn unshielded(target: &mut dyn Target) {
    target.put_local_addr(GATEWAY, 0);
    target.put_local_addr(GATEWAY_2, 0);
}

#[track_caller]
fn expect(target: &mut dyn Target, source: Addr, what: What, expected: impl Into<Outcome>) {
    let (protocol, fragment, payload) = match what {
        What::Ike => (UDP, 0, udp(500, &ike())),
        What::UnknownSpi => (ESP, 0, esp([0x77, 1, 2, 3])),
        What::Sealed => (ESP, 0, esp(SPI)),
        What::Fragment => (ESP, MORE_FRAGMENTS, esp(SPI)),
        What::Clear => (TCP, 0, std::vec![0; 20]),
    };
    let packet = Ipv4 {
        fragment,
        ..Ipv4::new(source, GATEWAY, protocol, &payload)
    };
    assert_eq!(target.judge(&packet.build()), expected.into(), "{what:?}");
}

#[derive(Clone, Copy, Debug)]
enum What {
    Ike,
    UnknownSpi,
    Sealed,
    Fragment,
    Clear,
}

fn buckets(target: &mut dyn Target) {
    let limits = ShieldValue {
        source: burst(7),
        ike_source: burst(2),
        unknown_spi_source: burst(1),
        ..OPEN
    };
    shielded(target, 1, limits, &[]);
    expect(target, LOUD, What::Ike, Verdict::Ike);
    expect(target, LOUD, What::Ike, Verdict::Ike);
    expect(target, LOUD, What::Ike, Verdict::IkeRate);
    expect(target, LOUD, What::UnknownSpi, Verdict::UnknownSpi);
    expect(target, LOUD, What::UnknownSpi, Verdict::UnknownSpiRate);
    expect(target, LOUD, What::Fragment, Verdict::Fragment);
    expect(target, LOUD, What::Clear, Verdict::Bypass);
    for what in [What::Ike, What::UnknownSpi, What::Fragment, What::Clear] {
        expect(target, LOUD, what, Verdict::SourceRate);
    }
    let counts = [
        (Verdict::IkeRate, 1),
        (Verdict::UnknownSpi, 1),
        (Verdict::UnknownSpiRate, 1),
        (Verdict::SourceRate, 4),
        (Verdict::Blocked, 0),
    ];
    for (verdict, count) in counts {
        assert_eq!(target.shield_drops(1, verdict), count, "{verdict:?}");
    }
    unshielded(target);
}

fn loud_source(target: &mut dyn Target) {
    let limits = ShieldValue {
        ike_source: burst(2),
        ike_total: burst(4),
        ..OPEN
    };
    shielded(target, 2, limits, &[(PEER, 32, SHIELD_PEER)]);
    for _ in 0..2 {
        expect(target, LOUD, What::Ike, Verdict::Ike);
    }
    for _ in 0..50 {
        expect(target, LOUD, What::Ike, Verdict::IkeRate);
    }
    for last in [20, 21] {
        expect(target, [192, 0, 2, last], What::Ike, Verdict::Ike);
    }
    // The strangers' share is used up; the peer's is its own.
    expect(target, QUIET, What::Ike, Verdict::IkeTotal);
    expect(target, PEER, What::Ike, Verdict::Ike);
    expect(target, PEER, What::Ike, Verdict::Ike);
    expect(target, PEER, What::Ike, Verdict::IkeRate);
    unshielded(target);
}

fn established(target: &mut dyn Target) {
    let limits = ShieldValue {
        source: burst(0),
        closed: 1,
        ..OPEN
    };
    shielded(target, 3, limits, &[([0, 0, 0, 0], 0, SHIELD_BLOCK)]);
    expect(target, PEER, What::Ike, Verdict::Blocked);
    expect(target, PEER, What::UnknownSpi, Verdict::Blocked);
    for _ in 0..100 {
        expect(target, PEER, What::Sealed, inbound(14, 34, 0));
    }
    assert_eq!(target.shield_drops(3, Verdict::Blocked), 2);
    unshielded(target);
}

fn prefixes(target: &mut dyn Target) {
    let limits = ShieldValue {
        ike_source: burst(0),
        ..OPEN
    };
    let listed = [
        ([192, 0, 0, 0], 16, SHIELD_BLOCK),
        ([192, 0, 2, 0], 24, SHIELD_ALLOW),
        (LOUD, 32, SHIELD_BLOCK),
    ];
    shielded(target, 4, limits, &listed);
    expect(target, [192, 0, 3, 1], What::Ike, Verdict::Blocked);
    expect(target, LOUD, What::Clear, Verdict::Blocked);
    for _ in 0..10 {
        expect(target, QUIET, What::Ike, Verdict::Ike);
    }
    expect(target, PEER, What::Ike, Verdict::IkeRate);
    unshielded(target);
}

fn closed(target: &mut dyn Target) {
    let limits = ShieldValue { closed: 1, ..OPEN };
    let listed = [(PEER, 32, SHIELD_PEER), (QUIET, 32, SHIELD_ALLOW)];
    shielded(target, 5, limits, &listed);
    expect(target, LOUD, What::Ike, Verdict::Blocked);
    expect(target, PEER, What::Ike, Verdict::Ike);
    expect(target, QUIET, What::Ike, Verdict::Ike);
    shielded(target, 5, OPEN, &listed);
    expect(target, LOUD, What::Ike, Verdict::Ike);
    unshielded(target);
}

fn moved(target: &mut dyn Target) {
    let limits = ShieldValue { closed: 1, ..OPEN };
    let message = udp(500, &ike());
    let second = Ipv4::new(LOUD, GATEWAY_2, UDP, &message).build();
    shielded(target, 6, limits, &[]);
    expect(target, LOUD, What::Ike, Verdict::Blocked);
    assert_eq!(target.judge(&second), Verdict::Ike.into());
    target.put_local_addr(GATEWAY, 0);
    target.put_local_addr(GATEWAY_2, 6);
    expect(target, LOUD, What::Ike, Verdict::Ike);
    assert_eq!(target.judge(&second), Verdict::Blocked.into());
    unshielded(target);
}
