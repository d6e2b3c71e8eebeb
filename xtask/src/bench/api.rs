//! The management API with many tunnels in the store, as one of its clients sees it.

use std::time::{Duration, Instant};

use anyhow::Result;
use gateway_tests::config::Bandwidth;
use gateway_tests::{Agent, Config, Lab, Side, quick_start, wait};
use serde_json::{Value, json};

use super::lab::median;
use super::{Row, row};
use crate::{cargo, shell};

/// Tunnels in the store.
const TUNNELS: u16 = 10_000;
/// Objects of a page, the most that the API gives.
const PAGE: usize = 100;
/// Calls of each kind.
const CALLS: usize = 21;

/// Measures.
pub(super) fn rows() -> Result<Vec<Row>> {
    shell::step("building the gateway", || {
        cargo::build_gateway(&cargo::metadata()?)
    })?;
    let lab = Lab::new()?;
    let objects = Config::with_tunnels(&lab, Side::A, TUNNELS).bandwidth(Bandwidth::Mbps(100));
    let mut config = Config::managed(&lab, Side::A).quotas(u32::from(TUNNELS));
    "info".clone_into(&mut config.agent.log);
    let agent = Agent::start(&lab, Side::A, &config)?;
    let key = quick_start::admin_key(&agent)?;

    let begin = Instant::now();
    shell::step(&format!("importing {TUNNELS} tunnels"), || {
        agent.import(&objects.to_toml())?;
        let last = format!("t-{}", TUNNELS - 1);
        agent.wait_tunnel(&last, "down", Duration::from_secs(120))
    })?;
    let imported = [begin.elapsed().as_secs_f64()];

    let gateways = ("DescribeVpnGateways", json!({}));
    let page = |index: usize| {
        let offset = index * usize::from(TUNNELS) / CALLS;
        (
            "DescribeVpnConnections",
            json!({ "Offset": offset, "Limit": PAGE }),
        )
    };
    let small = milliseconds(&lab, &key, &vec![gateways; CALLS])?;
    let pages = milliseconds(&lab, &key, &(0..CALLS).map(page).collect::<Vec<_>>())?;
    // What the import has left to do is done by then, as it is when somebody changes one tunnel.
    std::thread::sleep(Duration::from_secs(4));
    let changes = (0..CALLS)
        .map(|number| change(&agent, number))
        .collect::<Result<Vec<_>>>()?;
    let small_name = "a list of one gateway, through tencentcloud-sdk-python";
    let against = |values: &[f64]| (Some(small_name.to_owned()), Some(median(values) / median(&small)));
    let mut rows = vec![
        row(
            "import of 10,000 tunnels until the last is in effect",
            "s",
            &imported,
        ),
        row(small_name, "ms", &small),
    ];
    for (name, values) in [
        (
            "a page of 100 tunnels of 10,000, through tencentcloud-sdk-python",
            &pages,
        ),
        (
            "a rule more for one tunnel of 10,000, from the command to its effect",
            &changes,
        ),
    ] {
        let (against, ratio) = against(values);
        rows.push(Row {
            against,
            ratio,
            ..row(name, "ms", values)
        });
    }
    Ok(rows)
}

/// Waiting times of the client, in milliseconds.
fn milliseconds(lab: &Lab, key: &Value, calls: &[(&str, Value)]) -> Result<Vec<f64>> {
    let seconds = quick_start::time_calls(lab, key, calls)?;
    Ok(seconds.into_iter().map(|seconds| seconds * 1e3).collect())
}

/// Gives a tunnel a second rule by the command line; milliseconds until the agent says that it serves both, two or more starts of
/// a process included.
fn change(agent: &Agent, number: usize) -> Result<f64> {
    let id = format!("t-{number}");
    let local = Side::A.network();
    let rules = format!("{local}=172.16.{number}.0/24,172.200.{number}.0/24");
    let begin = Instant::now();
    agent.configured(&["tunnels", "modify", &id, "--spd", &rules])?;
    wait::until("the second rule", Duration::from_secs(10), || {
        let status = agent.configured(&["status", &id, "--json"]).ok()?;
        let status: Value = serde_json::from_str(&status).ok()?;
        (status["tunnels"][0]["pairs"] == 2).then_some(())
    })?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
