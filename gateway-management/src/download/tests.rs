//! Files as they are, and what they refuse.

use super::*;
use crate::algorithms::{
    DhGroup, EspEncryption, ExchangeMode, Hash, Identity, IkeEncryption, IkeOptions, IkeVersion,
    IpsecOptions, Start,
};
use crate::objects::{CustomerGateway, Status, Tunnel, VpnGateway};
use crate::psk::PresharedKey;
use crate::spd::SpdRule;

const NOW: Timestamp = Timestamp(1_600_000_000);

fn view(version: IkeVersion) -> TunnelView {
    let tunnel = Tunnel {
        number: 1,
        id: "vpnx-ol6bcqp0".to_owned(),
        name: "to the data centre".to_owned(),
        gateway: 1,
        customer_gateway: 1,
        status: Status::Running,
        revision: 1,
        start: Start::Traffic,
        spd: vec![
            SpdRule {
                local: "192.168.1.0/24".parse().unwrap(),
                peers: vec!["10.0.1.0/24".parse().unwrap()],
            },
            SpdRule {
                local: "192.168.2.0/24".parse().unwrap(),
                peers: vec!["10.0.1.0/24".parse().unwrap()],
            },
        ],
        ike: IkeOptions {
            version,
            mode: ExchangeMode::Main,
            encryption: IkeEncryption::Aes128,
            hash: Hash::Sha1,
            group: DhGroup::Group14,
            lifetime_seconds: 86_400,
            local_identity: Identity::OwnAddress,
            remote_identity: Identity::Fqdn("idc.example.com".to_owned()),
        },
        ipsec: IpsecOptions {
            encryption: EspEncryption::Aes128,
            integrity: Hash::Sha1,
            pfs: Some(DhGroup::Group14),
            lifetime_seconds: 3_600,
            lifetime_kilobytes: 1_843_200,
        },
        dpd_seconds: 30,
        dpd_action: crate::algorithms::DpdAction::Hold,
        health: None,
        created: NOW,
        error: String::new(),
    };
    TunnelView {
        tunnel,
        gateway: VpnGateway {
            number: 1,
            id: "vpngw-dystbrkv".to_owned(),
            name: "gateway".to_owned(),
            vpc: "vpc-main".to_owned(),
            address: "203.195.147.82".parse().unwrap(),
            bandwidth: 5,
            auto_renew: false,
            created: NOW,
            expires: NOW,
            stage: crate::lease::Lease::Running,
            reminded: NOW,
        },
        customer_gateway: CustomerGateway {
            number: 1,
            id: "cgw-e098slul".to_owned(),
            name: "idc".to_owned(),
            address: "202.108.22.5".parse().unwrap(),
            created: NOW,
        },
        psk: Some(PresharedKey::parse("Secret.1234").unwrap()),
    }
}

fn device(vendor: &Vendor) -> Device<'static> {
    Device {
        vendor: vendor.name,
        platform: vendor.platform,
        software: None,
        interface: None,
    }
}

/// Compares with `tests/configurations`; with `GATEWAY_WRITE_SNAPSHOTS=1` it writes there.
#[test]
fn every_vendors_file_is_the_one_that_was_looked_at() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configurations");
    for vendor in VENDORS {
        for (version, suffix) in [(IkeVersion::V1, "ikev1"), (IkeVersion::V2, "ikev2")] {
            let text = render(&view(version), NOW, &device(vendor))
                .unwrap_or_else(|error| panic!("{} {} {suffix}: {error}", vendor.name, vendor.platform));
            let text = text.replace('\r', "\n");
            let file = directory.join(format!("{}-{}-{suffix}.txt", vendor.name, vendor.platform));
            if std::env::var_os("GATEWAY_WRITE_SNAPSHOTS").is_some() {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&file, &text).unwrap();
            }
            let expected = std::fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(text, expected, "{}", file.display());
        }
    }
}

#[test]
fn every_file_says_what_users_expect_of_it() {
    for vendor in VENDORS {
        for version in [IkeVersion::V1, IkeVersion::V2] {
            let text = render(&view(version), NOW, &device(vendor)).unwrap();
            for part in [
                "Fingerprint of the parameters: ",
                "203.195.147.82",
                "idc.example.com",
                "NAT exemption",
                "irewall: let UDP 500, UDP 4500 and protocol ESP",
                "MTU inside the tunnel",
                "Verify:",
                "Undo:",
            ] {
                assert!(
                    text.contains(part),
                    "{} {} lacks {part:?}",
                    vendor.name,
                    vendor.platform
                );
            }
            let key = ["Secret.1234", "5365637265742e31323334"];
            assert!(
                key.iter().any(|key| text.contains(key)),
                "{} has no key",
                vendor.platform
            );
        }
    }
}

