//! From counters to rates: what two answers of the agent say about the time between them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use super::{Choice, Sort};
use crate::status::{GatewayStatus, Status, TunnelState, TunnelStatus};

/// Per second, between the last two answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) bits_in: u64,
    pub(super) bits_out: u64,
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) drops: u64,
}

impl std::ops::AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.bits_in = self.bits_in.saturating_add(other.bits_in);
        self.bits_out = self.bits_out.saturating_add(other.bits_out);
        self.packets_in = self.packets_in.saturating_add(other.packets_in);
        self.packets_out = self.packets_out.saturating_add(other.packets_out);
        self.drops = self.drops.saturating_add(other.drops);
    }
}

/// A gateway's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GatewayRate {
    /// Sum of its tunnels.
    pub(super) traffic: Rate,
    /// Packets above its bandwidth setting.
    pub(super) limited: u64,
}

/// The last answer with the rates since the one before.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Option<Instant>,
    pub(super) status: Status,
    tunnels: BTreeMap<String, Rate>,
    gateways: BTreeMap<String, GatewayRate>,
}

impl Rates {
    /// Takes an answer.
    pub(super) fn update(&mut self, at: Instant, status: Status) {
        let milliseconds = self
            .at
            .map(|before| at.saturating_duration_since(before).as_millis());
        self.tunnels.clear();
        self.gateways.clear();
        if let Some(milliseconds) = milliseconds.filter(|&milliseconds| milliseconds > 0) {
            self.compare(&status, milliseconds);
        }
        (self.at, self.status) = (Some(at), status);
    }

    fn compare(&mut self, status: &Status, milliseconds: u128) {
        // A counter that went back belongs to another life of the agent: its rate is not known.
        let per_second = |old: u64, new: u64| {
            let difference = u128::from(new.saturating_sub(old));
            u64::try_from(difference * 1000 / milliseconds).unwrap_or(u64::MAX)
        };
        let old: BTreeMap<_, _> = self
            .status
            .tunnels
            .iter()
            .map(|tunnel| (tunnel.id.as_str(), tunnel))
            .collect();
        for tunnel in &status.tunnels {
            let Some(old) = old.get(tunnel.id.as_str()) else {
                continue;
            };
            let rate = Rate {
                bits_in: per_second(old.bytes_in, tunnel.bytes_in).saturating_mul(8),
                bits_out: per_second(old.bytes_out, tunnel.bytes_out).saturating_mul(8),
                packets_in: per_second(old.packets_in, tunnel.packets_in),
                packets_out: per_second(old.packets_out, tunnel.packets_out),
                drops: per_second(old.dropped.values().sum(), tunnel.dropped.values().sum()),
            };
            self.gateways.entry(tunnel.gateway.clone()).or_default().traffic += rate;
            self.tunnels.insert(tunnel.id.clone(), rate);
        }
        for gateway in &status.gateways {
            if let Some(old) = self.status.gateways.iter().find(|old| old.id == gateway.id) {
                let limited = per_second(limited(old), limited(gateway));
                self.gateways.entry(gateway.id.clone()).or_default().limited = limited;
            }
        }
    }

