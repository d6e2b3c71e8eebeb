//! `[tunnel.ike]` and `[tunnel.ipsec]`: every field, every refusal.

use std::time::Duration;

use gateway_ike::config::{DpdAction, DpdConfig, Esn, Identity, IkeVersion, Phase1Mode};

use super::{VALID, check_row, parse_text, warnings};
use crate::config::{Config, WeakReason};

/// A pre-shared key that is strong enough for aggressive mode.
const STRONG: &str = "correct horse battery";

/// The valid file with settings of its tunnel.
#[track_caller]
fn with(settings: &str) -> Config {
    let text = VALID.replace("psk = \"secret\"", &format!("psk = \"{STRONG}\"\n{settings}"));
    parse_text(&text).unwrap_or_else(|refused| panic!("{settings}: {refused}"))
}

/// The algorithms of phase 1 and phase 2 as status shows them.
#[track_caller]
fn algorithms(settings: &str) -> (Vec<String>, Vec<String>) {
    let config = with(settings);
    let tunnel = &config.tunnels[0];
    (
        tunnel.ike.proposals.iter().map(ToString::to_string).collect(),
        tunnel.ipsec.proposals.iter().map(ToString::to_string).collect(),
    )
}

#[test]
fn the_defaults_are_those_of_the_product() {
    let config = with("");
    let (ike, ipsec) = (&config.tunnels[0].ike, &config.tunnels[0].ipsec);
    assert_eq!(
        (ike.version, ike.mode, ike.lifetime, ike.reauthentication),
        (IkeVersion::V1, Phase1Mode::Main, Duration::from_hours(24), None)
    );
    let dpd = DpdConfig {
        delay: Duration::from_secs(30),
        action: DpdAction::Hold,
    };
    assert_eq!((ike.dpd, ike.fragmentation), (Some(dpd), true));
    assert_eq!(
        (ipsec.pfs, ipsec.esn, ipsec.lifetime, ipsec.lifetime_kilobytes),
        (None, Esn::Off, Duration::from_hours(1), Some(1_843_200))
    );
    assert_eq!(
        algorithms(""),
        (
            vec!["aes-128/sha1/group14".to_owned()],
            vec!["aes-128/sha1".to_owned()]
        )
    );
}

#[test]
fn every_setting_is_read() {
    let config = with(
        "ike = { version = \"any\", mode = \"aggressive\", reauthentication_seconds = 7200, dpd_seconds = 5, \
         dpd_action = \"restart\", fragmentation = false, lifetime_kilobytes = 1000, local_id = \"gw.example.com\", peer_id = \"key-id:0x00ff\" }\n\
         ipsec = { esn = \"allow\", pfs = 24, lifetime_kilobytes = 0 }",
    );
    let (ike, ipsec) = (&config.tunnels[0].ike, &config.tunnels[0].ipsec);
    assert_eq!((ike.version, ike.mode), (IkeVersion::Any, Phase1Mode::Aggressive));
    assert_eq!(ike.reauthentication, Some(Duration::from_hours(2)));
    let dpd = DpdConfig {
        delay: Duration::from_secs(5),
        action: DpdAction::Restart,
    };
    assert_eq!((ike.dpd, ike.fragmentation), (Some(dpd), false));
    assert_eq!(ike.lifetime_kilobytes, Some(1000));
    assert_eq!(ike.local_id, Identity::Fqdn("gw.example.com".into()));
    assert_eq!(ike.peer_id, Identity::KeyId(vec![0, 255]));
    assert_eq!(ipsec.pfs.map(|group| group.number()), Some(24));
    assert_eq!((ipsec.esn, ipsec.lifetime_kilobytes), (Esn::Allow, None));
    assert_eq!(with("ike.dpd_seconds = 0").tunnels[0].ike.dpd, None);
}

#[test]
fn every_algorithm_of_ikev1_has_a_name() {
    for (cipher, hash, group) in [
        ("des", "md5", 1),
        ("3des", "sha1", 2),
        ("aes-128", "sha2-256", 5),
        ("aes-192", "sha2-384", 14),
        ("aes-256", "sha2-512", 24),
        ("aes-256", "sha2-512", 15),
        ("aes-256", "sha2-512", 16),
    ] {
        let settings = format!(
            "ike = {{ encryption = \"{cipher}\", authentication = \"{hash}\", dh_group = {group} }}\n\
             ipsec = {{ encryption = \"{cipher}\", authentication = \"{hash}\", pfs = {group} }}"
        );
        let single = algorithms(&settings);
        assert_eq!(
            single,
            (
                vec![format!("{cipher}/{hash}/group{group}")],
                vec![format!("{cipher}/{hash}")]
            )
        );
        let listed = format!(
            "ike.proposals = [\"{}\"]\nipsec.proposals = [\"{}\"]",
            single.0[0], single.1[0]
        );
        assert_eq!(
            algorithms(&listed),
            single,
            "a list of one is the same as the fields"
        );
    }
    for cipher in ["aes-128-gcm", "aes-192-gcm", "aes-256-gcm"] {
        let settings = format!("ipsec.encryption = \"{cipher}\"");
        assert_eq!(algorithms(&settings).1, [cipher]);
    }
    let settings = "ike.version = \"ikev2\"\nipsec.encryption = \"chacha20-poly1305\"";
    assert_eq!(algorithms(settings).1, ["chacha20-poly1305"]);
}

