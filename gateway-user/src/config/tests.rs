//! One row per rule: what is wrong, on which line it is reported, and how.

use proptest::prelude::*;

use super::*;

mod negotiation;

/// Line 1 is `[[interface]]`; rows replace one line of it.
const VALID: &str = r#"[[interface]]
name = "eth0"
role = "public"

[[interface]]
name = "eth1"
role = "vpc"

[[vpc]]
id = "vpc-main"
cidr = "10.0.0.0/16"
interface = "eth1"

[[gateway]]
id = "gw"
vpc = "vpc-main"
address = "203.0.113.1"
bandwidth_mbps = 100

[[customer_gateway]]
id = "cgw"
address = "198.51.100.7"

[[tunnel]]
id = "one"
gateway = "gw"
customer_gateway = "cgw"
psk = "secret"
[[tunnel.spd]]
local = "10.0.0.0/24"
peer = ["192.168.0.0/24", "192.168.1.0/24"]
[[tunnel.spd]]
local = "10.0.1.0/24"
peer = ["192.168.2.0/24"]
"#;

fn parse_text(text: &str) -> Result<Config, Refused> {
    parse(text, Path::new("/nowhere/gateway.toml"))
}

/// Replaces the first `from` of the valid file by `to` and expects exactly one mistake at the line of `from`.
#[track_caller]
fn check_row(from: &str, to: &str, field: &str, rule: &str) {
    let at = VALID
        .find(from)
        .unwrap_or_else(|| panic!("{from:?} is not in the valid file"));
    let text = VALID.replacen(from, to, 1);
    let refused = parse_text(&text).expect_err(to);
    let [mistake] = &refused.mistakes[..] else {
        panic!("{to}: expected one mistake:\n{refused}")
    };
    let line = VALID[..at].matches('\n').count() + 1;
    // A missing field is reported where its table begins.
    let lines = line - usize::from(to.is_empty())..=line + to.matches('\n').count();
    assert_eq!(mistake.field, field, "{refused}");
    assert!(mistake.rule.contains(rule), "{to}: {refused}");
    assert!(
        lines.contains(&mistake.line),
        "{to}: line {} is not in {lines:?}",
        mistake.line
    );
}

#[test]
fn the_valid_file_is_valid() {
    let config = parse_text(VALID).unwrap();
    let [tunnel] = &config.tunnels[..] else {
        panic!("one tunnel")
    };
    assert_eq!(tunnel.pairs().count(), 3);
    assert_eq!(tunnel.ike.local_id.to_string(), "203.0.113.1");
    assert_eq!(tunnel.ike.peer_id.to_string(), "198.51.100.7");
    assert_eq!(tunnel.start, Start::Traffic);
    assert_eq!(warnings(&config), []);
}

