//! Sequences of packets and changes of the maps.

use gateway_common::abi::{IfaceValue, LimiterConfig, PathKey, PolicyValue, SaValue, Verdict};

use super::{
    Addr, GATEWAY, GATEWAY_2, LOCAL_HOST, Outcome, PEER, PEER_HOST, PUBLIC, SA, SPI, STRANGER, Space, Target,
    VPC,
    packets::{ESP, Ipv4, TCP, UDP, esp, ike, udp},
    policy,
    rows::{inbound, outbound},
    sa_key,
};

/// A story and its name. Each has its own limiters, sources and spaces, so any order will do; none depends on how fast it runs.
pub type Story = (&'static str, fn(&mut dyn Target));

/// All stories, over maps that [`super::furnish`] filled.
pub const STORIES: [Story; 11] = [
    ("a burst is granted to the octet", burst_to_the_octet),
    ("a packet above the burst never passes", above_the_burst),
    ("a limiter of rate 0 is none", rate_zero),
    ("the tunnel's limiter comes before the gateway's", tunnel_first),
    ("the overhead of ESP is not charged", overhead),
    ("what no worker takes is not charged", no_worker_no_charge),
    ("each IKE source has a rate of its own", ike_rate),
    ("a new space takes effect at once and whole", space_swap),
    ("a new generation of an SA takes effect at once", sa_swap),
    (
        "the first unknown SPI of each path is noted until it is taken",
        unknown_spis,
    ),
    ("the flow cache follows addresses and spaces", flow_cache),
];

/// So slow that no test lasts long enough to earn an octet.
const fn burst(octets: u64) -> LimiterConfig {
    LimiterConfig {
        rate: 1,
        burst: octets,
    }
}

/// A packet of `len` octets from the VPC, as the limiters count.
fn plain(dst: Addr, len: usize) -> std::vec::Vec<u8> {
    Ipv4::new(LOCAL_HOST, dst, TCP, &std::vec![0; len - 20]).build()
}

#[track_caller]
fn expect(target: &mut dyn Target, packet: &[u8], expected: impl Into<Outcome>) {
    assert_eq!(target.judge(packet), expected.into());
}

/// A space whose only policy, 21 of generation 1, has these limiters.
fn limited(target: &mut dyn Target, id: u32, gateway_limiter: u32, tunnel_limiter: u32) {
    let policy = PolicyValue {
        gateway_limiter,
        tunnel_limiter,
        ..policy(21, 1)
    };
    target.write_space(&Space {
        id,
        local: &[([10, 0, 0, 0], 8, 1)],
        peer: &[([172, 16, 0, 0], 12, 1)],
        pairs: &[(1, 1, policy)],
    });
    target.set_iface(IfaceValue { space: id, ..VPC });
}

fn burst_to_the_octet(target: &mut dyn Target) {
    target.set_limiter(100, burst(1_100));
    limited(target, 100, 100, 0);
    for _ in 0..10 {
        expect(target, &plain(PEER_HOST, 100), outbound(21, 1, 14));
    }
    expect(target, &plain(PEER_HOST, 101), Verdict::GatewayBandwidth);
    expect(target, &plain(PEER_HOST, 100), outbound(21, 1, 14));
    expect(target, &plain(PEER_HOST, 21), Verdict::GatewayBandwidth);
    assert_eq!(target.limiter_drops(100), 2);
}

fn above_the_burst(target: &mut dyn Target) {
    target.set_limiter(101, burst(99));
    limited(target, 101, 0, 101);
    expect(target, &plain(PEER_HOST, 100), Verdict::TunnelBandwidth);
    expect(target, &plain(PEER_HOST, 99), outbound(21, 1, 14));
}

fn rate_zero(target: &mut dyn Target) {
    target.set_limiter(102, LimiterConfig { rate: 0, burst: 0 });
    limited(target, 102, 102, 102);
    for _ in 0..5 {
        expect(target, &plain(PEER_HOST, 1_400), outbound(21, 1, 14));
    }
    assert_eq!(target.limiter_drops(102), 0);
}

fn tunnel_first(target: &mut dyn Target) {
    target.set_limiter(103, burst(250));
    target.set_limiter(104, burst(100));
    limited(target, 103, 103, 104);
    expect(target, &plain(PEER_HOST, 100), outbound(21, 1, 14));
    for _ in 0..5 {
        expect(target, &plain(PEER_HOST, 100), Verdict::TunnelBandwidth);
    }
    // What the tunnel refused cost the gateway nothing: of its 250 octets, 150 are left.
    limited(target, 104, 103, 0);
    expect(target, &plain(PEER_HOST, 150), outbound(21, 1, 14));
    expect(target, &plain(PEER_HOST, 20), Verdict::GatewayBandwidth);
    assert_eq!((target.limiter_drops(103), target.limiter_drops(104)), (1, 5));
}

fn overhead(target: &mut dyn Target) {
    let spi = [0x20, 0, 0, 1];
    target.set_limiter(105, burst(8));
    target.put_sa(
        sa_key(GATEWAY, spi),
        SaValue {
            tunnel_limiter: 105,
            overhead: 60,
            ..SA
        },
    );
    target.set_iface(PUBLIC);
    // 20 of IPv4 and 48 of ESP are 8 more than the overhead.
    let sealed = Ipv4::new(PEER, GATEWAY, ESP, &esp(spi)).build();
    expect(target, &sealed, inbound(14, 34, 0));
    expect(target, &sealed, Verdict::TunnelBandwidth);
    // Smaller than the overhead: nothing is charged, and nothing wraps.
    let small = Ipv4::new(PEER, GATEWAY, ESP, &esp(spi)[..8]).build();
    expect(target, &small, inbound(14, 34, 0));
    target.remove_sa(&sa_key(GATEWAY, spi));
    expect(target, &sealed, Verdict::UnknownSpi);
}

fn no_worker_no_charge(target: &mut dyn Target) {
    target.set_limiter(106, burst(100));
    limited(target, 106, 106, 0);
    target.set_iface(IfaceValue {
        space: 106,
        queues: 0,
        ..VPC
    });
    for _ in 0..5 {
        expect(target, &plain(PEER_HOST, 100), Verdict::NoWorker);
    }
    target.set_iface(IfaceValue { space: 106, ..VPC });
    expect(target, &plain(PEER_HOST, 100), outbound(21, 1, 14));
    assert_eq!(target.limiter_drops(106), 0);
}

fn ike_rate(target: &mut dyn Target) {
    let message = udp(500, &ike());
    let marked = udp(4500, &[&[0; 4][..], &ike()].concat());
    let (first, second) = ([198, 51, 100, 20], [198, 51, 100, 21]);
    target.set_ike_limit(LimiterConfig { rate: 1, burst: 3 });
    target.set_iface(PUBLIC);
    expect(
        target,
        &Ipv4::new(first, GATEWAY, UDP, &message).build(),
        Verdict::Ike,
    );
    expect(
        target,
        &Ipv4::new(first, GATEWAY_2, UDP, &message).build(),
        Verdict::Ike,
    );
    expect(
        target,
        &Ipv4::new(first, GATEWAY, UDP, &marked).build(),
        Verdict::Ike,
    );
    expect(
        target,
        &Ipv4::new(first, GATEWAY, UDP, &message).build(),
        Verdict::IkeRate,
    );
    expect(
        target,
        &Ipv4::new(first, GATEWAY, UDP, &marked).build(),
        Verdict::IkeRate,
    );
    expect(
        target,
        &Ipv4::new(second, GATEWAY, UDP, &marked).build(),
        Verdict::Ike,
    );
    // ESP of the same source is not IKE.
    let sealed = esp(SPI);
    expect(
        target,
        &Ipv4::new(first, GATEWAY, ESP, &sealed).build(),
        inbound(14, 34, 0),
    );
    target.set_ike_limit(LimiterConfig::default());
    expect(
        target,
        &Ipv4::new(first, GATEWAY, UDP, &message).build(),
        Verdict::Ike,
    );
}

fn space_swap(target: &mut dyn Target) {
    let local: &[_] = &[(LOCAL_HOST, 32, 5)];
    let peer: &[_] = &[(PEER_HOST, 32, 6)];
    let moved: &[_] = &[([172, 20, 0, 0], 16, 6)];
    target.write_space(&Space {
        id: 107,
        local,
        peer,
        pairs: &[(5, 6, policy(31, 1))],
    });
    target.set_iface(IfaceValue { space: 107, ..VPC });
    expect(target, &plain(PEER_HOST, 60), outbound(31, 1, 14));
    // The next space is written and not in force.
    target.write_space(&Space {
        id: 108,
        local,
        peer: moved,
        pairs: &[(5, 6, policy(32, 2))],
    });
    expect(target, &plain(PEER_HOST, 60), outbound(31, 1, 14));
    expect(target, &plain([172, 20, 1, 1], 60), Verdict::Bypass);
    target.set_iface(IfaceValue { space: 108, ..VPC });
    expect(target, &plain(PEER_HOST, 60), Verdict::Bypass);
    expect(target, &plain([172, 20, 1, 1], 60), outbound(32, 2, 14));
    // The public side protects what is in force.
    target.set_iface(IfaceValue { space: 108, ..PUBLIC });
    let clear = |src| Ipv4::new(src, LOCAL_HOST, TCP, &[0; 20]).build();
    expect(target, &clear([172, 20, 1, 1]), Verdict::CleartextInbound);
    expect(target, &clear(PEER_HOST), Verdict::Bypass);
}

fn sa_swap(target: &mut dyn Target) {
    let key = sa_key(GATEWAY, [0x20, 0, 0, 2]);
    let sealed = Ipv4::new(PEER, GATEWAY, ESP, &esp(key.spi)).build();
    target.set_iface(PUBLIC);
    expect(target, &sealed, Verdict::UnknownSpi);
    for generation in 1..=3 {
        target.put_sa(key, SaValue { generation, ..SA });
        let mut expected = inbound(14, 34, 0);
        if let Some(meta) = &mut expected.meta {
            meta.generation = generation;
        }
        expect(target, &sealed, expected);
    }
    target.remove_sa(&key);
    expect(target, &sealed, Verdict::UnknownSpi);
}

fn unknown_spis(target: &mut dyn Target) {
    target.take_unknown_spis();
    target.set_iface(PUBLIC);
    let packet = |spi| Ipv4::new(PEER, GATEWAY, ESP, &esp(spi)).build();
    expect(target, &packet([0x20, 0, 1, 0]), Verdict::UnknownSpi);
    expect(target, &packet([0x20, 0, 1, 1]), Verdict::UnknownSpi);
    let path = PathKey {
        peer: PEER,
        local: GATEWAY,
    };
    assert_eq!(target.take_unknown_spis(), [(path, [0x20, 0, 1, 0])]);
    assert_eq!(target.take_unknown_spis(), []);
    expect(target, &packet([0x20, 0, 1, 1]), Verdict::UnknownSpi);
    assert_eq!(target.take_unknown_spis(), [(path, [0x20, 0, 1, 1])]);
}

fn flow_cache(target: &mut dyn Target) {
    let (local, peer): (&[_], &[_]) = (
        &[([10, 0, 0, 0], 8, 1)],
        &[([172, 16, 0, 0], 12, 1), (PEER_HOST, 32, 2)],
    );
    for (id, index) in [(109, 41), (110, 42)] {
        target.write_space(&Space {
            id,
            local,
            peer,
            pairs: &[(1, 1, policy(index, 1)), (1, 2, policy(index, 2))],
        });
    }
    // Twice, so that every answer is looked up once and remembered once; exchanged addresses have no policy.
    for _ in 0..2 {
        for (space, index) in [(109, 41), (110, 42)] {
            target.set_iface(IfaceValue { space, ..VPC });
            for host in 1..=250 {
                expect(target, &plain([172, 16, 0, host], 60), outbound(index, 1, 14));
            }
            expect(target, &plain(PEER_HOST, 60), outbound(index, 2, 14));
            expect(target, &plain(STRANGER, 60), Verdict::Bypass);
            let back = Ipv4::new(PEER_HOST, LOCAL_HOST, TCP, &[0; 20]).build();
            expect(target, &back, Verdict::Bypass);
        }
    }
}
