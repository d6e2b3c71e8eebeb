//! Whole requests: signed as a client signs them, answered as the wire format says.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};

use super::*;
use crate::objects::Role;
use crate::price::PriceBook;
use crate::service::keys::create_key;
use crate::site::{Quotas, Vpc};
use crate::{Agent, LiveTunnel, Site, Store};

mod health;
mod routes;

const NOW: Timestamp = Timestamp(1_600_000_000);

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
}

/// A request before it is signed; tests spoil one part.
#[derive(Clone)]
struct Draft<'a> {
    key: &'a (String, String),
    path: &'a str,
    action: &'a str,
    version: &'a str,
    time: Timestamp,
    body: String,
    /// What is sent in the end, where that is not what was signed.
    sent: Option<String>,
}

impl World {
    fn new() -> Self {
        Self::with_agent(Arc::new(Up))
    }

    fn with_agent(agent: Arc<dyn Agent>) -> Self {
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
            management: Management::new(store, site, agent),
            replay: Mutex::new(Replay::new(NOW.plus_seconds(-60))),
            admin,
            reader,
        }
    }

    fn draft<'a>(&'a self, action: &'a str, body: &Value) -> Draft<'a> {
        Draft {
            key: &self.admin,
            path: PATH,
            action,
            version: "2017-03-12",
            time: NOW,
            body: body.to_string(),
            sent: None,
        }
    }

    fn send(&self, draft: &Draft<'_>) -> Value {
        let time = draft.time.0.to_string();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "127.0.0.1:8443"),
            ("content-type", "application/json"),
            ("x-tc-action", draft.action),
            ("x-tc-version", draft.version),
            ("x-tc-timestamp", &time),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let unsigned = headers.clone();
        let call = Call {
            method: "POST",
            path: draft.path,
            query: "",
            headers: &unsigned,
            body: draft.body.as_bytes(),
        };
        let (id, secret) = draft.key;
        let authorization = sign(id, secret, "vpc", draft.time, &call);
        headers.insert("authorization", HeaderValue::from_str(&authorization).unwrap());
        let sent = draft.sent.as_ref().unwrap_or(&draft.body);
        let call = Call {
            headers: &headers,
            body: sent.as_bytes(),
            ..call
        };
        let answer = answer(&self.management, &self.replay, NOW, &call);
        assert!(answer["Response"]["RequestId"].is_string(), "{answer}");
        answer["Response"].clone()
    }

    fn call(&self, action: &str, body: &Value) -> Value {
        let answer = self.send(&self.draft(action, body));
        assert!(answer["Error"].is_null(), "{action}: {answer}");
        answer
    }

    #[track_caller]
    fn refused(&self, action: &str, body: &Value, code: &str, part: &str) {
        let answer = self.send(&self.draft(action, body));
        assert_eq!(answer["Error"]["Code"], code, "{action} {body}: {answer}");
        let message = answer["Error"]["Message"].as_str().unwrap();
        assert!(message.contains(part), "{action} {body}: {message}");
    }

    fn settle(&self) {
        let revision = self.management.desired().unwrap().revision;
        self.management
            .settle(revision, &std::collections::BTreeMap::new())
            .unwrap();
    }

    /// A gateway, a customer gateway and a tunnel; their ids.
    fn quick_start(&self) -> [String; 3] {
        let id =
            |answer: &Value, object: &str| answer[object][format!("{object}Id")].as_str().unwrap().to_owned();
        let gateway = self.call(
            "CreateVpnGateway",
            &json!({ "VpcId": "vpc-main", "VpnGatewayName": "gw", "InternetMaxBandwidthOut": 5,
                     "Tags": [{ "Key": "team", "Value": "net" }] }),
        );
        let gateway = id(&gateway, "VpnGateway");
        let customer = self.call(
            "CreateCustomerGateway",
            &json!({ "CustomerGatewayName": "idc", "IpAddress": "202.108.22.5" }),
        );
        let customer = id(&customer, "CustomerGateway");
        let tunnel = self.call("CreateVpnConnection", &tunnel(&gateway, &customer));
        let tunnel = id(&tunnel, "VpnConnection");
        self.settle();
        [gateway, customer, tunnel]
    }
}

