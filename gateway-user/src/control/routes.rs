//! Routes that send the host's own traffic for the peers into the data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::Config;
use crate::net::{NetSnapshot, SlowPath};

/// Each peer range with the source address that the host uses for it: one that a rule covers, when the host has one.
pub(super) type HostRoutes = BTreeMap<Ipv4Net, Option<Ipv4Addr>>;

/// The routes that a configuration needs on this machine.
pub(super) fn wanted(config: &Config, net: &NetSnapshot) -> HostRoutes {
    let mut routes = HostRoutes::new();
    for (local, peer) in config.tunnels.iter().flat_map(|tunnel| tunnel.routed_pairs()) {
        let source = net
            .addresses
            .iter()
            .map(|address| address.addr)
            .find(|address| local.contains(address));
        let entry = routes.entry(peer).or_insert(source);
        *entry = entry.or(source);
    }
    routes
}

/// Addresses that probes come from and no interface beside the slow path's has.
pub(super) fn probe_addresses(config: &Config, net: &NetSnapshot, slow_path: u32) -> BTreeSet<Ipv4Addr> {
    let probes = config.tunnels.iter().filter_map(|tunnel| tunnel.probe.as_ref());
    let elsewhere = |local: &Ipv4Addr| {
        net.addresses
            .iter()
            .any(|address| address.addr == *local && address.ifindex != slow_path)
    };
    probes
        .map(|probe| probe.local)
        .filter(|local| !elsewhere(local))
        .collect()
}

/// Gives the slow path's interface these addresses, so that the kernel answers a peer that probes them.
pub(super) async fn own(slow_path: &SlowPath, present: &mut BTreeSet<Ipv4Addr>, wanted: BTreeSet<Ipv4Addr>) {
    let gone: Vec<_> = present.difference(&wanted).copied().collect();
    for address in gone {
        present.remove(&address);
        if let Err(error) = slow_path.remove_address(address).await {
            tracing::warn!(%address, error = &error as &dyn std::error::Error, "an address stays");
        }
    }
    for address in wanted {
        if present.contains(&address) {
            continue;
        }
        match slow_path.add_address(address).await {
            Ok(()) => drop(present.insert(address)),
            Err(error) => {
                tracing::warn!(%address, error = &error as &dyn std::error::Error, "a probe has no address");
            }
        }
    }
}

/// Makes the kernel's routes the wanted ones. What fails is said and tried again with the next change.
pub(super) async fn install(slow_path: &SlowPath, present: &mut HostRoutes, wanted: HostRoutes) {
    let gone: Vec<_> = present
        .keys()
        .filter(|prefix| !wanted.contains_key(prefix))
        .copied()
        .collect();
    for prefix in gone {
        present.remove(&prefix);
        if let Err(error) = slow_path.remove_route(prefix).await {
            tracing::warn!(%prefix, error = &error as &dyn std::error::Error, "a route stays");
        }
    }
    for (prefix, source) in wanted {
        if present.get(&prefix) == Some(&source) {
            continue;
        }
        match slow_path.add_route(prefix, source).await {
            Ok(()) => drop(present.insert(prefix, source)),
            Err(error) => {
                tracing::warn!(%prefix, error = &error as &dyn std::error::Error, "the host's own traffic has no route");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing;
    use crate::net::Address;

    #[test]
    fn the_host_speaks_from_an_address_that_a_rule_covers() {
        let config = testing::config(&[(
            "one",
            &[
                ("10.0.0.0/24", "192.168.0.0/24"),
                ("10.0.1.0/24", "192.168.0.0/24"),
                ("10.0.2.0/24", "192.168.9.0/24"),
            ],
        )]);
        let address = |addr| Address { ifindex: 1, addr };
        let addresses = vec![
            address(Ipv4Addr::new(203, 0, 113, 1)),
            address(Ipv4Addr::new(10, 0, 1, 1)),
        ];
        let net = NetSnapshot {
            addresses,
            ..NetSnapshot::default()
        };
        let expected = HostRoutes::from([
            (
                "192.168.0.0/24".parse().unwrap(),
                Some(Ipv4Addr::new(10, 0, 1, 1)),
            ),
            ("192.168.9.0/24".parse().unwrap(), None),
        ]);
        assert_eq!(wanted(&config, &net), expected);
    }

    #[test]
    fn the_host_has_routes_for_what_takes_the_tunnel_only() {
        let text = testing::text(&[("one", &[("10.0.0.0/24", "192.168.0.0/24")])]);
        let text = text.replace("psk = \"x\"", "psk = \"x\"\nroutes = [\"192.168.0.64/26\"]");
        let routes = wanted(&testing::parse(&text), &NetSnapshot::default());
        assert_eq!(
            routes,
            HostRoutes::from([("192.168.0.64/26".parse().unwrap(), None)])
        );
    }
}
