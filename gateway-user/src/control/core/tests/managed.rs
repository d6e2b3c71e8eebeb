//! Ten thousand tunnels in the store: a page of them and a change of one, from the call of the API to the tables, stay fast.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_management::price::PriceBook;
use gateway_management::site::{Quotas, Site, Vpc};
use gateway_management::store::Store;
use gateway_management::{Actor, Management, Nobody, Timestamp, api::v3};
use serde_json::{Value, json};

use super::*;
use crate::config::{ReadStore, with_stored};

/// VPN gateways, and as many customer gateways; each pair of them has a tunnel.
const ENDS: u32 = 100;
/// The project's measures, with room for a machine that does other things.
const PAGE: Duration = Duration::from_millis(200);
const CHANGE: Duration = Duration::from_millis(400);

const FILE: &str = "[[interface]]\nname = \"eth0\"\nrole = \"public\"\n[[interface]]\nname = \"eth1\"\nrole = \"vpc\"\n\
    [[vpc]]\nid = \"vpc\"\ncidr = \"10.0.0.0/8\"\ninterface = \"eth1\"\n";

struct Managed {
    management: Management,
    file: Arc<Config>,
    known: ReadStore,
    core: Core<Recorder>,
}

impl Managed {
    fn new() -> Self {
        let many = usize::try_from(ENDS * ENDS).unwrap();
        let site = Site {
            region: "gz".to_owned(),
            vpcs: vec![Vpc {
                id: "vpc".to_owned(),
                name: "vpc".to_owned(),
                cidr: "10.0.0.0/8".parse().unwrap(),
            }],
            public_addresses: (1..=ENDS).map(|end| (0xc633_6400 + end).into()).collect(),
            quotas: Quotas {
                gateways_per_vpc: many,
                customer_gateways: many,
                tunnels_per_customer_gateway: many,
                tunnels_per_gateway: many,
                ..Quotas::default()
            },
            prices: PriceBook::default(),
        };
        let capacity = Capacity {
            policies: 65_536,
            sas: 65_536,
            tunnels: 32_768,
        };
        Self {
            management: Management::new(Store::in_memory().unwrap(), site, Arc::new(Nobody)),
            file: testing::parse(FILE),
            known: ReadStore::default(),
            core: Core::new(EndpointConfig::new([7; 32]), capacity, ENDS, Recorder::default()),
        }
    }

    fn call(&self, action: &str, body: Value) -> Value {
        let now = Timestamp(1_600_000_000);
        v3::call(&self.management, now, &Actor::local(), action, body)
            .unwrap_or_else(|refusal| panic!("{action}: {refusal}"))
    }

    fn fill(&self) {
        let id = |answer: &Value, object: &str| answer[object][format!("{object}Id")].clone();
        let gateway = |end: u32| {
            let body = json!({ "VpcId": "vpc", "VpnGatewayName": format!("gw {end}"), "InternetMaxBandwidthOut": 5 });
            id(&self.call("CreateVpnGateway", body), "VpnGateway")
        };
        let customer = |end: u32| {
            let body = json!({ "CustomerGatewayName": format!("c {end}"), "IpAddress": format!("100.64.1.{}", end + 1) });
            id(&self.call("CreateCustomerGateway", body), "CustomerGateway")
        };
        let gateways: Vec<_> = (0..ENDS).map(gateway).collect();
        let customers: Vec<_> = (0..ENDS).map(customer).collect();
        for (one, gateway) in gateways.iter().enumerate() {
            for (other, customer) in customers.iter().enumerate() {
                self.call(
                    "CreateVpnConnection",
                    json!({
                        "VpnGatewayId": gateway, "CustomerGatewayId": customer,
                        "VpnConnectionName": format!("{one} to {other}"), "PreShareKey": "x",
                        "NegotiationType": "passive",
                        "SecurityPolicyDatabases": [{ "LocalCidrBlock": format!("10.{one}.{other}.0/24"),
                                                      "RemoteCidrBlock": ["172.16.0.0/24"] }],
                    }),
                );
            }
        }
    }

    /// What a change of the store causes.
    fn hand_over(&mut self, now: Instant) {
        let desired = self.management.desired().unwrap();
        let merged = with_stored(&self.file, &desired, &[], &mut self.known);
        assert_eq!(merged.refused, BTreeMap::new());
        self.core.apply(now, Arc::new(merged.config)).unwrap();
        self.management.settle(desired.revision, &merged.refused).unwrap();
    }
}

/// The shortest of five: what the machine does besides is not measured.
fn shortest(mut work: impl FnMut(u32)) -> Duration {
    let took = (0..5).map(|round| {
        let started = Instant::now();
        work(round);
        started.elapsed()
    });
    took.min().unwrap()
}

#[test]
fn ten_thousand_stored_tunnels_are_listed_and_one_is_changed_quickly() {
    let mut managed = Managed::new();
    managed.fill();
    let now = Instant::now();
    managed.hand_over(now);

    let list = |offset: u32| {
        managed.call(
            "DescribeVpnConnections",
            json!({ "Offset": offset, "Limit": 100 }),
        )
    };
    let found = list(9_900);
    assert_eq!(found["TotalCount"], ENDS * ENDS);
    assert_eq!(found["VpnConnectionSet"][99]["State"], "AVAILABLE");
    let tunnel = found["VpnConnectionSet"][7]["VpnConnectionId"].clone();
    let first = shortest(|_| drop(list(0)));
    let last = shortest(|_| drop(list(9_900)));
    let name = shortest(|_| {
        let filter = json!([{ "Name": "vpn-connection-name", "Values": ["99 to 5"] }]);
        managed.call("DescribeVpnConnections", json!({ "Filters": filter }));
    });

    let mut change = |what: fn(u32) -> Value| {
        shortest(|round| {
            let mut body = what(round);
            body["VpnConnectionId"] = tunnel.clone();
            managed.call("ModifyVpnConnectionAttribute", body);
            managed.hand_over(now);
        })
    };
    let key = change(|round| json!({ "PreShareKey": format!("key {round}") }));
    let rule = change(|round| {
        let peers: Vec<_> = (0..=round + 1)
            .map(|peer| format!("172.16.{peer}.0/24"))
            .collect();
        json!({ "SecurityPolicyDatabases": [{ "LocalCidrBlock": "10.99.7.0/24", "RemoteCidrBlock": peers }] })
    });
    eprintln!(
        "first page {first:?}, last page {last:?}, by name {name:?}, key changed {key:?}, rule added {rule:?}"
    );
    for (what, took, limit) in [
        ("the first page", first, PAGE),
        ("the last page", last, PAGE),
        ("a page by name", name, PAGE),
        ("a change of the key", key, CHANGE),
        ("a further rule", rule, CHANGE),
    ] {
        assert!(took < limit, "{what} took {took:?}");
    }
}
