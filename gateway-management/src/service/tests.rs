//! The rules, through the operations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::algorithms::{
    DhGroup, DpdAction, EspEncryption, ExchangeMode, Hash, Identity, IkeEncryption, IkeOptions, IkePatch,
    IkeVersion, IpsecOptions, Start,
};
use crate::health::HealthPatch;
use crate::monitor::Namespace;
use crate::objects::{Status, TaskState};
use crate::psk::PresharedKey;
use crate::site::{Quotas, Vpc};
use crate::spd::SpdRule;
use crate::store::{Order, Page, Resolution};

mod defense;
mod desired;
mod events;
mod health;
mod import;
mod leases;
mod routes;

/// An agent that remembers what it was told.
#[derive(Debug, Default)]
struct Recorder {
    changes: AtomicUsize,
    resets: Mutex<Vec<String>>,
}

impl Agent for Recorder {
    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
    fn reset(&self, tunnel: &str) {
        self.resets.lock().unwrap().push(tunnel.to_owned());
    }
    fn live(&self, _tunnel: &str) -> Option<LiveTunnel> {
        None
    }
}

const NOW: Timestamp = Timestamp(1_600_000_000);
const PAGE: Page = Page {
    offset: 0,
    limit: 20,
    order: Order::Created,
    descending: false,
};

struct World {
    management: Management,
    agent: Arc<Recorder>,
    actor: Actor,
}

impl World {
    fn new() -> Self {
        let agent = Arc::new(Recorder::default());
        let vpc = |id: &str, cidr: &str| Vpc {
            id: id.to_owned(),
            name: id.to_owned(),
            cidr: cidr.parse().unwrap(),
        };
        let site = Site {
            region: "gz".to_owned(),
            vpcs: vec![
                vpc("vpc-main", "192.168.0.0/16"),
                vpc("vpc-other", "172.16.0.0/16"),
            ],
            public_addresses: (147..150)
                .map(|last| std::net::Ipv4Addr::new(203, 195, 147, last))
                .collect(),
            quotas: Quotas {
                gateways_per_vpc: 2,
                customer_gateways: 3,
                tunnels_per_gateway: 2,
                tunnels_per_customer_gateway: 2,
                ..Quotas::default()
            },
            prices: crate::price::PriceBook::default(),
        };
        Self {
            management: Management::new(Store::in_memory().unwrap(), site, agent.clone()),
            agent,
            actor: Actor {
                name: "AKIDtest".to_owned(),
                role: Role::Operate,
            },
        }
    }

    fn gateway(&self, name: &str, vpc: &str) -> Result<VpnGateway, Error> {
        self.management.create_gateway(
            NOW,
            &self.actor,
            &NewGateway {
                name: name.to_owned(),
                vpc: vpc.to_owned(),
                bandwidth: 5,
                months: Some(1),
                auto_renew: false,
                tags: Vec::new(),
            },
        )
    }

    fn customer(&self, name: &str, address: &str) -> Result<CustomerGateway, Error> {
        self.management
            .create_customer_gateway(NOW, &self.actor, name, address)
    }

    fn tunnel(&self, name: &str, gateway: &str, customer: &str, peer: &str) -> Result<Changed, Error> {
        let tunnel = NewTunnel {
            spd: rules(&[("192.168.1.0/24", peer)]),
            ..new_tunnel(name, gateway, customer)
        };
        self.management.create_tunnel(NOW, &self.actor, tunnel)
    }

    /// The agent puts everything into effect.
    fn settle(&self, refused: &[(&str, &str)]) {
        let revision = self.management.desired().unwrap().revision;
        let refused: BTreeMap<_, _> = refused
            .iter()
            .map(|(id, why)| ((*id).to_owned(), (*why).to_owned()))
            .collect();
        self.management.settle(revision, &refused).unwrap();
    }

    fn status(&self, id: &str) -> Status {
        self.management
            .tunnel(&self.actor, &query(id))
            .unwrap()
            .tunnel
            .status
    }
}

fn query(id: &str) -> TunnelQuery {
    TunnelQuery {
        id: Some(id.to_owned()),
        ..TunnelQuery::default()
    }
}

fn rules(spec: &[(&str, &str)]) -> Vec<SpdRule> {
    spec.iter()
        .map(|(local, peer)| SpdRule {
            local: local.parse().unwrap(),
            peers: vec![peer.parse().unwrap()],
        })
        .collect()
}