#[test]
fn several_proposals_keep_their_order() {
    let settings = "ike.proposals = [\"aes-256/sha2-256/group14\", \"3des/sha1/group2\"]\n\
         ipsec.proposals = [\"aes-256-gcm\", \"aes-128/sha1\", \"3des/md5\"]";
    assert_eq!(
        algorithms(settings),
        (
            vec![
                "aes-256/sha2-256/group14".to_owned(),
                "3des/sha1/group2".to_owned()
            ],
            vec![
                "aes-256-gcm".to_owned(),
                "aes-128/sha1".to_owned(),
                "3des/md5".to_owned()
            ]
        )
    );
}

#[test]
fn any_needs_one_proposal_for_each_version() {
    let list = "ike.version = \"any\"\nipsec.proposals = [\"chacha20-poly1305\", \"aes-128/sha1\"]";
    assert_eq!(algorithms(list).1.len(), 2);
}

#[test]
fn each_refusal_names_the_field_and_the_rule() {
    const IKEV2: &str = "ike.version = \"ikev2\"";
    for (settings, field, rule) in [
        ("ike.speed = 1", "ike.speed", "unknown key"),
        ("ipsec.speed = 1", "ipsec.speed", "unknown key"),
        (
            "ike.version = \"ikev3\"",
            "ike.version",
            "is one of ikev1, ikev2, any",
        ),
        ("ike.version = 2", "ike.version", "is a string"),
        ("ike.mode = \"quick\"", "ike.mode", "is one of main, aggressive"),
        ("ike.mode = \"aggressive\"", "ike.mode", "at least 20 characters"),
        (
            "ike.encryption = \"rot13\"",
            "ike.encryption",
            "is one of des, 3des, aes-128",
        ),
        (
            "ike.authentication = \"sha\"",
            "ike.authentication",
            "is one of md5, sha1, sha2-256, sha2-384, sha2-512",
        ),
        (
            "ike.dh_group = 3",
            "ike.dh_group",
            "is one of 1, 2, 5, 14, 15, 16",
        ),
        ("ike.dh_group = 36", "ike.dh_group", "is one of 1, 2, 5"),
        ("ike.dh_group = \"group14\"", "ike.dh_group", "is one of 1, 2, 5"),
        (
            "ike.additional_key_exchange = \"kyber\"",
            "ike.additional_key_exchange",
            "is \"ml-kem-768\"",
        ),
        ("ike.proposals = []", "ike.proposals", "has at least one element"),
        (
            "ike.proposals = \"aes-128/sha1/group14\"",
            "ike.proposals",
            "is a list of strings",
        ),
        (
            "ike.proposals = [\"aes-128/sha1\"]",
            "ike.proposals[0]",
            "is CIPHER/HASH/GROUP",
        ),
        (
            "ike.proposals = [\"aes-128/sha1/group14/x\"]",
            "ike.proposals[0]",
            "is CIPHER/HASH/GROUP",
        ),
        (
            "ike.proposals = [\"aes/sha1/group14\"]",
            "ike.proposals[0]",
            "the cipher is one of",
        ),
        (
            "ike.proposals = [\"aes-128/sha/group14\"]",
            "ike.proposals[0]",
            "the hash is one of",
        ),
        (
            "ike.proposals = [\"aes-128/sha1/14\"]",
            "ike.proposals[0]",
            "the group, written like group14, is one of",
        ),
        (
            "ike.proposals = [\"aes-128/sha1/group14+x\"]",
            "ike.proposals[0]",
            "the further key exchange is",
        ),
        (
            "ike = { proposals = [\"aes-128/sha1/group14\"], dh_group = 14 }",
            "ike.dh_group",
            "stands beside proposals",
        ),
        (
            "ike.lifetime_seconds = 9",
            "ike.lifetime_seconds",
            "from 10 to 604800",
        ),
        (
            "ike.lifetime_seconds = 604801",
            "ike.lifetime_seconds",
            "from 10 to 604800",
        ),
        (
            "ike.reauthentication_seconds = 7200",
            "ike.reauthentication_seconds",
            "is for IKEv2",
        ),
        (
            "ike.local_id = \"a b\"",
            "ike.local_id",
            "domain name, user@domain, key-id",
        ),
        (
            "ike.peer_id = \"a@b@c\"",
            "ike.peer_id",
            "domain name, user@domain, key-id",
        ),
        (
            "ike.peer_id = \"key-id:0x1\"",
            "ike.peer_id",
            "even number of hexadecimal digits",
        ),
        ("ike.dpd_seconds = 3601", "ike.dpd_seconds", "from 0 to 3600"),
        (
            "ike.dpd_action = \"reset\"",
            "ike.dpd_action",
            "is one of clear, restart, hold",
        ),
        (
            "ike.fragmentation = \"yes\"",
            "ike.fragmentation",
            "is true or false",
        ),
        (
            "ipsec.encryption = \"null\"",
            "ipsec.encryption",
            "is one of des, 3des, aes-128",
        ),
        (
            "ipsec.encryption = \"chacha20-poly1305\"",
            "ipsec.encryption",
            "is for IKEv2",
        ),
        (
            "ipsec.authentication = \"sha\"",
            "ipsec.authentication",
            "is one of md5, sha1",
        ),
        (
            "ipsec = { encryption = \"aes-128-gcm\", authentication = \"sha1\" }",
            "ipsec.authentication",
            "is absent with aes-128-gcm",
        ),
        (
            "ipsec.proposals = [\"aes-128\"]",
            "ipsec.proposals[0]",
            "has an integrity algorithm",
        ),
        (
            "ipsec.proposals = [\"aes-128-gcm/sha1\"]",
            "ipsec.proposals[0]",
            "has no integrity algorithm",
        ),
        (
            "ipsec.proposals = [\"chacha20-poly1305\"]",
            "ipsec.proposals[0]",
            "is for IKEv2",
        ),
        (
            "ipsec = { proposals = [\"aes-256-gcm\"], encryption = \"aes-128\" }",
            "ipsec.encryption",
            "stands beside proposals",
        ),
        ("ipsec.pfs = \"on\"", "ipsec.pfs", "or \"off\""),
        ("ipsec.pfs = 36", "ipsec.pfs", "is one of 1, 2, 5"),
        ("ipsec.esn = true", "ipsec.esn", "is a string"),
        ("ipsec.esn = \"on\"", "ipsec.esn", "is one of off, allow"),
        ("ipsec.esn = \"allow\"", "ipsec.esn", "is for IKEv2"),
        (
            "ike.lifetime_kilobytes = 63",
            "ike.lifetime_kilobytes",
            "at least 64",
        ),
        (
            "ike = { version = \"ikev2\", lifetime_kilobytes = 1000 }",
            "ike.lifetime_kilobytes",
            "is for IKEv1",
        ),
        (
            "ipsec.lifetime_kilobytes = -1",
            "ipsec.lifetime_kilobytes",
            "from 0 to 4294967295",
        ),
        (
            "ipsec.replay_window = 32",
            "ipsec.replay_window",
            "from 64 to 65536",
        ),
        (
            "ipsec.encapsulation = \"tcp\"",
            "ipsec.encapsulation",
            "is one of auto, udp",
        ),
    ] {
        let replaced = format!("psk = \"secret\"\n{settings}");
        check_row("psk = \"secret\"", &replaced, &format!("tunnel[0].{field}"), rule);
    }
    let both = format!("psk = \"{STRONG}\"\n{IKEV2}\nike.mode = \"aggressive\"");
    check_row(
        "psk = \"secret\"",
        &both,
        "tunnel[0].ike.mode",
        "is a mode of IKEv1",
    );
    let any = "psk = \"s\"\nike.version = \"any\"\nipsec.proposals = [\"chacha20-poly1305\"]";
    check_row(
        "psk = \"secret\"",
        any,
        "tunnel[0].ipsec.proposals[0]",
        "leaves nothing that IKEv1 knows",
    );
}

