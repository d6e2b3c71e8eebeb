//! Requests that nobody should send, over a real connection: each is refused, nothing changes, no secret comes back, and the next request
//! is answered.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test: what fails here fails the test"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use gateway_management::api::{self, Limits, v3};
use gateway_management::objects::Role;
use gateway_management::price::PriceBook;
use gateway_management::service::keys::create_key;
use gateway_management::site::{Quotas, Vpc};
use gateway_management::{Actor, Management, Nobody, Site, Store, Timestamp};
use serde_json::{Value, json};

/// A served API with one tunnel in its store.
struct World {
    address: SocketAddr,
    management: Arc<Management>,
    key: (String, String),
    _runtime: tokio::runtime::Runtime,
}

const PSK: &str = "the-pre-shared-key";

impl World {
    fn new(limits: Limits) -> Self {
        let store = Store::in_memory().unwrap();
        let key = create_key(&store, Timestamp::now(), &Actor::local(), Role::Admin, "").unwrap();
        let key = (key.id.clone(), key.secret.to_string());
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
        let management = Arc::new(Management::new(store, site, Arc::new(Nobody)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(api::bind("127.0.0.1:0".parse().unwrap(), false))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(api::serve(listener, None, Arc::clone(&management), limits));
        let world = Self {
            address,
            management,
            key,
            _runtime: runtime,
        };
        world.fill();
        world
    }

    fn fill(&self) {
        let call = |action: &str, body: Value| {
            v3::call(&self.management, Timestamp::now(), &Actor::local(), action, body).unwrap()
        };
        let gateway = call(
            "CreateVpnGateway",
            json!({ "VpcId": "vpc-main", "VpnGatewayName": "gw", "InternetMaxBandwidthOut": 5 }),
        );
        let customer = call(
            "CreateCustomerGateway",
            json!({ "CustomerGatewayName": "idc", "IpAddress": "202.108.22.5" }),
        );
        call(
            "CreateVpnConnection",
            json!({
                "VpnGatewayId": gateway["VpnGateway"]["VpnGatewayId"],
                "CustomerGatewayId": customer["CustomerGateway"]["CustomerGatewayId"],
                "VpnConnectionName": "t", "PreShareKey": PSK,
                "SecurityPolicyDatabases": [{ "LocalCidrBlock": "192.168.1.0/24", "RemoteCidrBlock": ["10.0.1.0/24"] }],
            }),
        );
    }

    /// Sends octets, and reads until the other end closes or falls silent.
    fn send(&self, octets: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The server may answer and close before all is sent.
        stream.write_all(octets).ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request of API 3.0 with a good signature.
    fn signed(&self, action: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
        let host = self.address.to_string();
        let now = Timestamp::now();
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", host.as_str()), ("content-type", content_type)] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let call = v3::Call {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body,
        };
        let authorization = v3::sign(&self.key.0, &self.key.1, "vpc", now, &call);
        let mut request = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nConnection: close\r\nX-TC-Action: {action}\r\n\
             X-TC-Version: 2017-03-12\r\nX-TC-Timestamp: {}\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\r\n",
            now.0,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// Everything that is stored, without the times and numbers that a look changes.
    fn state(&self) -> String {
        let audit = self.management.audit_log(&Actor::local(), 1000).unwrap();
        let revision = self.management.desired().unwrap().revision;
        let objects = self.management.export(&Actor::local()).unwrap();
        format!("{audit:?} {revision} {}", *objects)
    }
}

const JSON: &str = "application/json";

#[test]
fn a_body_that_is_no_request_is_refused_by_its_reason() {
    let world = World::new(Limits::default());
    let before = world.state();
    let nested = format!(
        "{{\"CustomerGatewayName\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let name = |name: &str| json!({ "CustomerGatewayName": name, "IpAddress": "202.108.22.6" }).to_string();
    let address = |address: &str| json!({ "CustomerGatewayName": "x", "IpAddress": address }).to_string();
    let bodies: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "MissingParameter"),
        (b"[]".to_vec(), "InvalidRequest"),
        (nested.into_bytes(), "InvalidRequest"),
        (br#"{"CustomerGatewayName":NaN}"#.to_vec(), "InvalidRequest"),
        (br#"{"BgpAsn":1e999}"#.to_vec(), "InvalidRequest"),
        (
            br#"{"CustomerGatewayName":"a","CustomerGatewayName":"b"}"#.to_vec(),
            "InvalidRequest",
        ),
        (
            b"{\"CustomerGatewayName\":\"\xff\xfe\"}".to_vec(),
            "InvalidRequest",
        ),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec(), "InvalidRequest"),
        (name("a\u{0}b").into_bytes(), "InvalidParameterValue"),
        (name("a\r\nX-Header: b").into_bytes(), "InvalidParameterValue"),
        (name("").into_bytes(), "InvalidParameterValue"),
        (name(&"x".repeat(100_000)).into_bytes(), "InvalidParameterValue"),
        (address("127.0.0.1").into_bytes(), "InvalidParameterValue"),
        (address("0.0.0.0").into_bytes(), "InvalidParameterValue"),
        (address("255.255.255.255").into_bytes(), "InvalidParameterValue"),
        (address("224.0.0.1").into_bytes(), "InvalidParameterValue"),
        (address("169.254.1.1").into_bytes(), "InvalidParameterValue"),
        (address("203.195.147.82").into_bytes(), "InvalidParameterValue"),
        (address("fe80::1").into_bytes(), "InvalidParameterValue"),
        // A5: there are no names to resolve, so nothing waits for a resolver.
        (address("peer.example.org").into_bytes(), "InvalidParameterValue"),
        (address("../../etc/passwd").into_bytes(), "InvalidParameterValue"),
    ];
    for (body, code) in bodies {
        let answer = world.send(&world.signed("CreateCustomerGateway", JSON, &body));
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(
            answer.contains(&format!("\"Code\":\"{code}\"")),
            "{shown}: {answer}"
        );
        assert!(answer.len() < 2000, "{shown}: {} octets came back", answer.len());
    }
    assert_eq!(world.state(), before);
}

#[test]
fn a_request_that_is_no_http_of_this_api_is_refused_without_authentication() {
    let world = World::new(Limits::default());
    let before = world.state();
    let host = world.address;
    let post = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")
    };
    for (request, expected) in [
        (
            post("/", "X-TC-Action: DescribeVpnGateways\r\nContent-Length: 2\r\n") + "{}",
            "AuthFailure",
        ),
        (post("/../../etc/passwd", ""), "404"),
        (post("/v2/%2e%2e/index.php", ""), "404"),
        (post("/v3/%2e%2e", "Content-Length: 0\r\n"), "AuthFailure"),
        (
            post("/", "Content-Length: 10000000\r\n") + &"x".repeat(200_000),
            "413",
        ),
        (post("/", "Content-Length: -1\r\n"), "400"),
        (post("/", "Content-Length: 1\r\nContent-Length: 2\r\n"), "400"),
        (post("/", &format!("X-Long: {}\r\n", "x".repeat(300_000))), "431"),
        (
            format!("DELETE / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            "405",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            "405",
        ),
        (
            post("/v2/index.php", "Content-Length: 9\r\n") + "Action=%ZZ",
            "\"code\":4",
        ),
        ("\u{16}\u{3}\u{1}".to_owned(), ""),
        ("GET\r\n\r\n".to_owned(), ""),
    ] {
        let answer = world.send(request.as_bytes());
        let shown: String = request.chars().take(80).collect();
        assert!(answer.contains(expected), "{shown}: {answer}");
    }
    assert_eq!(world.state(), before);
}

#[test]
fn a_request_that_is_sent_again_or_changed_on_its_way_is_refused() {
    let world = World::new(Limits::default());
    let body = json!({ "CustomerGatewayName": "once", "IpAddress": "202.108.22.6" }).to_string();
    let request = world.signed("CreateCustomerGateway", JSON, body.as_bytes());
    assert!(world.send(&request).contains("CustomerGatewayId"));
    let before = world.state();
    assert!(world.send(&request).contains("AuthFailure.SignatureExpire"));
    let text = String::from_utf8(request).unwrap();
    for (from, to) in [
        ("202.108.22.6", "202.108.22.7"),
        (JSON, "text/plain;;;;;;"),
        ("POST / ", "POST /?a "),
    ] {
        let answer = world.send(text.replacen(from, to, 1).as_bytes());
        assert!(answer.contains("AuthFailure.SignatureFailure"), "{to}: {answer}");
    }
    assert_eq!(world.state(), before);
}

#[test]
fn a1_no_answer_has_key_material_that_was_not_asked_for() {
    let world = World::new(Limits::default());
    for action in [
        "DescribeVpnGateways",
        "DescribeCustomerGateways",
        "DescribeVpnConnections",
        "DescribeAuditLog",
        "ModifyVpnConnectionAttribute",
        "Explode",
    ] {
        let answer = world.send(&world.signed(action, JSON, b"{}"));
        assert!(answer.contains("RequestId"), "{action}: {answer}");
        assert!(
            !answer.contains(PSK) && !answer.contains(&world.key.1),
            "{action}: {answer}"
        );
    }
    // A refusal of a key does not repeat it.
    let body = json!({ "VpnConnectionId": "vpnx-1", "PreShareKey": "secret\u{7}secret" }).to_string();
    let answer = world.send(&world.signed("ModifyVpnConnectionAttribute", JSON, body.as_bytes()));
    assert!(
        answer.contains("\"Error\"") && !answer.contains("secret"),
        "{answer}"
    );
}

#[test]
fn connections_and_requests_of_one_source_are_limited() {
    let world = World::new(Limits {
        connections: 4,
        requests_per_second: 10,
        ..Limits::default()
    });
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        world.address
    );
    let refused = (0..30)
        .filter(|_| world.send(request.as_bytes()).contains("RequestLimitExceeded"))
        .count();
    // Thirty requests fall into two seconds at most, unless the machine stands still.
    assert!(refused > 0, "thirty requests passed a limit of ten in a second");
    // Four connections that say nothing are all there may be; the fifth is served when one of them goes.
    let mut silent: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(world.address).unwrap())
        .collect();
    let mut waiting = TcpStream::connect(world.address).unwrap();
    waiting
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    waiting.write_all(request.as_bytes()).unwrap();
    assert!(
        waiting.read(&mut [0; 16]).is_err(),
        "a fifth connection was served"
    );
    silent.pop();
    waiting.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(waiting.read(&mut [0; 16]).unwrap() > 0);
}
