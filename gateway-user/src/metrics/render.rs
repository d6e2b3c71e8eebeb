//! The scrape page, rendered from a snapshot into a registry that lives for one scrape.

use std::time::{SystemTime, UNIX_EPOCH};

use gateway_common::abi::{Action, Verdict};
use prometheus::core::Collector;
use prometheus::{Encoder, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::status::{GatewayStatus, Status, TunnelState, TunnelStatus};

/// The page of a snapshot in the Prometheus text format.
///
/// # Errors
/// When two series of the snapshot have the same labels in a way the registry refuses.
pub fn render(status: &Status) -> Result<String, prometheus::Error> {
    let page = Page {
        registry: Registry::new(),
        now: unix_time(),
    };
    page.agent(status)?;
    page.gateways(&status.gateways)?;
    page.tunnels(&status.tunnels)?;
    page.traffic(&status.tunnels)?;
    page.negotiations(status)?;
    page.dataplane(status)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&page.registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

fn unix_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

struct Page {
    registry: Registry,
    /// Unix time of the scrape in seconds.
    now: f64,
}

impl Page {
    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge of unix times or seconds.
    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        self.register(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn agent(&self, status: &Status) -> Result<(), prometheus::Error> {
        self.gauge(
            "ipsecgw_build_info",
            "Version of the agent and mode of the XDP program; always 1.",
            &["version", "xdp_mode"],
        )?
        .with_label_values(&[&status.version, &status.xdp.mode])
        .set(1);
        self.gauge(
            "ipsecgw_config_generation",
            "Counts the configurations put into effect.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .set(gauge_value(status.config.generation));
        let applied = self.counter("ipsecgw_config_apply_total", "Reloads by result.", &["result"])?;
        applied
            .with_label_values(&["applied"])
            .inc_by(status.config.reloads);
        applied
            .with_label_values(&["refused"])
            .inc_by(status.config.refused_reloads);
        Ok(())
    }

    fn gateways(&self, gateways: &[GatewayStatus]) -> Result<(), prometheus::Error> {
        let info = self.gauge(
            "ipsecgw_gateway_info",
            "A VPN gateway; always 1.",
            &["gateway", "name", "vpc", "public_ip"],
        )?;
        let limit = self.gauge(
            "ipsecgw_gateway_bandwidth_limit_bytes_per_second",
            "Bandwidth setting; absent without a limit.",
            &["gateway", "direction"],
        )?;
        let limited = self.counter(
            "ipsecgw_gateway_limited_packets_total",
            "Packets dropped because they exceeded the bandwidth setting.",
            &["gateway", "direction"],
        )?;
        for gateway in gateways {
            let address = gateway
                .address
                .map(|address| address.to_string())
                .unwrap_or_default();
            info.with_label_values(&[&gateway.id, &gateway.name, &gateway.vpc, &address])
                .set(1);
            for direction in ["in", "out"] {
                if let Some(rate) = gateway.bandwidth_bytes_per_second {
                    limit
                        .with_label_values(&[gateway.id.as_str(), direction])
                        .set(gauge_value(rate));
                }
                let dropped = gateway
                    .limited_packets
                    .get(direction)
                    .copied()
                    .unwrap_or_default();
                limited
                    .with_label_values(&[gateway.id.as_str(), direction])
                    .inc_by(dropped);
            }
        }
        Ok(())
    }

    fn tunnels(&self, tunnels: &[TunnelStatus]) -> Result<(), prometheus::Error> {
        let info = self.gauge(
            "ipsecgw_tunnel_info",
            "A configured tunnel; always 1.",
            &[
                "tunnel",
                "name",
                "gateway",
                "customer_gateway",
                "peer",
                "ike_version",
            ],
        )?;
        let state = self.gauge(
            "ipsecgw_tunnel_state",
            "1 for the state that the phase of the tunnel is in, 0 for the others.",
            &["tunnel", "phase", "state"],
        )?;
        let changed = self.seconds(
            "ipsecgw_tunnel_last_state_change_timestamp_seconds",
            "Unix time of the last change of the tunnel's state.",
            &["tunnel"],
        )?;
        let established = self.seconds(
            "ipsecgw_tunnel_ike_established_timestamp_seconds",
            "Unix time at which the IKE SA was established; absent without one.",
            &["tunnel"],
        )?;
        let rekey = self.seconds(
            "ipsecgw_tunnel_ike_rekey_timestamp_seconds",
            "Unix time at which the IKE SA will be rekeyed; absent without one.",
            &["tunnel"],
        )?;
        let children = self.gauge(
            "ipsecgw_tunnel_child_sas",
            "Selector pairs that have SAs.",
            &["tunnel"],
        )?;
        let expected = self.gauge(
            "ipsecgw_tunnel_child_sas_expected",
            "Selector pairs that are configured.",
            &["tunnel"],
        )?;
        let nat = self.gauge(
            "ipsecgw_tunnel_nat_traversal",
            "1 when ESP travels in UDP.",
            &["tunnel"],
        )?;
        let weak = self.gauge(
            "ipsecgw_tunnel_weak_choices",
            "Weak algorithms that the tunnel allows.",
            &["tunnel"],
        )?;
        for tunnel in tunnels {
            let id = tunnel.id.as_str();
            let peer = tunnel.peer.map(|peer| peer.to_string()).unwrap_or_default();
            info.with_label_values(&[
                id,
                &tunnel.name,
                &tunnel.gateway,
                &tunnel.customer_gateway,
                &peer,
                "ikev1",
            ])
            .set(1);
            for (phase, current) in [("ike", ike_state(tunnel)), ("child", tunnel.state)] {
                for candidate in TunnelState::ALL {
                    state
                        .with_label_values(&[id, phase, candidate.name()])
                        .set(i64::from(candidate == current));
                }
            }
            changed
                .with_label_values(&[id])
                .set(self.now - seconds(tunnel.state_seconds));
            if let Some(ike) = &tunnel.ike {
                established
                    .with_label_values(&[id])
                    .set(self.now - seconds(ike.established_seconds));
                rekey
                    .with_label_values(&[id])
                    .set(self.now + seconds(ike.rekey_in_seconds));
            }
            let current = tunnel.children.iter().filter(|child| child.current).count();
            children.with_label_values(&[id]).set(count(current));
            expected.with_label_values(&[id]).set(count(tunnel.pairs));
            nat.with_label_values(&[id]).set(i64::from(tunnel.nat));
            weak.with_label_values(&[id]).set(count(tunnel.weak.len()));
        }
        Ok(())
    }

    fn traffic(&self, tunnels: &[TunnelStatus]) -> Result<(), prometheus::Error> {
        let bytes = self.counter(
            "ipsecgw_tunnel_bytes_total",
            "Octets of inner packets carried, over all SAs the tunnel ever had.",
            &["tunnel", "direction"],
        )?;
        let packets = self.counter(
            "ipsecgw_tunnel_packets_total",
            "Inner packets carried, over all SAs the tunnel ever had.",
            &["tunnel", "direction"],
        )?;
        let dropped = self.counter(
            "ipsecgw_tunnel_dropped_packets_total",
            "Packets of the tunnel that were dropped.",
            &["tunnel", "direction", "reason"],
        )?;
        for tunnel in tunnels {
            let id = tunnel.id.as_str();
            bytes.with_label_values(&[id, "in"]).inc_by(tunnel.bytes_in);
            bytes.with_label_values(&[id, "out"]).inc_by(tunnel.bytes_out);
            packets.with_label_values(&[id, "in"]).inc_by(tunnel.packets_in);
            packets.with_label_values(&[id, "out"]).inc_by(tunnel.packets_out);
            for (reason, all) in &tunnel.dropped {
                let out = tunnel.dropped_out.get(reason).copied().unwrap_or_default();
                dropped.with_label_values(&[id, "out", reason]).inc_by(out);
                dropped
                    .with_label_values(&[id, "in", reason])
                    .inc_by(all.saturating_sub(out));
            }
        }
        Ok(())
    }

    fn negotiations(&self, status: &Status) -> Result<(), prometheus::Error> {
        let negotiations = self.counter(
            "ipsecgw_ike_negotiations_total",
            "Negotiations by exchange and result.",
            &["tunnel", "exchange", "result"],
        )?;
        let rekeys = self.counter(
            "ipsecgw_ike_rekeys_total",
            "Finished rekeys by what was rekeyed.",
            &["tunnel", "type"],
        )?;
        let failures = self.counter(
            "ipsecgw_ike_failures_total",
            "Failed negotiations by the code of the diagnosis.",
            &["tunnel", "code"],
        )?;
        for tunnel in &status.tunnels {
            let id = tunnel.id.as_str();
            let counts = tunnel.negotiations;
            negotiations
                .with_label_values(&[id, "ike", "success"])
                .inc_by(counts.ike);
            negotiations
                .with_label_values(&[id, "child", "success"])
                .inc_by(counts.child);
            negotiations
                .with_label_values(&[id, "any", "failure"])
                .inc_by(tunnel.failures.values().sum());
            rekeys.with_label_values(&[id, "ike"]).inc_by(counts.ike_rekeys);
            rekeys
                .with_label_values(&[id, "child"])
                .inc_by(counts.child_rekeys);
            for (code, number) in &tunnel.failures {
                failures.with_label_values(&[id, code]).inc_by(*number);
            }
        }
        self.gauge(
            "ipsecgw_ike_half_open",
            "Negotiations of IKE SAs that are not finished.",
            &[],
        )?
        .with_label_values::<&str>(&[])
        .set(gauge_value(status.ike.half_open));
        for (name, help, number) in [
            (
                "ipsecgw_ike_retransmits_total",
                "IKE messages sent again.",
                status.ike.retransmits,
            ),
            (
                "ipsecgw_ike_dropped_datagrams_total",
                "Datagrams on the IKE ports that did not parse or belonged to nothing.",
                status.ike.dropped_datagrams,
            ),
            (
                "ipsecgw_ike_unknown_peers_total",
                "Refused peers without a configured tunnel.",
                status.ike.unknown_peers,
            ),
            (
                "ipsecgw_ike_send_errors_total",
                "IKE datagrams that the kernel did not take.",
                status.ike.send_errors,
            ),
        ] {
            self.counter(name, help, &[])?
                .with_label_values::<&str>(&[])
                .inc_by(number);
        }
        Ok(())
    }

    fn dataplane(&self, status: &Status) -> Result<(), prometheus::Error> {
        let verdicts = self.counter(
            "ipsecgw_xdp_packets_total",
            "Packets by verdict of the XDP program and what became of them.",
            &["iface", "verdict", "action"],
        )?;
        let mut unknown_spi = 0;
        let mut cleartext = 0;
        for interface in &status.xdp.interfaces {
            for verdict in Verdict::ALL {
                let number = interface
                    .verdicts
                    .get(verdict.name())
                    .copied()
                    .unwrap_or_default();
                verdicts
                    .with_label_values(&[
                        interface.name.as_str(),
                        verdict.name(),
                        action_name(verdict.action()),
                    ])
                    .inc_by(number);
                unknown_spi += if verdict == Verdict::UnknownSpi { number } else { 0 };
                cleartext += if verdict == Verdict::CleartextInbound {
                    number
                } else {
                    0
                };
            }
        }
        for (name, help, number) in [
            (
                "ipsecgw_unknown_spi_packets_total",
                "ESP packets with an SPI that no SA has.",
                unknown_spi,
            ),
            (
                "ipsecgw_cleartext_blocked_packets_total",
                "Packets of protected ranges that arrived in the clear on the public side.",
                cleartext,
            ),
        ] {
            self.counter(name, help, &[])?
                .with_label_values::<&str>(&[])
                .inc_by(number);
        }
        self.gauge("ipsecgw_umem_bytes", "Packet memory of all workers.", &[])?
            .with_label_values::<&str>(&[])
            .set(gauge_value(status.umem_bytes));
        self.workers(status)
    }

    fn workers(&self, status: &Status) -> Result<(), prometheus::Error> {
        let alive = self.gauge(
            "ipsecgw_worker_up",
            "1 while the worker's thread runs.",
            &["worker"],
        )?;
        let events = self.counter(
            "ipsecgw_worker_events_total",
            "What happened in a worker, by name of the event.",
            &["worker", "event"],
        )?;
        for worker in &status.workers {
            let queue = worker.queue.to_string();
            alive.with_label_values(&[&queue]).set(i64::from(worker.alive));
            for (event, number) in &worker.counters {
                events.with_label_values(&[&queue, event]).inc_by(*number);
            }
        }
        Ok(())
    }
}

/// Phase 1 of a tunnel, derived from what the whole tunnel is and whether it has an IKE SA.
fn ike_state(tunnel: &TunnelStatus) -> TunnelState {
    match tunnel.state {
        TunnelState::Disabled => TunnelState::Disabled,
        TunnelState::Up | TunnelState::Negotiating | TunnelState::Down if tunnel.ike.is_some() => {
            TunnelState::Up
        }
        TunnelState::Up | TunnelState::Down => TunnelState::Down,
        TunnelState::Negotiating => TunnelState::Negotiating,
    }
}

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Redirect => "redirect",
    }
}

fn gauge_value(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ages in seconds fit a double exactly for longer than machines run"
)]
fn seconds(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::status::{ChildStatus, InterfaceStatus, XdpStatus};

    fn snapshot() -> Status {
        let down = TunnelStatus {
            id: "down".to_owned(),
            pairs: 2,
            ..TunnelStatus::default()
        };
        let up = TunnelStatus {
            id: "up".to_owned(),
            state: TunnelState::Up,
            bytes_out: 1428,
            packets_out: 1,
            dropped: BTreeMap::from([("replay".to_owned(), 5), ("mtu".to_owned(), 2)]),
            dropped_out: BTreeMap::from([("mtu".to_owned(), 2)]),
            failures: BTreeMap::from([("psk_mismatch".to_owned(), 3)]),
            children: vec![
                ChildStatus {
                    current: true,
                    ..ChildStatus::default()
                },
                ChildStatus {
                    current: false,
                    ..ChildStatus::default()
                },
            ],
            ..TunnelStatus::default()
        };
        let interface = InterfaceStatus {
            name: "eth0".to_owned(),
            verdicts: BTreeMap::from([("unknown_spi".to_owned(), 7)]),
            ..InterfaceStatus::default()
        };
        Status {
            tunnels: vec![down, up],
            xdp: XdpStatus {
                mode: "native".to_owned(),
                interfaces: vec![interface],
            },
            ..Status::default()
        }
    }

    #[test]
    fn every_configured_tunnel_has_its_series_even_when_it_is_down() {
        let page = render(&snapshot()).unwrap();
        for line in [
            r#"ipsecgw_tunnel_state{phase="child",state="down",tunnel="down"} 1"#,
            r#"ipsecgw_tunnel_state{phase="child",state="up",tunnel="down"} 0"#,
            r#"ipsecgw_tunnel_state{phase="child",state="up",tunnel="up"} 1"#,
            r#"ipsecgw_tunnel_bytes_total{direction="out",tunnel="down"} 0"#,
            r#"ipsecgw_tunnel_bytes_total{direction="out",tunnel="up"} 1428"#,
            r#"ipsecgw_tunnel_child_sas{tunnel="up"} 1"#,
            r#"ipsecgw_tunnel_child_sas_expected{tunnel="down"} 2"#,
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "{line} is not in\n{page}"
            );
        }
    }

    #[test]
    fn drops_are_split_by_direction_and_reason() {
        let page = render(&snapshot()).unwrap();
        for line in [
            r#"ipsecgw_tunnel_dropped_packets_total{direction="in",reason="replay",tunnel="up"} 5"#,
            r#"ipsecgw_tunnel_dropped_packets_total{direction="in",reason="mtu",tunnel="up"} 0"#,
            r#"ipsecgw_tunnel_dropped_packets_total{direction="out",reason="mtu",tunnel="up"} 2"#,
            r#"ipsecgw_ike_failures_total{code="psk_mismatch",tunnel="up"} 3"#,
            r#"ipsecgw_xdp_packets_total{action="drop",iface="eth0",verdict="unknown_spi"} 7"#,
            "ipsecgw_unknown_spi_packets_total 7",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "{line} is not in\n{page}"
            );
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        for line in render(&snapshot())
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
        {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(name.starts_with("ipsecgw_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        }
    }
}
