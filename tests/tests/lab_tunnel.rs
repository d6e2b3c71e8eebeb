//! Our gateway on both ends: activation by traffic, bandwidth, reload, metrics.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::{Bandwidth, GATEWAY, TUNNEL};
use gateway_tests::iperf::{Load, iperf};
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::stream::Stream;
use gateway_tests::{Agent, Config, Lab, Side, http};

/// Two gateways with one tunnel that is down.
fn pair(change: impl Fn(Config) -> Config) -> (Agent, Agent, Lab) {
    let lab = Lab::new().unwrap();
    let start = |side| Agent::start(&lab, side, &change(Config::new(&lab, side))).unwrap();
    let (a, b) = (start(Side::A), start(Side::B));
    (a, b, lab)
}

#[test]
fn the_first_ping_of_an_idle_tunnel_is_answered() {
    let (a, b, lab) = pair(|config| config);
    assert_eq!(a.status().unwrap().tunnel(TUNNEL).unwrap().state(), "down");
    let report = ping(lab.host(Side::A), Side::B.host(), 20, 50, &[]).unwrap();
    assert_eq!(report.lost(), 0, "{report:?}\n{}", a.log());
    assert!(report.first_ms.is_some_and(|ms| ms < 1000.0), "{report:?}");
    for agent in [&a, &b] {
        let status = agent.status().unwrap();
        let tunnel = status.tunnel(TUNNEL).unwrap();
        assert_eq!(tunnel.state(), "up", "{status}");
        assert_eq!(
            (
                tunnel.count("packets_in"),
                tunnel.count("packets_out"),
                tunnel.dropped()
            ),
            (20, 20, 0),
            "{status}"
        );
        assert_eq!(tunnel.spis().len(), 1, "{status}");
    }
    let inbound = |agent: &Agent| agent.status().unwrap().tunnel(TUNNEL).unwrap().spis()[0].clone();
    let ((a_in, a_out), (b_in, b_out)) = (inbound(&a), inbound(&b));
    assert_eq!((a_in, a_out), (b_out, b_in));
}

#[test]
fn packets_of_every_size_pass_and_tcp_is_not_stalled() {
    let (a, _b, lab) = pair(|config| config);
    for size in ["0", "1", "100", "1300", "1372", "1400", "1472", "3000", "8000"] {
        let report = ping(
            lab.host(Side::A),
            Side::B.host(),
            2,
            20,
            &["-s", size, "-M", "dont"],
        )
        .unwrap();
        assert_eq!(report.lost(), 0, "{size} octets: {report:?}\n{}", a.log());
    }
    for from in [Side::A, Side::B] {
        let tcp = iperf(&lab, from, 2, Load::Tcp).unwrap();
        assert!(tcp.mbps > 50.0, "{tcp:?}");
    }
}

#[test]
fn a_bandwidth_setting_holds_and_a_change_takes_effect_under_traffic() {
    let (a, _b, lab) = pair(|config| config.bandwidth(Bandwidth::Mbps(100)));
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 50, &[])
            .unwrap()
            .lost(),
        0
    );
    let spis = a.status().unwrap().tunnel(TUNNEL).unwrap().spis();
    // 148 Mbit/s of IP packets.
    let stream = Stream::start(&lab, Side::A, 13_600, 1332).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    for mbps in [100, 20, 5, 50] {
        a.reload(&Config::new(&lab, Side::A).bandwidth(Bandwidth::Mbps(mbps)))
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let rate = stream.measure_mbps(Duration::from_secs(2));
        let share = rate / f64::from(mbps);
        // Exact when the sender gets its CPU; a shared machine may starve it, never speed it up.
        assert!(
            (0.85..1.02).contains(&share),
            "{rate:.2} Mbit/s at a setting of {mbps}"
        );
    }
    a.reload(&Config::new(&lab, Side::A)).unwrap();
    let free = stream.measure_mbps(Duration::from_secs(1));
    assert!(free > 60.0, "{free:.2} Mbit/s without a setting");
    stream.finish();
    assert_eq!(
        a.status().unwrap().tunnel(TUNNEL).unwrap().spis(),
        spis,
        "a bandwidth change negotiated"
    );
}

