//! Rules between values: what may not overlap, quotas, one of a kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::algorithms::Role;
use super::mistake::{At, Log};
use super::model::InterfaceConfig;
use super::read::{CustomerGatewayDraft, GatewayDraft, RuleDraft, TunnelDraft, VpcDraft};
use super::values::Id;

/// How many of each there may be; `[quotas]` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quotas {
    pub(super) gateways_per_vpc: usize,
    pub(super) customer_gateways: usize,
    pub(super) tunnels_per_customer_gateway: usize,
    pub(super) tunnels_per_gateway: usize,
    pub(super) rules_per_tunnel: usize,
    pub(super) peer_ranges_per_rule: usize,
    /// Of the store: a route of the file is a part of its tunnel.
    pub(super) routes_per_gateway: usize,
}

pub(super) fn check_interfaces(log: &Log, interfaces: &[(At<String>, InterfaceConfig)]) {
    let mut names = BTreeSet::new();
    for (name, _) in interfaces {
        if !names.insert(&name.value) {
            log.mistake(&name.place, "another interface has this name");
        }
    }
}

pub(super) fn check_vpcs(log: &Log, vpcs: &[VpcDraft], interfaces: &[(At<String>, InterfaceConfig)]) {
    let mut taken = BTreeSet::new();
    for interface in vpcs.iter().filter_map(|vpc| vpc.interface.as_ref()) {
        match interfaces
            .iter()
            .find(|(_, config)| config.name == interface.value)
        {
            None => log.mistake(&interface.place, "no [[interface]] has this name"),
            Some((_, config)) if config.role != Role::Vpc => {
                log.mistake(&interface.place, "is an interface with role \"vpc\"");
            }
            Some(_) => {}
        }
        if !taken.insert(&interface.value) {
            log.mistake(
                &interface.place,
                "another VPC has this interface; an interface carries one VPC",
            );
        }
    }
    let cidrs: Vec<_> = vpcs.iter().filter_map(|vpc| vpc.cidr.as_ref()).collect();
    check_disjoint(log, &cidrs, "VPCs must not overlap, and this range overlaps");
}

pub(super) fn check_gateways(log: &Log, gateways: &[GatewayDraft], quotas: &Quotas) {
    let mut addresses = BTreeSet::new();
    let mut per_vpc = BTreeMap::<&Id, usize>::new();
    for gateway in gateways {
        if let Some(address) = &gateway.address
            && !addresses.insert(address.value)
        {
            log.mistake(&address.place, "another gateway has this address");
        }
        if let Some(vpc) = &gateway.vpc {
            let limit = quotas.gateways_per_vpc;
            count(
                log,
                &mut per_vpc,
                &vpc.value.id,
                &vpc.place,
                limit,
                "gateways per VPC (quotas.gateways_per_vpc)",
            );
        }
    }
}

pub(super) fn check_customer_gateways(log: &Log, gateways: &[CustomerGatewayDraft], quotas: &Quotas) {
    if let Some(id) = gateways
        .get(quotas.customer_gateways)
        .and_then(|first_too_many| first_too_many.id.as_ref())
    {
        let rule = format!(
            "at most {} customer gateways (quotas.customer_gateways)",
            quotas.customer_gateways
        );
        log.mistake(&id.place, rule);
    }
}

