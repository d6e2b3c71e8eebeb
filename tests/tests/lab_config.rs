//! Wrong and hostile configuration files are refused with a place and a rule, and a running agent keeps what it has.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use gateway_tests::agent::check;
use gateway_tests::config::{Quotas, SpdRule, TUNNEL};
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side};

/// Exit code of `gateway` for a configuration with mistakes.
const MISTAKES: i32 = 3;

/// Changes the file that [`Config::new`] makes; the answer must name `field` and say `rule`.
struct Row {
    what: &'static str,
    change: fn(&mut Config),
    says: &'static [&'static str],
}

const ROWS: [Row; 12] = [
    Row {
        what: "a peer range inside the VPC",
        change: |config| config.tunnel[0].spd[0].peer = vec!["10.77.1.128/25".to_owned()],
        says: &["tunnel[0].spd[0]", "overlap"],
    },
    Row {
        what: "peer ranges that overlap each other",
        change: |config| {
            config.tunnel[0].spd[0].peer = vec!["10.77.2.0/24".to_owned(), "10.77.2.0/25".to_owned()]
        },
        says: &["peer[1]", "overlap"],
    },
    Row {
        what: "local ranges that overlap each other",
        change: |config| {
            let rule = SpdRule {
                local: "10.77.1.0/25".to_owned(),
                peer: vec!["10.77.3.0/24".to_owned()],
            };
            config.tunnel[0].spd.push(rule);
        },
        says: &["tunnel[0].spd[1]", "overlap"],
    },
    Row {
        what: "a local range outside the VPC",
        change: |config| config.tunnel[0].spd[0].local = "10.78.0.0/24".to_owned(),
        says: &["tunnel[0].spd[0].local"],
    },
    Row {
        what: "a customer gateway that is a network address of its class",
        change: |config| config.customer_gateway[0].address = "198.51.100.0".to_owned(),
        says: &["customer_gateway[0].address", "198.51.100.0"],
    },
    Row {
        what: "a loopback customer gateway",
        change: |config| config.customer_gateway[0].address = "127.0.0.1".to_owned(),
        says: &["customer_gateway[0].address", "127.0.0.1"],
    },
    Row {
        what: "a tunnel to a customer gateway that does not exist",
        change: |config| config.tunnel[0].customer_gateway = "nobody".to_owned(),
        says: &["tunnel[0].customer_gateway", "nobody"],
    },
    Row {
        what: "two tunnels with one id",
        change: |config| config.tunnel.push(config.tunnel[0].clone()),
        says: &["tunnel[1]"],
    },
    Row {
        what: "an unknown cipher",
        change: |config| config.tunnel[0].ike.encryption = Some("rot13".to_owned()),
        says: &["tunnel[0].ike.encryption", "rot13"],
    },
    Row {
        what: "GCM with an authentication of its own",
        change: |config| {
            config.tunnel[0].ipsec.encryption = Some("aes-128-gcm".to_owned());
            config.tunnel[0].ipsec.authentication = Some("sha1".to_owned());
        },
        says: &["tunnel[0].ipsec.authentication"],
    },
    Row {
        what: "an empty key",
        change: |config| config.tunnel[0].psk = String::new(),
        says: &["tunnel[0].psk"],
    },
    Row {
        what: "more rules than the quota",
        change: |config| {
            config.quotas = Some(Quotas {
                rules_per_tunnel: Some(0),
                ..Quotas::default()
            })
        },
        says: &["rules_per_tunnel"],
    },
];

#[test]
fn every_mistake_is_named_with_its_place_and_its_rule() {
    let lab = Lab::new().unwrap();
    for row in &ROWS {
        let mut config = Config::new(&lab, Side::A);
        (row.change)(&mut config);
        let (status, text) = check(lab.directory(), config.to_toml().as_bytes()).unwrap();
        assert_eq!(status.code(), Some(MISTAKES), "{}: {text}", row.what);
        for word in row.says {
            assert!(text.contains(word), "{}: `{word}` is not in:\n{text}", row.what);
        }
        assert!(
            !text.contains(&config.tunnel[0].psk) || config.tunnel[0].psk.is_empty(),
            "the key is shown: {text}"
        );
    }
    let good = Config::new(&lab, Side::A).to_toml();
    let (status, text) = check(lab.directory(), good.as_bytes()).unwrap();
    assert_eq!(status.code(), Some(0), "{text}");
}

#[test]
fn what_is_no_configuration_is_refused_without_a_panic() {
    let lab = Lab::new().unwrap();
    let good = Config::new(&lab, Side::A).to_toml();
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many = "[[tunnel]]\nid = \"x\"\n".repeat(50_000);
    let files: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("not text", vec![0xff; 4096]),
        ("zero octets", vec![0; 4096]),
        ("half a file", good.as_bytes()[..good.len() / 2].to_vec()),
        (
            "an unknown key",
            good.replace("[dataplane]", "[dataplane]\nturbo = true")
                .into_bytes(),
        ),
        ("an unknown table", format!("{good}\n[warp]\n").into_bytes()),
        (
            "a wrong type",
            good.replace("role = \"vpc\"", "role = 7").into_bytes(),
        ),
        ("very deep", deep.into_bytes()),
        ("very many mistakes", many.into_bytes()),
    ];
    for (what, bytes) in files {
        let (status, text) = check(lab.directory(), &bytes).unwrap();
        assert_eq!(status.code(), Some(MISTAKES), "{what}: {status}: {text:.2000}");
        assert!(!text.contains("panicked"), "{what}: {text:.2000}");
        assert!(
            text.contains("check.toml"),
            "{what}: the file is not named: {text:.2000}"
        );
    }
}

#[test]
fn a_refused_reload_leaves_the_running_tunnel_alone() {
    let lab = Lab::new().unwrap();
    let config = Config::new(&lab, Side::A);
    let agent = Agent::start(&lab, Side::A, &config).unwrap();
    let _peer = Agent::start(&lab, Side::B, &Config::new(&lab, Side::B)).unwrap();
    bring_up(&lab, Side::A).unwrap();
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 3, 50, &[])
            .unwrap()
            .lost(),
        0
    );
    let spis = agent.status().unwrap().tunnel(TUNNEL).unwrap().spis();
    assert!(!spis.is_empty());

    for wrong in [
        "nonsense",
        "",
        &config.to_toml().replace("10.77.2.0/24", "10.77.1.0/24"),
    ] {
        assert!(!agent.reload_text(wrong).unwrap(), "{wrong:.200}");
        assert_eq!(agent.status().unwrap().tunnel(TUNNEL).unwrap().spis(), spis);
    }
    assert!(
        !agent.status().unwrap().json()["config"]["last_refusal"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        ping(lab.host(Side::A), Side::B.host(), 3, 50, &[])
            .unwrap()
            .lost(),
        0
    );
    agent.reload(&config).unwrap();
    agent.wait_tunnel(TUNNEL, "up", Duration::from_secs(1)).unwrap();
}