fn ike() -> IkeOptions {
    IkeOptions {
        version: IkeVersion::V1,
        mode: ExchangeMode::Main,
        encryption: IkeEncryption::TripleDes,
        hash: Hash::Md5,
        group: DhGroup::Group14,
        lifetime_seconds: 86_400,
        local_identity: Identity::OwnAddress,
        remote_identity: Identity::OwnAddress,
    }
}

fn new_tunnel(name: &str, gateway: &str, customer: &str) -> NewTunnel {
    NewTunnel {
        name: name.to_owned(),
        vpc: None,
        gateway: gateway.to_owned(),
        customer_gateway: customer.to_owned(),
        psk: PresharedKey::parse("schlüssel").unwrap(),
        spd: rules(&[("192.168.1.0/24", "10.0.1.0/24")]),
        start: Start::Traffic,
        ike: ike(),
        ipsec: IpsecOptions {
            encryption: EspEncryption::TripleDes,
            integrity: Hash::Md5,
            pfs: None,
            lifetime_seconds: 3_600,
            lifetime_kilobytes: 1_843_200,
        },
        dpd_seconds: 30,
        dpd_action: DpdAction::Clear,
        health: HealthPatch::default(),
        tags: Vec::new(),
    }
}

#[test]
fn the_quick_start_ends_with_a_running_tunnel_and_its_document() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    assert_eq!(gateway.address.to_string(), "203.195.147.147");
    let customer = world.customer("idc", "202.108.22.5").unwrap();
    let made = world
        .tunnel("t", &gateway.id, &customer.id, "10.0.1.0/24")
        .unwrap();
    let id = made.view.tunnel.id.clone();
    let task = |expected| {
        let task = world.management.task(made.task.unwrap()).unwrap();
        assert_eq!(task.state, expected);
    };
    task(TaskState::Running);
    assert_eq!(world.status(&id), Status::Creating);

    assert_eq!(world.management.desired().unwrap().tunnels.len(), 1);
    let document: toml::Table = toml::from_str(&world.management.export(&Actor::local()).unwrap()).unwrap();
    let tunnel = &document["tunnel"][0];
    assert_eq!(tunnel["psk"].as_str(), Some("schlüssel"));
    assert_eq!(tunnel["spd"][0]["peer"][0].as_str(), Some("10.0.1.0/24"));
    assert_eq!(tunnel["ike"]["encryption"].as_str(), Some("3des"));
    assert_eq!(
        document["gateway"][0]["address"].as_str(),
        Some("203.195.147.147")
    );

    world.settle(&[]);
    task(TaskState::Done);
    assert_eq!(world.status(&id), Status::Running);
    assert_eq!(
        world.agent.changes.load(Ordering::Relaxed),
        2,
        "customer gateways alone concern nobody"
    );
}

