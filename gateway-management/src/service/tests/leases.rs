//! Periods that end, through the operations: what the store keeps, what the agent is given, what may be done.

use super::*;
use crate::lease::{Lease, removal};

/// A tunnel of a gateway that was bought for a month, in effect.
fn leased() -> (World, VpnGateway, String) {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let made = world.tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24").unwrap();
    world.settle(&[]);
    (world, gateway, made.view.tunnel.id)
}

impl World {
    fn turn(&self, now: Timestamp) {
        self.management.advance_leases(now).unwrap();
    }

    /// How often the agent is told in `what`.
    fn tells(&self, what: impl FnOnce()) -> usize {
        let before = self.agent.changes.load(Ordering::Relaxed);
        what();
        self.agent.changes.load(Ordering::Relaxed) - before
    }

    /// What the agent was last given: the stage, and how many tunnels stay configured.
    fn given(&self, gateway: &str) -> Option<(Lease, usize)> {
        let desired = self.management.desired().unwrap();
        let lease = desired.ends.leases.get(gateway)?;
        Some((lease.stage, desired.tunnels.len()))
    }

    /// Operations of the agent's own, oldest first.
    fn agents_history(&self) -> Vec<String> {
        let log = self.management.audit_log(&Actor::local(), 100).unwrap();
        let own = log.into_iter().rev().filter(|line| line.actor == "agent");
        own.map(|line| line.operation).collect()
    }
}

#[test]
fn a_life_from_reminder_to_removal_is_in_the_history_and_reaches_the_agent() {
    let (world, gateway, tunnel) = leased();
    let end = gateway.expires;
    let remind = end.plus_seconds(-7 * 24 * 3600);
    for (now, told, given) in [
        (remind.plus_seconds(-1), 0, Some((Lease::Running, 1))),
        (remind, 1, Some((Lease::Expiring, 1))),
        (remind, 0, Some((Lease::Expiring, 1))),
        (end.plus_seconds(-1), 0, Some((Lease::Expiring, 1))),
        (end, 1, Some((Lease::Isolated, 1))),
        (removal(end).plus_seconds(-1), 0, Some((Lease::Isolated, 1))),
        // The tunnel first.
        (removal(end), 1, Some((Lease::Over, 0))),
    ] {
        assert_eq!(world.tells(|| world.turn(now)), told, "{}", now.civil());
        assert_eq!(world.given(&gateway.id), given, "{}", now.civil());
    }
    assert_eq!(world.status(&tunnel), Status::Deleting);
    world.settle(&[]);
    world.turn(removal(end));
    assert_eq!(world.given(&gateway.id), None);
    let free = world.gateway("next", "vpc-main").unwrap();
    assert_eq!(free.address, gateway.address, "its address is free again");
    assert_eq!(
        world.agents_history(),
        [
            "remind of gateway",
            "isolate gateway",
            "delete tunnel",
            "delete gateway"
        ]
    );
}

#[test]
fn an_isolated_gateway_takes_no_change_and_keeps_its_tunnels() {
    let (world, gateway, tunnel) = leased();
    let (management, actor, end) = (&world.management, &world.actor, gateway.expires);
    // To the second, before the agent's next turn.
    let faster = GatewayChange {
        bandwidth: Some(100),
        ..GatewayChange::default()
    };
    let of_tunnel = query(&tunnel);
    let refusals = [
        management
            .modify_gateway(end, actor, &gateway.id, &faster)
            .map(drop),
        management
            .modify_tunnel(end, actor, &of_tunnel, TunnelChange::default())
            .map(drop),
        management.reset_tunnel(end, actor, &of_tunnel),
    ];
    for refused in refusals {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("is isolated: its period ended on"), "{error}");
    }
    assert!(world.agent.resets.lock().unwrap().is_empty());
    world.turn(end);
    assert_eq!(world.status(&tunnel), Status::Running);
    management
        .modify_gateway(end.plus_seconds(-1), actor, &gateway.id, &faster)
        .unwrap();
}