fn tunnel(gateway: &str, customer: &str) -> Value {
    json!({
        "VpnGatewayId": gateway,
        "CustomerGatewayId": customer,
        "VpnConnectionName": "to idc",
        "PreShareKey": "schlüssel 1",
        "SecurityPolicyDatabases": [{ "LocalCidrBlock": "192.168.1.0/24", "RemoteCidrBlock": ["10.0.1.0/24"] }],
    })
}

#[test]
fn the_quick_start_makes_a_tunnel_with_the_documented_defaults() {
    let world = World::new();
    let [gateway, customer, tunnel] = world.quick_start();
    let listed = world.call("DescribeVpnConnections", &json!({ "VpnConnectionIds": [tunnel] }));
    assert_eq!(listed["TotalCount"], 1);
    let seen = &listed["VpnConnectionSet"][0];
    for (field, expected) in [
        ("VpnGatewayId", json!(gateway)),
        ("CustomerGatewayId", json!(customer)),
        ("PreShareKey", json!("******")),
        ("State", json!("AVAILABLE")),
        ("NetStatus", json!("AVAILABLE")),
        ("NegotiationType", json!("active")),
        ("DpdEnable", json!(0)),
    ] {
        assert_eq!(seen[field], expected, "{field}");
    }
    let ike = &seen["IKEOptionsSpecification"];
    for (field, expected) in [
        ("PropoEncryAlgorithm", json!("3DES-CBC")),
        ("PropoAuthenAlgorithm", json!("SHA")),
        ("DhGroupName", json!("GROUP1")),
        ("IKESaLifetimeSeconds", json!(86_400)),
        ("IKEVersion", json!("IKEV1")),
        ("LocalAddress", json!("203.195.147.82")),
        ("RemoteAddress", json!("202.108.22.5")),
    ] {
        assert_eq!(ike[field], expected, "{field}");
    }
    let ipsec = &seen["IPSECOptionsSpecification"];
    for (field, expected) in [
        ("EncryptAlgorithm", json!("AES-CBC-128")),
        ("IntegrityAlgorith", json!("SHA1")),
        ("PfsDhGroup", json!("NULL")),
        ("IPSECSaLifetimeSeconds", json!(14_400)),
        ("IPSECSaLifetimeTraffic", json!(4_096_000_000_u32)),
    ] {
        assert_eq!(ipsec[field], expected, "{field}");
    }
}

#[test]
fn a_dry_run_says_what_a_change_disturbs_and_changes_nothing() {
    let world = World::new();
    let [.., tunnel] = world.quick_start();
    let rule = |peers: &[&str]| json!([{ "LocalCidrBlock": "192.168.1.0/24", "RemoteCidrBlock": peers }]);
    for (change, effect) in [
        (json!({ "VpnConnectionName": "renamed" }), "nothing"),
        (
            json!({ "SecurityPolicyDatabases": rule(&["10.0.1.0/24", "10.0.2.0/24"]) }),
            "newPairs",
        ),
        (
            json!({ "SecurityPolicyDatabases": rule(&["10.0.2.0/24"]) }),
            "renegotiation",
        ),
        (
            json!({ "IKEOptionsSpecification": { "DhGroupName": "GROUP14" } }),
            "renegotiation",
        ),
        (json!({ "PreShareKey": "another key" }), "renegotiation"),
    ] {
        let mut request = change.clone();
        request["VpnConnectionId"] = json!(tunnel);
        request["DryRun"] = json!(true);
        let before = world.management.desired().unwrap().revision;
        assert_eq!(
            world.call("ModifyVpnConnectionAttribute", &request)["Effect"],
            effect,
            "{change}"
        );
        assert_eq!(world.management.desired().unwrap().revision, before);
    }
}