pub(super) fn check_tunnels(log: &Log, tunnels: &[TunnelDraft], gateways: &[GatewayDraft], quotas: &Quotas) {
    let mut ids = BTreeSet::new();
    let mut relations = BTreeSet::new();
    let mut peers = BTreeSet::new();
    let mut per_gateway = BTreeMap::new();
    let mut per_customer_gateway = BTreeMap::new();
    let mut pairs = BTreeMap::new();
    let outer: BTreeSet<Ipv4Addr> = tunnels
        .iter()
        .filter_map(|tunnel| tunnel.customer_gateway.as_ref().map(|peer| peer.value.address))
        .chain(
            gateways
                .iter()
                .filter_map(|gateway| gateway.address.as_ref().map(|address| address.value)),
        )
        .collect();
    for tunnel in tunnels {
        if let Some(id) = tunnel.id.as_ref().filter(|id| !ids.insert(&id.value)) {
            log.mistake(&id.place, "another tunnel has this id");
        }
        if let Some(gateway) = &tunnel.gateway {
            let what = "tunnels per gateway (quotas.tunnels_per_gateway)";
            count(
                log,
                &mut per_gateway,
                &gateway.value.id,
                &gateway.place,
                quotas.tunnels_per_gateway,
                what,
            );
        }
        if let Some(peer) = &tunnel.customer_gateway {
            let what = "tunnels per customer gateway (quotas.tunnels_per_customer_gateway)";
            let limit = quotas.tunnels_per_customer_gateway;
            count(
                log,
                &mut per_customer_gateway,
                &peer.value.id,
                &peer.place,
                limit,
                what,
            );
        }
        if let (Some(gateway), Some(peer)) = (&tunnel.gateway, &tunnel.customer_gateway) {
            if !relations.insert((&gateway.value.id, &peer.value.id)) {
                log.mistake(
                    &peer.place,
                    "another tunnel joins this gateway and this customer gateway",
                );
            } else if !peers.insert((gateway.value.address, peer.value.address)) {
                log.mistake(
                    &peer.place,
                    "another tunnel of this gateway has a peer with the same address",
                );
            }
        }
        check_spd(log, tunnel, quotas);
        check_routes(log, tunnel);
        check_outer_addresses(log, tunnel, &outer);
        let Some(vpc) = tunnel.gateway.as_ref().map(|gateway| &gateway.value.vpc.id) else {
            continue;
        };
        for (local, peer) in tunnel.spd.iter().flat_map(draft_pairs) {
            let owner = pairs
                .entry((vpc, local.value, peer.value))
                .or_insert(&tunnel.place.field);
            if *owner != &tunnel.place.field {
                let rule = format!(
                    "the pair {} and {} belongs to {owner} already",
                    local.value, peer.value
                );
                log.mistake(&peer.place, rule);
            }
        }
    }
    check_probes(log, tunnels, &mut pairs);
}

/// A probe that no rule covers has a pair of its own, which must not be another tunnel's either.
fn check_probes<'a>(
    log: &Log,
    tunnels: &'a [TunnelDraft],
    pairs: &mut BTreeMap<(&'a Id, Ipv4Net, Ipv4Net), &'a String>,
) {
    for tunnel in tunnels {
        let (Some(probe), Some(id), Some(gateway)) = (&tunnel.probe, &tunnel.id, &tunnel.gateway) else {
            continue;
        };
        let (local, remote) = probe.addresses_of(&id.value);
        let mut own = tunnel.spd.iter().flat_map(draft_pairs);
        if own.any(|(from, to)| from.value.contains(&local) && to.value.contains(&remote)) {
            continue;
        }
        let pair = (&gateway.value.vpc.id, local.into(), remote.into());
        let owner = pairs.entry(pair).or_insert(&tunnel.place.field);
        if *owner != &tunnel.place.field {
            let rule = format!(
                "probes between {local} and {remote}, which belong to {owner} already: set other local and remote addresses"
            );
            log.mistake(probe.place(), rule);
        }
    }
}

