//! The order of everything that is written, watched at the fabric.

use std::net::Ipv4Addr;
use std::time::Duration;

use gateway_common::Spi;
use gateway_ike::config::{EspCipher, EspProposal, SelectorPair};
use gateway_ike::crypto::Secret;
use gateway_ike::diagnosis::{Code, Diagnosis};
use gateway_ike::event::{ChildSa, EspSa, Served};

use super::apply::ApplyError;
use super::*;
use crate::control::testing::{self, Recorder, TunnelText};
use crate::dataplane::{Counters, SaCounters, SaMark};
use crate::status::TunnelState;

mod events;
mod managed;
mod reload;
mod scale;

const RULE: &[(&str, &str)] = &[("10.0.0.0/24", "192.168.0.0/24")];
const ONE: TunnelText<'static> = ("one", RULE);

struct Rig {
    core: Core<Recorder>,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let capacity = Capacity {
            policies: 4,
            sas: 8,
            tunnels: 4,
        };
        Self {
            core: Core::new(EndpointConfig::new([7; 32]), capacity, 4, Recorder::default()),
            now: Instant::now(),
        }
    }

    fn with(tunnels: &[TunnelText<'_>]) -> Self {
        let mut rig = Self::new();
        rig.core.apply(rig.now, testing::config(tunnels)).unwrap();
        rig.core.fabric.take();
        rig
    }

    fn event(&mut self, event: Event) {
        self.core.on_event(self.now, event);
        self.core.refresh_all(self.now);
    }

    fn install(&mut self, id: u64, replaces: Option<u64>) {
        let secret = || Secret::new(vec![0; 20]);
        let esp = |spi| EspSa {
            spi: Spi::new(spi).unwrap(),
            encryption_key: secret(),
            integrity_key: Secret::new(vec![]),
        };
        let first = u32::try_from(id).unwrap() * 0x1000;
        let child = ChildSa {
            id: ChildId(id),
            connection: ConnectionId(0),
            serves: vec![Served {
                pair: PairIndex(0),
                selectors: SelectorPair {
                    local: RULE[0].0.parse().unwrap(),
                    peer: RULE[0].1.parse().unwrap(),
                },
            }],
            local: Ipv4Addr::new(203, 0, 113, 1),
            peer: Ipv4Addr::new(198, 51, 100, 1),
            encapsulation: None,
            proposal: EspProposal {
                cipher: EspCipher::Aes128Gcm16,
                integrity: None,
            },
            esn: false,
            inbound: esp(first),
            outbound: esp(first + 1),
            rekey_at: self.now + Duration::from_secs(3000),
            expires_at: self.now + Duration::from_secs(3600),
            octets: Some(1_000_000),
        };
        self.event(Event::InstallChild {
            child: Box::new(child),
            replaces: replaces.map(ChildId),
        });
    }

    fn up(&mut self, id: u64) {
        self.install(id, None);
        self.event(Event::UseOutbound { child: ChildId(id) });
    }

    fn status(&self) -> crate::status::TunnelStatus {
        self.core
            .one_tunnel_status(self.now, "one", &Counters::default())
            .unwrap()
    }

    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        assert_eq!(self.core.fabric.take(), expected);
    }
}

#[test]
fn the_first_configuration_is_written_before_it_is_used() {
    let mut rig = Rig::new();
    rig.core.apply(rig.now, testing::config(&[ONE])).unwrap();
    rig.expect(&[
        "space 4098 from 0 to 1 pairs",
        "space 4100 from 0 to 1 pairs",
        "limit 1 to 12500000",
        "limit 2 to 12500000",
        "own address 203.0.113.1",
        "install policy 0 of tunnel 0",
        "use spaces [4098] and 4100",
    ]);
}

#[test]
fn a_change_of_the_rules_is_written_again_for_the_next_one_when_no_packet_can_see_it() {
    let mut rig = Rig::new();
    rig.core.apply(rig.now, testing::config(&[ONE])).unwrap();
    rig.core.fabric.take();
    let tick = |rig: &mut Rig| rig.core.tick(rig.now, &Counters::default());
    tick(&mut rig);
    rig.expect(&[]);
    tick(&mut rig);
    rig.expect(&["space 1 from 0 to 1 pairs", "space 3 from 0 to 1 pairs"]);
    tick(&mut rig);
    rig.expect(&[]);
    let other = (
        "one",
        &[("10.0.0.0/24", "172.16.0.0/24"), ("10.0.1.0/24", "172.16.1.0/24")][..],
    );
    rig.core.apply(rig.now, testing::config(&[other])).unwrap();
    let calls = rig.core.fabric.take();
    assert!(
        calls.contains(&"space 4097 from 1 to 2 pairs".to_owned()),
        "{calls:?}"
    );
}