#[test]
fn a_change_during_a_change_and_a_delete_in_use_are_refused() {
    let world = World::new();
    let [gateway, customer, tunnel] = world.quick_start();
    let rename = json!({ "VpnConnectionId": tunnel, "VpnConnectionName": "renamed" });
    world.call("ModifyVpnConnectionAttribute", &rename);
    let one = json!({ "VpnConnectionId": tunnel });
    let state = "UnsupportedOperation.VpnConnInvalidState";
    let again = json!({ "VpnConnectionId": tunnel, "VpnConnectionName": "again" });
    world.refused("ModifyVpnConnectionAttribute", &again, state, "being modified");
    world.refused("DeleteVpnConnection", &one, state, "being modified");
    world.refused(
        "DeleteVpnGateway",
        &json!({ "VpnGatewayId": gateway }),
        "ResourceInUse",
        "1 tunnels",
    );
    let user = json!({ "CustomerGatewayId": customer });
    world.refused("DeleteCustomerGateway", &user, "ResourceInUse", "1 tunnels");
    world.settle();
    world.call(
        "DeleteVpnConnection",
        &json!({ "VpnConnectionId": tunnel, "VpnGatewayId": gateway }),
    );
    world.settle();
    assert_eq!(world.call("DescribeVpnConnections", &json!({}))["TotalCount"], 0);
}

#[test]
fn tags_stay_with_their_object_and_go_with_it() {
    let world = World::new();
    let [gateway, ..] = world.quick_start();
    let mut ask = world.draft(
        "DescribeResourceTagsByResourceIds",
        &json!({ "ServiceType": "vpc", "ResourcePrefix": "vpngw", "ResourceIds": [gateway], "ResourceRegion": "gz" }),
    );
    ask.version = "2018-08-13";
    assert_eq!(world.send(&ask)["Tags"][0]["TagValue"], "net");
    let mut change = world.draft(
        "ModifyResourceTags",
        &json!({ "Resource": format!("qcs::vpc:gz:uin/:vpngw/{gateway}"),
                 "ReplaceTags": [{ "TagKey": "stage", "TagValue": "test" }], "DeleteTags": [{ "TagKey": "team" }] }),
    );
    change.version = "2018-08-13";
    assert!(world.send(&change)["Error"].is_null());
    let seen = world.call("DescribeVpnGateways", &json!({ "VpnGatewayIds": [gateway] }));
    assert_eq!(
        seen["VpnGatewaySet"][0]["TagSet"],
        json!([{ "Key": "stage", "Value": "test" }])
    );
    change.body =
        json!({ "Resource": "qcs::vpc:gz:uin/:vpngw/vpngw-nothere1", "ReplaceTags": [] }).to_string();
    assert_eq!(
        world.send(&change)["Error"]["Code"],
        "InvalidVpnGatewayId.NotFound"
    );
    let [tunnel] = [
        world.call("DescribeVpnConnections", &json!({}))["VpnConnectionSet"][0]["VpnConnectionId"].clone(),
    ];
    world.call("DeleteVpnConnection", &json!({ "VpnConnectionId": tunnel }));
    world.settle();
    world.call("DeleteVpnGateway", &json!({ "VpnGatewayId": gateway }));
    assert!(world.management.tags(&[&gateway]).unwrap()[&gateway].is_empty());
}