/// The rules of PRODUCT.md T2.
fn check_spd(log: &Log, tunnel: &TunnelDraft, quotas: &Quotas) {
    let vpc = tunnel.gateway.as_ref().map(|gateway| &gateway.value.vpc);
    if tunnel.spd.len() > quotas.rules_per_tunnel {
        let rule = format!(
            "at most {} SPD rules per tunnel (quotas.rules_per_tunnel)",
            quotas.rules_per_tunnel
        );
        log.mistake(&tunnel.place, rule);
    }
    let locals: Vec<_> = tunnel.spd.iter().filter_map(|rule| rule.local.as_ref()).collect();
    check_disjoint(
        log,
        &locals,
        "local ranges of one tunnel must not overlap, and this one overlaps",
    );
    for rule in &tunnel.spd {
        let peers: Vec<_> = rule.peers.iter().collect();
        if let Some(first_too_many) = peers.get(quotas.peer_ranges_per_rule) {
            let limit = quotas.peer_ranges_per_rule;
            let what = format!("at most {limit} peer ranges per rule (quotas.peer_ranges_per_rule)");
            log.mistake(&first_too_many.place, what);
        }
        check_disjoint(
            log,
            &peers,
            "peer ranges of one rule must not overlap, and this one overlaps",
        );
        if let Some((local, vpc)) = rule.local.as_ref().zip(vpc)
            && !vpc.cidr.contains(&local.value)
        {
            log.mistake(
                &local.place,
                format!("lies inside the range {} of the VPC {}", vpc.cidr, vpc.id),
            );
        }
        for peer in &rule.peers {
            if let Some(local) = rule
                .local
                .as_ref()
                .filter(|local| overlap(local.value, peer.value))
            {
                log.mistake(
                    &peer.place,
                    format!("must not overlap the local range {} of its rule", local.value),
                );
            } else if let Some(vpc) = vpc.filter(|vpc| overlap(vpc.cidr, peer.value)) {
                log.mistake(
                    &peer.place,
                    format!("must not overlap the range {} of the VPC {}", vpc.cidr, vpc.id),
                );
            }
        }
    }
}

/// A route that meets no rule would never send a packet into the tunnel.
fn check_routes(log: &Log, tunnel: &TunnelDraft) {
    for route in tunnel.routes.iter().flatten() {
        let mut peers = tunnel.spd.iter().flat_map(|rule| &rule.peers);
        if !peers.any(|peer| overlap(peer.value, route.value)) {
            log.mistake(&route.place, "meets a peer range of the tunnel's rules");
        }
    }
}

/// A tunnel must not carry the packets that carry a tunnel.
fn check_outer_addresses(log: &Log, tunnel: &TunnelDraft, outer: &BTreeSet<Ipv4Addr>) {
    for range in tunnel.spd.iter().flat_map(|rule| &rule.peers) {
        if let Some(address) = outer
            .range(range.value.network()..=range.value.broadcast())
            .next()
        {
            log.mistake(
                &range.place,
                format!("contains {address}, the public address of an end of a tunnel"),
            );
        }
    }
    let probed = tunnel.probe.as_ref().zip(tunnel.id.as_ref());
    if let Some((probe, id)) = probed
        && let (_, remote) = probe.addresses_of(&id.value)
        && outer.contains(&remote)
    {
        log.mistake(
            probe.place(),
            format!("probes {remote}, the public address of an end of a tunnel"),
        );
    }
}

/// Compares neighbours in the order of their addresses: when any two ranges overlap, so do two neighbours.
fn check_disjoint(log: &Log, ranges: &[&At<Ipv4Net>], what: &str) {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| {
        (
            range.value.network(),
            range.value.prefix_len(),
            range.place.offset,
        )
    });
    let mut widest: Option<&At<Ipv4Net>> = None;
    for range in sorted {
        match widest.filter(|widest| widest.value.contains(&range.value)) {
            Some(other) => {
                let (first, second) = if other.place.offset < range.place.offset {
                    (other, range)
                } else {
                    (range, other)
                };
                log.mistake(
                    &second.place,
                    format!("{what} {} of {}", first.value, first.place.field),
                );
            }
            None => widest = Some(range),
        }
    }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn draft_pairs(rule: &RuleDraft) -> impl Iterator<Item = (&At<Ipv4Net>, &At<Ipv4Net>)> {
    rule.local
        .iter()
        .flat_map(|local| rule.peers.iter().map(move |peer| (local, peer)))
}

/// Counts one more object of `key` and records the first one above the limit.
fn count<'k>(
    log: &Log,
    counts: &mut BTreeMap<&'k Id, usize>,
    key: &'k Id,
    place: &super::mistake::Place,
    limit: usize,
    what: &str,
) {
    let count = counts.entry(key).or_default();
    *count += 1;
    if *count == limit + 1 {
        log.mistake(place, format!("at most {limit} {what}"));
    }
}
