//! The table and the stories on the host build, and what only a clock of one's own can show.

use gateway_common::abi::{IfaceValue, LimiterConfig, PolicyValue, Verdict};
use gateway_ebpf::{
    Decision,
    cases::{
        self, GATEWAY, HostTarget, LOCAL_HOST, PEER, PEER_HOST, PUBLIC, Space, Target as _, VPC, check,
        furnish,
        packets::{Ipv4, TCP, UDP, ike, udp},
        policy, rows,
    },
};
use proptest::{collection::vec, prelude::*};

const SECOND: u64 = 1_000_000_000;

fn furnished() -> HostTarget {
    let mut target = HostTarget::default();
    furnish(&mut target);
    target
}

#[test]
fn every_row_has_its_outcome() {
    let mut target = furnished();
    for row in rows() {
        check(&mut target, &row);
    }
}

#[test]
fn every_verdict_has_a_row_or_a_story() {
    let of_stories = [
        Verdict::IkeRate,
        Verdict::GatewayBandwidth,
        Verdict::TunnelBandwidth,
        Verdict::Blocked,
        Verdict::SourceRate,
        Verdict::IkeTotal,
        Verdict::UnknownSpiRate,
    ];
    let rows = rows();
    for verdict in Verdict::ALL {
        let listed = rows.iter().any(|row| row.expected.verdict == verdict) || of_stories.contains(&verdict);
        assert!(listed, "{verdict:?}");
    }
}

#[test]
fn every_story_ends_well() {
    let stories = || cases::STORIES.into_iter().chain(cases::SHIELD_STORIES);
    for (name, story) in stories() {
        println!("{name}");
        story(&mut furnished());
    }
    let mut all_in_one = furnished();
    for (_, story) in stories() {
        story(&mut all_in_one);
    }
}

#[test]
fn a_frame_shorter_than_its_ethernet_header_is_malformed() {
    let mut target = furnished();
    let frame = Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 20]).build();
    for iface in [VPC, PUBLIC] {
        target.set_iface(iface);
        for len in 0..14 {
            assert_eq!(target.judge(&frame[..len]).verdict, Verdict::Malformed, "{len}");
        }
    }
}

#[test]
fn the_slot_is_the_base_of_the_interface_plus_the_queue() {
    let mut target = furnished();
    target.set_iface(IfaceValue {
        xsk_base: 8,
        queues: 4,
        ..VPC
    });
    let frame = Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &[0; 20]).build();
    for queue in 0..4 {
        assert!(matches!(target.decide(&frame, queue), Decision::Redirect(r) if r.slot == 8 + queue));
    }
    assert_eq!(target.decide(&frame, 4), Decision::Final(Verdict::NoWorker));
    assert_eq!(
        target.decide(&frame, u32::MAX),
        Decision::Final(Verdict::NoWorker)
    );
}

/// Offers `offered` octets per second for ten seconds, or a million packets, and checks that `config` lets its rate and one burst
/// through.
#[track_caller]
fn check_rate(config: LimiterConfig, packet_len: usize, offered: u64) {
    let mut target = furnished();
    target.set_limiter(1, config);
    let limited = PolicyValue {
        gateway_limiter: 1,
        ..policy(1, 1)
    };
    target.write_space(&Space {
        id: 9,
        local: &[(LOCAL_HOST, 32, 1)],
        peer: &[(PEER_HOST, 32, 1)],
        pairs: &[(1, 1, limited)],
    });
    target.set_iface(IfaceValue { space: 9, ..VPC });
    let frame = Ipv4::new(LOCAL_HOST, PEER_HOST, TCP, &vec![0; packet_len - 20]).build();
    let packets = (10 * offered / packet_len as u64).min(1_000_000);
    let gap = packet_len as u64 * SECOND / offered;
    let mut passed = 0;
    for _ in 0..packets {
        passed += u64::from(target.judge(&frame).verdict == Verdict::Outbound);
        target.advance(gap);
    }
    let granted = passed * packet_len as u64;
    let due = (packets * gap * config.rate / SECOND + config.burst).min(packets * packet_len as u64);
    let tolerance = due / 100 + packet_len as u64;
    assert!(
        granted.abs_diff(due) <= tolerance,
        "{config:?}, {packet_len} octets: {granted} of {due}"
    );
    assert_eq!(target.limiter_drops(1), packets - passed);
}

