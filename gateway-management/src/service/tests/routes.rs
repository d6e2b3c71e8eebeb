//! Routes, through the operations: what may be one, and what the agent is given.

use super::*;
use crate::declaration::Declaration;
use crate::store::RouteFilter;

/// A gateway and its tunnel from 192.168.1.0/24 to 10.0.1.0/24, in effect.
fn tunnel() -> (World, VpnGateway, String) {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let made = world.tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24").unwrap();
    world.settle(&[]);
    (world, gateway, made.view.tunnel.id)
}

fn to(tunnel: &str, destination: &str) -> NewRoute {
    NewRoute {
        destination: destination.parse().unwrap(),
        tunnel: tunnel.to_owned(),
        priority: 0,
        enabled: true,
        description: String::new(),
    }
}

fn enable(id: &str, enabled: bool) -> Vec<RouteChange> {
    vec![RouteChange {
        id: id.to_owned(),
        enabled: Some(enabled),
        description: None,
    }]
}

impl World {
    fn route(&self, gateway: &str, route: NewRoute) -> Result<String, Error> {
        let made = self
            .management
            .create_routes(NOW, &self.actor, gateway, vec![route])?;
        Ok(made[0].id.clone())
    }

    /// `routes` of the one tunnel as the agent is given it; `None`: it follows its rules.
    fn given_routes(&self) -> Option<Vec<String>> {
        let desired = self.management.desired().unwrap();
        let document: toml::Table = toml::from_str(&desired.tunnels[0].document).unwrap();
        let routes = document["tunnel"][0].get("routes")?;
        let routes = routes.as_array()?.iter();
        Some(routes.map(|route| route.as_str().unwrap().to_owned()).collect())
    }
}

#[test]
fn the_agent_is_given_what_is_in_force_and_the_rules_where_nothing_was_said() {
    let (world, gateway, tunnel) = tunnel();
    assert_eq!(world.given_routes(), None);
    let low = world.route(&gateway.id, to(&tunnel, "10.0.1.0/25")).unwrap();
    let high = world.route(&gateway.id, to(&tunnel, "10.0.1.128/25")).unwrap();
    assert_eq!(world.given_routes().unwrap(), ["10.0.1.0/25", "10.0.1.128/25"]);
    let modify = |changes| {
        world
            .management
            .modify_routes(NOW.plus_seconds(5), &world.actor, &gateway.id, changes)
            .unwrap()
    };
    let changed = modify(enable(&low, false));
    assert_eq!(
        (changed[0].created, changed[0].updated),
        (NOW, NOW.plus_seconds(5))
    );
    assert_eq!(world.given_routes().unwrap(), ["10.0.1.128/25"]);
    modify(enable(&high, false));
    assert_eq!(world.given_routes().unwrap(), [""; 0], "nothing takes the tunnel");
    modify(enable(&low, true));
    assert_eq!(world.given_routes().unwrap(), ["10.0.1.0/25"]);
    world
        .management
        .delete_routes(NOW, &world.actor, &gateway.id, &[low, high])
        .unwrap();
    assert_eq!(world.given_routes(), None);
    // No change of a route is one of the tunnel: nothing waits for the agent.
    assert_eq!(world.status(&tunnel), Status::Running);
}

#[test]
fn a_description_concerns_nobody_and_a_route_concerns_the_agent() {
    let (world, gateway, tunnel) = tunnel();
    let revision = || world.management.desired().unwrap().revision;
    let before = revision();
    let id = world.route(&gateway.id, to(&tunnel, "10.0.1.0/24")).unwrap();
    let made = revision();
    assert!(made > before);
    let change = RouteChange {
        id,
        enabled: Some(true),
        description: Some("to the data centre".to_owned()),
    };
    let changed = world
        .management
        .modify_routes(NOW, &world.actor, &gateway.id, vec![change])
        .unwrap();
    assert_eq!(changed[0].description, "to the data centre");
    assert_eq!(revision(), made);
}

