//! What a new configuration means for the tunnels and gateways there are. Pure: nothing is touched before the plan is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_ike::config::SelectorPair;

use crate::config::{Config, GatewayConfig, Id, TunnelConfig};

/// What happens to one tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TunnelChange {
    /// It is new.
    Add(Arc<TunnelConfig>),
    /// It stays; the engine decides which of its SAs do.
    Change(Arc<TunnelConfig>),
    /// It goes.
    Remove(Id),
}

/// The selector pairs of a tunnel: old ones first and in their old order, so that their Child SAs keep their places.
///
/// When an old pair is gone, the order is that of the file; the engine then negotiates the tunnel anew.
pub(super) fn pair_order(old: &[SelectorPair], tunnel: &TunnelConfig) -> Vec<SelectorPair> {
    let wanted: Vec<_> = tunnel
        .pairs()
        .map(|(local, peer)| SelectorPair { local, peer })
        .collect();
    let wanted_set: BTreeSet<_> = wanted.iter().collect();
    if !old.iter().all(|pair| wanted_set.contains(pair)) {
        return wanted;
    }
    let old_set: BTreeSet<_> = old.iter().collect();
    old.iter()
        .copied()
        .chain(wanted.iter().copied().filter(|pair| !old_set.contains(pair)))
        .collect()
}

/// Compares the tunnels that are there with those of `config`. Tunnels without a change are not listed.
pub(super) fn tunnel_changes<'a>(
    present: impl IntoIterator<Item = &'a Arc<TunnelConfig>>,
    config: &Config,
) -> Vec<TunnelChange> {
    let mut present: BTreeMap<&Id, &Arc<TunnelConfig>> =
        present.into_iter().map(|tunnel| (&tunnel.id, tunnel)).collect();
    let mut changes = Vec::new();
    for wanted in &config.tunnels {
        match present.remove(&wanted.id) {
            None => changes.push(TunnelChange::Add(Arc::clone(wanted))),
            Some(there) if there != wanted => changes.push(TunnelChange::Change(Arc::clone(wanted))),
            Some(_) => {}
        }
    }
    let removed = present.into_keys().cloned().map(TunnelChange::Remove);
    // Removals first: what they free may be what the others need.
    removed.chain(changes).collect()
}

/// Whether the engine has to know: everything but the names and the gateway's bandwidth.
pub(super) fn concerns_engine(old: &TunnelConfig, new: &TunnelConfig) -> bool {
    let TunnelConfig {
        id: _,
        name: _,
        gateway,
        customer_gateway,
        start,
        psk,
        spd,
        // Routes say which packets come, not what the SAs may carry.
        routes: _,
        ike,
        ipsec,
        probe: _,
    } = old;
    let GatewayConfig {
        id: _,
        name: _,
        vpc: _,
        address,
        bandwidth: _,
    } = &**gateway;
    *address != new.gateway.address
        || customer_gateway.address != new.customer_gateway.address
        || *start != new.start
        || *psk != new.psk
        || *spd != new.spd
        || old.probe_pair() != new.probe_pair()
        || *ike != new.ike
        || *ipsec != new.ipsec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing;

    fn pair(local: &str, peer: &str) -> SelectorPair {
        SelectorPair {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
        }
    }

    #[test]
    fn old_pairs_keep_their_places_and_new_ones_follow() {
        let config = testing::config(&[(
            "one",
            &[
                ("10.0.1.0/24", "192.168.1.0/24"),
                ("10.0.0.0/24", "192.168.0.0/24"),
            ],
        )]);
        let (a, b) = (
            pair("10.0.0.0/24", "192.168.0.0/24"),
            pair("10.0.1.0/24", "192.168.1.0/24"),
        );
        let gone = pair("10.0.9.0/24", "192.168.0.0/24");
        for (old, expected) in [
            (vec![], vec![b, a]),
            (vec![a], vec![a, b]),
            (vec![a, b], vec![a, b]),
            (vec![a, gone], vec![b, a]),
        ] {
            assert_eq!(pair_order(&old, &config.tunnels[0]), expected, "{old:?}");
        }
    }

    #[test]
    fn only_what_changed_is_listed_and_removals_come_first() {
        let rules: &[(&str, &str)] = &[("10.0.0.0/24", "192.168.0.0/24")];
        let more: &[(&str, &str)] = &[
            ("10.0.1.0/24", "192.168.1.0/24"),
            ("10.0.2.0/24", "192.168.1.0/24"),
        ];
        let other: &[(&str, &str)] = &[("10.0.3.0/24", "192.168.3.0/24")];
        let old = testing::config(&[("same", rules), ("changed", &more[..1]), ("gone", other)]);
        let new = testing::config(&[("same", rules), ("changed", more), ("new", other)]);
        let changes = tunnel_changes(&old.tunnels, &new);
        let names: Vec<_> = changes
            .iter()
            .map(|change| match change {
                TunnelChange::Add(tunnel) => format!("add {}", tunnel.id),
                TunnelChange::Change(tunnel) => format!("change {}", tunnel.id),
                TunnelChange::Remove(id) => format!("remove {id}"),
            })
            .collect();
        assert_eq!(names, ["remove gone", "change changed", "add new"]);
        assert_eq!(tunnel_changes(&new.tunnels, &new), []);
    }

    #[test]
    fn names_and_bandwidth_do_not_concern_the_engine() {
        let text = testing::text(&[("one", &[("10.0.0.0/24", "192.168.0.0/24")])]);
        let old = testing::parse(&text);
        for (from, to, concerns) in [
            ("bandwidth_mbps = 100", "bandwidth_mbps = 5", false),
            ("id = \"gw\"\n", "id = \"gw\"\nname = \"Zürich\"\n", false),
            ("psk = \"x\"", "psk = \"x\"\nroutes = [\"192.168.0.1/32\"]", false),
            ("psk = \"x\"", "psk = \"y\"", true),
            ("psk = \"x\"", "psk = \"x\"\nstart = \"always\"", true),
            ("psk = \"x\"", "psk = \"x\"\nike.dh_group = 5", true),
            ("address = \"203.0.113.1\"", "address = \"203.0.113.2\"", true),
        ] {
            let new = testing::parse(&text.replacen(from, to, 1));
            assert_eq!(
                concerns_engine(&old.tunnels[0], &new.tunnels[0]),
                concerns,
                "{to}"
            );
        }
    }
}
