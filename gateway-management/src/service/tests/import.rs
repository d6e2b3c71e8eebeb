//! Files into the store and back.

use proptest::prelude::*;

use super::*;
use crate::declaration::Declaration;

const FILE: &str = r#"
[[gateway]]
id = "vpngw-one"
name = "one"
vpc = "vpc-main"
address = "203.195.147.148"
bandwidth_mbps = 20
expires = "2027-01-31T12:00:00Z"
[[customer_gateway]]
id = "cgw-idc"
name = "idc"
address = "202.108.22.5"
[[tunnel]]
id = "vpnx-idc"
gateway = "vpngw-one"
customer_gateway = "cgw-idc"
psk = "schlüssel"
[[tunnel.spd]]
local = "192.168.1.0/24"
peer = ["10.0.1.0/24"]
"#;

/// A second tunnel, of another pair of ends.
const SECOND: &str = r#"
[[gateway]]
id = "vpngw-two"
vpc = "vpc-main"
address = "203.195.147.149"
bandwidth_mbps = 5
[[tunnel]]
id = "vpnx-two"
gateway = "vpngw-two"
customer_gateway = "cgw-idc"
psk = "second"
[[tunnel.spd]]
local = "192.168.1.0/24"
peer = ["10.0.2.0/24"]
"#;

fn read(text: &str) -> Declaration {
    Declaration::read(text, &|_| Err("no key files here".into())).unwrap()
}

fn take(world: &World, text: &str) -> Result<(usize, usize, usize), String> {
    let done = world.management.import(NOW, &Actor::local(), &read(text), false);
    done.map(|import| import.counts()).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    })
}

fn export(world: &World) -> String {
    world.management.export(&Actor::local()).unwrap().to_string()
}

#[test]
fn a_file_is_taken_once_and_left_the_second_time() {
    let world = World::new();
    assert_eq!(take(&world, FILE), Ok((3, 0, 0)));
    assert_eq!(world.status("vpnx-idc"), Status::Creating);
    let told = world.agent.changes.load(Ordering::Relaxed);
    world.settle(&[]);
    assert_eq!(take(&world, FILE), Ok((0, 0, 3)));
    assert_eq!(world.agent.changes.load(Ordering::Relaxed), told);
    assert_eq!(world.status("vpnx-idc"), Status::Running);
    // The export says the same, and what it leaves out has the default that it had.
    assert_eq!(take(&world, &export(&world)), Ok((0, 0, 3)));
}

#[test]
fn what_the_file_has_otherwise_is_changed_and_named() {
    let world = World::new();
    take(&world, FILE).unwrap();
    world.settle(&[]);
    let changed = FILE
        .replace("bandwidth_mbps = 20", "bandwidth_mbps = 50")
        .replace("schlüssel", "another");
    let import = world
        .management
        .import(NOW, &Actor::local(), &read(&changed), false)
        .unwrap();
    let fates: Vec<_> = import.objects.iter().map(|object| &object.fate).collect();
    let changed = |what: &str| Fate::Changed {
        what: what.to_owned(),
    };
    assert_eq!(
        fates,
        [
            &changed("bandwidth"),
            &Fate::Left,
            &changed("pre-shared key; disturbs: renegotiation")
        ]
    );
    assert_eq!(world.status("vpnx-idc"), Status::Modifying);
}

#[test]
fn a_file_without_a_probe_switches_the_health_check_off() {
    let world = World::new();
    let probed = format!("{FILE}[tunnel.probe]\nthreshold = 5\n");
    take(&world, &probed).unwrap();
    world.settle(&[]);
    assert!(export(&world).contains("[tunnel.probe]"));
    assert_eq!(take(&world, &probed), Ok((0, 0, 3)));
    let import = world
        .management
        .import(NOW, &Actor::local(), &read(FILE), false)
        .unwrap();
    let Fate::Changed { what } = &import.objects[2].fate else {
        panic!("{:?}", import.objects)
    };
    assert!(what.starts_with("health check; "), "{what}");
    assert!(!export(&world).contains("probe"), "{}", export(&world));
}

#[test]
fn one_refusal_leaves_the_store_as_it_was_and_names_object_field_value_and_rule() {
    for (from, to, parts) in [
        (
            "203.195.147.148",
            "203.0.113.9",
            &["gateway vpngw-one", "address", "203.0.113.9", "public_addresses"][..],
        ),
        (
            "2027-01-31T12:00:00Z",
            "2020-01-31T12:00:00Z",
            &["vpngw-one", "expires", "2020-01-31", "lies ahead"],
        ),
        (
            "bandwidth_mbps = 20",
            "bandwidth_mbps = 21",
            &["vpngw-one", "bandwidth", "21", "is 5, 10"],
        ),
        ("vpc-main", "vpc-none", &["vpngw-one", "no VPC", "vpc-none"]),
        (
            "192.168.1.0/24",
            "192.169.1.0/24",
            &[
                "line 13",
                "vpnx-idc",
                "SPD local range",
                "192.169.1.0/24",
                "inside",
            ],
        ),
        (
            "customer_gateway = \"cgw-idc\"",
            "customer_gateway = \"cgw-none\"",
            &["vpnx-idc", "cgw-none"],
        ),
        (
            "202.108.22.5",
            "203.195.147.147",
            &["cgw-idc", "203.195.147.147", "this gateway itself"],
        ),
    ] {
        let world = World::new();
        let refusal = take(&world, &FILE.replace(from, to)).unwrap_err();
        for part in parts {
            assert!(refusal.contains(part), "{refusal:?} lacks {part:?}");
        }
        assert_eq!(export(&world), "gateway = []\ncustomer_gateway = []\n");
        assert!(world.management.audit_log(&Actor::local(), 9).unwrap().is_empty());
    }
}

