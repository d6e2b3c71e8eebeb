//! Health checks of stored tunnels, switched through API 3.0: health as a peer that answers and one that stops answering make it, and no
//! SA of the rules is disturbed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::config::{Bandwidth, TUNNEL};
use gateway_tests::ping::bring_up;
use gateway_tests::quick_start::{self, admin_key};
use gateway_tests::{Agent, Config, Lab, Side, wait};
use serde_json::{Value, json};

struct Appliance<'a> {
    lab: &'a Lab,
    agent: &'a Agent,
    key: Value,
}

impl Appliance<'_> {
    fn call(&self, action: &str, mut body: Value) -> Value {
        if action != "DescribeVpnConnections" {
            body["VpnConnectionId"] = json!(TUNNEL);
        }
        let mut answers = quick_start::call(self.lab, &self.key, &[(action, body)]).unwrap();
        answers.pop().unwrap()
    }

    fn shown(&self) -> Value {
        let body = json!({ "VpnConnectionIds": [TUNNEL] });
        self.call("DescribeVpnConnections", body)["VpnConnectionSet"][0].clone()
    }

    fn modify(&self, change: Value) {
        self.call("ModifyVpnConnectionAttribute", change);
        wait::until("the change in effect", Duration::from_secs(5), || {
            (self.shown()["State"] == "AVAILABLE").then_some(())
        })
        .unwrap();
    }

    /// Waits until the API and the metrics say so.
    fn wait_health(&self, status: &str, state: &str) {
        let labels = [("phase", "probe"), ("state", state)];
        let told = || {
            let metric = self.agent.metrics().unwrap().sum("ipsecgw_tunnel_state", &labels);
            self.shown()["HealthCheckStatus"] == status && metric.is_some_and(|value| value > 0.9)
        };
        wait::until(&format!("{status}, {state}"), Duration::from_secs(20), || {
            told().then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", self.shown(), self.agent.log()));
    }
}

#[test]
fn a_health_check_of_the_api_follows_the_host_behind_the_peer_and_disturbs_no_sa() {
    let lab = Lab::new().unwrap();
    let a = Agent::start(&lab, Side::A, &Config::managed(&lab, Side::A)).unwrap();
    let b = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    let objects = Config::new(&lab, Side::A).bandwidth(Bandwidth::Mbps(100));
    a.import(&objects.to_toml()).unwrap();
    a.wait_tunnel(TUNNEL, "down", Duration::from_secs(10)).unwrap();
    bring_up(&lab, Side::A).unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", a.log(), b.log()));
    let spis = || a.status().unwrap().tunnel(TUNNEL).unwrap().spis();
    let before = spis();
    let appliance = Appliance {
        lab: &lab,
        agent: &a,
        key: admin_key(&a).unwrap(),
    };
    assert_eq!(appliance.shown()["EnableHealthCheck"], false);

    appliance.modify(json!({
        "EnableHealthCheck": true,
        "HealthCheckLocalIp": Side::A.inside().to_string(), "HealthCheckRemoteIp": Side::B.host().to_string(),
        "HealthCheckConfig": { "ProbeInterval": 1000, "ProbeThreshold": 3, "ProbeTimeout": 500 },
        "DpdEnable": 1, "DpdTimeout": "20", "DpdAction": "restart",
    }));
    appliance.wait_health("AVAILABLE", "healthy");
    let dpd = a.status().unwrap().tunnel(TUNNEL).unwrap().json()["dpd"].clone();
    assert_eq!(dpd, json!({ "interval_seconds": 20, "action": "restart" }));
    let silent = |value| {
        let host = lab.host(Side::B);
        host.sysctl("ipv4/icmp_echo_ignore_all", value).unwrap();
    };
    silent("1");
    appliance.wait_health("UNAVAILABLE", "unhealthy");
    silent("0");
    appliance.wait_health("AVAILABLE", "healthy");

    appliance.modify(json!({ "EnableHealthCheck": false }));
    assert_eq!(appliance.shown().get("HealthCheckStatus"), None);
    assert!(a.status().unwrap().tunnel(TUNNEL).unwrap().json()["probe"].is_null());
    assert_eq!(
        spis(),
        before,
        "a health check between addresses of a rule negotiated"
    );
}
