//! The agent as a process: what it refuses to start on, and what it says.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use gateway_tests::agent::binary;
use gateway_tests::config::TUNNEL;
use gateway_tests::lab::INSIDE;
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, http, wait};

/// How long a refusal may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts an agent that must refuse; returns its exit code and what it printed.
fn refusal(lab: &Lab, side: Side, config: &str) -> (Option<i32>, String) {
    let mut agent = Agent::spawn(lab, side, config).unwrap();
    let status = agent
        .process()
        .wait(PATIENCE)
        .unwrap_or_else(|error| panic!("{error}\n{}", agent.log()));
    (status.code(), agent.log())
}

#[test]
fn a_second_agent_leaves_the_first_one_alone() {
    let lab = Lab::new().unwrap();
    let config = Config::new(&lab, Side::A);
    let first = Agent::start(&lab, Side::A, &config).unwrap();
    let mut second = lab.gateway(Side::A).command(binary().unwrap());
    let output = second
        .arg("run")
        .arg("--config")
        .arg(first.config_file())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{text}");
    first.status().unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    let lab = Lab::new().unwrap();
    for port in [500_u16, 4500] {
        let taken = lab
            .gateway(Side::A)
            .enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
            .unwrap()
            .unwrap();
        let (code, log) = refusal(&lab, Side::A, &Config::new(&lab, Side::A).to_toml());
        assert_eq!(code, Some(6), "{log}");
        assert!(log.contains(&port.to_string()), "{log}");
        drop(taken);
    }
}

#[test]
fn an_agent_does_not_start_on_a_wrong_configuration() {
    let lab = Lab::new().unwrap();
    let (code, log) = refusal(&lab, Side::A, "nonsense = ");
    assert_eq!(code, Some(3), "{log}");
}

#[test]
fn an_interface_may_appear_later() {
    let lab = Lab::new().unwrap();
    let gateway = lab.gateway(Side::A);
    gateway.ip(&["link", "set", INSIDE, "down"]).unwrap();
    gateway.ip(&["link", "set", INSIDE, "name", "later0"]).unwrap();
    let agent = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let _peer = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    let missing = |status: &gateway_tests::status::Status| {
        let interfaces = status.json()["xdp"]["interfaces"].as_array().unwrap().clone();
        interfaces
            .iter()
            .any(|interface| interface["name"] == INSIDE && interface["present"] == false)
    };
    assert!(missing(&agent.status().unwrap()), "{}", agent.status().unwrap());

    gateway.ip(&["link", "set", "later0", "name", INSIDE]).unwrap();
    gateway.ip(&["link", "set", INSIDE, "up"]).unwrap();
    agent
        .wait_status("the interface to be taken", PATIENCE, |status| {
            (!missing(status)).then_some(())
        })
        .unwrap();
    let report = ping(lab.host(Side::A), Side::B.host(), 5, 200, &[]).unwrap();
    assert!(report.received >= 4, "{report:?}\n{}", agent.log());
}

#[test]
fn the_operators_commands_do_what_they_say() {
    let lab = Lab::new().unwrap();
    let mut agent = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let _peer = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    assert!(http::get(lab.gateway(Side::A), "/healthz").unwrap().code == 200);
    let unknown = agent.operator(&["up", "nobody"]).unwrap();
    assert_eq!(unknown.status.code(), Some(12));

    assert!(agent.operator(&["up", TUNNEL]).unwrap().status.success());
    agent.wait_tunnel(TUNNEL, "up", Duration::from_secs(5)).unwrap();
    assert!(agent.operator(&["down", TUNNEL]).unwrap().status.success());
    agent
        .wait_tunnel(TUNNEL, "disabled", Duration::from_secs(5))
        .unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 100, &["-W", "1"])
            .unwrap()
            .received,
        0
    );
    assert!(agent.operator(&["up", TUNNEL]).unwrap().status.success());
    agent.wait_tunnel(TUNNEL, "up", Duration::from_secs(5)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 100, &[])
            .unwrap()
            .lost(),
        0
    );

    let status = agent.stop().unwrap();
    assert_eq!(
        (status.code(), status.signal()),
        (Some(0), None),
        "{}",
        agent.log()
    );
    let gone = agent.operator(&["status"]).unwrap();
    assert_eq!(gone.status.code(), Some(8));
}

#[test]
fn a_tunnel_ends_at_both_ends_when_one_agent_stops() {
    let lab = Lab::new().unwrap();
    let mut a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 100, &[])
            .unwrap()
            .lost(),
        0
    );
    a.stop().unwrap();
    b.wait_tunnel(TUNNEL, "down", Duration::from_secs(3)).unwrap();

    let a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let report = ping(lab.host(Side::A), Side::B.host(), 5, 100, &[]).unwrap();
    assert_eq!(report.lost(), 0, "{}", a.log());
}

#[test]
fn a_killed_agent_comes_back() {
    let lab = Lab::new().unwrap();
    let mut a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 2, 100, &[])
            .unwrap()
            .lost(),
        0
    );
    a.kill_9().unwrap();
    b.status().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::new(&lab, Side::A)).unwrap();
    // The peer still has the old SAs; traffic from our side negotiates new ones, and the peer uses the newest.
    wait::until("traffic to flow again", Duration::from_secs(10), || {
        let report = ping(lab.host(Side::A), Side::B.host(), 2, 100, &["-W", "1"]).ok()?;
        (report.lost() == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", a.log()));
}