#[test]
fn weak_choices_work_and_are_warnings() {
    let config = with(
        "ike = { mode = \"aggressive\", proposals = [\"des/md5/group1\", \"3des/sha1/group2\", \"3des/sha1/group24\"] }\n\
         ipsec = { encryption = \"3des\", authentication = \"md5\", pfs = 5, lifetime_seconds = 30, lifetime_kilobytes = 9 }",
    );
    let texts: Vec<_> = warnings(&config).iter().map(ToString::to_string).collect();
    let starts = [
        "weak: ike.mode aggressive",
        "weak: ike.encryption des",
        "weak: ike.authentication md5",
        "weak: ike.dh_group 1",
        "weak: ike.encryption 3des",
        "weak: ike.dh_group 2",
        "weak: ike.dh_group 24",
        "weak: ipsec.encryption 3des",
        "weak: ipsec.authentication md5",
        "weak: ipsec.pfs 5",
        "ipsec.lifetime_seconds is below",
        "ipsec.lifetime_kilobytes is below",
    ];
    assert_eq!(texts.len(), starts.len(), "{texts:#?}");
    for (text, start) in texts.iter().zip(starts) {
        assert!(text.starts_with(&format!("tunnel one: {start}")), "{text}");
    }
    let reasons: std::collections::BTreeSet<_> = config.tunnels[0]
        .weaknesses()
        .iter()
        .map(|weakness| weakness.reason)
        .collect();
    assert!(reasons.iter().eq(WeakReason::ALL.iter()), "{reasons:?}");
    assert_eq!(
        warnings(&with("ipsec.authentication = \"sha1\"")),
        [],
        "HMAC-SHA1 is still required by RFC 8247"
    );
}