#[test]
fn ends_and_vpcs_do_not_change_and_ids_stand_once() {
    let world = World::new();
    take(&world, FILE).unwrap();
    for (text, part) in [
        (FILE.replace("202.108.22.5", "202.108.22.6"), "cannot be changed"),
        (
            FILE.replace("203.195.147.148", "203.195.147.149"),
            "cannot be changed",
        ),
        (FILE.replace("\"vpc-main\"", "\"vpc-other\""), "cannot be changed"),
        (
            format!("{FILE}{}", &FILE[FILE.find("[[tunnel]]").unwrap()..]),
            "twice",
        ),
    ] {
        let refusal = take(&world, &text).unwrap_err();
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[test]
fn a_dry_run_tells_all_and_keeps_nothing() {
    let world = World::new();
    let import = world
        .management
        .import(NOW, &Actor::local(), &read(FILE), true)
        .unwrap();
    assert_eq!(import.counts(), (3, 0, 0));
    assert_eq!(export(&world), "gateway = []\ncustomer_gateway = []\n");
    assert_eq!(world.agent.changes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_range_moves_between_tunnels_whatever_their_order() {
    let both = format!("{FILE}{SECOND}");
    let world = World::new();
    take(&world, &both).unwrap();
    // The first takes the range of the second, which goes to another.
    let moved = both
        .replace("10.0.2.0/24", "10.0.3.0/24")
        .replace("10.0.1.0/24", "10.0.2.0/24");
    assert_eq!(take(&world, &moved), Ok((0, 2, 3)));
}

#[test]
fn an_operator_key_may_not_import_since_the_file_has_keys() {
    let world = World::new();
    let refused = world
        .management
        .import(NOW, &world.actor, &read(FILE), true)
        .unwrap_err();
    assert!(matches!(refused, ImportError::NotAllowed(_)), "{refused:?}");
}

fn pick<T: Copy>(all: &[T], seed: u64, shift: u32) -> T {
    all[usize::try_from(seed >> shift & 0xff).unwrap() % all.len()]
}

/// A tunnel whose every choice comes from the seed.
fn any_tunnel(name: String, gateway: &str, customer: &str, number: usize, seed: u64) -> NewTunnel {
    let identity = |shift: u32| match seed >> shift & 3 {
        0 | 1 => Identity::OwnAddress,
        2 => Identity::Address(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        _ => Identity::Fqdn(format!("end{shift}.example.com")),
    };
    NewTunnel {
        name,
        psk: PresharedKey::parse(&format!("\"ключ\" \\ # {seed}")).unwrap(),
        spd: vec![
            SpdRule {
                local: "192.168.0.0/25".parse().unwrap(),
                peers: vec![format!("10.{number}.0.0/16").parse().unwrap()],
            },
            SpdRule {
                local: "192.168.9.0/24".parse().unwrap(),
                peers: vec![
                    format!("10.{number}.0.0/16").parse().unwrap(),
                    format!("172.31.{number}.4/30").parse().unwrap(),
                ],
            },
        ],
        start: pick(Start::ALL, seed, 0),
        ike: IkeOptions {
            version: pick(IkeVersion::ALL, seed, 3),
            mode: pick(ExchangeMode::ALL, seed, 5),
            encryption: pick(IkeEncryption::ALL, seed, 8),
            hash: pick(Hash::ALL, seed, 12),
            group: pick(DhGroup::ALL, seed, 16),
            lifetime_seconds: 60 + u32::try_from(seed & 0xffff).unwrap(),
            local_identity: identity(20),
            remote_identity: identity(22),
        },
        ipsec: IpsecOptions {
            encryption: pick(EspEncryption::ALL, seed, 24),
            integrity: pick(Hash::ALL, seed, 28),
            pfs: (seed >> 31 & 1 == 1).then(|| pick(DhGroup::ALL, seed, 32)),
            lifetime_seconds: 180 + u32::try_from(seed >> 8 & 0xffff).unwrap(),
            lifetime_kilobytes: 2560 + u32::try_from(seed >> 16 & 0xffff).unwrap(),
        },
        dpd_seconds: u32::try_from(seed >> 40 & 0x3ff).unwrap(),
        dpd_action: pick(DpdAction::ALL, seed, 52),
        health: HealthPatch {
            enabled: Some(seed >> 54 & 1 == 1),
            threshold: Some(3 + u32::try_from(seed >> 55 & 3).unwrap()),
            ..HealthPatch::default()
        },
        ..new_tunnel("", gateway, customer)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_export_into_an_empty_store_exports_the_same(
        tunnels in proptest::collection::vec((any::<u64>(), "[^\\p{C}\\s]{1,20}"), 0..4),
        renew in any::<bool>(),
    ) {
        let world = World::new();
        let customer = world.customer("idc \"Zürich\"", "202.108.22.5").unwrap();
        for (number, (seed, name)) in tunnels.into_iter().enumerate().take(2) {
            let gateway = world.gateway(&format!("{number}{name}"), "vpc-main").unwrap();
            let change = GatewayChange { auto_renew: Some(renew), ..GatewayChange::default() };
            world.management.modify_gateway(NOW, &world.actor, &gateway.id, &change).unwrap();
            let tunnel = any_tunnel(format!("{name}{number}"), &gateway.id, &customer.id, number, seed);
            world.management.create_tunnel(NOW, &world.actor, tunnel).unwrap();
        }
        let exported = export(&world);
        let other = World::new();
        take(&other, &exported).unwrap();
        prop_assert_eq!(&export(&other), &exported);
        prop_assert_eq!(take(&other, &exported).unwrap().2, exported.matches("\nid = ").count());
    }
}
