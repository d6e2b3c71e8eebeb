//! Throughput between the hosts of the lab: our gateway on both ends, strongSwan on both ends, plain forwarding by the kernel.
//!
//! All variants stand at the same time, each in a lab of its own, and take turns: what the machine does besides hits all alike.

use anyhow::{Result, ensure};
use gateway_tests::iperf::{Load, iperf};
use gateway_tests::ping::{bring_up, ping};
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

use super::Row;
use crate::{cargo, shell};

/// Turns of all variants.
const ROUNDS: usize = 5;
/// Seconds of each TCP run.
const SECONDS: u32 = 4;

/// What stands between the hosts. The handles keep it running.
enum Between {
    Plain,
    Ours { _gateways: [Agent; 2] },
    Strongswan { _gateways: [StrongSwan; 2] },
}

struct Variant {
    name: &'static str,
    /// What its figures are divided by.
    against: Option<&'static str>,
    lab: Lab,
    _between: Between,
    /// Mbit/s.
    tcp: Vec<f64>,
    /// Round trips in microseconds.
    round_trip: Vec<f64>,
}

const PLAIN: &str = "plain forwarding";
const STRONGSWAN_CBC: &str = "strongSwan AES-128-CBC SHA1";
const STRONGSWAN_GCM: &str = "strongSwan AES-128-GCM";
const OURS_CBC: &str = "ours AES-128-CBC SHA1";
const OURS_GCM: &str = "ours AES-128-GCM";

/// Measures.
pub(super) fn rows() -> Result<Vec<Row>> {
    shell::step("building the gateway", || {
        cargo::build_gateway(&cargo::metadata()?)
    })?;
    let mut variants = shell::step("building five labs", || {
        Ok([
            plain()?,
            strongswan(STRONGSWAN_CBC, "aes128-sha1")?,
            strongswan(STRONGSWAN_GCM, "aes128gcm16")?,
            ours(OURS_CBC, STRONGSWAN_CBC, "aes-128", Some("sha1"))?,
            ours(OURS_GCM, STRONGSWAN_GCM, "aes-128-gcm", None)?,
        ])
    })?;
    for round in 1..=ROUNDS {
        shell::step(&format!("round {round} of {ROUNDS}"), || {
            variants.iter_mut().try_for_each(measure)
        })?;
    }

    let mut rows = Vec::new();
    for (kind, unit, figures) in KINDS {
        for variant in &variants {
            let own = figures(variant);
            let other = variants.iter().find(|other| Some(other.name) == variant.against);
            let ratios: Vec<f64> = other
                .iter()
                .flat_map(|other| own.iter().zip(figures(other)))
                .map(|(own, other)| own / other)
                .collect();
            rows.push(Row {
                name: format!("{kind}, {}", variant.name),
                unit: unit.to_owned(),
                value: median(own),
                min: own.iter().copied().fold(f64::INFINITY, f64::min),
                max: own.iter().copied().fold(0.0, f64::max),
                against: variant.against.map(ToOwned::to_owned),
                ratio: (!ratios.is_empty()).then(|| median(&ratios)),
            });
        }
    }
    Ok(rows)
}

/// Name, unit and figures of what is measured of each variant.
type Kind = (&'static str, &'static str, fn(&Variant) -> &Vec<f64>);

const KINDS: [Kind; 2] = [
    ("TCP", "Mbit/s", |variant| &variant.tcp),
    ("round trip", "µs", |variant| &variant.round_trip),
];

fn measure(variant: &mut Variant) -> Result<()> {
    let tcp = iperf(&variant.lab, Side::A, SECONDS, Load::Tcp)?.mbps;
    let pings = ping(variant.lab.host(Side::A), Side::B.host(), 100, 5, &[])?;
    ensure!(
        pings.received > 50,
        "{}: {} of {} pings answered",
        variant.name,
        pings.received,
        pings.sent
    );
    let round_trip = median(&pings.round_trips_ms) * 1000.0;
    eprintln!(
        "    {:28} TCP {tcp:6.0} Mbit/s, round trip {round_trip:.0} µs",
        variant.name
    );
    variant.tcp.push(tcp);
    variant.round_trip.push(round_trip);
    Ok(())
}

fn variant(name: &'static str, against: Option<&'static str>, lab: Lab, between: Between) -> Variant {
    Variant {
        name,
        against,
        lab,
        _between: between,
        tcp: Vec::new(),
        round_trip: Vec::new(),
    }
}

fn plain() -> Result<Variant> {
    let lab = Lab::new()?;
    lab.route_in_the_clear()?;
    Ok(variant(PLAIN, None, lab, Between::Plain))
}

fn strongswan(name: &'static str, esp: &str) -> Result<Variant> {
    let lab = Lab::new()?;
    let start = |side| {
        let config = StrongSwanConfig {
            esp: esp.to_owned(),
            ..StrongSwanConfig::new(side)
        };
        StrongSwan::start(&lab, side, &config)
    };
    let gateways = [start(Side::A)?, start(Side::B)?];
    gateways[0].initiate()?;
    Ok(variant(
        name,
        Some(PLAIN),
        lab,
        Between::Strongswan { _gateways: gateways },
    ))
}

fn ours(name: &'static str, against: &'static str, cipher: &str, hash: Option<&str>) -> Result<Variant> {
    let lab = Lab::new()?;
    let start = |side| {
        let mut config = Config::new(&lab, side).tunnels(|tunnel| {
            tunnel.ipsec.encryption = Some(cipher.to_owned());
            tunnel.ipsec.authentication = hash.map(ToOwned::to_owned);
        });
        config.agent.log = "info".to_owned();
        Agent::start(&lab, side, &config)
    };
    let gateways = [start(Side::A)?, start(Side::B)?];
    bring_up(&lab, Side::A)?;
    Ok(variant(
        name,
        Some(against),
        lab,
        Between::Ours { _gateways: gateways },
    ))
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
