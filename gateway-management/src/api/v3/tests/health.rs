//! Health checks and what follows a dead peer, on the wire.

use super::*;
use crate::Health;

/// An agent whose tunnels are up and answer probes.
struct Healthy;

impl Agent for Healthy {
    fn changed(&self) {}
    fn reset(&self, _tunnel: &str) {}
    fn live(&self, _tunnel: &str) -> Option<LiveTunnel> {
        Some(LiveTunnel {
            up: true,
            health: Some(Health::Healthy),
            ..LiveTunnel::default()
        })
    }
}

impl World {
    fn modify(&self, tunnel: &str, mut change: Value) -> Value {
        change["VpnConnectionId"] = json!(tunnel);
        let done = self.call("ModifyVpnConnectionAttribute", &change);
        self.settle();
        done
    }

    fn shown(&self, tunnel: &str) -> Value {
        let body = json!({ "VpnConnectionIds": [tunnel] });
        self.call("DescribeVpnConnections", &body)["VpnConnectionSet"][0].clone()
    }
}

#[test]
fn a_health_check_is_switched_on_changed_told_and_switched_off() {
    let world = World::with_agent(Arc::new(Healthy));
    let [gateway, _, tunnel] = world.quick_start();
    let without = world.shown(&tunnel);
    assert_eq!(without["EnableHealthCheck"], false);
    assert_eq!(without.get("HealthCheckStatus"), None, "{without}");

    let body = json!({ "VpnGatewayId": gateway });
    let free = world.call("GenerateVpnConnectionDefaultHealthCheckIp", &body);
    let (local, remote) = (&free["HealthCheckLocalIp"], &free["HealthCheckRemoteIp"]);
    assert!(local.as_str().unwrap().starts_with("169.254."), "{free}");
    let on = json!({
        "EnableHealthCheck": true, "HealthCheckLocalIp": local, "HealthCheckRemoteIp": remote,
        "HealthCheckConfig": { "ProbeType": "NQA", "ProbeInterval": 2000 },
    });
    assert_eq!(world.modify(&tunnel, on)["Effect"], "newPairs");
    let threshold = json!({ "HealthCheckConfig": { "ProbeThreshold": 8 } });
    assert_eq!(world.modify(&tunnel, threshold)["Effect"], "nothing");
    let shown = world.shown(&tunnel);
    assert_eq!(shown["EnableHealthCheck"], true);
    assert_eq!(shown["HealthCheckLocalIp"], *local);
    assert_eq!(shown["HealthCheckRemoteIp"], *remote);
    assert_eq!(shown["HealthCheckStatus"], "AVAILABLE");
    assert_eq!(
        shown["HealthCheckConfig"],
        json!({ "ProbeType": "NQA", "ProbeInterval": 2000, "ProbeThreshold": 8, "ProbeTimeout": 1000 })
    );

    let second = world.call(
        "CreateCustomerGateway",
        &json!({ "CustomerGatewayName": "other", "IpAddress": "202.108.22.6" }),
    );
    let customer = second["CustomerGateway"]["CustomerGatewayId"].as_str().unwrap();
    let mut other = super::tunnel(&gateway, customer);
    other["VpnConnectionName"] = json!("other");
    other["SecurityPolicyDatabases"] =
        json!([{ "LocalCidrBlock": "192.168.0.0/24", "RemoteCidrBlock": ["10.0.9.0/24"] }]);
    for (field, value) in [
        ("EnableHealthCheck", json!(true)),
        ("HealthCheckLocalIp", local.clone()),
        ("HealthCheckRemoteIp", remote.clone()),
    ] {
        other[field] = value;
    }
    world.refused(
        "CreateVpnConnection",
        &other,
        "InvalidParameterValue.VpnConnHealthCheckIpConflict",
        &tunnel,
    );

    world.modify(&tunnel, json!({ "EnableHealthCheck": false }));
    assert_eq!(world.shown(&tunnel)["EnableHealthCheck"], false);
    let settings = json!({ "VpnConnectionId": tunnel, "HealthCheckConfig": { "ProbeInterval": 2000 } });
    world.refused(
        "ModifyVpnConnectionAttribute",
        &settings,
        "InvalidParameterValue",
        "switch it on",
    );
    // Its addresses are free again.
    other["VpnConnectionName"] = json!("another");
    world.call("CreateVpnConnection", &other);
}

#[test]
fn what_follows_a_dead_peer_is_what_was_said_or_fits_the_start() {
    let world = World::new();
    let [_, _, tunnel] = world.quick_start();
    let action = || world.shown(&tunnel)["DpdAction"].clone();
    assert_eq!(world.shown(&tunnel)["NegotiationType"], "active");
    assert_eq!(action(), "restart");
    for wanted in ["clear", "hold", "restart"] {
        let done = world.modify(&tunnel, json!({ "DpdEnable": 1, "DpdAction": wanted }));
        assert_eq!((&done["Effect"], action()), (&json!("nothing"), json!(wanted)));
    }
}
