//! What the page says, and that it says it as Prometheus wants it.

use std::collections::BTreeMap;

use super::*;
use crate::status::{
    ChildStatus, IkeSaStatus, IkeStatus, InterfaceStatus, LeaseStatus, TunnelState, TunnelStatus, XdpStatus,
};

fn snapshot() -> Status {
    let down = TunnelStatus {
        id: "down".to_owned(),
        pairs: 2,
        ..TunnelStatus::default()
    };
    let up = TunnelStatus {
        id: "up".to_owned(),
        state: TunnelState::Up,
        bytes_out: 1428,
        packets_out: 1,
        mtu: Some(1438),
        icmp_time_exceeded_sent: 4,
        dropped: BTreeMap::from([("replay".to_owned(), 5), ("mtu".to_owned(), 2)]),
        dropped_out: BTreeMap::from([("mtu".to_owned(), 2)]),
        failures: BTreeMap::from([("psk_mismatch".to_owned(), 3)]),
        children: vec![
            ChildStatus {
                current: true,
                serves: 1,
                ..ChildStatus::default()
            },
            ChildStatus {
                current: false,
                ..ChildStatus::default()
            },
        ],
        ..TunnelStatus::default()
    };
    let interface = InterfaceStatus {
        name: "eth0".to_owned(),
        verdicts: BTreeMap::from([("unknown_spi".to_owned(), 7)]),
        ..InterfaceStatus::default()
    };
    Status {
        tunnels: vec![down, up],
        xdp: XdpStatus {
            mode: "native".to_owned(),
            interfaces: vec![interface],
        },
        ike: IkeStatus {
            invalid_spi_hints: 4,
            ..IkeStatus::default()
        },
        ..Status::default()
    }
}