#[test]
fn the_defaults_are_those_that_the_example_lists() {
    let example = include_str!("../../../deploy/examples/gateway.toml");
    let spelled_out = example.replace(r#"psk_file = "/etc/ipsec-gateway/idc.psk""#, r#"psk = "secret""#);
    let start = spelled_out.find("# Everything below is optional").unwrap();
    let explicit = parse_text(&spelled_out).unwrap_or_else(|refused| panic!("{refused}"));
    let implied = parse_text(&spelled_out[..start]).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(explicit, implied);
    let head = spelled_out[..start].find("[[interface]]").unwrap();
    assert_eq!(
        parse_text(&spelled_out[head..]).unwrap_or_else(|refused| panic!("{refused}")),
        implied
    );
}

#[test]
fn the_legal_example_of_the_product_document_is_legal() {
    let text = VALID.replace(
        "peer = [\"192.168.2.0/24\"]\n",
        "peer = [\"192.168.2.0/24\"]\n[[tunnel.spd]]\nlocal = \"10.0.2.0/24\"\npeer = [\"192.168.2.0/24\"]\n",
    );
    assert_eq!(parse_text(&text).map(|config| config.tunnels[0].spd.len()), Ok(3));
}

#[test]
fn each_rule_has_a_message_at_the_line_of_the_value() {
    let two = |line: &str| format!("{line}\n");
    for (from, to, field, rule) in [
        // Structure.
        (
            "[[interface]]",
            "[agent]\nlisten = 1\n[[interface]]",
            "agent.listen",
            "unknown key; known here: metrics_listen",
        ),
        (
            "[[interface]]",
            "speed = 3\n[[interface]]",
            "speed",
            "unknown key",
        ),
        (
            "[[interface]]",
            "[quotas]\ntunnels = 3\n[[interface]]",
            "quotas.tunnels",
            "unknown key",
        ),
        (
            "id = \"one\"\n",
            "id = \"one\"\ndns = \"\\u001b[2J\"\n",
            "tunnel[0].dns",
            "unknown key",
        ),
        ("id = \"one\"\n", "", "tunnel[0].id", "is required"),
        ("id = \"one\"", "id = 7", "tunnel[0].id", "is a string"),
        (
            "id = \"one\"",
            "id = \"a b\"",
            "tunnel[0].id",
            "has 1 to 60 letters",
        ),
        (
            "name = \"eth0\"",
            "name = \"a/b\"",
            "interface[0].name",
            "is an interface name",
        ),
        (
            "role = \"public\"",
            "role = \"wan\"",
            "interface[0].role",
            "is one of public, vpc",
        ),
        // Agent and data plane.
        (
            "[[interface]]",
            "[agent]\nmetrics_listen = \"x\"\n[[interface]]",
            "agent.metrics_listen",
            "is an address and port",
        ),
        (
            "[[interface]]",
            "[agent]\npin_dir = \"x\"\n[[interface]]",
            "agent.pin_dir",
            "is an absolute path",
        ),
        (
            "[[interface]]",
            "[agent]\nlog = \"a=b=c\"\n[[interface]]",
            "agent.log",
            "tracing filter",
        ),
        (
            "[[interface]]",
            "[dataplane]\numem_frames = 1000\n[[interface]]",
            "dataplane.umem_frames",
            "power of two",
        ),
        (
            "[[interface]]",
            "[dataplane]\nframe_size = 1\n[[interface]]",
            "dataplane.frame_size",
            "is 2048 or 4096",
        ),
        (
            "[[interface]]",
            "[dataplane]\nxdp_mode = \"hw\"\n[[interface]]",
            "dataplane.xdp_mode",
            "is one of auto",
        ),
        (
            "[[interface]]",
            "[dataplane]\ndefault_deny = 1\n[[interface]]",
            "dataplane.default_deny",
            "is true or false",
        ),
        // VPC, gateway, customer gateway.
        (
            "cidr = \"10.0.0.0/16\"",
            "cidr = \"10.0.0.1/16\"",
            "vpc[0].cidr",
            "host bits set; the range is 10.0.0.0/16",
        ),
        (
            "interface = \"eth1\"",
            "interface = \"eth9\"",
            "vpc[0].interface",
            "no [[interface]] has this name",
        ),
        (
            "interface = \"eth1\"",
            "interface = \"eth0\"",
            "vpc[0].interface",
            "role \"vpc\"",
        ),
        (
            "vpc = \"vpc-main\"",
            "vpc = \"vpc-2\"",
            "gateway[0].vpc",
            "no VPC has this id",
        ),
        (
            "address = \"203.0.113.1\"",
            "address = \"127.0.0.1\"",
            "gateway[0].address",
            "loopback",
        ),
        (
            "bandwidth_mbps = 100",
            "bandwidth_mbps = 7",
            "gateway[0].bandwidth_mbps",
            "is 5, 10, 20, 50, 100",
        ),
        (
            "bandwidth_mbps = 100",
            "bandwidth_mbps = -5",
            "gateway[0].bandwidth_mbps",
            "is 5, 10, 20, 50, 100",
        ),
        (
            "address = \"198.51.100.7\"",
            "address = \"198.51.100.255\"",
            "customer_gateway[0].address",
            "class C broadcast",
        ),
        // Tunnel.
        (
            "gateway = \"gw\"",
            "gateway = \"gw2\"",
            "tunnel[0].gateway",
            "no gateway has this id",
        ),
        (
            "customer_gateway = \"cgw\"",
            "customer_gateway = \"x\"",
            "tunnel[0].customer_gateway",
            "no customer gateway",
        ),
        (
            "psk = \"secret\"",
            &two("psk = \"secret\"\nstart = \"later\""),
            "tunnel[0].start",
            "is one of traffic",
        ),
        // Routes.
        (
            "psk = \"secret\"",
            "psk = \"secret\"\nroutes = [\"172.16.0.0/12\"]",
            "tunnel[0].routes[0]",
            "meets a peer range",
        ),
        // SPD.
        (
            "local = \"10.0.1.0/24\"",
            "local = \"10.0.0.128/25\"",
            "tunnel[0].spd[1].local",
            "of tunnel[0].spd[0].local",
        ),
        (
            "local = \"10.0.1.0/24\"",
            "local = \"10.0.0.0/16\"",
            "tunnel[0].spd[1].local",
            "of tunnel[0].spd[0].local",
        ),
        (
            "local = \"10.0.1.0/24\"",
            "local = \"10.1.0.0/24\"",
            "tunnel[0].spd[1].local",
            "lies inside the range 10.0.0.0/16",
        ),
        (
            "\"192.168.1.0/24\"",
            "\"192.168.0.0/16\"",
            "tunnel[0].spd[0].peer[1]",
            "of tunnel[0].spd[0].peer[0]",
        ),
        (
            "\"192.168.1.0/24\"",
            "\"10.0.0.0/25\"",
            "tunnel[0].spd[0].peer[1]",
            "must not overlap the local range 10.0.0.0/24",
        ),
        (
            "\"192.168.1.0/24\"",
            "\"10.0.7.0/24\"",
            "tunnel[0].spd[0].peer[1]",
            "must not overlap the range 10.0.0.0/16",
        ),
        (
            "\"192.168.1.0/24\"",
            "\"198.51.100.0/24\"",
            "tunnel[0].spd[0].peer[1]",
            "contains 198.51.100.7",
        ),
        (
            "\"192.168.1.0/24\"",
            "\"203.0.113.1/32\"",
            "tunnel[0].spd[0].peer[1]",
            "contains 203.0.113.1",
        ),
        (
            "\"192.168.1.0/24\"",
            "7",
            "tunnel[0].spd[0].peer[1]",
            "is a string",
        ),
        (
            "[\"192.168.2.0/24\"]",
            "[]",
            "tunnel[0].spd[1].peer",
            "at least one element",
        ),
        (
            "[\"192.168.2.0/24\"]",
            "\"192.168.2.0/24\"",
            "tunnel[0].spd[1].peer",
            "is a list of strings",
        ),
    ] {
        check_row(from, to, field, rule);
    }
}

#[test]
fn v15_a_tunnel_without_a_usable_pre_shared_key_is_refused_when_it_is_read() {
    let rows = [
        ("psk = \"\"", "tunnel[0].psk", "is not empty"),
        ("psk_file = \"\"", "tunnel[0].psk_file", "is the path of a file"),
        ("psk_file = \"absent\"", "tunnel[0].psk_file", "cannot be read"),
        (
            "psk_file = \"/dev/null\"",
            "tunnel[0].psk_file",
            "is not a regular file",
        ),
    ];
    for (key, field, rule) in rows {
        check_row("psk = \"secret\"", key, field, rule);
    }
    for none_or_two in ["", "psk = \"secret\"\npsk_file = \"absent\""] {
        let text = VALID.replacen("psk = \"secret\"", none_or_two, 1);
        let refused = parse_text(&text).expect_err(none_or_two);
        let rules: Vec<_> = refused.mistakes.iter().map(|mistake| &mistake.rule).collect();
        assert!(
            matches!(&rules[..], [rule] if rule.contains("has either psk or psk_file")),
            "{refused}"
        );
    }
}

/// Appends to the valid file and expects exactly one mistake.
#[track_caller]
fn check_appended(more: &str, field: &str, rule: &str) {
    let refused = parse_text(&format!("{VALID}{more}")).expect_err(more);
    let [mistake] = &refused.mistakes[..] else {
        panic!("{more}: expected one mistake:\n{refused}")
    };
    assert_eq!(mistake.field, field, "{refused}");
    assert!(mistake.rule.contains(rule), "{refused}");
    assert!(mistake.line > VALID.lines().count(), "{refused}");
}

#[test]
fn where_alarms_may_be_sent_to_is_a_list_of_networks() {
    let allows = |more: &str, address: &str| {
        let text = format!("[store]\npath = \"/s.db\"\n{more}{VALID}");
        let management = parse_text(&text).expect(more).management;
        let targets = management.expect("there is a store").alarm_targets;
        targets.allow(address.parse().expect("an address"))
    };
    let relay = "[alarms]\ntargets = [\"127.0.0.0/8\", \"2001:db8::/32\"]\n";
    for (more, address, expected) in [
        ("", "192.0.2.1", true),
        ("", "127.0.0.1", false),
        (relay, "127.0.0.1", true),
        (relay, "2001:db8::1", true),
        (relay, "192.0.2.1", false),
    ] {
        assert_eq!(allows(more, address), expected, "{more}{address}");
    }
    for (text, message) in [
        (
            "[store]\npath = \"/s.db\"\n[alarms]\ntargets = [\"192.0.2.1/24\"]\n",
            "is a network",
        ),
        (
            "[store]\npath = \"/s.db\"\n[alarms]\ntargets = []\n",
            "at least one element",
        ),
        ("[alarms]\ntargets = [\"10.0.0.0/8\"]\n", "needs a [store]"),
    ] {
        let refused = parse_text(&format!("{text}{VALID}")).expect_err(text);
        assert!(refused.to_string().contains(message), "{refused}");
    }
}

#[test]
fn what_must_be_one_of_a_kind_is_checked() {
    let tunnel = |id: &str, gateway: &str, peer: &str, local: &str, remote: &str| {
        format!(
            "[[tunnel]]\nid = \"{id}\"\ngateway = \"{gateway}\"\ncustomer_gateway = \"{peer}\"\npsk = \"x\"\n\
             [[tunnel.spd]]\nlocal = \"{local}\"\npeer = [\"{remote}\"]\n"
        )
    };
    let cgw =
        |id: &str, address: &str| format!("[[customer_gateway]]\nid = \"{id}\"\naddress = \"{address}\"\n");
    let other = cgw("cgw2", "198.51.100.8");
    let new = ("10.0.9.0/24", "192.168.9.0/24");
    let probe = "[tunnel.probe]\nlocal = \"169.254.200.2\"\nremote = \"169.254.200.3\"\n";
    for (more, field, rule) in [
        (
            cgw("cgw", "198.51.100.8"),
            "customer_gateway[1].id",
            "another customer gateway has this id",
        ),
        (
            tunnel("two", "gw", "cgw", new.0, new.1),
            "tunnel[1].customer_gateway",
            "joins this gateway",
        ),
        (
            other.clone() + &tunnel("one", "gw", "cgw2", new.0, new.1),
            "tunnel[1].id",
            "another tunnel has this id",
        ),
        (
            other + &tunnel("two", "gw", "cgw2", "10.0.0.0/24", "192.168.1.0/24"),
            "tunnel[1].spd[0].peer[0]",
            "belongs to tunnel[0] already",
        ),
        (
            cgw("cgw2", "198.51.100.8")
                + &tunnel("two", "gw", "cgw2", "10.0.8.0/24", "192.168.8.0/24")
                + probe
                + &cgw("cgw3", "198.51.100.9")
                + &tunnel("three", "gw", "cgw3", new.0, new.1)
                + probe,
            "tunnel[2].probe",
            "which belong to tunnel[1] already",
        ),
        (
            cgw("cgw2", "198.51.100.8")
                + &tunnel("two", "gw", "cgw2", new.0, new.1)
                + "[tunnel.probe]\nlocal = \"10.0.9.1\"\nremote = \"198.51.100.7\"\n",
            "tunnel[1].probe",
            "the public address of an end of a tunnel",
        ),
        (
            "[[interface]]\nname = \"eth0\"\nrole = \"public\"\n".into(),
            "interface[2].name",
            "another interface has this name",
        ),
        (
            cgw("cgw2", "198.51.100.7") + &tunnel("two", "gw", "cgw2", new.0, new.1),
            "tunnel[1].customer_gateway",
            "a peer with the same address",
        ),
        (
            "[[gateway]]\nid = \"gw2\"\nvpc = \"vpc-main\"\naddress = \"203.0.113.1\"\nbandwidth_mbps = 5\n"
                .into(),
            "gateway[1].address",
            "another gateway has this address",
        ),
        (
            "[[interface]]\nname = \"eth2\"\nrole = \"vpc\"\n\
             [[vpc]]\nid = \"v2\"\ncidr = \"10.0.64.0/20\"\ninterface = \"eth2\"\n"
                .into(),
            "vpc[1].cidr",
            "overlaps 10.0.0.0/16 of vpc[0].cidr",
        ),
        (
            "[[vpc]]\nid = \"v2\"\ncidr = \"10.7.0.0/16\"\ninterface = \"eth1\"\n".into(),
            "vpc[1].interface",
            "another VPC has this interface",
        ),
    ] {
        check_appended(&more, field, rule);
    }
}

#[test]
fn quotas_are_enforced_and_configurable() {
    let peers = |count: u8| {
        let list: Vec<_> = (0..count)
            .map(|third| format!("\"172.16.{third}.0/24\""))
            .collect();
        VALID.replace("[\"192.168.2.0/24\"]", &format!("[{}]", list.join(",")))
    };
    assert!(parse_text(&peers(50)).is_ok());
    let refused = parse_text(&peers(51)).unwrap_err();
    assert_eq!(refused.mistakes[0].field, "tunnel[0].spd[1].peer[50]");
    assert!(parse_text(&format!("quotas.peer_ranges_per_rule = 51\n{}", peers(51))).is_ok());

    let customers = |count: u8| {
        (1..=count)
            .map(|n| {
                format!(
                    "[[customer_gateway]]\nid = \"c{n}\"\naddress = \"198.51.100.{}\"\n",
                    n + 10
                )
            })
            .collect::<String>()
    };
    assert!(parse_text(&format!("{VALID}{}", customers(19))).is_ok());
    check_appended(
        &customers(20),
        "customer_gateway[20].id",
        "at most 20 customer gateways",
    );
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = VALID
        .replace("eth0", "a b")
        .replace("198.51.100.7", "127.0.0.1")
        .replace("\"192.168.2.0/24\"", "\"x\"");
    let refused = parse_text(&text).unwrap_err();
    let fields: Vec<_> = refused
        .mistakes
        .iter()
        .map(|mistake| mistake.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "interface[0].name",
            "customer_gateway[0].address",
            "tunnel[0].spd[1].peer[0]"
        ]
    );
    let printed = refused.to_string();
    assert!(
        printed.starts_with("/nowhere/gateway.toml:2: interface[0].name = \"a b\": is an interface name"),
        "{printed}"
    );
    assert!(printed.ends_with("3 mistakes; nothing was changed"), "{printed}");
}

