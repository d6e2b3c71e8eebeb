//! The commands against a store: every action and field that they send is one of the API.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use clap::Parser as _;
use gateway_management::price::PriceBook;
use gateway_management::site::{Quotas, Vpc};
use gateway_management::{Actor, Management, Nobody, Site, Store, Timestamp, api};

use super::*;
use crate::cli::arguments::{Arguments, Subcommands};

struct Appliance {
    management: Management,
    /// Answers, the last one last; refusals as their sentences.
    answers: RefCell<Vec<Result<Value, String>>>,
}

fn parse(line: &str) -> Subcommands {
    let words = std::iter::once("gateway").chain(line.split_whitespace());
    Arguments::try_parse_from(words).unwrap().command
}

impl Appliance {
    fn new() -> Self {
        let site = Site {
            region: "gz".into(),
            vpcs: vec![Vpc {
                id: "vpc".into(),
                name: "vpc".into(),
                cidr: "10.0.0.0/16".parse().unwrap(),
            }],
            public_addresses: vec!["203.0.113.1".parse().unwrap()],
            quotas: Quotas {
                customer_gateways: 300,
                ..Quotas::default()
            },
            prices: PriceBook::default(),
        };
        Self {
            management: Management::new(Store::in_memory().unwrap(), site, Arc::new(Nobody)),
            answers: RefCell::default(),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other commands have no objects"
    )]
    fn run(&self, line: &str) -> Result<(), Exit> {
        let call = |action: &str, body: Value| {
            let answer = api::v3::call(
                &self.management,
                Timestamp(1_790_000_000),
                &Actor::local(),
                action,
                body,
            );
            let answer = answer.map_err(|refusal| refusal.to_string());
            self.answers.borrow_mut().push(answer.clone());
            answer.map_err(|_told| Exit::Refused)
        };
        match parse(line) {
            Subcommands::Gateways { command } => run_gateways(&call, &command),
            Subcommands::CustomerGateways { command } => run_customer_gateways(&call, &command),
            Subcommands::DefensePackages { command } => defense::run(&call, &command),
            Subcommands::Tunnels { command } => run_tunnels(&call, &command),
            Subcommands::Routes { command } => routes::run(&call, &command),
            other => panic!("{other:?}"),
        }
    }

    /// Runs what must work and gives the last answer.
    #[track_caller]
    fn ok(&self, line: &str) -> Value {
        let done = self.run(line);
        let answer = self.answers.borrow().last().cloned();
        assert_eq!(done, Ok(()), "{line}: {answer:?}");
        answer.unwrap().unwrap()
    }

    /// Runs what must be refused and gives the sentence.
    #[track_caller]
    fn refused(&self, line: &str) -> String {
        assert_eq!(self.run(line), Err(Exit::Refused), "{line}");
        let answer = self.answers.borrow().last().cloned();
        answer.unwrap().unwrap_err()
    }

    /// Settles what is being changed, as the agent does.
    fn settle(&self) {
        let revision = self.management.desired().unwrap().revision;
        self.management
            .settle(revision, &std::collections::BTreeMap::new())
            .unwrap();
    }
}

