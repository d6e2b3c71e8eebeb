//! What a changed field does to the SAs of its tunnel: the table of docs/configuration.md.

use super::*;
use crate::control::plan;

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The engine need not know.
    None,
    /// The engine takes it over; what is up stays up.
    Kept,
    /// The SAs end and are negotiated anew.
    Renegotiated,
}

#[track_caller]
fn check(old: &str, new: &str, expected: Effect) {
    let tunnel = |settings: &str| {
        let text = testing::text(&[ONE]).replace(
            "psk = \"x\"",
            &format!("psk = \"a pre-shared key of some length\"\n{settings}"),
        );
        Arc::clone(&testing::parse(&text).tunnels[0])
    };
    let (old_tunnel, new_tunnel) = (tunnel(old), tunnel(new));
    let connection =
        |tunnel: &crate::config::TunnelConfig| convert::connection(0, tunnel, plan::pair_order(&[], tunnel));
    let effect = if !plan::concerns_engine(&old_tunnel, &new_tunnel) {
        Effect::None
    } else if connection(&old_tunnel).keeps_sas(&connection(&new_tunnel)) {
        Effect::Kept
    } else {
        Effect::Renegotiated
    };
    assert_eq!(effect, expected, "{old:?} to {new:?}");
}

#[test]
fn a_change_touches_the_sas_only_when_they_were_negotiated_with_it() {
    const V2: &str = "ike.version = \"ikev2\"\n";
    for (change, expected) in [
        ("name = \"Zurich\"", Effect::None),
        ("start = \"always\"", Effect::Kept),
        ("ike.dpd_seconds = 7", Effect::Kept),
        ("ike.dpd_seconds = 0", Effect::Kept),
        ("ike.dpd_action = \"restart\"", Effect::Kept),
        ("ike.reauthentication_seconds = 7200", Effect::Kept),
        ("ike.fragmentation = false", Effect::Kept),
        ("ipsec.replay_window = 128", Effect::Kept),
        ("ike.local_id = \"gw.example.com\"", Effect::Renegotiated),
        ("ike.peer_id = \"key-id:7\"", Effect::Renegotiated),
        ("ike.encryption = \"aes-256\"", Effect::Renegotiated),
        ("ike.authentication = \"sha2-512\"", Effect::Renegotiated),
        ("ike.dh_group = 16", Effect::Renegotiated),
        ("ike.lifetime_seconds = 7200", Effect::Renegotiated),
        ("ipsec.encryption = \"aes-192-gcm\"", Effect::Renegotiated),
        ("ipsec.authentication = \"sha2-384\"", Effect::Renegotiated),
        ("ipsec.pfs = 14", Effect::Renegotiated),
        ("ipsec.esn = \"allow\"", Effect::Renegotiated),
        ("ipsec.lifetime_seconds = 7200", Effect::Renegotiated),
        ("ipsec.lifetime_kilobytes = 0", Effect::Renegotiated),
        ("ipsec.encapsulation = \"udp\"", Effect::Renegotiated),
    ] {
        check(V2, &format!("{V2}{change}"), expected);
    }
    for (old, new) in [
        (V2, ""),
        (V2, "ike.version = \"any\""),
        ("", "ike.mode = \"aggressive\""),
        (
            "ike.proposals = [\"aes-128/sha1/group14\", \"3des/sha1/group2\"]",
            "ike.proposals = [\"3des/sha1/group2\", \"aes-128/sha1/group14\"]",
        ),
    ] {
        check(old, new, Effect::Renegotiated);
    }
    check("", "ike.proposals = [\"aes-128/sha1/group14\"]", Effect::None);
}

#[test]
fn a_refused_configuration_leaves_what_was_acknowledged_in_effect() {
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    rig.core.fabric.space_limit = Some(0);
    let more = testing::config(&[("one", &[RULE[0], ("10.0.1.0/24", "192.168.1.0/24")])]);
    assert!(rig.core.apply(rig.now, more).is_err());
    rig.expect(&[]);
    let status = rig.status();
    assert_eq!((status.state, status.pairs), (TunnelState::Up, 1));
    assert_eq!(rig.core.generation(), 1);
}

#[test]
fn only_routed_destinations_take_the_tunnel_and_a_route_disturbs_no_sa() {
    let routed = |routes: &str| {
        let text = testing::text(&[ONE]).replace("psk = \"x\"", &format!("psk = \"x\"\n{routes}"));
        testing::parse(&text)
    };
    let mut rig = Rig::with(&[ONE]);
    rig.up(1);
    rig.core.fabric.take();
    for (routes, vpc) in [
        ("routes = [\"192.168.0.128/25\"]", &["192.168.0.128/25"][..]),
        (
            "routes = [\"192.168.0.0/26\", \"192.168.0.64/26\"]",
            &["192.168.0.0/26", "192.168.0.64/26"],
        ),
        ("routes = [\"192.0.0.0/8\"]", &["192.168.0.0/24"]),
        ("routes = []", &[]),
    ] {
        rig.core.apply(rig.now, routed(routes)).unwrap();
        let peers = rig.core.spds.in_force().map(|space| {
            let ranges = space.peer.iter().map(|(range, _)| range.to_string());
            ranges.collect::<Vec<_>>()
        });
        // What comes from the public side in the clear is dropped for all ranges of the rule.
        assert_eq!(peers.collect::<Vec<_>>(), [vpc, &["192.168.0.0/24"]], "{routes}");
        let calls = rig.core.fabric.take();
        assert!(calls.iter().all(|call| call.contains("space")), "{calls:?}");
        assert_eq!(rig.status().state, TunnelState::Up);
    }
}