#[test]
fn routes_that_lead_nowhere_are_refused_with_their_rule() {
    let (world, gateway, tunnel) = tunnel();
    let other = world.gateway("gw2", "vpc-main").unwrap();
    world.route(&gateway.id, to(&tunnel, "10.0.1.0/25")).unwrap();
    let text = |length| "x".repeat(length);
    for (at, route, part) in [
        (
            &gateway,
            to(&tunnel, "10.0.2.0/24"),
            "\"10.0.2.0/24\": meets a peer range",
        ),
        (&gateway, to(&tunnel, "10.0.1.0/25"), "must not overlap"),
        (&gateway, to(&tunnel, "10.0.1.64/26"), "leads to 10.0.1.0/25"),
        (&gateway, to(&tunnel, "10.0.0.0/16"), "must not overlap"),
        (
            &gateway,
            to("vpnx-none", "10.0.1.128/25"),
            "no VPN tunnel has the id \"vpnx-none\"",
        ),
        (&other, to(&tunnel, "10.0.1.128/25"), "no VPN tunnel has the id"),
        (
            &gateway,
            NewRoute {
                priority: 50,
                ..to(&tunnel, "10.0.1.128/25")
            },
            "priority = \"50\": is 0 or 100",
        ),
        (
            &gateway,
            NewRoute {
                description: text(101),
                ..to(&tunnel, "10.0.1.128/25")
            },
            "at most 100 characters",
        ),
        (
            &gateway,
            NewRoute {
                description: "a\nb".to_owned(),
                ..to(&tunnel, "10.0.1.128/25")
            },
            "no control characters",
        ),
    ] {
        let error = world.route(&at.id, route.clone()).unwrap_err().to_string();
        assert!(error.contains(part), "{route:?}: {error}");
    }
    assert_eq!(world.given_routes().unwrap(), ["10.0.1.0/25"]);
}

#[test]
fn all_routes_of_a_request_are_made_or_none() {
    let (world, gateway, tunnel) = tunnel();
    let wanted = vec![to(&tunnel, "10.0.1.0/25"), to(&tunnel, "10.9.0.0/16")];
    let made = world
        .management
        .create_routes(NOW, &world.actor, &gateway.id, wanted);
    assert!(matches!(made, Err(Error::Invalid { .. })), "{made:?}");
    assert_eq!(world.given_routes(), None);
}

