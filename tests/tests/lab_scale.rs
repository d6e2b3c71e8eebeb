//! Many tunnels that do nothing cost next to nothing.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::Quotas;
use gateway_tests::{Agent, Config, Lab, Side};

/// Idle tunnels.
const TUNNELS: u16 = 1000;
/// Memory for each beyond what the agent needs anyway, in octets.
const MEMORY: u64 = 32 << 10;
/// Share of one CPU that they may use.
const CPU: f64 = 0.05;

fn with_tunnels(lab: &Lab, count: u16) -> Config {
    let mut config = Config::new(lab, Side::A);
    let (peer, tunnel) = (config.customer_gateway[0].clone(), config.tunnel[0].clone());
    config.customer_gateway.clear();
    config.tunnel.clear();
    for number in 0..count {
        let [high, low] = number.to_be_bytes();
        let mut peer = peer.clone();
        peer.id = format!("cgw-{number}");
        peer.address = format!("198.51.{}.{}", 1 + number / 200, 1 + number % 200);
        let mut tunnel = tunnel.clone();
        tunnel.id = format!("t-{number}");
        tunnel.customer_gateway.clone_from(&peer.id);
        tunnel.spd[0].peer = vec![format!("172.{}.{low}.0/24", 16 + high)];
        config.customer_gateway.push(peer);
        config.tunnel.push(tunnel);
    }
    let many = Some(u32::from(count));
    config.quotas = Some(Quotas {
        customer_gateways: many,
        tunnels_per_gateway: many,
        ..Quotas::default()
    });
    config.agent.log = "info".to_owned();
    config
}

#[test]
fn a_thousand_idle_tunnels_cost_little_memory_and_no_cpu() {
    let lab = Lab::new().unwrap();
    let few = {
        let mut agent = Agent::start(&lab, Side::A, &with_tunnels(&lab, 1)).unwrap();
        let memory = agent.process().resident_memory().unwrap();
        agent.stop().unwrap();
        memory
    };
    let mut agent = Agent::start(&lab, Side::A, &with_tunnels(&lab, TUNNELS)).unwrap();
    let many = agent.process().resident_memory().unwrap();
    let each = many.saturating_sub(few) / u64::from(TUNNELS);
    assert!(
        each < MEMORY,
        "{each} octets per tunnel ({few} with one, {many} with {TUNNELS})"
    );

    const WATCH: Duration = Duration::from_secs(3);
    let before = agent.process().cpu_time().unwrap();
    std::thread::sleep(WATCH);
    let used = (agent.process().cpu_time().unwrap() - before).as_secs_f64() / WATCH.as_secs_f64();
    assert!(used < CPU, "{:.1} % of a CPU while idle", used * 100.0);

    let page = agent.metrics().unwrap();
    assert_eq!(
        page.sum("ipsecgw_tunnel_state", &[("phase", "child"), ("state", "down")]),
        Some(f64::from(TUNNELS))
    );
}
