//! Handshakes over the wire: our gateway and charon as responders, each to the same initiator (charon) in turn.
//!
//! What counts is the processor time of the responder for a tunnel that comes up and goes again; what it needs to stand idle for
//! as long is taken off.

use std::time::{Duration, Instant};

use anyhow::Result;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

use super::Row;
use super::lab::median;
use crate::{cargo, shell};

/// Turns of both responders.
const ROUNDS: usize = 5;
/// Tunnels of one turn.
const TUNNELS: u32 = 40;

/// Name, proposal in strongSwan's words, group.
const KINDS: [(&str, &str, u16); 2] = [
    ("ikev1 main mode modp1024", "aes128-sha1-modp1024", 2),
    ("ikev1 main mode modp2048", "aes128-sha1-modp2048", 14),
];

/// A lab with an initiator and a responder whose processor time can be read.
struct Pair<R> {
    _lab: Lab,
    initiator: StrongSwan,
    responder: R,
}

/// Measures.
pub(super) fn rows() -> Result<Vec<Row>> {
    shell::step("building the gateway", || {
        cargo::build_gateway(&cargo::metadata()?)
    })?;
    let mut rows = Vec::new();
    for (name, proposal, group) in KINDS {
        let (ours, theirs) = measure(name, proposal, group)?;
        let ratios: Vec<f64> = ours
            .iter()
            .zip(&theirs)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        let other = format!("over the wire, charon as responder, {name}");
        rows.push(Row {
            against: Some(other.clone()),
            ratio: Some(median(&ratios)),
            ..row(format!("over the wire, ours as responder, {name}"), &ours)
        });
        rows.push(row(other, &theirs));
    }
    Ok(rows)
}

/// Microseconds of a handshake, ours and charon's, round by round.
fn measure(name: &str, proposal: &str, group: u16) -> Result<(Vec<f64>, Vec<f64>)> {
    let config = |side| StrongSwanConfig {
        ike: proposal.to_owned(),
        ..StrongSwanConfig::new(side)
    };
    let lab = Lab::new()?;
    let gateway = Config::new(&lab, Side::B).tunnels(|tunnel| tunnel.ike.dh_group = Some(group));
    let mut ours = Pair {
        initiator: StrongSwan::start(&lab, Side::A, &config(Side::A))?,
        responder: Agent::start(&lab, Side::B, &gateway)?,
        _lab: lab,
    };
    let lab = Lab::new()?;
    let theirs = Pair {
        initiator: StrongSwan::start(&lab, Side::A, &config(Side::A))?,
        responder: StrongSwan::start(&lab, Side::B, &config(Side::B))?,
        _lab: lab,
    };
    let mut figures = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        shell::step(&format!("{name}, round {round} of {ROUNDS}"), || {
            let pair = &mut ours;
            figures
                .0
                .push(turn(&pair.initiator, || pair.responder.process().cpu_time())?);
            figures
                .1
                .push(turn(&theirs.initiator, || theirs.responder.cpu_time())?);
            Ok(())
        })?;
    }
    Ok(figures)
}

/// Processor time of the responder for one tunnel, in microseconds.
fn turn(initiator: &StrongSwan, mut cpu_time: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let (begin, before) = (Instant::now(), cpu_time()?);
    for _ in 0..TUNNELS {
        initiator.initiate()?;
        initiator.terminate()?;
    }
    let busy = cpu_time()?.saturating_sub(before);
    let took = begin.elapsed();
    let idle = cpu_time()?;
    std::thread::sleep(took);
    let idle = cpu_time()?.saturating_sub(idle);
    Ok(busy.saturating_sub(idle).as_secs_f64() * 1e6 / f64::from(TUNNELS))
}

fn row(name: String, values: &[f64]) -> Row {
    Row {
        name,
        unit: "µs".to_owned(),
        value: median(values),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(0.0, f64::max),
        against: None,
        ratio: None,
    }
}