#[test]
fn a_gateway_has_a_quota_of_routes() {
    let (world, gateway, tunnel) = tunnel();
    let mut site = Site::clone(&world.management.site());
    site.quotas.routes_per_gateway = 2;
    world.management.set_site(site);
    for destination in ["10.0.1.0/26", "10.0.1.64/26"] {
        world.route(&gateway.id, to(&tunnel, destination)).unwrap();
    }
    let error = world.route(&gateway.id, to(&tunnel, "10.0.1.128/26"));
    assert!(
        matches!(
            error,
            Err(Error::Quota {
                limit: 2,
                kind: Kind::Route,
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn rules_that_leave_a_route_behind_are_refused_and_a_tunnel_takes_its_routes_along() {
    let (world, gateway, tunnel) = tunnel();
    let id = world.route(&gateway.id, to(&tunnel, "10.0.1.0/24")).unwrap();
    let change = || TunnelChange {
        spd: Some(rules(&[("192.168.1.0/24", "10.0.2.0/24")])),
        ..TunnelChange::default()
    };
    let error = world
        .management
        .modify_tunnel(NOW, &world.actor, &query(&tunnel), change())
        .unwrap_err();
    assert!(error.to_string().contains(&id), "{error}");
    world
        .management
        .delete_tunnel(NOW, &world.actor, &query(&tunnel))
        .unwrap();
    let refused = world.route(&gateway.id, to(&tunnel, "10.0.1.0/24"));
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
    world.settle(&[]);
    let left = world
        .management
        .list_routes(&gateway.id, &RouteFilter::default(), &PAGE)
        .unwrap();
    assert_eq!(left.total, 0);
}

#[test]
fn only_an_operator_changes_routes_and_each_change_is_in_the_history() {
    let (mut world, gateway, tunnel) = tunnel();
    let id = world.route(&gateway.id, to(&tunnel, "10.0.1.0/24")).unwrap();
    let management = &world.management;
    management
        .modify_routes(NOW, &world.actor, &gateway.id, enable(&id, false))
        .unwrap();
    management
        .delete_routes(NOW, &world.actor, &gateway.id, std::slice::from_ref(&id))
        .unwrap();
    let log = management.audit_log(&Actor::local(), 3).unwrap();
    let told: Vec<_> = log
        .iter()
        .map(|line| (line.operation.as_str(), line.object == id))
        .collect();
    assert_eq!(
        told,
        [
            ("delete route", true),
            ("modify route", true),
            ("create route", true)
        ]
    );
    world.actor.role = Role::Read;
    let refused = world.route(&gateway.id, to(&tunnel, "10.0.1.0/24"));
    assert!(matches!(refused, Err(Error::NotAllowed { .. })), "{refused:?}");
}

#[test]
fn an_export_has_the_routes_and_an_import_makes_them_what_the_file_says() {
    let (world, gateway, tunnel) = tunnel();
    let low = world.route(&gateway.id, to(&tunnel, "10.0.1.0/25")).unwrap();
    let high = to(&tunnel, "10.0.1.128/25");
    world
        .route(
            &gateway.id,
            NewRoute {
                enabled: false,
                ..high
            },
        )
        .unwrap();
    let text = world.management.export(&Actor::local()).unwrap();
    let import = |text: &str| {
        let wanted = Declaration::read(text, &|_| Err("none".into())).unwrap();
        world
            .management
            .import(NOW, &Actor::local(), &wanted, false)
            .map(|import| import.objects[2].fate.clone())
    };
    assert_eq!(import(&text).unwrap(), Fate::Left);
    let (both, absent) = (
        "routes = [\"10.0.1.0/25\"]\nroutes_disabled = [\"10.0.1.128/25\"]\n",
        text.replace("routes_disabled = [\"10.0.1.128/25\"]\n", "")
            .replace("routes = [\"10.0.1.0/25\"]\n", ""),
    );
    assert!(text.contains(both), "{}", text.as_str());
    assert_eq!(import(&absent).unwrap(), Fate::Left, "what is not named stays");
    let other = text.replace(
        both,
        "routes = [\"10.0.1.128/26\"]\nroutes_disabled = [\"10.0.1.0/25\"]\n",
    );
    assert!(matches!(import(&other).unwrap(), Fate::Changed { what } if what.starts_with("routes;")));
    world.settle(&[]);
    assert_eq!(world.given_routes().unwrap(), ["10.0.1.128/26"]);
    let filter = RouteFilter {
        destination: Some("10.0.1.0/25".parse().unwrap()),
        tunnel: Some(tunnel),
    };
    let kept = world.management.list_routes(&gateway.id, &filter, &PAGE).unwrap();
    assert_eq!(
        (kept.items[0].id.as_str(), kept.items[0].enabled),
        (low.as_str(), false)
    );
    for (routes, part) in [
        ("routes = [\"10.0.9.0/24\"]\n", "meets a peer range"),
        (
            "routes = [\"10.0.1.0/25\", \"10.0.1.0/26\"]\n",
            "must not overlap 10.0.1.0/25",
        ),
    ] {
        let Err(ImportError::Refused { source, .. }) = import(&text.replace(both, routes)) else {
            panic!("{routes}: taken");
        };
        assert!(source.to_string().contains(part), "{routes}: {source}");
    }
    let empty = Declaration::read(&text.replace(both, "routes = []\n"), &|_| Err("none".into()));
    assert!(empty.unwrap_err().to_string().contains("at least one element"));
}
