//! Health checks and what follows a dead peer.

use super::*;
use crate::health::HealthCheck;

fn on() -> HealthPatch {
    HealthPatch {
        enabled: Some(true),
        ..HealthPatch::default()
    }
}

fn between(local: &str, remote: &str) -> HealthPatch {
    HealthPatch {
        addresses: Some((local.parse().unwrap(), remote.parse().unwrap())),
        ..on()
    }
}

/// Two tunnels of one gateway, which the agent runs.
fn two() -> (World, [String; 2]) {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let made = [
        ("a", "202.108.22.5", "10.0.1.0/24"),
        ("b", "202.108.22.6", "10.0.2.0/24"),
    ];
    let tunnels = made.map(|(name, address, peer)| {
        let customer = world.customer(name, address).unwrap();
        let made = world.tunnel(name, &gateway.id, &customer.id, peer).unwrap();
        made.view.tunnel.id
    });
    world.settle(&[]);
    (world, tunnels)
}

impl World {
    fn change(&self, tunnel: &str, change: TunnelChange) -> Result<Effect, Error> {
        let changed = self
            .management
            .modify_tunnel(NOW, &self.actor, &query(tunnel), change)?;
        self.settle(&[]);
        Ok(changed.effect)
    }

    fn check(&self, tunnel: &str, health: HealthPatch) -> Result<Effect, Error> {
        let change = TunnelChange {
            health,
            ..TunnelChange::default()
        };
        self.change(tunnel, change)
    }

    fn checked(&self, tunnel: &str) -> Option<HealthCheck> {
        let view = self.management.tunnel(&self.actor, &query(tunnel)).unwrap();
        view.tunnel.health
    }
}

#[test]
fn a_health_check_disturbs_what_its_addresses_do() {
    let (world, [tunnel, _]) = two();
    assert_eq!(world.check(&tunnel, on()).unwrap(), Effect::NewPairs);
    let made = world.checked(&tunnel).unwrap();
    assert_eq!(made, HealthCheck::of(&tunnel));
    let slower = HealthPatch {
        interval_ms: Some(2000),
        threshold: Some(5),
        ..HealthPatch::default()
    };
    assert_eq!(world.check(&tunnel, slower).unwrap(), Effect::Nothing);
    assert_eq!(world.checked(&tunnel).unwrap().threshold, 5);
    // Into addresses that a rule covers: the pair of the check's own is gone.
    let inside = between("192.168.1.1", "10.0.1.1");
    assert_eq!(world.check(&tunnel, inside).unwrap(), Effect::Renegotiation);
    let off = HealthPatch {
        enabled: Some(false),
        ..HealthPatch::default()
    };
    assert_eq!(world.check(&tunnel, off).unwrap(), Effect::Nothing);
    assert_eq!(world.checked(&tunnel), None);
    assert!(matches!(world.check(&tunnel, slower), Err(Error::Invalid { .. })));
}

#[test]
fn addresses_of_a_health_check_belong_to_one_tunnel_and_are_no_end() {
    let (world, [one, two]) = two();
    world
        .check(&one, between("169.254.200.2", "169.254.200.3"))
        .unwrap();
    let conflict = world
        .check(&two, between("169.254.200.2", "169.254.200.3"))
        .unwrap_err();
    assert!(
        matches!(&conflict, Error::HealthCheckConflict { owner, .. } if *owner == one),
        "{conflict}"
    );
    // The same two hosts as a rule of the other tunnel.
    let hosts = TunnelChange {
        spd: Some(rules(&[
            ("192.168.1.0/24", "10.0.2.0/24"),
            ("192.168.9.9/32", "10.9.9.9/32"),
        ])),
        ..TunnelChange::default()
    };
    world.change(&two, hosts).unwrap();
    assert!(matches!(
        world.check(&one, between("192.168.9.9", "10.9.9.9")),
        Err(Error::HealthCheckConflict { .. })
    ));
    world.check(&one, between("192.168.9.8", "10.9.9.8")).unwrap();
    let hosts = TunnelChange {
        spd: Some(rules(&[("192.168.9.8/32", "10.9.9.8/32")])),
        ..TunnelChange::default()
    };
    assert!(matches!(
        world.change(&two, hosts),
        Err(Error::RangeConflict { .. })
    ));
    assert!(matches!(
        world.check(&one, between("192.168.9.9", "202.108.22.6")),
        Err(Error::Invalid {
            field: "health check remote address",
            ..
        })
    ));
}

#[test]
fn addresses_that_nobody_said_give_way_to_another_tunnels() {
    let (world, [one, two]) = two();
    let (local, remote) = HealthCheck::of(&two).addresses();
    world
        .check(&one, between(&local.to_string(), &remote.to_string()))
        .unwrap();
    world.check(&two, on()).unwrap();
    let made = world.checked(&two).unwrap();
    assert_ne!(made.addresses(), (local, remote));
    assert_eq!(
        HealthCheck {
            local,
            remote,
            ..made
        },
        HealthCheck::of(&two)
    );
}

#[test]
fn free_addresses_are_taken_by_no_tunnel_of_the_vpc() {
    let (world, [one, _]) = two();
    let gateways = world
        .management
        .list_gateways(&GatewayFilter::default(), &PAGE)
        .unwrap()
        .items;
    let free = || {
        let from_first = |rows: &Rows<'_>| crate::service::health::free_from(rows, &gateways[0], 0);
        world.management.store.read(from_first).unwrap()
    };
    let (first, second) = (crate::health::neighbours(0), crate::health::neighbours(1));
    assert_eq!(free(), first);
    for (local, remote) in [
        first,
        (first.1, first.0),
        (first.0, "169.254.200.9".parse().unwrap()),
        ("169.254.200.9".parse().unwrap(), first.0),
    ] {
        let taken = between(&local.to_string(), &remote.to_string());
        world.check(&one, taken).unwrap();
        assert_eq!(free(), second, "beside {local} and {remote}");
    }
    let off = HealthPatch {
        enabled: Some(false),
        ..HealthPatch::default()
    };
    world.check(&one, off).unwrap();
    assert_eq!(free(), first, "they are free again");
    assert!(matches!(
        world.management.free_health_addresses("vpngw-none"),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn what_follows_a_dead_peer_is_given_to_the_agent_and_disturbs_nothing() {
    let (world, [tunnel, _]) = two();
    for action in DpdAction::ALL {
        let change = TunnelChange {
            dpd_action: Some(*action),
            dpd_seconds: Some(20),
            ..TunnelChange::default()
        };
        assert_eq!(world.change(&tunnel, change).unwrap(), Effect::Nothing);
        let desired = world.management.desired().unwrap();
        let document = desired.tunnels.iter().find(|wanted| wanted.id == tunnel);
        let line = format!("dpd_action = \"{}\"", action.name());
        assert!(document.unwrap().document.contains(&line), "{line}");
    }
}