#[test]
fn lists_are_paged_and_filtered() {
    let world = World::new();
    for index in 1..=5 {
        world.call(
            "CreateCustomerGateway",
            &json!({ "CustomerGatewayName": format!("idc {index}"), "IpAddress": format!("202.108.22.{index}") }),
        );
    }
    let names = |request: Value| {
        let found = world.call("DescribeCustomerGateways", &request);
        let set = found["CustomerGatewaySet"].as_array().unwrap().clone();
        let names: Vec<_> = set
            .iter()
            .map(|one| one["CustomerGatewayName"].as_str().unwrap().to_owned())
            .collect();
        (found["TotalCount"].as_u64().unwrap(), names)
    };
    assert_eq!(
        names(json!({ "Offset": 1, "Limit": 2 })),
        (5, vec!["idc 2".to_owned(), "idc 3".to_owned()])
    );
    let filter = json!([{ "Name": "ip-address", "Values": ["202.108.22.4"] }]);
    assert_eq!(names(json!({ "Filters": filter })), (1, vec!["idc 4".to_owned()]));
    for (request, part) in [
        (json!({ "Limit": 101 }), "1 to 100"),
        (
            json!({ "Filters": [{ "Name": "zone", "Values": ["x"] }] }),
            "not known",
        ),
        (
            json!({ "Filters": [{ "Name": "ip-address", "Values": ["a", "b"] }] }),
            "one value",
        ),
    ] {
        world.refused(
            "DescribeCustomerGateways",
            &request,
            "InvalidParameterValue",
            part,
        );
    }
}

#[test]
fn each_wrong_field_is_refused_by_its_name() {
    let world = World::new();
    let [gateway, customer, _] = world.quick_start();
    let with = |field: &str, value: Value| {
        let mut request = tunnel(&gateway, &customer);
        request[field] = value;
        request
    };
    let mut missing = tunnel(&gateway, &customer);
    missing.as_object_mut().unwrap().remove("PreShareKey");
    for (request, code, part) in [
        (missing, "MissingParameter", "PreShareKey"),
        (with("Colour", json!("red")), "UnknownParameter", "Colour"),
        (
            with("VpnConnectionName", json!(7)),
            "InvalidParameter",
            "VpnConnectionName",
        ),
        (
            with("VpnConnectionName", json!("a\r\nb")),
            "InvalidParameterValue",
            "control",
        ),
        (
            with("VpnConnectionName", json!("x".repeat(61))),
            "InvalidParameterValue",
            "60",
        ),
        (
            with("RouteType", json!("Bgp")),
            "UnsupportedOperation.VpnUnsupportedBgp",
            "RouteType",
        ),
        (
            with("DpdAction", json!("explode")),
            "InvalidParameterValue",
            "DpdAction",
        ),
        (
            with("HealthCheckLocalIp", json!("169.254.200.2")),
            "InvalidParameterValue",
            "HealthCheckRemoteIp",
        ),
        (
            with("HealthCheckConfig", json!({ "ProbeType": "TCP" })),
            "InvalidParameterValue",
            "ProbeType",
        ),
        (
            with("DpdTimeout", json!("soon")),
            "InvalidParameter",
            "DpdTimeout",
        ),
        (
            with("IKEOptionsSpecification", json!({ "LocalIdentity": "FQDN" })),
            "MissingParameter",
            "LocalFqdnName",
        ),
        (
            with(
                "IKEOptionsSpecification",
                json!({ "PropoEncryAlgorithm": "rot13" }),
            ),
            "InvalidParameterValue",
            "rot13",
        ),
        (
            with(
                "SecurityPolicyDatabases",
                json!([{ "LocalCidrBlock": "x", "RemoteCidrBlock": [] }]),
            ),
            "InvalidParameterValue",
            "SecurityPolicyDatabases",
        ),
    ] {
        world.refused("CreateVpnConnection", &request, code, part);
    }
}