    pub(super) fn of(&self, tunnel: &str) -> Rate {
        self.tunnels.get(tunnel).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> Rate {
        let mut total = Rate::default();
        self.tunnels.values().for_each(|&rate| total += rate);
        total
    }

    /// Gateways, those that drop most first, then the busiest.
    pub(super) fn gateways(&self) -> Vec<(&GatewayStatus, GatewayRate)> {
        let mut gateways: Vec<_> = self
            .status
            .gateways
            .iter()
            .map(|gateway| {
                (
                    gateway,
                    self.gateways.get(&gateway.id).copied().unwrap_or_default(),
                )
            })
            .collect();
        gateways.sort_by_key(|(gateway, rate)| {
            let bits = rate.traffic.bits_in.saturating_add(rate.traffic.bits_out);
            (Reverse((rate.limited, bits)), &gateway.id)
        });
        gateways
    }

    /// How many tunnels are in each state.
    pub(super) fn states(&self) -> [(TunnelState, usize); 4] {
        TunnelState::ALL.map(|state| {
            let tunnels = self.status.tunnels.iter();
            (state, tunnels.filter(|tunnel| tunnel.state == state).count())
        })
    }

    /// The tunnels of the operator's choice in its order.
    pub(super) fn rows(&self, choice: &Choice) -> Vec<(&TunnelStatus, Rate)> {
        let filter = choice.filter.to_lowercase();
        let matches = |tunnel: &TunnelStatus| {
            let peer = tunnel.peer.map(|peer| peer.to_string()).unwrap_or_default();
            [&tunnel.id, &tunnel.name, &tunnel.gateway, &peer]
                .iter()
                .any(|text| text.to_lowercase().contains(&filter))
                || tunnel.state.name().contains(&filter)
        };
        let mut rows: Vec<_> = self
            .status
            .tunnels
            .iter()
            .filter(|tunnel| !(choice.only_ill && tunnel.state == TunnelState::Up) && matches(tunnel))
            .map(|tunnel| (tunnel, self.of(&tunnel.id)))
            .collect();
        rows.sort_by(|a, b| {
            let name = || a.0.id.cmp(&b.0.id);
            let highest = |key: fn(&Rate) -> u64| key(&b.1).cmp(&key(&a.1));
            match choice.sort {
                Sort::Rate => highest(|rate| rate.bits_in.saturating_add(rate.bits_out)),
                Sort::In => highest(|rate| rate.bits_in),
                Sort::Out => highest(|rate| rate.bits_out),
                Sort::Drops => highest(|rate| rate.drops),
                Sort::State => severity(a.0.state).cmp(&severity(b.0.state)),
                Sort::Name => name(),
            }
            .then_with(name)
        });
        if choice.reverse {
            rows.reverse();
        }
        rows
    }
}

pub(super) fn limited(gateway: &GatewayStatus) -> u64 {
    gateway.limited_packets.values().sum()
}

const fn severity(state: TunnelState) -> u8 {
    match state {
        TunnelState::Down => 0,
        TunnelState::Negotiating => 1,
        TunnelState::Disabled => 2,
        TunnelState::Up => 3,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// Tunnel `id` of gateway `gw` with counters for in and out.
    pub(in crate::cli::top) fn tunnel(id: &str, state: TunnelState, bytes: (u64, u64)) -> TunnelStatus {
        TunnelStatus {
            id: id.into(),
            name: format!("name of {id}"),
            gateway: "gw".into(),
            peer: Some("198.51.100.7".parse().unwrap()),
            state,
            bytes_in: bytes.0,
            bytes_out: bytes.1,
            ..TunnelStatus::default()
        }
    }

    pub(in crate::cli::top) fn status(tunnels: Vec<TunnelStatus>, limited: u64) -> Status {
        let gateway = GatewayStatus {
            id: "gw".into(),
            limited_packets: BTreeMap::from([("in".into(), limited)]),
            bandwidth_bytes_per_second: Some(12_500_000),
            ..GatewayStatus::default()
        };
        Status {
            tunnels,
            gateways: vec![gateway],
            ..Status::default()
        }
    }

    /// Two answers, two seconds apart.
    pub(in crate::cli::top) fn rates(before: Status, after: Status) -> Rates {
        let start = Instant::now();
        let mut rates = Rates::default();
        rates.update(start, before);
        rates.update(start + Duration::from_secs(2), after);
        rates
    }

    #[test]
    fn rates_are_the_differences_of_counters_per_second() {
        let rates = rates(
            status(vec![tunnel("a", TunnelState::Up, (1000, 0))], 10),
            status(
                vec![
                    tunnel("a", TunnelState::Up, (5000, 250)),
                    tunnel("new", TunnelState::Up, (1 << 40, 0)),
                ],
                30,
            ),
        );
        let expected = Rate {
            bits_in: 16_000,
            bits_out: 1000,
            ..Rate::default()
        };
        assert_eq!((rates.of("a"), rates.of("new")), (expected, Rate::default()));
        assert_eq!(rates.total(), expected);
        let gateways = rates.gateways();
        assert_eq!((gateways[0].1.limited, gateways[0].1.traffic), (10, expected));
    }

    #[test]
    fn a_restarted_agent_shows_no_negative_and_no_huge_rate() {
        let rates = rates(
            status(vec![tunnel("a", TunnelState::Up, (9000, 9000))], 9),
            status(vec![tunnel("a", TunnelState::Up, (10, 10))], 0),
        );
        assert_eq!(rates.of("a"), Rate::default());
        assert_eq!(rates.gateways()[0].1.limited, 0);
    }

    #[test]
    fn rows_are_filtered_and_sorted() {
        let start = || {
            vec![
                tunnel("a", TunnelState::Up, (0, 0)),
                tunnel("b", TunnelState::Down, (0, 0)),
                tunnel("c", TunnelState::Up, (0, 0)),
            ]
        };
        let end = vec![
            tunnel("a", TunnelState::Up, (100, 900)),
            tunnel("b", TunnelState::Down, (0, 0)),
            tunnel("c", TunnelState::Up, (500, 0)),
        ];
        let rates = rates(status(start(), 0), status(end, 0));
        let choice = |sort, filter: &str| Choice {
            sort,
            filter: filter.into(),
            ..Choice::default()
        };
        let reversed = Choice {
            reverse: true,
            ..choice(Sort::Name, "")
        };
        let ill = Choice {
            only_ill: true,
            ..Choice::default()
        };
        for (choice, expected) in [
            (choice(Sort::Rate, ""), "acb"),
            (choice(Sort::In, ""), "cab"),
            (choice(Sort::Out, ""), "abc"),
            (choice(Sort::Name, ""), "abc"),
            (choice(Sort::State, ""), "bac"),
            (choice(Sort::Name, "DOWN"), "b"),
            (choice(Sort::Name, "name of c"), "c"),
            (choice(Sort::Name, "198.51"), "abc"),
            (choice(Sort::Name, "nothing"), ""),
            (reversed, "cba"),
            (ill, "b"),
        ] {
            let ids: String = rates.rows(&choice).iter().map(|row| row.0.id.as_str()).collect();
            assert_eq!(ids, expected, "{choice:?}");
        }
    }
}