#[test]
fn a_limiter_grants_its_rate_and_one_burst() {
    let mbit = 125_000;
    for (rate, burst) in [(mbit, 6_250), (100 * mbit, 1_250_000), (1_000 * mbit, 6_250_000)] {
        let config = LimiterConfig { rate, burst };
        check_rate(config, 1_400, 2 * rate);
        check_rate(config, 1_400, rate + rate / 20);
        check_rate(config, 1_400, rate / 2);
    }
    // A packet takes 512 and 64 nanoseconds here: what rounding to whole ones costs is within the tolerance.
    check_rate(
        LimiterConfig {
            rate: 1_000 * mbit,
            burst: 6_250_000,
        },
        64,
        1_100 * mbit,
    );
    check_rate(
        LimiterConfig {
            rate: 999_999_937,
            burst: 50_000_000,
        },
        64,
        1_200_000_000,
    );
}

#[test]
fn an_idle_limiter_saves_up_one_burst_and_no_more() {
    let mut target = furnished();
    target.set_ike_limit(LimiterConfig { rate: 10, burst: 5 });
    target.set_iface(PUBLIC);
    let datagram = udp(500, &ike());
    let frame = Ipv4::new(PEER, GATEWAY, UDP, &datagram).build();
    let passes = |target: &mut HostTarget| {
        (0..20)
            .filter(|_| target.judge(&frame).verdict == Verdict::Ike)
            .count()
    };
    assert_eq!(passes(&mut target), 5);
    target.advance(SECOND / 10);
    assert_eq!(passes(&mut target), 1);
    target.advance(SECOND / 10 - 1);
    assert_eq!(passes(&mut target), 0);
    target.advance(1);
    assert_eq!(passes(&mut target), 1);
    target.advance(3_600 * SECOND);
    assert_eq!(passes(&mut target), 5);
}

#[test]
fn extreme_settings_neither_wrap_nor_panic() {
    for config in [
        LimiterConfig {
            rate: u64::MAX,
            burst: u64::MAX,
        },
        LimiterConfig {
            rate: 1,
            burst: u64::MAX,
        },
        LimiterConfig {
            rate: u64::MAX,
            burst: 1,
        },
        LimiterConfig { rate: 1, burst: 0 },
    ] {
        let mut target = furnished();
        target.set_ike_limit(config);
        target.set_iface(PUBLIC);
        let datagram = udp(500, &ike());
        let frame = Ipv4::new(PEER, GATEWAY, UDP, &datagram).build();
        let expected = if config.burst == 0 {
            Verdict::IkeRate
        } else {
            Verdict::Ike
        };
        assert_eq!(target.judge(&frame).verdict, expected, "{config:?}");
    }
}

proptest! {
    #[test]
    fn random_octets_have_a_verdict(packet in vec(any::<u8>(), 0..200), public: bool) {
        let mut target = furnished();
        target.set_iface(if public { PUBLIC } else { VPC });
        target.judge(&packet);
    }

    #[test]
    fn a_changed_packet_has_a_verdict(
        row in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        len in any::<prop::sample::Index>(),
    ) {
        let mut target = furnished();
        let mut row = row.get(&rows()).clone();
        for (place, octet) in changes {
            let place = place.index(row.packet.len());
            row.packet[place] = octet;
        }
        row.packet.truncate(len.index(row.packet.len() + 1));
        target.set_iface(row.iface);
        let outcome = target.judge(&row.packet);
        // What is redirected has its headers inside the packet.
        if let Some(meta) = outcome.meta {
            prop_assert!(usize::from(meta.l3_offset) + 20 <= row.packet.len());
            prop_assert!(usize::from(meta.esp_offset) + 8 <= row.packet.len());
        }
    }
}