#[test]
fn who_asks_and_when_is_checked_before_what() {
    let world = World::new();
    let customer = json!({ "CustomerGatewayName": "idc", "IpAddress": "202.108.22.5" });
    let good = world.draft("CreateCustomerGateway", &customer);
    let stranger = ("AKIDnobody".to_owned(), "x".to_owned());
    let wrong_secret = (world.admin.0.clone(), "x".to_owned());
    let cases = [
        (
            Draft {
                key: &stranger,
                ..good.clone()
            },
            "AuthFailure.SecretIdNotFound",
        ),
        (
            Draft {
                key: &wrong_secret,
                ..good.clone()
            },
            "AuthFailure.SignatureFailure",
        ),
        (
            Draft {
                key: &world.reader,
                ..good.clone()
            },
            "UnauthorizedOperation",
        ),
        (
            Draft {
                time: NOW.plus_seconds(-301),
                ..good.clone()
            },
            "AuthFailure.SignatureExpire",
        ),
        (
            Draft {
                time: NOW.plus_seconds(301),
                ..good.clone()
            },
            "AuthFailure.SignatureExpire",
        ),
        (
            Draft {
                version: "2018-08-13",
                ..good.clone()
            },
            "NoSuchVersion",
        ),
        (
            Draft {
                action: "Explode",
                ..good.clone()
            },
            "InvalidAction",
        ),
        (
            Draft {
                sent: Some("{}".to_owned()),
                ..good.clone()
            },
            "AuthFailure.SignatureFailure",
        ),
    ];
    for (draft, code) in cases {
        assert_eq!(world.send(&draft)["Error"]["Code"], code);
    }
    assert_eq!(
        world.call("DescribeCustomerGateways", &json!({}))["TotalCount"],
        0
    );
    // The same request under the path of its operation; the header then says nothing.
    let path = Draft {
        path: "/v3/CreateCustomerGateway",
        action: "x",
        ..good.clone()
    };
    assert!(world.send(&path)["Error"].is_null());
    let replayed = world.send(&path);
    assert_eq!(
        replayed["Error"]["Code"], "AuthFailure.SignatureExpire",
        "{replayed}"
    );
    // To look twice is no replay.
    let look = world.draft("DescribeCustomerGateways", &json!({}));
    assert_eq!(world.send(&look)["TotalCount"], world.send(&look)["TotalCount"]);
}

#[test]
fn a_preshared_key_is_shown_to_an_administrator_who_asks() {
    let world = World::new();
    world.quick_start();
    let ask = world.draft("DescribeVpnConnections", &json!({ "ShowPreShareKey": true }));
    assert_eq!(
        world.send(&ask)["VpnConnectionSet"][0]["PreShareKey"],
        "schlüssel 1"
    );
    let reader = Draft {
        key: &world.reader,
        ..ask
    };
    assert_eq!(world.send(&reader)["Error"]["Code"], "UnauthorizedOperation");
}

#[test]
fn every_operation_is_in_the_document_with_the_types_of_the_dispatch() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), operations::OPERATIONS.len());
    let text = document.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"#/components/schemas/") {
        let name: String = text[at + 29..]
            .chars()
            .take_while(|&letter| letter != '"')
            .collect();
        assert!(document["components"]["schemas"][&name].is_object(), "{name}");
    }
    let answer = &paths["/v3/CreateVpnConnection"]["post"]["responses"]["200"]["content"]["application/json"];
    let answer = &answer["schema"]["anyOf"][1]["properties"]["Response"];
    assert_eq!(answer["required"], json!(["VpnConnection", "RequestId"]));
    assert_eq!(answer["additionalProperties"], false);
}

#[test]
fn a_change_of_several_gateways_is_made_to_all_or_none() {
    let world = World::new();
    let gateway = json!({ "VpcId": "vpc-main", "VpnGatewayName": "gw", "InternetMaxBandwidthOut": 5,
                          "InstanceChargeType": "PREPAID", "InstanceChargePrepaid": { "Period": 1 } });
    let made = world.call("CreateVpnGateway", &gateway);
    let id = &made["VpnGateway"]["VpnGatewayId"];
    let flag = |ids: Value| json!({ "VpnGatewayIds": ids, "AutoRenewFlag": 1 });
    let renews = || world.call("DescribeVpnGateways", &json!({}))["VpnGatewaySet"][0]["RenewFlag"].clone();
    let before = renews();
    world.refused(
        "SetVpnGatewaysRenewFlag",
        &flag(json!([id, "vpngw-nothere1"])),
        "InvalidVpnGatewayId.NotFound",
        "vpngw-nothere1",
    );
    assert_eq!(renews(), before);
    world.call("SetVpnGatewaysRenewFlag", &flag(json!([id])));
    assert_ne!(renews(), before);
}