#[test]
fn an_sa_that_was_expected_takes_the_place_that_was_kept_for_it() {
    let mut rig = Rig::with(&[ONE]);
    let expect = |rig: &mut Rig, raw| {
        let spi = Spi::new(raw).unwrap();
        rig.event(Event::ExpectInbound {
            connection: ConnectionId(0),
            spi,
        });
        spi
    };
    expect(&mut rig, 0x1000);
    rig.expect(&["expect inbound 0", "map 00001000 to inbound 0"]);
    rig.install(1, None);
    rig.expect(&["install inbound 0", "map 00001000 to inbound 0"]);
    let spi = expect(&mut rig, 0x7777);
    rig.event(Event::ForgetInbound { spi });
    rig.event(Event::ForgetInbound { spi });
    rig.expect(&[
        "expect inbound 1",
        "map 00007777 to inbound 1",
        "unmap 00007777",
        "remove inbound 1",
    ]);
}

#[test]
fn an_sa_without_room_keeps_nothing_of_what_there_is() {
    let mut rig = Rig::with(&[ONE]);
    (1..=7).for_each(|id| rig.install(id, None));
    let spi = Spi::new(0x7777).unwrap();
    rig.event(Event::ExpectInbound {
        connection: ConnectionId(0),
        spi,
    });
    rig.core.fabric.take();
    rig.install(8, None);
    rig.expect(&[]);
    rig.event(Event::ForgetInbound { spi });
    rig.core.fabric.take();
    rig.install(9, None);
    rig.expect(&["install inbound 7", "map 00009000 to inbound 7"]);
}

#[test]
fn an_sa_is_installed_inbound_first_and_the_map_follows_the_tables() {
    let mut rig = Rig::with(&[ONE]);
    rig.install(1, None);
    rig.expect(&["install inbound 0", "map 00001000 to inbound 0"]);
    assert_ne!(rig.status().state, TunnelState::Up);
    rig.event(Event::UseOutbound { child: ChildId(1) });
    rig.expect(&["install outbound 0", "switch policy 0 to 0"]);
    assert_eq!(rig.status().state, TunnelState::Up);
}

#[test]
fn an_sa_is_removed_from_the_map_first() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    rig.event(Event::RemoveChild { child: ChildId(1) });
    rig.expect(&[
        "unmap 00001000",
        "switch policy 0 off",
        "remove outbound 0",
        "remove inbound 0",
    ]);
    assert_eq!(rig.status().state, TunnelState::Down);
}

#[test]
fn a_jump_of_sequence_numbers_reaches_the_worker_that_has_the_sa() {
    let mut rig = Rig::with(&[ONE]);
    let raise = |rig: &mut Rig, id| {
        let child = ChildId(id);
        rig.event(Event::RaiseSequence { child, by: 100 });
    };
    rig.install(1, None);
    rig.core.fabric.take();
    raise(&mut rig, 1);
    rig.expect(&[]);
    let waiting = &rig.core.tunnels[&0].children[&ChildId(1)].waiting;
    assert_eq!(waiting.as_ref().unwrap().highest_sequence(), 100);
    rig.event(Event::UseOutbound { child: ChildId(1) });
    rig.core.fabric.take();
    raise(&mut rig, 1);
    rig.expect(&["raise sequence of outbound 0 by 100"]);
    raise(&mut rig, 2);
    rig.expect(&[]);
}

#[test]
fn a_rekey_switches_without_a_gap_and_the_old_sa_goes_quietly() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.install(2, Some(1));
    rig.core.fabric.take();
    rig.event(Event::UseOutbound { child: ChildId(2) });
    rig.expect(&["install outbound 1", "switch policy 0 to 1"]);
    rig.event(Event::RemoveChild { child: ChildId(1) });
    rig.expect(&["unmap 00001000", "remove outbound 0"]);
    // What the workers received before is opened yet.
    let end = rig.core.poll_timeout().unwrap();
    rig.core.handle_timeout(end - Duration::from_millis(1));
    rig.expect(&[]);
    rig.core.handle_timeout(end);
    rig.expect(&["remove inbound 0"]);
    let status = rig.status();
    assert_eq!(
        (
            status.state,
            status.negotiations.child,
            status.negotiations.child_rekeys
        ),
        (TunnelState::Up, 2, 1)
    );
}

#[test]
fn when_the_sa_in_use_goes_its_predecessor_serves_again() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.up(2);
    rig.core.fabric.take();
    rig.event(Event::RemoveChild { child: ChildId(2) });
    rig.expect(&["unmap 00002000", "switch policy 0 to 0", "remove outbound 1"]);
    assert_eq!(rig.status().state, TunnelState::Up);
}

