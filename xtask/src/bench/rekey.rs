//! Quick Mode every few seconds under a stream of numbered datagrams, for as long as one likes.

use std::time::Duration;

use anyhow::{Context, Result};
use gateway_tests::config::TUNNEL;
use gateway_tests::ping::bring_up;
use gateway_tests::stream::Stream;
use gateway_tests::{Agent, Config, Lab, Side, StrongSwan, StrongSwanConfig};

use super::{Row, row};
use crate::{cargo, shell};

/// Lifetime of the SAs in seconds, the shortest that the configuration allows.
const LIFETIME: u32 = 10;
/// Datagrams per second.
const RATE: u32 = 1000;

/// Measures against strongSwan, which answers.
pub(super) fn rows(minutes: u32) -> Result<Vec<Row>> {
    shell::step("building the gateway", || {
        cargo::build_gateway(&cargo::metadata()?)
    })?;
    let lab = Lab::new()?;
    let theirs = StrongSwanConfig {
        child: vec!["rekey_time = 0".to_owned(), "life_time = 0".to_owned()],
        ..StrongSwanConfig::new(Side::B)
    };
    let _peer = StrongSwan::start(&lab, Side::B, &theirs)?;
    let config = Config::new(&lab, Side::A).tunnels(|tunnel| {
        tunnel.ipsec.lifetime_seconds = Some(LIFETIME);
        tunnel.ike.lifetime_seconds = Some(LIFETIME * 6);
    });
    let agent = Agent::start(&lab, Side::A, &config)?;
    bring_up(&lab, Side::A)?;
    let stream = Stream::start(&lab, Side::A, RATE, 200)?;
    for minute in 1..=minutes {
        shell::step(&format!("minute {minute} of {minutes}"), || {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        })?;
    }
    let report = stream.finish();
    let status = agent.status()?;
    let tunnel = status.tunnel(TUNNEL).context("the tunnel is gone")?;
    let count = |name: &str| tunnel.json()["negotiations"][name].as_u64().unwrap_or_default();
    let figure = |name: &str, unit: &str, value: u64| {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let value = value as f64;
        row(name, unit, &[value])
    };
    let pause = u64::try_from(report.longest_pause.as_millis())?;
    Ok(vec![
        figure("datagrams sent", "packets", report.sent),
        figure("datagrams lost", "packets", report.lost()),
        figure("longest pause of the receiver", "ms", pause),
        figure("Child SAs replaced", "rekeys", count("child_rekeys")),
        figure("IKE SAs replaced", "rekeys", count("ike_rekeys")),
    ])
}