#[test]
fn alarms_have_their_series_where_there_is_a_store() {
    let without = render(&snapshot()).unwrap();
    assert!(!without.contains("ipsecgw_alarm"), "{without}");
    assert!(!without.contains("ipsecgw_store"), "{without}");
    let alarms = AlarmStatus {
        lasting: 2,
        waiting_notices: 3,
        notices: BTreeMap::from([("delivered".to_owned(), 4), ("given_up".to_owned(), 0)]),
    };
    let page = render(&Status {
        alarms: Some(alarms),
        lost_events: Some(5),
        ..snapshot()
    })
    .unwrap();
    for line in [
        "ipsecgw_alarms 2",
        "ipsecgw_alarm_notices_waiting 3",
        "ipsecgw_store_events_lost_total 5",
        r#"ipsecgw_alarm_notices_total{result="delivered"} 4"#,
        r#"ipsecgw_alarm_notices_total{result="given_up"} 0"#,
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn every_configured_tunnel_has_its_series_even_when_it_is_down() {
    let page = render(&snapshot()).unwrap();
    for line in [
        r#"ipsecgw_tunnel_state{phase="child",state="down",tunnel="down"} 1"#,
        r#"ipsecgw_tunnel_state{phase="child",state="up",tunnel="down"} 0"#,
        r#"ipsecgw_tunnel_state{phase="child",state="up",tunnel="up"} 1"#,
        r#"ipsecgw_tunnel_bytes_total{direction="out",tunnel="down"} 0"#,
        r#"ipsecgw_tunnel_bytes_total{direction="out",tunnel="up"} 1428"#,
        r#"ipsecgw_tunnel_mtu_bytes{tunnel="up"} 1438"#,
        r#"ipsecgw_tunnel_icmp_time_exceeded_sent_total{tunnel="up"} 4"#,
        r#"ipsecgw_tunnel_child_sas{tunnel="up"} 1"#,
        r#"ipsecgw_tunnel_child_sas_expected{tunnel="down"} 2"#,
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn the_period_of_a_gateway_has_its_end_and_its_stage() {
    let gateway = |id: &str, lease: Option<LeaseStatus>| GatewayStatus {
        id: id.to_owned(),
        lease,
        ..GatewayStatus::default()
    };
    let lease = |stage: Lease, expires| {
        Some(LeaseStatus {
            state: stage.name().to_owned(),
            expires,
        })
    };
    let status = Status {
        gateways: vec![
            gateway("bought", lease(Lease::Isolated, Some(1_602_592_000))),
            gateway("hourly", lease(Lease::Unlimited, None)),
            gateway("declared", None),
        ],
        ..Status::default()
    };
    let page = render(&status).unwrap();
    let of = |name: &str| {
        let lines = page.lines().filter(|line| line.starts_with(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        of("ipsecgw_gateway_lease_expiry_timestamp_seconds{"),
        [r#"ipsecgw_gateway_lease_expiry_timestamp_seconds{gateway="bought"} 1602592000"#]
    );
    let mut ones = of("ipsecgw_gateway_lease_state{");
    assert_eq!(ones.len(), 2 * Lease::ALL.len());
    ones.retain(|line| line.ends_with(" 1"));
    assert_eq!(
        ones,
        [
            r#"ipsecgw_gateway_lease_state{gateway="bought",state="isolated"} 1"#,
            r#"ipsecgw_gateway_lease_state{gateway="hourly",state="unlimited"} 1"#,
        ]
    );
}

#[test]
fn drops_are_split_by_direction_and_reason() {
    let page = render(&snapshot()).unwrap();
    for line in [
        r#"ipsecgw_tunnel_dropped_packets_total{direction="in",reason="replay",tunnel="up"} 5"#,
        r#"ipsecgw_tunnel_dropped_packets_total{direction="in",reason="mtu",tunnel="up"} 0"#,
        r#"ipsecgw_tunnel_dropped_packets_total{direction="out",reason="mtu",tunnel="up"} 2"#,
        r#"ipsecgw_ike_failures_total{code="psk_mismatch",tunnel="up"} 3"#,
        r#"ipsecgw_xdp_packets_total{action="drop",iface="eth0",verdict="unknown_spi"} 7"#,
        "ipsecgw_unknown_spi_packets_total 7",
        "ipsecgw_ike_invalid_spi_hints_total 4",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn every_code_of_a_failure_is_there_from_the_start() {
    let mut status = snapshot();
    status.ike.failures = gateway_ike::diagnosis::Code::ALL
        .iter()
        .map(|code| (code.name().to_owned(), 0))
        .collect();
    let page = render(&status).unwrap();
    for code in gateway_ike::diagnosis::Code::ALL {
        let line = format!("ipsecgw_ike_failures_by_code_total{{code=\"{}\"}} 0", code.name());
        assert!(page.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn durations_are_cumulative_buckets_in_seconds() {
    let mut status = snapshot();
    for milliseconds in [3, 10, 11, 700, 70_000] {
        let took = std::time::Duration::from_millis(milliseconds);
        status.ike.ike_rekey_durations.observe(took);
    }
    let page = render(&status).unwrap();
    for line in [
        r#"ipsecgw_ike_exchange_duration_seconds_bucket{type="rekey",le="0.005"} 1"#,
        r#"ipsecgw_ike_exchange_duration_seconds_bucket{type="rekey",le="0.01"} 2"#,
        r#"ipsecgw_ike_exchange_duration_seconds_bucket{type="rekey",le="0.025"} 3"#,
        r#"ipsecgw_ike_exchange_duration_seconds_bucket{type="rekey",le="60"} 4"#,
        r#"ipsecgw_ike_exchange_duration_seconds_bucket{type="rekey",le="+Inf"} 5"#,
        r#"ipsecgw_ike_exchange_duration_seconds_sum{type="rekey"} 70.724"#,
        r#"ipsecgw_ike_exchange_duration_seconds_count{type="rekey"} 5"#,
        r#"ipsecgw_ike_exchange_duration_seconds_count{type="initial"} 0"#,
        "ipsecgw_ike_handshakes_total 5",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn weak_choices_have_their_reason() {
    let mut status = snapshot();
    status.tunnels[0].weak_reasons = BTreeMap::from([("small_group".to_owned(), 2)]);
    let page = render(&status).unwrap();
    let weak: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("ipsecgw_tunnel_weak_choices"))
        .collect();
    assert_eq!(
        weak,
        [r#"ipsecgw_tunnel_weak_choices{reason="small_group",tunnel="down"} 2"#]
    );
}

#[test]
fn names_follow_the_conventions() {
    let page = render(&snapshot()).unwrap();
    let mut families = std::collections::BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(name.starts_with("ipsecgw_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(
            !name.ends_with("_ms") && !name.contains("percent"),
            "{name}: base units"
        );
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
        assert!(families.insert(name), "{name} has two types");
        let help = page
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| help.ends_with('.')), "{name}: a sentence");
    }
    let mut series = std::collections::BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        assert!(
            families.contains(name) || family.is_some_and(|family| families.contains(family)),
            "{line}"
        );
        assert!(series.insert(line.rsplit_once(' ').unwrap().0), "twice: {line}");
    }
}

/// The rules of `deploy/prometheus` name only metrics that exist.
#[test]
fn alerts_are_about_metrics_that_exist() {
    let rules = include_str!("../../../../deploy/prometheus/ipsec-gateway.rules.yml");
    let mut status = snapshot();
    status.gateways.push(GatewayStatus {
        bandwidth_bytes_per_second: Some(1),
        lease: Some(LeaseStatus::default()),
        ..GatewayStatus::default()
    });
    status.ike.failures = BTreeMap::from([("no_response".to_owned(), 0)]);
    status.tunnels[1].ike = Some(IkeSaStatus::default());
    status.tunnels[0].weak_reasons = BTreeMap::from([("small_group".to_owned(), 1)]);
    let page = render(&status).unwrap();
    let names: std::collections::BTreeSet<_> = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("ipsecgw_"))
        .collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(page.contains(&format!("# TYPE {name} ")), "{name} is in no page");
    }
}

#[test]
fn ten_thousand_tunnels_are_rendered_in_a_moment() {
    let mut status = snapshot();
    let tunnel = status.tunnels.remove(1);
    status.tunnels = (0..10_000)
        .map(|number| TunnelStatus {
            id: format!("tunnel-{number}"),
            ..tunnel.clone()
        })
        .collect();
    let started = std::time::Instant::now();
    let page = render(&status).unwrap();
    println!("{} lines in {:?}", page.lines().count(), started.elapsed());
    assert!(
        started.elapsed() < std::time::Duration::from_secs(5),
        "a scrape takes a second at most"
    );
}