#[test]
fn without_the_right_to_see_the_key_there_is_a_place_for_it() {
    for vendor in VENDORS {
        let view = TunnelView {
            psk: None,
            ..view(IkeVersion::V1)
        };
        let text = render(&view, NOW, &device(vendor)).unwrap();
        assert!(text.contains("the pre-shared key: the API key that made this file may not see it"));
    }
}

#[test]
fn the_fingerprint_follows_the_parameters_and_not_the_date() {
    let of = |view: &TunnelView, now| {
        let text = render(view, now, &device(&VENDORS[2])).unwrap();
        let line = text.lines().find(|line| line.contains("Fingerprint")).unwrap();
        line.to_owned()
    };
    let first = view(IkeVersion::V1);
    assert_eq!(of(&first, NOW), of(&first, NOW.plus_seconds(1_000_000)));
    let mut other = view(IkeVersion::V1);
    other.tunnel.ike.lifetime_seconds += 1;
    assert_ne!(of(&first, NOW), of(&other, NOW));
}

#[test]
fn what_a_device_does_not_have_is_refused() {
    let check = |view: &TunnelView, vendor: &str, platform: &str, interface: Option<&str>, expected: &str| {
        let device = Device {
            vendor,
            platform,
            software: None,
            interface,
        };
        let error = render(view, NOW, &device).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let plain = view(IkeVersion::V1);
    check(&plain, "acme", "x", None, "is one of cisco, ");
    check(&plain, "cisco", "x", None, "of cisco is one of ios");
    check(
        &plain,
        "cisco",
        "ios",
        Some("Gi0/0\nno shutdown"),
        "letters, digits and",
    );
    let mut odd = view(IkeVersion::V1);
    odd.psk = Some(PresharedKey::parse("two words").unwrap());
    check(
        &odd,
        "cisco",
        "ios",
        None,
        "for a device of cisco a key has printable ASCII",
    );
    let mut unknown = view(IkeVersion::V1);
    unknown.tunnel.ike.group = DhGroup::Group21;
    check(
        &unknown,
        "h3c",
        "comware",
        None,
        "has no line for a setting of the tunnel",
    );
}

/// Groups by vendor and platform that the devices' documents name; the files of the two versions may differ.
const GROUPS: &[(&str, &str, &[u16], &[u16])] = &[
    ("cisco", "ios", &ALL_GROUPS, &ALL_GROUPS),
    ("cisco", "asa", &[1, 2, 5, 14], &ALL_GROUPS),
    (
        "h3c",
        "comware",
        &[1, 2, 5, 14, 19, 20, 24],
        &[1, 2, 5, 14, 19, 20, 24],
    ),
    ("strongswan", "swanctl", &ALL_GROUPS, &ALL_GROUPS),
    ("strongswan", "ipsec.conf", &ALL_GROUPS, &ALL_GROUPS),
    (
        "libreswan",
        "linux",
        &[5, 14, 15, 16, 19, 20, 21],
        &[5, 14, 15, 16, 19, 20, 21],
    ),
    ("huawei", "vrp", &ALL_GROUPS, &ALL_GROUPS),
    ("juniper", "junos", &ALL_GROUPS, &ALL_GROUPS),
    ("fortinet", "fortios", &NO_GROUP_24, &NO_GROUP_24),
    ("paloalto", "panos", &NO_GROUP_24, &NO_GROUP_24),
    ("mikrotik", "routeros", &NO_GROUP_24, &NO_GROUP_24),
    ("vyos", "vyos", &ALL_GROUPS, &ALL_GROUPS),
    ("opnsense", "opnsense", &ALL_GROUPS, &ALL_GROUPS),
];
const ALL_GROUPS: [u16; 10] = [1, 2, 5, 14, 15, 16, 19, 20, 21, 24];
const NO_GROUP_24: [u16; 9] = [1, 2, 5, 14, 15, 16, 19, 20, 21];

#[test]
fn a_file_has_no_group_that_its_device_does_not_know() {
    assert_eq!(GROUPS.len(), VENDORS.len());
    for &(name, platform, v1, v2) in GROUPS {
        let device = Device {
            vendor: name,
            platform,
            software: None,
            interface: None,
        };
        for (version, known) in [(IkeVersion::V1, v1), (IkeVersion::V2, v2)] {
            for &group in DhGroup::ALL {
                let (mut for_ike, mut for_pfs) = (view(version), view(version));
                for_ike.tunnel.ike.group = group;
                for_pfs.tunnel.ipsec.pfs = Some(group);
                for (view, place) in [(for_ike, "IKE"), (for_pfs, "PFS")] {
                    // libreswan's algparse: "ESP DH algorithm 'dh19' is not supported by IKEv1".
                    let lacks = (name, version, place) == ("libreswan", IkeVersion::V1, "PFS")
                        && matches!(group, DhGroup::Group19 | DhGroup::Group20 | DhGroup::Group21);
                    assert_eq!(
                        render(&view, NOW, &device).is_ok(),
                        known.contains(&group.number()) && !lacks,
                        "{name} {platform} {version:?} {place} {group:?}"
                    );
                }
            }
        }
    }
}

/// Ciphers and hashes that a device lacks, as `place name`; everything else makes a file.
#[test]
fn a_file_has_no_cipher_or_hash_that_its_device_does_not_know() {
    let lacks: &[(&str, IkeVersion, &[&str])] = &[
        ("ios", IkeVersion::V1, &[]),
        ("ios", IkeVersion::V2, &[]),
        (
            "asa",
            IkeVersion::V1,
            &[
                "ike sha2-256",
                "ike sha2-384",
                "ike sha2-512",
                "esp sha2-256",
                "esp sha2-384",
                "esp sha2-512",
                "esp aes-128-gcm",
                "esp aes-256-gcm",
            ],
        ),
        ("asa", IkeVersion::V2, &[]),
        ("routeros", IkeVersion::V1, &["esp sha2-384"]),
        ("routeros", IkeVersion::V2, &["esp sha2-384"]),
        ("vyos", IkeVersion::V1, &["ike des", "esp des"]),
        ("vyos", IkeVersion::V2, &["ike des", "esp des"]),
        ("linux", IkeVersion::V1, &["ike des", "esp des"]),
        ("linux", IkeVersion::V2, &["ike des", "esp des"]),
        ("opnsense", IkeVersion::V1, &["ike des", "esp des"]),
        ("opnsense", IkeVersion::V2, &["ike des", "esp des"]),
    ];
    for vendor in VENDORS {
        for version in [IkeVersion::V1, IkeVersion::V2] {
            let expected = lacks
                .iter()
                .find(|row| (row.0, row.1) == (vendor.platform, version))
                .map_or(&[][..], |row| row.2);
            let mut refused = std::collections::BTreeSet::new();
            let mut attempt = |what: String, change: &dyn Fn(&mut Tunnel)| {
                let mut view = view(version);
                change(&mut view.tunnel);
                if render(&view, NOW, &device(vendor)).is_err() {
                    refused.insert(what);
                }
            };
            for &cipher in IkeEncryption::ALL {
                attempt(format!("ike {}", cipher.name()), &|tunnel| {
                    tunnel.ike.encryption = cipher
                });
            }
            for &cipher in EspEncryption::ALL {
                attempt(format!("esp {}", cipher.name()), &|tunnel| {
                    tunnel.ipsec.encryption = cipher;
                });
            }
            for &hash in Hash::ALL {
                attempt(format!("ike {}", hash.name()), &|tunnel| tunnel.ike.hash = hash);
                attempt(format!("esp {}", hash.name()), &|tunnel| {
                    tunnel.ipsec.integrity = hash
                });
            }
            let expected: std::collections::BTreeSet<_> =
                expected.iter().map(|&what| what.to_owned()).collect();
            assert_eq!(refused, expected, "{} {version:?}", vendor.platform);
        }
    }
}

#[test]
fn weak_choices_are_named_at_the_head_of_a_file() {
    for vendor in VENDORS {
        let mut view = view(IkeVersion::V1);
        assert!(!render(&view, NOW, &device(vendor)).unwrap().contains("Weak:"));
        view.tunnel.ike.encryption = IkeEncryption::TripleDes;
        let text = render(&view, NOW, &device(vendor)).unwrap();
        assert!(text.contains("Weak: IKE encryption 3des"), "{}", vendor.platform);
    }
}
