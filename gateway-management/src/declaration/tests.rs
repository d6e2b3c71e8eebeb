//! What a file may say, and how it is refused.

use super::*;

const TUNNEL: &str = "[[tunnel]]\nid = \"t\"\ngateway = \"g\"\ncustomer_gateway = \"c\"\npsk = \"hunter2\"\n\
    [[tunnel.spd]]\nlocal = \"10.0.0.0/24\"\npeer = [\"192.168.0.0/24\"]\n";

fn read(text: &str) -> Result<Declaration, Mistake> {
    Declaration::read(text, &|name| match name {
        "key" => Ok(PresharedKey::parse("from the file").unwrap()),
        _ => Err("cannot be read".into()),
    })
}

#[test]
fn what_a_tunnel_leaves_out_has_the_defaults_of_the_machines_file() {
    let mut declaration = read(TUNNEL).unwrap();
    let tunnel = declaration.tunnels.pop().unwrap();
    assert_eq!((tunnel.line, tunnel.name.as_str()), (1, "t"));
    assert_eq!(
        (tunnel.ike.encryption, tunnel.ike.hash, tunnel.ike.group),
        (IkeEncryption::Aes128, Hash::Sha1, DhGroup::Group14)
    );
    assert_eq!(
        (tunnel.ipsec.encryption, tunnel.ipsec.integrity, tunnel.ipsec.pfs),
        (EspEncryption::Aes128, Hash::Sha1, None)
    );
    assert_eq!((tunnel.start, tunnel.dpd_seconds), (Start::Traffic, 30));
}

#[test]
fn the_machines_own_sections_are_passed_over() {
    for section in MACHINE {
        for text in [
            format!("[{section}]\nx = 1\n{TUNNEL}"),
            format!("[[{section}]]\nx = 1\n{TUNNEL}"),
        ] {
            assert_eq!(read(&text).unwrap().tunnels.len(), 1, "{section}");
        }
    }
}

#[test]
fn a_key_may_stand_in_a_file_of_its_own() {
    let text = TUNNEL.replace("psk = \"hunter2\"", "psk_file = \"key\"");
    assert_eq!(read(&text).unwrap().tunnels[0].psk.expose(), "from the file");
}

#[test]
fn a_mistake_names_line_field_value_and_rule() {
    let with = |section: &str| format!("{TUNNEL}{section}\n");
    for (text, expected) in [
        ("[[gateway]\n".to_owned(), "line 1: not TOML"),
        (
            "[[tunel]]\nid = \"t\"\n".to_owned(),
            "line 1: tunel: the store has no such setting; it has gateway",
        ),
        (
            "[[gateway]]\nid = \"g\"\nvpc = \"v\"\naddress = \"1.2.3\"\n".to_owned(),
            "line 4: gateway[0].address = \"1.2.3\": is an IPv4 address",
        ),
        (
            "[[customer_gateway]]\nid = \"c\"\naddress = \"127.0.0.1\"\n".to_owned(),
            "customer_gateway[0].address = \"127.0.0.1\": lies in 127.0.0.0/8",
        ),
        (
            TUNNEL.replace("id = \"t\"", "id = \"7\""),
            "line 2: tunnel[0].id = \"7\"",
        ),
        (
            TUNNEL.replace("gateway = \"g\"\n", "\n"),
            "tunnel[0].gateway: is required",
        ),
        (
            TUNNEL.replace("gateway = \"g\"\n", "gateway = \"1\"\n"),
            "tunnel[0].gateway = \"1\": has 1 to 60 letters",
        ),
        (
            TUNNEL.replace("customer_gateway = \"c\"", "customer_gateway = \"1\""),
            "tunnel[0].customer_gateway = \"1\": has 1 to 60 letters",
        ),
        (
            "[[defense]]\nid = \"d\"\ngateway = \"1\"\n".to_owned(),
            "defense[0].gateway = \"1\": has 1 to 60 letters",
        ),
        (
            with("[tunnel.probe]\ninterval_ms = 999"),
            "tunnel[0].probe.interval_ms = 999: is a whole number from 1000 to 5000",
        ),
        (
            with("[tunnel.probe]\nlocal = \"10.0.0.1\""),
            "tunnel[0].probe.remote: comes with local",
        ),
        (
            with("[tunnel.probe]\nremote = \"224.0.0.1\"\nlocal = \"10.0.0.1\""),
            "tunnel[0].probe.remote = \"224.0.0.1\": is the IPv4 address of one host",
        ),
        (
            with("[tunnel.ike]\ndpd_action = \"explode\""),
            "dpd_action = \"explode\": is one of clear, restart, hold",
        ),
        (
            TUNNEL.replace("/24\"\npeer", "/33\"\npeer"),
            "tunnel[0].spd[0].local = \"10.0.0.0/33\": is an IPv4 range",
        ),
        (
            TUNNEL.replace("psk = \"hunter2\"\n", ""),
            "either psk or psk_file is required",
        ),
        (
            TUNNEL.replace("psk = \"hunter2\"", "psk_file = \"none\""),
            "tunnel[0].psk_file = \"none\": cannot be read",
        ),
        (
            with("[tunnel.ike]\nencryption = \"rot13\""),
            "line 10: tunnel[0].ike.encryption = \"rot13\": is one of 3des, aes-128",
        ),
        (
            with("[tunnel.ike]\ndh_group = 31"),
            "tunnel[0].ike.dh_group = 31: is one of 1, 2, 5",
        ),
        (
            with("[tunnel.ike]\nproposals = [\"aes-128/sha1/group2\"]"),
            "tunnel[0].ike.proposals: the store has no such setting; it has version",
        ),
        (
            with("[tunnel.ike]\nversion = \"ikev2\"\nmode = \"aggressive\""),
            "is a setting of IKEv1",
        ),
        (
            with("[tunnel.ike]\ndpd_seconds = 3601"),
            "dpd_seconds = 3601: is a whole number from 0 to 3600",
        ),
        (
            with("[tunnel.ipsec]\nencryption = \"aes-128-gcm\"\nauthentication = \"sha1\""),
            "authenticates by itself",
        ),
        (
            with("[tunnel.ipsec]\npfs = \"on\""),
            "tunnel[0].ipsec.pfs = \"on\": is one of",
        ),
    ] {
        let refusal = read(&text).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal:?} lacks {expected:?}");
    }
}

#[test]
fn a_refused_key_is_not_repeated() {
    let text = TUNNEL.replace("hunter2", "hunter2\\u0007");
    let refusal = read(&text).unwrap_err();
    assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    assert!(refusal.field.ends_with("psk"), "{refusal}");
}
