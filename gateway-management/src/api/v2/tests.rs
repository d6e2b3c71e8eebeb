//! Whole requests: signed as a client signs them, answered as the wire format says.

use std::sync::{Arc, Mutex};

use super::*;
use crate::objects::Role;
use crate::price::PriceBook;
use crate::service::keys::create_key;
use crate::site::{Quotas, Vpc};
use crate::{Agent, LiveTunnel, Site, Store};

const NOW: Timestamp = Timestamp(1_600_000_000);
const HOST: &str = "127.0.0.1:18443";

/// An agent whose tunnels are all up.
struct Up;

impl Agent for Up {
    fn changed(&self) {}
    fn reset(&self, _tunnel: &str) {}
    fn live(&self, _tunnel: &str) -> Option<LiveTunnel> {
        Some(LiveTunnel {
            up: true,
            ..LiveTunnel::default()
        })
    }
}

struct World {
    management: Management,
    replay: Mutex<Replay>,
    admin: (String, String),
    reader: (String, String),
    nonce: std::cell::Cell<u64>,
}

impl World {
    fn new() -> Self {
        let store = Store::in_memory().unwrap();
        let key = |role| {
            let key = create_key(&store, NOW, &Actor::local(), role, "").unwrap();
            (key.id.clone(), key.secret.to_string())
        };
        let (admin, reader) = (key(Role::Admin), key(Role::Read));
        let site = Site {
            region: "gz".to_owned(),
            vpcs: vec![Vpc {
                id: "vpc-main".to_owned(),
                name: "main".to_owned(),
                cidr: "192.168.0.0/16".parse().unwrap(),
            }],
            public_addresses: vec!["203.195.147.82".parse().unwrap()],
            quotas: Quotas::default(),
            prices: PriceBook::default(),
        };
        Self {
            management: Management::new(store, site, Arc::new(Up)),
            replay: Mutex::new(Replay::new(NOW.plus_seconds(-60))),
            admin,
            reader,
            nonce: std::cell::Cell::new(1),
        }
    }

    /// Signs and sends a request of the administrator.
    fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Value {
        self.call_as(&self.admin, action, parameters)
    }

    fn call_as(&self, key: &(String, String), action: &str, parameters: &[(&str, &str)]) -> Value {
        self.nonce.set(self.nonce.get() + 1);
        let nonce = self.nonce.get().to_string();
        let time = NOW.0.to_string();
        let common = [
            ("Action", action),
            ("SecretId", key.0.as_str()),
            ("Timestamp", time.as_str()),
            ("Nonce", nonce.as_str()),
            ("SignatureMethod", "HmacSHA256"),
            ("RequestClient", "SDK_PYTHON_2.0.15"),
        ];
        let all = common.iter().chain(parameters);
        let mut pairs: Vec<_> = all
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let signature = sign(SignatureMethod::HmacSha256, &key.1, "POST", HOST, PATH, &pairs);
        pairs.push(("Signature".to_owned(), signature));
        self.send(&pairs)
    }

    fn send(&self, pairs: &[(String, String)]) -> Value {
        let encode = |text: &str| {
            text.bytes()
                .map(|octet| format!("%{octet:02X}"))
                .collect::<String>()
        };
        let body: Vec<_> = pairs
            .iter()
            .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
            .collect();
        let body = body.join("&");
        let call = Call {
            method: "POST",
            host: HOST,
            parameters: body.as_bytes(),
        };
        answer(&self.management, &self.replay, NOW, &call)
    }

    fn settle(&self) {
        let revision = self.management.desired().unwrap().revision;
        self.management
            .settle(revision, &std::collections::BTreeMap::new())
            .unwrap();
    }

