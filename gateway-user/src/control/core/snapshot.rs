//! The status, read off the state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use gateway_ike::config::SelectorPair;
use ipnet::Ipv4Net;

use super::{Core, Gateway};
use crate::config::Bandwidth;
use crate::control::fabric::Fabric;
use crate::control::tunnel::{Child, Tunnel};
use crate::dataplane::{Counters, Direction, SaCounters, TunnelCounters};
use crate::status::{ChildStatus, FailureStatus, GatewayStatus, IkeSaStatus, IkeStatus, TunnelStatus};

/// Counters of the data plane, ready to be looked up.
struct Index<'a> {
    inbound: BTreeMap<u32, &'a SaCounters>,
    outbound: BTreeMap<u32, &'a SaCounters>,
    tunnels: BTreeMap<u32, &'a TunnelCounters>,
}

impl<'a> Index<'a> {
    fn new(counters: &'a Counters) -> Self {
        fn by_number<T>(list: &[(u32, T)]) -> BTreeMap<u32, &T> {
            list.iter()
                .map(|(number, counters)| (*number, counters))
                .collect()
        }
        Self {
            inbound: by_number(&counters.inbound),
            outbound: by_number(&counters.outbound),
            tunnels: by_number(&counters.tunnels),
        }
    }

    fn of(&self, child: &Child) -> (SaCounters, SaCounters) {
        let read = |map: &BTreeMap<u32, &SaCounters>, index| {
            map.get(&index).map_or_else(SaCounters::default, |c| **c)
        };
        let outbound = if child.waiting.is_none() {
            read(&self.outbound, child.outbound.index)
        } else {
            SaCounters::default()
        };
        (read(&self.inbound, child.inbound.index), outbound)
    }
}

impl<F: Fabric> Core<F> {
    /// All tunnels, in the order of their ids.
    pub(in crate::control) fn tunnel_statuses(&self, now: Instant, counters: &Counters) -> Vec<TunnelStatus> {
        let index = Index::new(counters);
        let numbers = self
            .numbers
            .values()
            .filter_map(|slot| Some((slot.index, self.tunnels.get(&slot.index)?)));
        numbers
            .map(|(number, tunnel)| tunnel_status(now, number, tunnel, &index))
            .collect()
    }

    /// All gateways, in the order of their ids. `limited` tells the packets that a limiter dropped.
    pub(in crate::control) fn gateway_statuses(&self, limited: impl Fn(u32) -> u64) -> Vec<GatewayStatus> {
        let status = |gateway: &Gateway| GatewayStatus {
            id: gateway.config.id.to_string(),
            name: gateway.config.name.clone(),
            vpc: gateway.config.vpc.id.to_string(),
            address: Some(gateway.config.address),
            bandwidth_bytes_per_second: match gateway.config.bandwidth {
                Bandwidth::Unlimited => None,
                limited @ Bandwidth::Mbps(_) => limited.octets_per_second(),
            },
            limited_packets: [("out", gateway.limiter_out()), ("in", gateway.limiter_in())]
                .map(|(direction, limiter)| (direction.to_owned(), limited(limiter)))
                .into(),
        };
        self.gateways.values().map(status).collect()
    }

    /// The engine. What the sockets know is not in it.
    pub(in crate::control) fn ike_status(&self) -> IkeStatus {
        let totals = self.endpoint.totals();
        IkeStatus {
            half_open: totals.half_open,
            retransmits: totals.retransmits,
            dropped_datagrams: totals.dropped_datagrams,
            unknown_peers: self.unknown_peers,
            send_errors: 0,
        }
    }

    /// Counts configurations put into effect.
    pub(in crate::control) const fn generation(&self) -> u64 {
        self.generation
    }
}