#[test]
fn names_addresses_and_quotas_are_refused_with_their_rule() {
    let world = World::new();
    let first = world.gateway("gw", "vpc-main").unwrap();
    assert!(matches!(
        world.gateway("gw", "vpc-main"),
        Err(Error::NameInUse { .. })
    ));
    assert!(matches!(
        world.gateway("x", "vpc-none"),
        Err(Error::NotFound { kind: Kind::Vpc, .. })
    ));
    world.gateway("gw2", "vpc-main").unwrap();
    assert!(matches!(
        world.gateway("gw3", "vpc-main"),
        Err(Error::Quota { limit: 2, .. })
    ));
    let last = world.gateway("gw4", "vpc-other").unwrap();
    assert!(matches!(
        world.gateway("gw5", "vpc-other"),
        Err(Error::NoAddressLeft)
    ));

    let idc = world.customer("idc", "202.108.22.5").unwrap();
    assert!(matches!(
        world.customer("idc2", "202.108.22.5"),
        Err(Error::AddressInUse { .. })
    ));
    assert!(matches!(
        world.customer("idc2", "203.195.147.148"),
        Err(Error::Invalid { .. })
    ));
    let idc2 = world.customer("idc2", "202.108.22.6").unwrap();
    let idc3 = world.customer("idc3", "202.108.22.7").unwrap();
    assert!(matches!(
        world.customer("idc4", "202.108.22.8"),
        Err(Error::Quota { limit: 3, .. })
    ));

    world.tunnel("t1", &first.id, &idc.id, "10.0.1.0/24").unwrap();
    for (name, gateway, customer, peer, expected) in [
        (
            "t1",
            &first.id,
            &idc2.id,
            "10.0.2.0/24",
            "another VPN tunnel is called",
        ),
        (
            "t2",
            &first.id,
            &idc.id,
            "10.0.2.0/24",
            "at most 1 tunnel between",
        ),
        (
            "t2",
            &first.id,
            &idc2.id,
            "10.0.1.0/24",
            "belongs to the tunnel vpnx-",
        ),
        (
            "t2",
            &last.id,
            &idc2.id,
            "10.0.1.0/24",
            "lies inside the range 172.16.0.0/16",
        ),
        (
            "t2",
            &first.id,
            &idc2.id,
            "202.108.22.0/24",
            "contains 202.108.22.5, the public address",
        ),
    ] {
        let error = world
            .tunnel(name, gateway, customer, peer)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    world.tunnel("t2", &first.id, &idc2.id, "10.0.2.0/24").unwrap();
    let error = world
        .tunnel("t3", &first.id, &idc3.id, "10.0.3.0/24")
        .unwrap_err();
    assert!(
        error.to_string().contains("at most 2 tunnels per VPN gateway"),
        "{error}"
    );
}

#[test]
fn objects_in_use_stay_and_a_pending_tunnel_takes_no_change() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let id = world
        .tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24")
        .unwrap()
        .view
        .tunnel
        .id;
    let (management, actor) = (&world.management, &world.actor);
    let rename = || TunnelChange {
        name: Some("other".to_owned()),
        ..TunnelChange::default()
    };
    assert!(matches!(
        management.modify_tunnel(NOW, actor, &query(&id), rename()),
        Err(Error::State { .. })
    ));
    assert!(matches!(
        management.delete_tunnel(NOW, actor, &query(&id)),
        Err(Error::State { .. })
    ));
    world.settle(&[]);
    management
        .modify_tunnel(NOW, actor, &query(&id), rename())
        .unwrap();
    world.settle(&[]);
    assert!(matches!(
        management.delete_customer_gateway(NOW, actor, &idc.id),
        Err(Error::InUse { .. })
    ));
    assert!(matches!(
        management.delete_gateway(NOW, actor, &gateway.id),
        Err(Error::InUse { .. })
    ));
    let task = management
        .delete_tunnel(NOW, actor, &query(&id))
        .unwrap()
        .task
        .unwrap();
    assert!(management.desired().unwrap().tunnels.is_empty());
    world.settle(&[]);
    assert_eq!(management.task(task).unwrap().state, TaskState::Done);
    assert!(matches!(
        management.tunnel(actor, &query(&id)),
        Err(Error::NotFound { .. })
    ));
    management.delete_customer_gateway(NOW, actor, &idc.id).unwrap();
    management.delete_gateway(NOW, actor, &gateway.id).unwrap();
}

#[test]
fn what_the_agent_refuses_is_an_error_with_its_reason() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let made = world.tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24").unwrap();
    let id = made.view.tunnel.id;
    world.settle(&[(&id, "no room")]);
    assert_eq!(world.status(&id), Status::CreateError);
    let task = world.management.task(made.task.unwrap()).unwrap();
    assert_eq!((task.state, task.error.as_str()), (TaskState::Failed, "no room"));
    assert!(
        world.management.desired().unwrap().tunnels.is_empty(),
        "it is not tried again by itself"
    );
    let change = TunnelChange {
        psk: Some(PresharedKey::parse("x").unwrap()),
        ..TunnelChange::default()
    };
    world
        .management
        .modify_tunnel(NOW, &world.actor, &query(&id), change)
        .unwrap();
    assert_eq!(world.management.desired().unwrap().tunnels.len(), 1);
    world.settle(&[]);
    assert_eq!(world.status(&id), Status::Running);
}

#[test]
fn a_dry_run_says_what_a_change_disturbs_and_changes_nothing() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let id = world
        .tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24")
        .unwrap()
        .view
        .tunnel
        .id;
    world.settle(&[]);
    let before = world.management.tunnel(&world.actor, &query(&id)).unwrap().tunnel;
    let more = rules(&[
        ("192.168.1.0/24", "10.0.1.0/24"),
        ("192.168.2.0/24", "10.0.1.0/24"),
    ]);
    let other = rules(&[("192.168.3.0/24", "10.0.1.0/24")]);
    let aggressive = IkePatch {
        mode: Some(ExchangeMode::Aggressive),
        ..IkePatch::default()
    };
    for (change, expected) in [
        (
            TunnelChange {
                name: Some("n".into()),
                ..TunnelChange::default()
            },
            Effect::Nothing,
        ),
        (
            TunnelChange {
                spd: Some(more),
                ..TunnelChange::default()
            },
            Effect::NewPairs,
        ),
        (
            TunnelChange {
                spd: Some(other),
                ..TunnelChange::default()
            },
            Effect::Renegotiation,
        ),
        (
            TunnelChange {
                ike: aggressive,
                ..TunnelChange::default()
            },
            Effect::Renegotiation,
        ),
        (
            TunnelChange {
                psk: Some(PresharedKey::parse("x").unwrap()),
                ..TunnelChange::default()
            },
            Effect::Renegotiation,
        ),
    ] {
        let change = TunnelChange {
            dry_run: true,
            ..change
        };
        let said = world
            .management
            .modify_tunnel(NOW, &world.actor, &query(&id), change)
            .unwrap();
        assert_eq!((said.effect, said.task), (expected, None));
    }
    let after = world.management.tunnel(&world.actor, &query(&id)).unwrap().tunnel;
    assert_eq!(before, after);
}