fn key_file(directory: &tempfile::TempDir) -> String {
    let file = directory.path().join("psk");
    std::fs::write(&file, "correct horse\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[test]
fn the_quick_start_works_from_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let (key, at) = (key_file(&directory), Appliance::new());
    let made = at.ok("gateways create --name edge --vpc vpc --bandwidth 100 --months 1");
    let gateway = made["VpnGateway"]["VpnGatewayId"].as_str().unwrap().to_owned();
    let made = at.ok("customer-gateways create --name idc --address 202.108.22.5");
    let customer = made["CustomerGateway"]["CustomerGatewayId"]
        .as_str()
        .unwrap()
        .to_owned();
    let made = at.ok(&format!(
        "tunnels create --name first --gateway {gateway} --customer-gateway {customer} --psk-file {key} \
         --spd 10.0.0.0/24=192.168.0.0/24,192.168.1.0/24 --start traffic --ike-version ikev2 --ike-encryption aes-256 \
         --ike-authentication sha2-256 --dh-group group14 --ike-lifetime 3600 --local-fqdn gw.example.org \
         --esp-encryption aes-256 --esp-authentication sha2-256 --pfs dh-group14 --esp-lifetime 1800 \
         --esp-lifetime-kilobytes 4000 --dpd 20 --dpd-action restart --health-check on --health-check-threshold 5"
    ));
    let tunnel = made["VpnConnection"]["VpnConnectionId"]
        .as_str()
        .unwrap()
        .to_owned();
    at.settle();
    let shown = at.ok(&format!("tunnels show {tunnel} --show-psk"));
    let shown = &shown["VpnConnectionSet"][0];
    assert_eq!(shown["PreShareKey"], "correct horse");
    assert_eq!(shown["NegotiationType"], "flowTrigger");
    assert_eq!(
        shown["SecurityPolicyDatabaseSet"][0]["RemoteCidrBlock"][1],
        "192.168.1.0/24"
    );
    assert_eq!(shown["DpdTimeout"], "20");
    assert_eq!(shown["DpdAction"], "restart");
    assert_eq!(shown["HealthCheckConfig"]["ProbeThreshold"], 5);
    assert_eq!(
        shown["IKEOptionsSpecification"]["LocalFqdnName"],
        "gw.example.org"
    );

    let effect = at.ok(&format!("tunnels modify {tunnel} --name second --dry-run"));
    assert_eq!(effect["Effect"], "nothing");
    let effect = at.ok(&format!("tunnels modify {tunnel} --pfs off --dry-run"));
    assert_eq!(effect["Effect"], "renegotiation");
    let same = at.ok(&format!("tunnels show {tunnel}"));
    assert_eq!(same["VpnConnectionSet"][0]["VpnConnectionName"], "first");
    at.ok(&format!(
        "tunnels modify {tunnel} --name second --dpd 0 --health-check-addresses 10.0.0.1,192.168.0.1"
    ));
    at.settle();
    at.ok(&format!(
        "gateways modify {gateway} --name core --bandwidth 200 --renewal manual"
    ));
    at.ok(&format!("gateways renew {gateway} --months 2"));
    at.ok(&format!("customer-gateways modify {customer} --name centre"));
    at.ok("customer-gateways vendors");
    let shown = at.ok(&format!("tunnels show {tunnel}"));
    assert_eq!(shown["VpnConnectionSet"][0]["HealthCheckRemoteIp"], "192.168.0.1");
    let refusal = at.refused(&format!("tunnels modify {tunnel} --health-check-timeout 9"));
    assert!(refusal.contains("timeout"), "{refusal}");
    at.ok(&format!("tunnels reset {tunnel}"));
    let listed = at.ok(&format!("tunnels list --filter vpn-gateway-id={gateway}"));
    assert_eq!(listed["TotalCount"], 1);

    assert!(
        at.refused(&format!("gateways delete {gateway}"))
            .contains("tunnel")
    );
    at.ok(&format!("tunnels delete {tunnel}"));
    at.settle();
    at.ok(&format!("gateways delete {gateway}"));
    at.ok(&format!("customer-gateways delete {customer}"));
    assert_eq!(at.ok("gateways list")["TotalCount"], 0);
}

#[test]
fn a_high_defense_package_is_made_changed_moved_and_removed() {
    let at = Appliance::new();
    let made = at.ok("gateways create --name edge --vpc vpc --bandwidth 100");
    let gateway = made["VpnGateway"]["VpnGatewayId"].as_str().unwrap().to_owned();
    assert_eq!(made["VpnGateway"]["IsAddressBlocked"], false);
    let made = at
        .ok("defense-packages create --name shield --attack-rate 5000 --block 192.0.2.0/24,198.51.100.0/24");
    let made = &made["DefensePackage"];
    let id = made["DefensePackageId"].as_str().unwrap().to_owned();
    assert_eq!(
        (&made["State"], &made["Limits"]["AttackRate"]),
        (&json!("UNBOUND"), &json!(5000))
    );
    assert_eq!(
        made["Limits"]["Block"],
        json!(["192.0.2.0/24", "198.51.100.0/24"])
    );

    at.ok(&format!("defense-packages bind {id} {gateway}"));
    at.ok(&format!(
        "defense-packages modify {id} --name wall --ike-rate 7 --block none"
    ));
    let shown = at.ok(&format!("defense-packages show {id}"));
    let shown = &shown["DefensePackageSet"][0];
    assert_eq!(
        (&shown["VpnGatewayId"], &shown["State"]),
        (&json!(gateway), &json!("NORMAL"))
    );
    assert_eq!(
        (&shown["Limits"]["IkeRate"], &shown["Limits"]["AttackRate"]),
        (&json!(7), &json!(5000))
    );
    assert_eq!(shown["Limits"]["Block"], json!([]));
    let listed = at.ok(&format!(
        "defense-packages list --filter vpn-gateway-id={gateway}"
    ));
    assert_eq!(listed["TotalCount"], 1);

    let sentence = at.refused(&format!(
        "defense-packages create --name other --gateway {gateway}"
    ));
    assert!(sentence.contains(&id), "{sentence}");
    let sentence = at.refused(&format!("defense-packages delete {id}"));
    assert!(sentence.contains(&gateway), "{sentence}");
    at.ok(&format!("defense-packages unbind {id}"));
    at.ok(&format!("defense-packages delete {id}"));
    assert_eq!(at.ok("defense-packages list")["TotalCount"], 0);
}

#[test]
fn refusals_name_field_value_and_rule() {
    let at = Appliance::new();
    for (line, parts) in [
        (
            "gateways create --name x --vpc vpc --bandwidth 7",
            &["7", "bandwidth"][..],
        ),
        ("gateways create --name x --vpc other --bandwidth 5", &["other"]),
        (
            "customer-gateways create --name x --address 127.0.0.1",
            &["127.0.0.1"],
        ),
        ("gateways delete vpngw-nothere1", &["vpngw-nothere1"]),
        ("tunnels list --filter color=red", &["color"]),
    ] {
        let sentence = at.refused(line);
        for part in parts {
            assert!(sentence.to_lowercase().contains(part), "{line}: {sentence}");
        }
    }
    assert_eq!(at.run("tunnels show vpnx-nothere1"), Err(Exit::Refused));
}

#[test]
fn lists_read_all_pages() {
    let at = Appliance::new();
    for n in 1..=205 {
        at.ok(&format!(
            "customer-gateways create --name c{n} --address 198.51.100.{}",
            n.min(254)
        ));
    }
    let pages = at.answers.borrow().len();
    at.ok("customer-gateways list");
    assert_eq!(at.answers.borrow().len() - pages, 3);
}

#[test]
fn wrong_words_are_refused_before_the_agent_is_asked() {
    for line in [
        "gateways modify vpngw-1",
        "gateways create --name x",
        "tunnels create --name x --gateway a --customer-gateway b --spd 10.0.0.0/24",
        "tunnels modify x --spd 10.0.0.0/33=1.2.3.0/24",
        "tunnels modify x --start sometimes",
        "customer-gateways list --filter x",
        "audit --limit 0",
    ] {
        let words = std::iter::once("gateway").chain(line.split_whitespace());
        assert!(Arguments::try_parse_from(words).is_err(), "{line}");
    }
}

#[test]
fn routes_are_made_switched_listed_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let (key, at) = (key_file(&directory), Appliance::new());
    let id = |made: &Value, pointer: &str| made.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let made = at.ok("gateways create --name edge --vpc vpc --bandwidth 100");
    let gateway = id(&made, "/VpnGateway/VpnGatewayId");
    let made = at.ok("customer-gateways create --name idc --address 202.108.22.5");
    let customer = id(&made, "/CustomerGateway/CustomerGatewayId");
    let made = at.ok(&format!(
        "tunnels create --name first --gateway {gateway} --customer-gateway {customer} --psk-file {key} \
         --spd 10.0.0.0/24=192.168.0.0/24"
    ));
    let tunnel = id(&made, "/VpnConnection/VpnConnectionId");
    let create = |destination: &str| {
        format!(
            "routes create --gateway {gateway} --tunnel {tunnel} --destination {destination} --description lab --disabled"
        )
    };
    let route = id(&at.ok(&create("192.168.0.0/25")), "/Routes/0/RouteId");
    assert!(at.refused(&create("172.16.0.0/24")).contains("172.16.0.0/24"));
    for (line, status) in [
        ("routes list".to_owned(), "DISABLE"),
        (format!("routes enable {route} --gateway {gateway}"), "ENABLE"),
        (
            format!("routes list --gateway {gateway} --filter InstanceId={tunnel} --json"),
            "ENABLE",
        ),
        (format!("routes disable {route} --gateway {gateway}"), "DISABLE"),
    ] {
        let answer = at.ok(&line);
        assert_eq!(answer["Routes"][0]["Status"], status, "{line}");
        assert_eq!(answer["Routes"][0]["Description"], "lab", "{line}");
    }
    at.ok(&format!("routes delete {route} --gateway {gateway}"));
    assert_eq!(at.ok("routes list")["TotalCount"], 0);
}