#[test]
fn a_reload_touches_only_what_changed() {
    let lab = Lab::new().unwrap();
    // A second tunnel of the same gateway whose peer does not exist.
    let with_second = |key: &str| {
        let mut config = Config::new(&lab, Side::A);
        let mut peer = config.customer_gateway[0].clone();
        (peer.id, peer.address) = ("cgw-2".to_owned(), "192.0.2.77".to_owned());
        config.customer_gateway.push(peer);
        let mut tunnel = config.tunnel[0].clone();
        (tunnel.id, tunnel.customer_gateway) = ("other".to_owned(), "cgw-2".to_owned());
        tunnel.psk = key.to_owned();
        tunnel.spd[0].peer = vec!["10.99.0.0/16".to_owned()];
        config.tunnel.push(tunnel);
        config
    };
    let a = Agent::start(&lab, Side::A, &with_second("one")).unwrap();
    let _b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 50, &[])
            .unwrap()
            .lost(),
        0
    );
    let spis = |agent: &Agent| agent.status().unwrap().tunnel(TUNNEL).unwrap().spis();
    let before = spis(&a);

    a.reload(&with_second("two")).unwrap();
    assert_eq!(spis(&a), before, "another tunnel's key changed");
    a.reload(&Config::new(&lab, Side::A)).unwrap();
    assert_eq!(spis(&a), before, "another tunnel went away");
    assert!(a.status().unwrap().tunnel("other").is_none());
    a.reload(&with_second("three")).unwrap();
    assert_eq!(spis(&a), before, "another tunnel came");

    let report = ping(lab.host(Side::A), Side::B.host(), 10, 50, &[]).unwrap();
    assert_eq!(report.lost(), 0);
}

#[test]
fn metrics_have_every_tunnel_and_survive_a_rekey() {
    let (a, b, lab) = pair(|config| config);
    // The first one waits for the tunnel; the others follow when it is up.
    let ten_pings = || {
        bring_up(&lab, Side::A).unwrap();
        let report = ping(lab.host(Side::A), Side::B.host(), 9, 20, &[]).unwrap();
        assert_eq!(report.lost(), 0);
    };
    let page = a.metrics().unwrap();
    let state = |page: &gateway_tests::metrics::Page, state: &str| {
        page.sum(
            "ipsecgw_tunnel_state",
            &[("tunnel", TUNNEL), ("phase", "child"), ("state", state)],
        )
    };
    assert_eq!(
        state(&page, "down"),
        Some(1.0),
        "a tunnel that is down has its series too"
    );
    assert_eq!(state(&page, "up"), Some(0.0));
    let packets = |page: &gateway_tests::metrics::Page, direction: &str| {
        page.sum(
            "ipsecgw_tunnel_packets_total",
            &[("tunnel", TUNNEL), ("direction", direction)],
        )
        .unwrap()
    };
    assert_eq!(packets(&page, "out"), 0.0);

    ten_pings();
    let page = a.metrics().unwrap();
    assert_eq!(state(&page, "up"), Some(1.0));
    assert_eq!((packets(&page, "in"), packets(&page, "out")), (10.0, 10.0));

    // Down and up again: other SAs, the same counters.
    let before = a.status().unwrap().tunnel(TUNNEL).unwrap().spis();
    for command in ["down", "up"] {
        assert!(a.operator(&[command, TUNNEL]).unwrap().status.success());
    }
    a.wait_tunnel(TUNNEL, "up", Duration::from_secs(5)).unwrap();
    b.wait_tunnel(TUNNEL, "up", Duration::from_secs(5)).unwrap();
    assert_ne!(a.status().unwrap().tunnel(TUNNEL).unwrap().spis(), before);
    ten_pings();
    let page = a.metrics().unwrap();
    assert_eq!((packets(&page, "in"), packets(&page, "out")), (20.0, 20.0));
    let limit = page.sum("ipsecgw_gateway_info", &[("gateway", GATEWAY)]);
    assert_eq!(limit, Some(1.0));

    let health = http::get(lab.gateway(Side::A), "/healthz").unwrap();
    assert_eq!(health.code, 200, "{}", health.body);
    assert_eq!(http::get(lab.gateway(Side::A), "/nothing").unwrap().code, 404);
}

#[test]
fn kilobytes_of_an_ike_sa_that_one_end_limits_hold_for_both_and_are_shown() {
    let lab = Lab::new().unwrap();
    let limited = Config::new(&lab, Side::A).tunnels(|tunnel| tunnel.ike.lifetime_kilobytes = Some(64));
    let a = Agent::start(&lab, Side::A, &limited).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    for agent in [&a, &b] {
        let status = agent.status().unwrap();
        let ike = &status.tunnel(TUNNEL).unwrap().json()["ike"];
        assert_eq!(ike["octet_limit"], 64 * 1024, "{status}");
        assert!(
            ike["octets"].as_u64().is_some_and(|octets| octets > 100),
            "{status}"
        );
        let table = agent.operate(&format!("status {TUNNEL}")).unwrap();
        assert!(table.contains(" of 65536 octets"), "{table}");
    }
}