#[test]
fn syntax_errors_have_their_line_and_hide_guesses() {
    let refused = parse_text(&VALID.replace("role = \"public\"", "role = public")).unwrap_err();
    assert!(
        refused
            .mistakes
            .iter()
            .all(|mistake| mistake.kind == MistakeKind::Syntax && mistake.line == 3),
        "{refused}"
    );
}

#[test]
fn secrets_do_not_appear_in_messages() {
    let text = VALID.replace("psk = \"secret\"", &format!("psk = \"{}\"", "hush".repeat(500)));
    let printed = parse_text(&text).unwrap_err().to_string();
    assert!(
        printed.contains("tunnel[0].psk") && !printed.contains("hush"),
        "{printed}"
    );
}

#[test]
fn values_in_messages_are_short_and_free_of_control_characters() {
    let text = VALID.replace("\"eth0\"", &format!("\"\\u001b[31m{}\"", "x".repeat(10_000)));
    let printed = parse_text(&text).unwrap_err().to_string();
    assert!(printed.len() < 400 && !printed.contains('\u{1b}'), "{printed}");
}

#[test]
fn hostile_files_are_refused_without_a_panic() {
    let deep = format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_keys = format!("{} = 1", vec!["a"; 10_000].join("."));
    for text in [
        "",
        "\0",
        "[",
        "=",
        "tunnel = 7",
        "tunnel = [1, 2]",
        "agent = []",
        "[[agent]]",
        &deep,
        &deep_keys,
        "\u{feff}",
    ] {
        let refused = parse_text(text).expect_err(text);
        assert!(!refused.mistakes.is_empty(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics_and_a_refusal_names_a_mistake(text in "\\PC*") {
        if let Err(refused) = parse_text(&text) {
            prop_assert!(!refused.mistakes.is_empty());
        }
    }

    #[test]
    fn a_damaged_file_never_panics_and_a_refusal_names_a_mistake(
        at in 0..VALID.len(),
        delete in 0_usize..40,
        insert in "[\\[\\]\"={}a-z0-9./\n-]{0,12}",
    ) {
        let end = (at + delete).min(VALID.len());
        let text = format!("{}{insert}{}", &VALID[..at], &VALID[end..]);
        if let Err(refused) = parse_text(&text) {
            prop_assert!(!refused.mistakes.is_empty(), "{text}");
        }
    }
}
