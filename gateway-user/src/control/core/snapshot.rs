//! The status, read off the state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use gateway_ike::config::SelectorPair;
use gateway_ike::diagnosis::Code;
use gateway_management::monitor::Namespace;
use gateway_management::store::Traffic;
use gateway_management::{LiveTunnel, Sample};
use ipnet::Ipv4Net;

use super::{Core, Gateway};
use crate::config::{Bandwidth, Id};
use crate::control::fabric::Fabric;
use crate::control::management::Snapshot;
use crate::control::probe::Probe;
use crate::control::strangers::failure_status;
use crate::control::tunnel::{Child, IkeSa, Tunnel};
use crate::dataplane::{Counters, Direction, SaCounters, TunnelCounters};
use crate::status::{
    ChildStatus, DpdStatus, GatewayStatus, IkeSaStatus, IkeStatus, LeaseStatus, StrangerStatus, TunnelState,
    TunnelStatus,
};

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
    /// All tunnels, in the order of their ids, without their timelines.
    pub(in crate::control) fn tunnel_statuses(&self, now: Instant, counters: &Counters) -> Vec<TunnelStatus> {
        let index = Index::new(counters);
        let numbers = self
            .numbers
            .values()
            .filter_map(|slot| Some((slot.index, self.tunnels.get(&slot.index)?)));
        numbers
            .map(|(number, tunnel)| self.tunnel_status(now, number, tunnel, &index))
            .collect()
    }

    /// One tunnel with its timeline.
    pub(in crate::control) fn one_tunnel_status(
        &self,
        now: Instant,
        id: &str,
        counters: &Counters,
    ) -> Option<TunnelStatus> {
        let number = self.number(id)?;
        let tunnel = self.tunnels.get(&number)?;
        Some(TunnelStatus {
            events: tunnel.timeline.status(now),
            ..self.tunnel_status(now, number, tunnel, &Index::new(counters))
        })
    }

    /// Peers without a tunnel.
    pub(in crate::control) fn stranger_statuses(&self, now: Instant) -> Vec<StrangerStatus> {
        self.strangers.status(now)
    }

    /// The little that management wants to know of every tunnel, every second.
    fn live_tunnels(&self, now: Instant, counters: &Counters) -> BTreeMap<String, LiveTunnel> {
        let index = Index::new(counters);
        let live = |(&number, tunnel): (&u32, &Tunnel)| {
            let mut traffic = tunnel.past;
            for child in tunnel.children.values() {
                let (inbound, outbound) = index.of(child);
                traffic.add(&inbound, &outbound);
            }
            let (dropped, _) = drops(index.tunnels.get(&number).copied(), &tunnel.baseline);
            let probed = tunnel.probe.as_ref().map(Probe::counts).unwrap_or_default();
            let live = LiveTunnel {
                up: tunnel.state() == TunnelState::Up,
                health: tunnel.probe.as_ref().map(Probe::health),
                traffic: Traffic {
                    bytes_in: traffic.bytes_in,
                    bytes_out: traffic.bytes_out,
                    packets_in: traffic.packets_in,
                    packets_out: traffic.packets_out,
                    dropped: dropped.values().sum(),
                    probes_sent: probed.sent,
                    probes_lost: probed.lost,
                    probes_answered: probed.answered,
                    probe_micros: probed.micros,
                    limited: 0,
                    ike_failures: tunnel.failures.values().map(|failure| failure.count).sum(),
                    down_seconds: tunnel.down(now).as_secs(),
                },
            };
            (tunnel.config.id.to_string(), live)
        };
        self.tunnels.iter().map(live).collect()
    }

    /// What management hears every second. `limited` tells the packets that a limiter dropped.
    pub(in crate::control) fn management_snapshot(
        &self,
        now: Instant,
        counters: &Counters,
        limited: impl Fn(u32) -> u64,
    ) -> Snapshot {
        let tunnels = self.live_tunnels(now, counters);
        let of_tunnel = |tunnel: &Tunnel| {
            let live = tunnels.get(tunnel.config.id.as_str())?;
            Some(Sample {
                namespace: Namespace::Tunnel,
                object: tunnel.config.id.to_string(),
                part_of: Some(tunnel.config.gateway.id.to_string()),
                counters: live.traffic,
            })
        };
        let of_gateway = |gateway: &Gateway| Sample {
            namespace: Namespace::Gateway,
            object: gateway.config.id.to_string(),
            part_of: None,
            counters: Traffic {
                limited: limited(gateway.limiter_out()) + limited(gateway.limiter_in()),
                ..Traffic::default()
            },
        };
        let bandwidth = |gateway: &Gateway| match gateway.config.bandwidth {
            Bandwidth::Mbps(setting) => Some((gateway.config.id.to_string(), setting)),
            Bandwidth::Unlimited => None,
        };
        Snapshot {
            samples: self
                .tunnels
                .values()
                .filter_map(of_tunnel)
                .chain(self.gateways.values().map(of_gateway))
                .collect(),
            bandwidths: self.gateways.values().filter_map(bandwidth).collect(),
            defenses: BTreeMap::new(),
            tunnels,
        }
    }

    /// All gateways, in the order of their ids. `limited` tells the packets that a limiter dropped.
    pub(in crate::control) fn gateway_statuses(&self, limited: impl Fn(u32) -> u64) -> Vec<GatewayStatus> {
        let status = |gateway: &Gateway| GatewayStatus {
            id: gateway.config.id.to_string(),
            name: gateway.config.name.clone(),
            vpc: gateway.config.vpc.id.to_string(),
            address: Some(gateway.config.address),
            defense: None,
            lease: self.lease(&gateway.config.id),
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

    fn lease(&self, gateway: &Id) -> Option<LeaseStatus> {
        let lease = self.config.as_ref()?.leases.get(gateway)?;
        Some(LeaseStatus {
            state: lease.stage.name().to_owned(),
            expires: lease.expires.and_then(|expires| u64::try_from(expires.0).ok()),
        })
    }

    /// The engine. What the sockets know is not in it.
    pub(in crate::control) fn ike_status(&self) -> IkeStatus {
        let totals = self.endpoint.totals();
        IkeStatus {
            half_open: totals.half_open,
            retransmits: totals.retransmits,
            dropped_datagrams: totals.dropped_datagrams,
            invalid_spi_hints: totals.invalid_spi_hints,
            unknown_peers: self.unknown_peers,
            send_errors: 0,
            queued_jobs: totals.queued_jobs,
            failures: Code::ALL
                .iter()
                .map(|code| {
                    let count = self.failures.get(code).copied().unwrap_or_default();
                    (code.name().to_owned(), count)
                })
                .collect(),
            ike_durations: self.ike_durations.clone(),
            ike_rekey_durations: self.ike_rekey_durations.clone(),
            setup_durations: self.setup_durations.clone(),
        }
    }

    /// Counts configurations put into effect.
    pub(in crate::control) const fn generation(&self) -> u64 {
        self.generation
    }

    fn tunnel_status(&self, now: Instant, number: u32, tunnel: &Tunnel, index: &Index<'_>) -> TunnelStatus {
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
        let weaknesses = config.weaknesses();
        let mut weak_reasons = BTreeMap::<String, u64>::new();
        for weakness in &weaknesses {
            *weak_reasons.entry(weakness.reason.name().to_owned()).or_default() += 1;
        }
        let mut diagnoses: Vec<_> = tunnel.failures.values().collect();
        diagnoses.sort_by_key(|failure| std::cmp::Reverse(failure.last));
        let diagnoses: Vec<_> = diagnoses
            .into_iter()
            .map(|failure| {
                failure_status(
                    now,
                    &failure.diagnosis,
                    failure.first,
                    failure.last,
                    failure.count,
                )
            })
            .collect();
        let since = |read: fn(&TunnelCounters) -> u64| {
            let total = index.tunnels.get(&number).map_or(0, |counters| read(counters));
            total.saturating_sub(read(&tunnel.baseline))
        };
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
            nat: tunnel.ike.last().is_some_and(|ike| ike.nat)
                || tunnel.children.values().any(|child| child.udp),
            version: config.ike.version.name().to_owned(),
            mode: config.ike.mode.name().to_owned(),
            dpd: config.ike.dpd.map(|dpd| DpdStatus {
                interval_seconds: dpd.delay.as_secs(),
                action: dpd.action.name().to_owned(),
            }),
            ike: tunnel.ike.last().map(|ike| self.ike_sa_status(now, ike)),
            children,
            pairs: tunnel.pairs.len(),
            packets_in: traffic.packets_in,
            bytes_in: traffic.bytes_in,
            packets_out: traffic.packets_out,
            bytes_out: traffic.bytes_out,
            dropped,
            dropped_out,
            weak: weaknesses.iter().map(ToString::to_string).collect(),
            weak_reasons,
            last_failure: diagnoses.first().cloned(),
            failures: tunnel
                .failures
                .iter()
                .map(|(code, failure)| (code.name().to_owned(), failure.count))
                .collect(),
            diagnoses,
            mss_clamped: since(|counters| counters.mss_clamped),
            icmp_too_big_sent: since(|counters| counters.icmp_too_big_sent),
            icmp_time_exceeded_sent: since(|counters| counters.icmp_time_exceeded_sent),
            fragmented: since(|counters| counters.fragmented),
            mtu: index
                .tunnels
                .get(&number)
                .map(|counters| counters.mtu)
                .filter(|&mtu| mtu != 0),
            probe: tunnel.probe.as_ref().map(|probe| probe.status(now)),
            negotiations: tunnel.negotiations,
            events: Vec::new(),
        }
    }

    fn ike_sa_status(&self, now: Instant, ike: &IkeSa) -> IkeSaStatus {
        let own_spi = if ike.initiator { ike.spis.0 } else { ike.spis.1 };
        let sa = self.endpoint.ike_sa(now, own_spi);
        let volume = sa.as_ref().and_then(|sa| sa.volume);
        IkeSaStatus {
            version: ike.version.name().to_owned(),
            nat: ike.nat,
            idle_seconds: sa.map_or(0, |sa| sa.idle.as_secs()),
            initiator: ike.initiator,
            algorithms: ike.algorithms.clone(),
            spis: (ike.spis.0.to_string(), ike.spis.1.to_string()),
            established_seconds: now.saturating_duration_since(ike.established).as_secs(),
            rekey_in_seconds: seconds_until(now, ike.rekey_at),
            expires_in_seconds: seconds_until(now, ike.expires_at),
            octets: volume.map(|(octets, _)| octets),
            octet_limit: volume.map(|(_, limit)| limit),
        }
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
        esn: child.esn,
        encapsulation: if child.udp { "udp" } else { "esp" }.to_owned(),
        current: child.current(),
        serves: child.serves.iter().filter(|serving| serving.current).count(),
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