#[test]
fn roles_decide_and_every_change_is_in_the_audit_log_without_secrets() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let id = world
        .tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24")
        .unwrap()
        .view
        .tunnel
        .id;
    let reader = Actor {
        name: "AKIDreader".to_owned(),
        role: Role::Read,
    };
    assert!(matches!(
        world
            .management
            .create_customer_gateway(NOW, &reader, "x", "202.108.22.9"),
        Err(Error::NotAllowed {
            needed: Role::Operate,
            ..
        })
    ));
    assert!(
        world
            .management
            .tunnel(&reader, &query(&id))
            .unwrap()
            .psk
            .is_none()
    );
    let with_psk = TunnelQuery {
        with_psk: true,
        ..query(&id)
    };
    assert!(matches!(
        world.management.tunnel(&world.actor, &with_psk),
        Err(Error::NotAllowed {
            needed: Role::Admin,
            ..
        })
    ));
    let seen = world.management.tunnel(&Actor::local(), &with_psk).unwrap();
    assert_eq!(seen.psk.unwrap().expose(), "schlüssel");

    let log = world.management.audit_log(&Actor::local(), 10).unwrap();
    let lines: Vec<_> = log
        .iter()
        .map(|line| (line.actor.as_str(), line.operation.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            ("AKIDtest", "create tunnel"),
            ("AKIDtest", "create customer gateway"),
            ("AKIDtest", "create gateway"),
        ]
    );
    assert!(log.iter().all(|line| !line.detail.contains("schlüssel")));
}

#[test]
fn lists_are_filtered_ordered_and_paged() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    for (name, address, peer) in [
        ("b", "202.108.22.5", "10.0.1.0/24"),
        ("a", "202.108.22.6", "10.0.2.0/24"),
    ] {
        let idc = world.customer(name, address).unwrap();
        world
            .tunnel(&format!("tunnel-{name}"), &gateway.id, &idc.id, peer)
            .unwrap();
    }
    let names = |query: &TunnelQuery, page: Page| {
        let list = world.management.list_tunnels(&world.actor, query, &page).unwrap();
        let names: Vec<_> = list.items.into_iter().map(|view| view.tunnel.name).collect();
        (list.total, names.join(" "))
    };
    let all = TunnelQuery::default();
    assert_eq!(names(&all, PAGE), (2, "tunnel-b tunnel-a".to_owned()));
    let by_name = Page {
        order: Order::Name,
        ..PAGE
    };
    assert_eq!(names(&all, by_name), (2, "tunnel-a tunnel-b".to_owned()));
    let second = Page {
        offset: 1,
        limit: 1,
        descending: true,
        ..by_name
    };
    assert_eq!(names(&all, second), (2, "tunnel-a".to_owned()));
    let part = TunnelQuery {
        name: Some("-a".to_owned()),
        ..TunnelQuery::default()
    };
    assert_eq!(names(&part, PAGE), (1, "tunnel-a".to_owned()));
    let elsewhere = TunnelQuery {
        vpc: Some("vpc-other".to_owned()),
        ..TunnelQuery::default()
    };
    assert_eq!(names(&elsewhere, PAGE), (0, String::new()));
    let by_number = world
        .management
        .list_gateways(
            &GatewayFilter {
                id: Some("1".to_owned()),
                ..GatewayFilter::default()
            },
            &PAGE,
        )
        .unwrap();
    assert_eq!(by_number.items[0].id, gateway.id, "the old form of an id");
}

