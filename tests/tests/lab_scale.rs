//! Many tunnels that do nothing cost next to nothing.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::{Agent, Config, Lab, Side};

/// Idle tunnels.
const TUNNELS: u16 = 1000;
/// Memory for each beyond what the agent needs anyway, in octets.
const MEMORY: u64 = 32 << 10;
/// Share of one CPU that they may use.
const CPU: f64 = 0.05;

#[test]
fn a_thousand_idle_tunnels_cost_little_memory_and_no_cpu() {
    let lab = Lab::new().unwrap();
    let few = {
        let mut agent = Agent::start(&lab, Side::A, &Config::with_tunnels(&lab, Side::A, 1)).unwrap();
        let memory = agent.process().resident_memory().unwrap();
        agent.stop().unwrap();
        memory
    };
    let mut agent = Agent::start(&lab, Side::A, &Config::with_tunnels(&lab, Side::A, TUNNELS)).unwrap();
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