fn tunnel_status(now: Instant, number: u32, tunnel: &Tunnel, index: &Index<'_>) -> TunnelStatus {
    let mut traffic = tunnel.past;
    let children = tunnel.children.values().map(|child| {
        let (inbound, outbound) = index.of(child);
        traffic.add(&inbound, &outbound);
        child_status(now, child, &inbound, &outbound)
    });
    let children: Vec<_> = children.collect();
    let (dropped, dropped_out) = drops(index.tunnels.get(&number).copied(), &tunnel.baseline);
    let seconds_ago = |at: Instant| now.saturating_duration_since(at).as_secs();
    let config = &tunnel.config;
    TunnelStatus {
        id: config.id.to_string(),
        name: config.name.clone(),
        gateway: config.gateway.id.to_string(),
        customer_gateway: config.customer_gateway.id.to_string(),
        state: tunnel.state(),
        state_seconds: seconds_ago(tunnel.state_since),
        start: config.start.name().to_owned(),
        local: Some(config.gateway.address),
        peer: Some(config.customer_gateway.address),
        nat: tunnel.ike.last().is_some_and(|ike| ike.nat) || tunnel.children.values().any(|child| child.udp),
        ike: tunnel.ike.last().map(|ike| IkeSaStatus {
            initiator: ike.initiator,
            algorithms: ike.algorithms.clone(),
            spis: (ike.spis.0.to_string(), ike.spis.1.to_string()),
            established_seconds: seconds_ago(ike.established),
            rekey_in_seconds: seconds_until(now, ike.rekey_at),
            expires_in_seconds: seconds_until(now, ike.expires_at),
        }),
        children,
        pairs: tunnel.pairs.len(),
        packets_in: traffic.packets_in,
        bytes_in: traffic.bytes_in,
        packets_out: traffic.packets_out,
        bytes_out: traffic.bytes_out,
        dropped,
        dropped_out,
        weak: config.weaknesses().iter().map(ToString::to_string).collect(),
        last_failure: tunnel.last_failure.as_ref().map(|(at, diagnosis)| FailureStatus {
            code: diagnosis.code.name().to_owned(),
            local: diagnosis.local.clone(),
            peer: diagnosis.peer.clone(),
            advice: diagnosis.advice.clone(),
            seconds_ago: seconds_ago(*at),
        }),
        failures: tunnel
            .failures
            .iter()
            .map(|(code, &count)| (code.name().to_owned(), count))
            .collect(),
        negotiations: tunnel.negotiations,
        events: tunnel.timeline.status(now),
    }
}

/// The ranges of one side, each once.
fn ranges(child: &Child, side: impl Fn(&SelectorPair) -> Ipv4Net) -> String {
    let ranges: BTreeSet<_> = child
        .serves
        .iter()
        .map(|serving| side(&serving.selectors))
        .collect();
    let texts: Vec<_> = ranges.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn child_status(now: Instant, child: &Child, inbound: &SaCounters, outbound: &SaCounters) -> ChildStatus {
    ChildStatus {
        local: ranges(child, |selectors| selectors.local),
        peer: ranges(child, |selectors| selectors.peer),
        spi_in: child.spis.0.to_string(),
        spi_out: child.spis.1.to_string(),
        algorithms: child.algorithms.clone(),
        encapsulation: if child.udp { "udp" } else { "esp" }.to_owned(),
        current: child.current(),
        rekey_in_seconds: seconds_until(now, child.rekey_at),
        expires_in_seconds: seconds_until(now, child.expires_at),
        packets_in: inbound.packets,
        bytes_in: inbound.octets,
        packets_out: outbound.packets,
        bytes_out: outbound.octets,
    }
}

/// Drops by reason, of both directions together and of those from the VPC.
fn drops(
    counters: Option<&TunnelCounters>,
    baseline: &TunnelCounters,
) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let (mut all, mut out) = (BTreeMap::new(), BTreeMap::new());
    for (direction, reason, count) in counters.into_iter().flat_map(|counters| counters.drops.iter()) {
        let count = count.saturating_sub(baseline.drops.get(direction, reason));
        if count > 0 {
            *all.entry(reason.name().to_owned()).or_default() += count;
            if direction == Direction::Outbound {
                *out.entry(reason.name().to_owned()).or_default() += count;
            }
        }
    }
    (all, out)
}

fn seconds_until(now: Instant, then: Instant) -> u64 {
    then.saturating_duration_since(now).as_secs()
}