#[test]
fn what_is_bought_by_the_hour_has_no_period_and_what_is_bought_for_one_tells_its_stage() {
    let world = World::new();
    let buy = |name: &str, charge: Value| {
        let mut body = json!({ "VpcId": "vpc-main", "VpnGatewayName": name, "InternetMaxBandwidthOut": 5,
                               "InstanceChargePrepaid": { "Period": 1 } });
        body["InstanceChargeType"] = charge;
        world.call("CreateVpnGateway", &body)["VpnGateway"].clone()
    };
    for (name, charge, kept, stage) in [
        ("default", Value::Null, "POSTPAID_BY_HOUR", "unlimited"),
        ("month", json!("PREPAID"), "PREPAID", "running"),
    ] {
        let gateway = buy(name, charge);
        assert_eq!(gateway["InstanceChargeType"], kept);
        assert_eq!(
            (&gateway["LeaseState"], &gateway["RestrictState"]),
            (&json!(stage), &json!("NORMAL"))
        );
        let id = &gateway["VpnGatewayId"];
        // Whether it renews itself says nothing about how it is charged.
        world.call(
            "SetVpnGatewaysRenewFlag",
            &json!({ "VpnGatewayIds": [id], "AutoRenewFlag": 1 }),
        );
        let filter = json!({ "VpnGatewayIds": [id] });
        let seen = &world.call("DescribeVpnGateways", &filter)["VpnGatewaySet"][0];
        assert_eq!(seen["InstanceChargeType"], kept);
        let body = json!({ "VpnGatewayId": id, "InstanceChargePrepaid": { "Period": 1 } });
        if stage == "unlimited" {
            world.refused(
                "RenewVpnGateway",
                &body,
                "UnsupportedOperation.InvalidState",
                "no period to renew",
            );
        } else {
            world.call("RenewVpnGateway", &body);
        }
        // The pool has one address.
        world.call("DeleteVpnGateway", &json!({ "VpnGatewayId": id }));
    }
}

#[test]
fn data_over_time_is_asked_for_in_the_words_of_cloud_monitor() {
    let world = World::new();
    let sample = |bytes_out| crate::Sample {
        namespace: crate::monitor::Namespace::Tunnel,
        object: "vpnx-1".to_owned(),
        part_of: Some("gw".to_owned()),
        counters: crate::store::Traffic {
            bytes_out,
            ..crate::store::Traffic::default()
        },
    };
    let minute = Timestamp(NOW.0 - 40);
    world.management.record(minute, &[sample(7_500_000)]).unwrap();
    let ask = |namespace: &str, name: &str, value: &str| {
        json!({
            "Namespace": namespace,
            "MetricName": "OutBandwidth",
            "Instances": [{ "Dimensions": [{ "Name": name, "Value": value }] }],
            "Period": 60,
            "StartTime": "2020-09-13T20:26:00+08:00",
            "EndTime": "2020-09-13T12:27:00Z",
        })
    };
    let draft = |body: &Value| {
        let draft = world.draft("GetMonitorData", body);
        world.send(&Draft {
            version: "2018-07-24",
            ..draft
        })
    };
    for (namespace, name, value) in [
        ("QCE/VPNX", "vpnConnId", "vpnx-1"),
        ("qce/vpngw", "vpnGwId", "gw"),
    ] {
        let points = &draft(&ask(namespace, name, value))["DataPoints"][0];
        assert_eq!(points["Timestamps"], json!([minute.0]), "{points}");
        assert_eq!(points["Values"], json!([1.0]));
        assert_eq!(points["Dimensions"][0]["Value"], value);
    }
    for (body, code) in [
        (ask("QCE/CVM", "vpnConnId", "x"), "InvalidParameterValue"),
        (ask("QCE/VPNX", "vpnGwId", "x"), "InvalidParameterValue"),
        (
            ask("QCE/VPNX", "vpnConnId", "vpnx-9"),
            "InvalidVpnConnectionId.NotFound",
        ),
    ] {
        assert_eq!(draft(&body)["Error"]["Code"], code);
    }
}