#[test]
fn counters_survive_the_sas_that_counted() {
    let mut rig = Rig::with(&[ONE]);
    rig.core.fabric.carried = SaCounters {
        packets: 3,
        octets: 300,
        ..SaCounters::default()
    };
    rig.up(1);
    rig.event(Event::RemoveChild { child: ChildId(1) });
    rig.up(2);
    rig.event(Event::RemoveChild { child: ChildId(2) });
    let status = rig.status();
    assert_eq!((status.packets_in, status.bytes_out), (6, 600));
}

#[test]
fn a_bandwidth_is_two_map_writes_and_nothing_else() {
    let text = testing::text(&[ONE]);
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    let slower = testing::parse(&text.replace("bandwidth_mbps = 100", "bandwidth_mbps = 5"));
    rig.core.apply(rig.now, slower).unwrap();
    rig.expect(&["limit 1 to 625000", "limit 2 to 625000"]);
    assert_eq!(rig.status().state, TunnelState::Up);
}

#[test]
fn the_same_configuration_touches_nothing() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    rig.core.apply(rig.now, testing::config(&[ONE])).unwrap();
    rig.expect(&[]);
}

#[test]
fn another_rule_is_added_beside_the_sas_that_are_up() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    rig.core
        .apply(
            rig.now,
            testing::config(&[("one", &[RULE[0], ("10.0.1.0/24", "192.168.1.0/24")])]),
        )
        .unwrap();
    rig.expect(&[
        "space 4097 from 0 to 2 pairs",
        "space 4099 from 0 to 2 pairs",
        "install policy 1 of tunnel 0",
        "use spaces [4097] and 4099",
    ]);
    // From then on a change is written over the version before the last, under a number of its own.
    rig.core.apply(rig.now, testing::config(&[ONE])).unwrap();
    let back = [
        "space 8194 from 1 to 1 pairs",
        "space 8196 from 1 to 1 pairs",
        "use spaces [8194] and 8196",
        "remove policy 1",
    ];
    rig.expect(&back);
    assert_eq!(
        (rig.status().state, rig.status().children.len()),
        (TunnelState::Up, 1)
    );
}

#[test]
fn the_policies_of_a_removed_tunnel_go_after_the_rules_that_name_them() {
    let two: TunnelText<'_> = ("two", &[("10.0.1.0/24", "192.168.1.0/24")]);
    let mut rig = Rig::with(&[ONE, two]);
    rig.core.apply(rig.now, testing::config(&[ONE])).unwrap();
    rig.expect(&[
        "space 4097 from 0 to 1 pairs",
        "space 4099 from 0 to 1 pairs",
        "use spaces [4097] and 4099",
        "remove policy 1",
    ]);
    assert_eq!(rig.core.tunnel_statuses(rig.now, &Counters::default()).len(), 1);
}

#[test]
fn a_configuration_that_does_not_fit_changes_nothing() {
    let rules: Vec<_> = (1..=5)
        .map(|third| (format!("10.0.{third}.0/24"), format!("192.168.{third}.0/24")))
        .collect();
    let rules: Vec<_> = rules
        .iter()
        .map(|(local, peer)| (local.as_str(), peer.as_str()))
        .collect();
    let mut rig = Rig::with(&[ONE]);
    let many = testing::config(&[ONE, ("two", &rules)]);
    assert!(matches!(
        rig.core.apply(rig.now, many),
        Err(ApplyError::Capacity {
            wanted: 5,
            left: 3,
            ..
        })
    ));
    rig.core.fabric.space_limit = Some(2);
    let three = testing::config(&[ONE, ("two", &rules[..2])]);
    assert!(matches!(
        rig.core.apply(rig.now, Arc::clone(&three)),
        Err(ApplyError::Rules(_))
    ));
    rig.expect(&[]);
    rig.core.fabric.space_limit = None;
    rig.core.apply(rig.now, three).unwrap();
    assert_eq!(rig.core.tunnel_statuses(rig.now, &Counters::default()).len(), 2);
}

#[test]
fn a_tunnel_that_the_operator_took_down_stays_down() {
    let mut rig = Rig::with(&[ONE]);
    let acquire = DataplaneEvent::Acquire { policy: 0, tunnel: 0 };
    assert_eq!(rig.core.down(rig.now, "one"), CommandOutcome::Done);
    rig.core.handle_dataplane(rig.now, &acquire);
    assert_eq!(rig.status().state, TunnelState::Disabled);
    assert!(rig.core.poll_transmit().is_none());
    assert_eq!(rig.core.up(rig.now, "one"), CommandOutcome::Done);
    assert_eq!(rig.status().state, TunnelState::Negotiating);
    assert!(rig.core.poll_transmit().is_some());
    assert_eq!(rig.core.down(rig.now, "none"), CommandOutcome::NoSuchTunnel);
}

