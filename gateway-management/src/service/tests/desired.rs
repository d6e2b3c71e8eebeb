//! What the agent is given.

use super::*;

/// A change of something that is no tunnel.
type Change<'a> = &'a dyn Fn();

#[test]
fn what_is_no_tunnel_is_written_again_exactly_when_some_of_it_changed() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let (management, actor) = (&world.management, &world.actor);
    let ends = || Arc::clone(&management.desired().unwrap().ends);

    let before = ends();
    let tunnel = world
        .tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24")
        .unwrap()
        .view
        .tunnel;
    world.settle(&[]);
    let key = TunnelChange {
        psk: Some(PresharedKey::parse("another").unwrap()),
        ..TunnelChange::default()
    };
    management
        .modify_tunnel(NOW, actor, &query(&tunnel.id), key)
        .unwrap();
    assert!(Arc::ptr_eq(&before, &ends()), "a tunnel is none of it");

    let package = || {
        let packages = management.defense_packages().unwrap();
        packages[0].id.clone()
    };
    let faster = GatewayChange {
        bandwidth: Some(10),
        ..GatewayChange::default()
    };
    let bind = |gateway: Option<&str>| {
        management
            .bind_defense_package(NOW, actor, &package(), gateway)
            .unwrap();
    };
    let changes: [(&str, Change<'_>); 9] = [
        ("a gateway is made", &|| {
            drop(world.gateway("two", "vpc-main").unwrap());
        }),
        ("a gateway is modified", &|| {
            drop(
                management
                    .modify_gateway(NOW, actor, &gateway.id, &faster)
                    .unwrap(),
            );
        }),
        ("a customer gateway is made", &|| {
            drop(world.customer("second", "202.108.22.6").unwrap());
        }),
        ("a customer gateway is renamed", &|| {
            management
                .rename_customer_gateway(NOW, actor, &idc.id, "first")
                .unwrap();
        }),
        ("a package is made", &|| {
            let limits = crate::defense::LimitsPatch::default();
            drop(
                management
                    .create_defense_package(NOW, actor, "p", None, &limits)
                    .unwrap(),
            );
        }),
        ("a package is bound", &|| bind(Some(&gateway.id))),
        ("a package is taken back", &|| bind(None)),
        ("a package is deleted", &|| {
            management.delete_defense_package(NOW, actor, &package()).unwrap();
        }),
        ("a period ends", &|| {
            management.advance_leases(gateway.expires).unwrap();
        }),
    ];
    for (what, change) in changes {
        let before = ends();
        change();
        let after = ends();
        assert!(!Arc::ptr_eq(&before, &after), "{what}");
        assert!(
            before.document != after.document || before.leases != after.leases,
            "{what}"
        );
        assert!(Arc::ptr_eq(&after, &ends()), "{what}, and nothing after it");
    }
}

#[test]
fn a_removed_end_is_gone_from_what_the_agent_is_given() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let has = |id: &str| {
        let desired = world.management.desired().unwrap();
        desired.ends.document.contains(id)
    };
    assert!(has(&gateway.id) && has(&idc.id));
    world
        .management
        .delete_customer_gateway(NOW, &world.actor, &idc.id)
        .unwrap();
    assert!(has(&gateway.id) && !has(&idc.id));
    world
        .management
        .delete_gateway(NOW, &world.actor, &gateway.id)
        .unwrap();
    assert!(!has(&gateway.id));
}