#[test]
fn renewal_restores_in_the_same_transaction_and_counts_from_now() {
    let (world, gateway, tunnel) = leased();
    let late = gateway.expires.plus_seconds(3 * 24 * 3600);
    world.turn(late);
    assert_eq!(world.given(&gateway.id), Some((Lease::Isolated, 1)));
    let told = world.tells(|| {
        let renewed = world
            .management
            .renew_gateway(late, &world.actor, &gateway.id, 1, None)
            .unwrap();
        assert_eq!(renewed.expires, late.plus_months(1));
    });
    assert_eq!(told, 1);
    assert_eq!(world.given(&gateway.id), Some((Lease::Running, 1)));
    assert_eq!(world.status(&tunnel), Status::Running);
    assert_eq!(world.agents_history(), ["isolate gateway", "restore gateway"]);
    // One that runs is prolonged from its end.
    let again = world
        .management
        .renew_gateway(late, &world.actor, &gateway.id, 2, None)
        .unwrap();
    assert_eq!(again.expires, late.plus_months(1).plus_months(2));
}

#[test]
fn a_gateway_that_is_being_removed_is_not_renewed() {
    let (world, gateway, _) = leased();
    let over = removal(gateway.expires);
    for now in [over, over.plus_seconds(-1)] {
        // Refused by the clock alone, then because the removal has begun.
        let renewed = world
            .management
            .renew_gateway(now, &world.actor, &gateway.id, 1, None);
        let error = renewed.unwrap_err().to_string();
        assert!(error.contains("it is being removed"), "{error}");
        world.turn(over);
    }
}

#[test]
fn auto_renewal_comes_before_the_end_and_disturbs_nothing() {
    let (world, gateway, tunnel) = leased();
    let auto = GatewayChange {
        auto_renew: Some(true),
        ..GatewayChange::default()
    };
    world
        .management
        .modify_gateway(NOW, &world.actor, &gateway.id, &auto)
        .unwrap();
    // The agent was down until long after the end.
    world.turn(gateway.expires.plus_seconds(20 * 24 * 3600));
    assert_eq!(world.given(&gateway.id), Some((Lease::Running, 1)));
    assert_eq!(world.status(&tunnel), Status::Running);
    assert_eq!(world.agents_history(), ["renew gateway"]);
}

#[test]
fn what_is_charged_by_the_hour_has_no_end_and_no_renewal() {
    let world = World::new();
    let wanted = NewGateway {
        name: "gw".to_owned(),
        vpc: "vpc-main".to_owned(),
        bandwidth: 5,
        months: None,
        auto_renew: false,
        tags: Vec::new(),
    };
    let (management, actor) = (&world.management, &world.actor);
    let gateway = management.create_gateway(NOW, actor, &wanted).unwrap();
    assert_eq!(world.tells(|| world.turn(Timestamp(Timestamp::NEVER.0 - 1))), 0);
    assert_eq!(world.given(&gateway.id), Some((Lease::Unlimited, 0)));
    let error = management
        .renew_gateway(NOW, actor, &gateway.id, 1, None)
        .unwrap_err();
    assert!(error.to_string().contains("no period to renew"), "{error}");
}

#[test]
fn stages_survive_a_restart_and_boundaries_within_it_are_made_up_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    let key_file = directory.path().join("key");
    let site = World::new().management.site();
    let open = || {
        let vault = crate::store::Vault::from_file(&key_file).unwrap();
        let store = Store::open(&file, vault).unwrap();
        Management::new(store, (*site).clone(), Arc::new(Nobody))
    };
    let stage = |management: &Management, id: &str| management.desired().unwrap().ends.leases[id].stage;
    let actor = Actor::local();
    let wanted = NewGateway {
        name: "gw".to_owned(),
        vpc: "vpc-main".to_owned(),
        bandwidth: 5,
        months: Some(1),
        auto_renew: false,
        tags: Vec::new(),
    };
    let made = open().create_gateway(NOW, &actor, &wanted).unwrap();
    let reminded = made.expires.plus_seconds(-1);
    for (now, expected) in [
        (reminded, Lease::Expiring),
        (reminded, Lease::Expiring),
        (made.expires, Lease::Isolated),
        (removal(made.expires).plus_seconds(-1), Lease::Isolated),
    ] {
        let management = open();
        management.advance_leases(now).unwrap();
        assert_eq!(stage(&management, &made.id), expected);
        assert_eq!(stage(&open(), &made.id), expected, "before the first turn");
    }
    let history = open().audit_log(&actor, 10).unwrap();
    let reminders = history
        .iter()
        .filter(|line| line.operation == "remind of gateway");
    assert_eq!(reminders.count(), 1);
}
