//! Handshakes over the wire: our gateway and charon as responders, each to the same initiator (charon) in turn.
//!
//! What counts is the processor time of the responder for a tunnel that comes up and goes again; what it needs to stand idle for
//! as long is taken off.

use std::time::{Duration, Instant};

use anyhow::Result;
use gateway_tests::matrix::Exchange;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

use super::lab::median;
use super::{Row, row};
use crate::{cargo, shell};

/// Turns of both responders.
const ROUNDS: usize = 5;
/// Tunnels of one turn.
const TUNNELS: u32 = 40;

/// Time in which a responder without work is looked at.
const IDLE: Duration = Duration::from_secs(3);

/// What a tunnel negotiates.
struct Kind {
    name: &'static str,
    exchange: Exchange,
    /// In strongSwan's words.
    proposal: &'static str,
    /// The group of the proposal.
    group: u16,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "ikev1 main mode modp1024",
        exchange: Exchange::Main,
        proposal: "aes128-sha1-modp1024",
        group: 2,
    },
    Kind {
        name: "ikev1 main mode modp2048",
        exchange: Exchange::Main,
        proposal: "aes128-sha1-modp2048",
        group: 14,
    },
    Kind {
        name: "ikev2 modp2048",
        exchange: Exchange::V2,
        proposal: "aes128-sha1-modp2048",
        group: 14,
    },
    Kind {
        name: "ikev2 x25519",
        exchange: Exchange::V2,
        proposal: "aes128-sha1-x25519",
        group: 31,
    },
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
    for kind in KINDS {
        let name = kind.name;
        let (ours, theirs) = measure(&kind)?;
        let ratios: Vec<f64> = ours
            .iter()
            .zip(&theirs)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        let other = format!("over the wire, charon as responder, {name}");
        rows.push(Row {
            against: Some(other.clone()),
            ratio: Some(median(&ratios)),
            ..row(format!("over the wire, ours as responder, {name}"), "µs", &ours)
        });
        rows.push(row(other, "µs", &theirs));
    }
    Ok(rows)
}

/// Microseconds of a handshake, ours and charon's, round by round.
fn measure(kind: &Kind) -> Result<(Vec<f64>, Vec<f64>)> {
    let config = |side| StrongSwanConfig {
        ike: kind.proposal.to_owned(),
        ..StrongSwanConfig::new(side).speaking(kind.exchange)
    };
    let lab = Lab::new()?;
    let gateway = Config::new(&lab, Side::B)
        .speaking(kind.exchange)
        .tunnels(|tunnel| tunnel.ike.dh_group = Some(kind.group));
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
        shell::step(&format!("{}, round {round} of {ROUNDS}", kind.name), || {
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
    let before = cpu_time()?;
    std::thread::sleep(IDLE);
    let idle = cpu_time()?
        .saturating_sub(before)
        .mul_f64(took.div_duration_f64(IDLE));
    Ok(busy.saturating_sub(idle).as_secs_f64() * 1e6 / f64::from(TUNNELS))
}