    /// A gateway, a customer gateway and a tunnel; their ids.
    fn quick_start(&self) -> (String, String, String) {
        let made = self.call(
            "CreateVpn",
            &[
                ("name", "gw"),
                ("vpcId", "vpc-main"),
                ("period", "1"),
                ("bandwidth", "5"),
            ],
        );
        let deal = made["data"]["dealIds"][0].as_str().unwrap().to_owned();
        let gateways = self.call("DescribeVpnGw", &[("dealId", &deal)]);
        let gateway = text(&gateways["data"][0]["unVpnGwId"]);
        let customer = text(
            &self.call(
                "AddUserGw",
                &[("userGwName", "idc"), ("userGwAddr", "202.108.22.5")],
            )["userGwId"],
        );
        let tunnel = self.call(
            "AddVpnConn",
            &[
                ("vpcId", "vpc-main"),
                ("vpnGwId", &gateway),
                ("userGwId", &customer),
                ("vpnConnName", "to idc"),
                ("preSharedKey", "schlüssel 1"),
                ("spdAcl", r#"{"192.168.1.5/24":["10.0.1.7/24"]}"#),
            ],
        );
        assert_eq!(tunnel["code"], 0, "{tunnel}");
        let task = tunnel["data"]["taskId"].to_string();
        assert_eq!(
            self.call("DescribeVpcTaskResult", &[("taskId", &task)])["data"]["status"],
            2
        );
        self.settle();
        assert_eq!(
            self.call("DescribeVpcTaskResult", &[("taskId", &task)])["data"]["status"],
            0
        );
        (gateway, customer, text(&tunnel["data"]["vpnConnId"]))
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no string: {value}"))
        .to_owned()
}

#[track_caller]
fn refused(answer: &Value, code: u32, name: &str) {
    assert_eq!(
        (answer["code"].as_u64(), answer["codeDesc"].as_str()),
        (Some(code.into()), Some(name)),
        "{answer}"
    );
    assert!(!answer["message"].as_str().unwrap().is_empty());
}

#[test]
fn the_quick_start_fills_every_documented_field() {
    let world = World::new();
    let (gateway, customer, tunnel) = world.quick_start();
    let gateways = world.call("describeVpnGw", &[("vpcId", "vpc-main")]);
    assert_eq!(
        (gateways["code"].as_u64(), gateways["codeDesc"].as_str()),
        (Some(0), Some("Success"))
    );
    assert_eq!(gateways["totalCount"], 1);
    let one = &gateways["data"][0];
    for (field, expected) in [
        ("vpcId", "vpc-main"),
        ("unVpnGwId", gateway.as_str()),
        ("vpnGwName", "gw"),
        ("vpnGwAddress", "203.195.147.82"),
        ("vpcCidrBlock", "192.168.0.0/16"),
        ("createTime", "2020-09-13 20:26:40"),
        ("expireTime", "2020-10-13 20:26:40"),
    ] {
        assert_eq!(one[field], expected, "{field}");
    }
    assert_eq!(
        (one["bandwidth"].as_u64(), one["vpnGwStatus"].as_u64()),
        (Some(5), Some(6))
    );

    let customers = world.call("DescribeUserGw", &[]);
    assert_eq!(customers["data"][0]["unUserGwId"], customer.as_str());
    assert_eq!(customers["data"][0]["vpnConnNum"], 1);

    let tunnels = world.call("DescribeVpnConn", &[("vpnGwId", &gateway)]);
    let one = &tunnels["data"][0];
    assert_eq!(one["unVpnConnId"], tunnel.as_str());
    assert_eq!(
        (one["vpcConnStatus"].as_u64(), one["netStatus"].as_str()),
        (Some(6), Some("available"))
    );
    assert_eq!(
        (&one["sourceCidr"][0], &one["destinationCidr"][0]),
        (&json!("192.168.1.0/24"), &json!("10.0.1.0/24"))
    );
    assert_eq!(one["preSharedKey"], MASK);
    assert_eq!(
        one["IKEArr"],
        json!({
            "propoAuthenAlgorithm": "md5", "propoEncryAlgorithm": "3des-cbc", "exchangeMode": "main",
            "localIdentity": "address", "remoteIdentity": "address",
            "localAddress": "203.195.147.82", "remoteAddress": "202.108.22.5",
            "localFqdnName": "", "remoteFqdnName": "", "dhGroupName": "group14",
            "ikeSaLifetimeSeconds": "86400", "ikeVersion": "ikev1",
        })
    );
    assert_eq!(
        one["IPSECArr"],
        json!({
            "encryptAlgorithm": "3des-cbc", "integrityAlgorith": "md5", "encapMode": "tunnel", "securityProto": "ESP",
            "pfsDhGroup": "null", "ipsecSaLifetimeSeconds": "3600", "ipsecSaLifetimeTraffic": "1843200",
        })
    );
    assert!(
        !one["weak"].as_array().unwrap().is_empty(),
        "3DES and MD5 are flagged"
    );
}

const MASK: &str = "******";

#[test]
fn every_action_of_the_product_answers() {
    let world = World::new();
    let (gateway, customer, tunnel) = world.quick_start();
    let ids = [
        ("vpcId", "vpc-main"),
        ("vpnGwId", gateway.as_str()),
        ("vpnConnId", tunnel.as_str()),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        ids.iter()
            .copied()
            .chain(more.iter().copied())
            .collect::<Vec<_>>()
    };
    let price = world.call(
        "InquiryVpnPrice",
        &[("period", "1"), ("bandwidth", "5"), ("Region", "gz")],
    );
    assert_eq!(price["price"], 5616);
    for (action, parameters) in [
        (
            "ModifyVpnGw",
            with(&[
                ("vpnGwName", "renamed"),
                ("isAutoRenewals", "1"),
                ("bandwidth", "100"),
            ]),
        ),
        ("RenewVpn", with(&[("period", "12")])),
        (
            "ModifyUserGw",
            vec![("userGwId", customer.as_str()), ("userGwName", "renamed")],
        ),
        ("DescribeUserGwVendor", vec![]),
        (
            "ModifyVpnConnEx",
            with(&[
                ("vpnConnName", "renamed"),
                ("preSharedKey", "Secret.1234"),
                ("IKESet.dhGroupName", "group5"),
                ("IPsecSet.pfsDhGroup", "dh-group2"),
            ]),
        ),
        ("DescribeVpnConn", with(&[])),
        ("DescribeVpnConnMonitor", with(&[("metricName", "outtraffic")])),
        ("ResetVpnConnSA", with(&[])),
        (
            "GetVpnConnConfig",
            with(&[
                ("vendorname", "h3c"),
                ("platform", "comware"),
                ("software", "V1.0"),
                ("interfaceName", "eth0"),
            ]),
        ),
    ] {
        let answer = world.call(action, &parameters);
        assert_eq!(answer["code"], 0, "{action}: {answer}");
        world.settle();
    }
    let changed = world.call("DescribeVpnConn", &with(&[]));
    assert_eq!(changed["data"][0]["vpnConnName"], "renamed");
    assert_eq!(changed["data"][0]["IKEArr"]["dhGroupName"], "group5");
    assert_eq!(
        changed["data"][0]["IKEArr"]["propoEncryAlgorithm"], "3des-cbc",
        "what is not named stays"
    );
    assert_eq!(changed["data"][0]["IPSECArr"]["pfsDhGroup"], "dh-group2");

    let gone = world.call("DeleteVpnConn", &with(&[]));
    assert_eq!(
        (&gone["data"]["vpcConnId"], &gone["data"]["state"]),
        (&json!(tunnel), &json!(4))
    );
    refused(
        &world.call("DeleteVpnConn", &with(&[])),
        5100,
        "InvalidVpnConnState",
    );
    world.settle();
    refused(
        &world.call("DescribeVpnConn", &with(&[])),
        5000,
        "InvalidVpnConn.NotFound",
    );
    assert_eq!(world.call("DeleteUserGw", &[("userGwId", &customer)])["code"], 0);
    assert_eq!(world.call("DeleteVpnGw", &with(&[]))["code"], 0);
}

#[test]
fn refusals_have_the_documented_codes() {
    let world = World::new();
    let (gateway, customer, _) = world.quick_start();
    let add = |name: &str, user: &str, psk: &str, acl: &str| {
        world.call(
            "AddVpnConnEx",
            &[
                ("vpcId", "vpc-main"),
                ("vpnGwId", &gateway),
                ("userGwId", user),
                ("vpnConnName", name),
                ("preSharedKey", psk),
                ("spdAcl", acl),
            ],
        )
    };
    let acl = r#"{"192.168.1.0/24":["10.0.1.0/24"]}"#;
    refused(
        &add("to idc", &customer, "x", acl),
        4000,
        "InvalidVpnConnName.InUse",
    );
    refused(&add("t", &customer, "x", acl), 4400, "VpnConnLimitExceeded");
    refused(&add("t", "cgw-none", "x", acl), 5000, "InvalidUserGw.NotFound");
    refused(
        &add(&"n".repeat(61), &customer, "x", acl),
        4000,
        "InvalidVpnConnName",
    );
    refused(&add("t", &customer, "x", "{"), 4000, "InvalidParameter");
    refused(&add("t", &customer, "", acl), 4000, "MissingParameter");
    let other = world.call(
        "AddUserGw",
        &[("userGwName", "two"), ("userGwAddr", "202.108.22.6")],
    );
    let other = text(&other["userGwId"]);
    let overlap = r#"{"192.168.1.0/24":["192.168.1.0/25"]}"#;
    refused(&add("t", &other, "x", overlap), 4000, "InvalidSpdAcl.Conflict");
    for (action, parameters, code, name) in [
        (
            "AddUserGw",
            &[("userGwName", "x"), ("userGwAddr", "202.108.22.5")][..],
            4000,
            "InvalidUserGw.InUse",
        ),
        (
            "AddUserGw",
            &[("userGwName", "idc"), ("userGwAddr", "202.108.22.7")],
            4000,
            "InvalidUserGwName",
        ),
        (
            "AddUserGw",
            &[("userGwName", "x"), ("userGwAddr", "127.0.0.1")],
            4000,
            "InvalidParameter",
        ),
        ("AddUserGw", &[("userGwName", "x")], 4000, "MissingParameter"),
        (
            "DeleteUserGw",
            &[("userGwId", &customer)],
            5100,
            "InvalidUserGw.InUse",
        ),
        (
            "DescribeVpnGw",
            &[("vpcId", "vpc-none")],
            5000,
            "InvalidVpc.NotFound",
        ),
        (
            "DescribeVpnGw",
            &[("vpnGwId", "vpngw-none")],
            5000,
            "InvalidVpnGw.NotFound",
        ),
        ("DescribeVpnGw", &[("limit", "51")], 4000, "InvalidParameter"),
        (
            "CreateVpn",
            &[
                ("name", "gw"),
                ("vpcId", "vpc-main"),
                ("period", "1"),
                ("bandwidth", "5"),
            ],
            4000,
            "InvalidVpnGwName.InUse",
        ),
        (
            "CreateVpn",
            &[
                ("name", "g2"),
                ("vpcId", "vpc-main"),
                ("period", "37"),
                ("bandwidth", "5"),
            ],
            4000,
            "InvalidParameter",
        ),
        (
            "CreateVpn",
            &[
                ("name", "g2"),
                ("vpcId", "vpc-main"),
                ("period", "1"),
                ("bandwidth", "6"),
            ],
            4000,
            "InvalidParameter",
        ),
        (
            "CreateVpn",
            &[
                ("name", "g2"),
                ("vpcId", "vpc-main"),
                ("period", "1"),
                ("bandwidth", "5"),
            ],
            5100,
            "VpnGwAddressExhausted",
        ),
        ("DropTables", &[], 4000, "InvalidAction"),
    ] {
        refused(&world.call(action, parameters), code, name);
    }
    let denied = world.call_as(
        &world.reader,
        "AddUserGw",
        &[("userGwName", "x"), ("userGwAddr", "202.108.22.9")],
    );
    refused(&denied, 4101, "UnauthorizedOperation");
    refused(
        &world.call_as(&world.reader, "DescribeVpnConn", &[("showPreSharedKey", "1")]),
        4101,
        "UnauthorizedOperation",
    );
    let seen = world.call("DescribeVpnConn", &[("showPreSharedKey", "1")]);
    assert_eq!(seen["data"][0]["preSharedKey"], "schlüssel 1");
}

#[test]
fn a_request_is_answered_once_and_only_when_its_signature_fits() {
    let world = World::new();
    let pairs = |time: i64, nonce: &str| {
        let pairs = [
            ("Action", "DescribeUserGw"),
            ("SecretId", &world.admin.0),
            ("Timestamp", &time.to_string()),
            ("Nonce", nonce),
        ];
        let mut pairs: Vec<_> = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let signature = sign(
            SignatureMethod::HmacSha1,
            &world.admin.1,
            "POST",
            HOST,
            PATH,
            &pairs,
        );
        pairs.push(("Signature".to_owned(), signature));
        pairs
    };
    let good = pairs(NOW.0, "1000");
    assert_eq!(world.send(&good)["code"], 0);
    refused(&world.send(&good), 4500, "ReplayAttack");
    refused(&world.send(&pairs(NOW.0 - 301, "1001")), 4500, "ReplayAttack");
    refused(&world.send(&pairs(NOW.0 - 100, "1002")), 4500, "ReplayAttack");
    let mut changed = pairs(NOW.0, "1003");
    changed.push(("limit".to_owned(), "1".to_owned()));
    refused(&world.send(&changed), 4100, "AuthFailure.SignatureFailure");
    // A wrong signature does not use up the nonce.
    assert_eq!(world.send(&pairs(NOW.0, "1003"))["code"], 0);
    let mut unknown = pairs(NOW.0, "1004");
    unknown[1].1 = "AKIDunknown".to_owned();
    refused(&world.send(&unknown), 4104, "SecretIdNotFound");
    refused(&world.send(&[]), 4000, "MissingParameter");
}

#[test]
fn monitoring_has_a_number_for_each_five_minutes() {
    let world = World::new();
    let (gateway, _, tunnel) = world.quick_start();
    let counter = |bytes| crate::store::Traffic {
        bytes_out: bytes,
        ..crate::store::Traffic::default()
    };
    // 20:26:40; the rollup of 20:25 gets 3,000 octets.
    world
        .management
        .record(
            NOW,
            &[crate::Sample {
                namespace: crate::monitor::Namespace::Tunnel,
                object: tunnel.clone(),
                part_of: None,
                counters: counter(3_000),
            }],
        )
        .unwrap();
    let answer = |more: &[(&str, &str)]| {
        let ids = [
            ("vpcId", "vpc-main"),
            ("vpnGwId", gateway.as_str()),
            ("vpnConnId", tunnel.as_str()),
        ];
        let all: Vec<_> = ids.iter().chain(more).copied().collect();
        world.call("DescribeVpnConnMonitor", &all)
    };
    let metric = ("metricName", "outtraffic");
    let points = answer(&[
        metric,
        ("starttime", "2020-09-13 20:15:00"),
        ("endtime", "2020-09-13 20:35:00"),
    ]);
    assert_eq!(points["data"], json!([0, 0, 80, 0]), "bits per second");
    assert_eq!(
        answer(&[metric])["data"].as_array().unwrap().len(),
        289,
        "since the same time yesterday"
    );
    let long = answer(&[metric, ("starttime", "2020-01-01 00:00:00")]);
    assert_eq!(long["data"].as_array().unwrap().len(), 577, "at most two days");
    refused(&answer(&[("metricName", "x")]), 4000, "InvalidParameter");
    refused(
        &answer(&[metric, ("starttime", "yesterday")]),
        4000,
        "InvalidParameter",
    );
}