#[test]
fn counters_become_rollups() {
    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let idc = world.customer("idc", "202.108.22.5").unwrap();
    let id = world
        .tunnel("t", &gateway.id, &idc.id, "10.0.1.0/24")
        .unwrap()
        .view
        .tunnel
        .id;
    let counter = |bytes| Traffic {
        bytes_out: bytes,
        ..Traffic::default()
    };
    // 1,600,000,000 is 100 seconds after the start of a five-minute rollup.
    for (second, bytes) in [(0, 100), (10, 300), (220, 1_000)] {
        world
            .management
            .record(
                NOW.plus_seconds(second),
                &[Sample {
                    namespace: Namespace::Tunnel,
                    object: id.clone(),
                    part_of: Some(gateway.id.clone()),
                    counters: counter(bytes),
                }],
            )
            .unwrap();
    }
    let points = world
        .management
        .tunnel_traffic(
            &id,
            Resolution::FiveMinutes,
            NOW.plus_seconds(-300),
            NOW.plus_seconds(600),
        )
        .unwrap();
    let bytes: Vec<_> = points.iter().map(|point| point.traffic.bytes_out).collect();
    assert_eq!(bytes, [300, 700]);
}

#[test]
fn a_gateway_and_a_tunnel_of_one_id_are_counted_apart() {
    let world = World::new();
    let sample = |namespace, bytes_out| Sample {
        namespace,
        object: "edge".to_owned(),
        part_of: (namespace == Namespace::Tunnel).then(|| "edge".to_owned()),
        counters: Traffic {
            bytes_out,
            ..Traffic::default()
        },
    };
    let minute = Timestamp(1_600_000_020);
    for second in [0, 10, 20] {
        let samples = [
            sample(Namespace::Tunnel, 7_500_000),
            sample(Namespace::Gateway, 0),
        ];
        world
            .management
            .record(minute.plus_seconds(second), &samples)
            .unwrap();
    }
    for namespace in [Namespace::Tunnel, Namespace::Gateway] {
        let query = MonitorQuery {
            namespace,
            metric: crate::monitor::Metric::OutBandwidth,
            objects: &["edge".to_owned()],
            period: Some(60),
            from: minute,
            to: minute.plus_seconds(60),
        };
        let series = world.management.monitor_data(&query).unwrap();
        assert_eq!(series[0].points, [(minute, 1.0)], "{namespace:?}");
    }
}

#[test]
fn a_metric_is_asked_for_by_namespace_object_and_period() {
    use crate::monitor::Metric;

    let world = World::new();
    let gateway = world.gateway("gw", "vpc-main").unwrap();
    let sample = |tunnel: &str, bytes| Sample {
        namespace: Namespace::Tunnel,
        object: tunnel.to_owned(),
        part_of: Some(gateway.id.clone()),
        counters: Traffic {
            bytes_out: bytes,
            ..Traffic::default()
        },
    };
    // Two tunnels, one of the file; 7.5 MB in a minute are 1 Mbit/s.
    let minute = Timestamp(1_600_000_020);
    world
        .management
        .record(
            minute,
            &[sample("vpnx-1", 7_500_000), sample("of-file", 7_500_000)],
        )
        .unwrap();
    let ask = |namespace, metric, object: &str, period, minutes: i64| {
        world.management.monitor_data(&MonitorQuery {
            namespace,
            metric,
            objects: &[object.to_owned()],
            period,
            from: minute,
            to: minute.plus_seconds(60 * minutes),
        })
    };
    let values = |namespace, metric, object: &str| {
        let series = ask(namespace, metric, object, Some(60), 2).unwrap();
        let values: Vec<_> = series[0]
            .points
            .iter()
            .map(|(start, value)| (start.0 - minute.0, *value))
            .collect();
        values
    };
    let out = Metric::OutBandwidth;
    assert_eq!(values(Namespace::Tunnel, out, "of-file"), [(0, 1.0), (60, 0.0)]);
    assert_eq!(
        values(Namespace::Gateway, out, &gateway.id),
        [(0, 2.0), (60, 0.0)]
    );
    assert_eq!(values(Namespace::Tunnel, Metric::Delay, "vpnx-1"), []);
    // Two of five Mbit/s.
    assert_eq!(
        values(Namespace::Gateway, Metric::BandwidthUsage, &gateway.id)[0],
        (0, 40.0)
    );
    for (refused, text) in [
        (ask(Namespace::Tunnel, out, "vpnx-9", None, 1), "no VPN tunnel"),
        (ask(Namespace::Tunnel, out, "vpnx-1", Some(7), 1), "10, 60 or 300"),
        (ask(Namespace::Tunnel, out, "vpnx-1", None, 7201), "at most 7200"),
        (ask(Namespace::Tunnel, out, "vpnx-1", None, -1), "before EndTime"),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(text), "{refused}");
    }
}