#[test]
fn a_tunnel_that_only_answers_says_so() {
    let text = testing::text(&[ONE]).replace("psk = \"x\"", "psk = \"x\"\nstart = \"answer\"");
    let mut rig = Rig::new();
    rig.core.apply(rig.now, testing::parse(&text)).unwrap();
    assert_eq!(rig.core.up(rig.now, "one"), CommandOutcome::OnlyAnswers);
    assert!(rig.core.poll_transmit().is_none());
}

#[test]
fn traffic_starts_a_tunnel_unless_it_only_answers() {
    for (start, initiates) in [("traffic", true), ("answer", false)] {
        let text = testing::text(&[ONE]).replace("psk = \"x\"", &format!("psk = \"x\"\nstart = \"{start}\""));
        let mut rig = Rig::new();
        rig.core.apply(rig.now, testing::parse(&text)).unwrap();
        rig.core
            .handle_dataplane(rig.now, &DataplaneEvent::Acquire { policy: 0, tunnel: 0 });
        assert_eq!(rig.core.poll_transmit().is_some(), initiates, "{start}");
    }
}

#[test]
fn a_failure_is_kept_with_its_diagnosis_and_counted() {
    let mut rig = Rig::with(&[ONE]);
    let peer = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 500);
    for _ in 0..2 {
        let diagnosis = Diagnosis::new(Code::PskMismatch, "we", "they", "compare the keys");
        rig.event(Event::Failed {
            connection: Some(ConnectionId(0)),
            peer,
            diagnosis,
        });
    }
    let status = rig.status();
    assert_eq!(
        status.last_failure.map(|failure| failure.advice),
        Some("compare the keys".to_owned())
    );
    assert_eq!(status.failures.get("psk_mismatch"), Some(&2));
}

#[test]
fn a_soft_limit_asks_for_a_successor_once_in_a_while() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    let asked = |rig: &Rig| {
        rig.status()
            .events
            .iter()
            .filter(|line| line.text.contains("nearly used up"))
            .map(|line| line.times)
            .sum::<u32>()
    };
    // Octets carried, seconds since the last look, when to look again in milliseconds, how often asked until then.
    for (octets, seconds, look, times) in [
        (0, 0, 1000, 0),
        (20_000, 1, 1000, 0),
        (100_000, 1, 1000, 0),
        // At 220,000 a second, 340,000 leave three seconds to the limit of a million.
        (320_000, 1, 90, 0),
        (345_000, 1, 1000, 1),
        (345_000, 1, 1000, 1),
        (500_000, 10, 1000, 2),
    ] {
        let carried = SaCounters {
            octets,
            ..SaCounters::default()
        };
        let counters = Counters {
            outbound: vec![(0, carried)],
            ..Counters::default()
        };
        rig.now += Duration::from_secs(seconds);
        let next = rig.core.tick(rig.now, &counters);
        assert_eq!((next.as_millis(), asked(&rig)), (look, times), "{octets}");
    }
}

#[test]
fn a_fast_tunnel_asks_as_soon_as_a_quarter_is_used() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    let mut look = |octets, milliseconds| {
        let carried = SaCounters {
            octets,
            ..SaCounters::default()
        };
        let counters = Counters {
            inbound: vec![(0, carried)],
            ..Counters::default()
        };
        rig.now += Duration::from_millis(milliseconds);
        rig.core.tick(rig.now, &counters).as_millis()
    };
    assert_eq!(look(0, 0), 1000);
    // A million octets per second: the limit is a second away, and what is left of the quarter 150 milliseconds.
    assert_eq!(look(100_000, 100), 150);
    assert_eq!(look(250_000, 150), 1000);
    let events = rig.status().events;
    assert!(events.iter().any(|line| line.text.contains("nearly used up")));
}

#[test]
fn near_its_end_an_sa_gives_way_to_a_successor_that_waits() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    let mark = |rig: &mut Rig, mark| {
        let event = DataplaneEvent::SaLimit {
            index: 0,
            tunnel: 0,
            mark,
        };
        rig.core.handle_dataplane(rig.now, &event);
    };
    mark(&mut rig, SaMark::Soft);
    rig.expect(&[]);
    rig.install(2, Some(1));
    rig.core.fabric.take();
    mark(&mut rig, SaMark::Soft);
    rig.expect(&[]);
    mark(&mut rig, SaMark::Last);
    rig.expect(&["install outbound 1", "switch policy 0 to 1"]);
}

#[test]
fn an_sa_that_ends_without_a_successor_is_a_failure_with_a_diagnosis() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    let event = DataplaneEvent::SaLimit {
        index: 0,
        tunnel: 0,
        mark: SaMark::End,
    };
    rig.core.handle_dataplane(rig.now, &event);
    rig.expect(&[]);
    let status = rig.status();
    assert_eq!(status.failures.get("sa_exhausted"), Some(&1));
    assert!(
        status
            .last_failure
            .is_some_and(|failure| failure.local.contains("may carry 1000000 octets"))
    );
}
