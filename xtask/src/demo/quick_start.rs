//! `cargo xtask demo --quick-start`: each real client of the API drives an empty gateway to a ping through its tunnel.

use anyhow::Result;
use gateway_tests::quick_start::{self, Client, Report, not_called};
use serde_json::{Map, Value, json};

use crate::{Outcome, shell, table};

pub(super) fn run() -> Result<Outcome> {
    let mut reports = Vec::new();
    for client in Client::ALL {
        let report = shell::step(&format!("quick start with {client}"), || quick_start::run(client))?;
        reports.push((client, report));
    }
    let rows = reports.iter().map(|(client, report)| row(*client, report));
    println!();
    table::print(&["client", "operations", "pings lost"], &rows.collect::<Vec<_>>());
    let all: Vec<_> = reports.iter().map(|(_, report)| report.clone()).collect();
    let missing = not_called(&all);
    if !missing.is_empty() {
        println!("no client called {}", missing.join(", "));
    }
    let clients: Map<_, _> = reports
        .iter()
        .map(|(client, report)| (client.to_string(), to_json(report)))
        .collect();
    Ok(Outcome {
        success: missing.is_empty() && all.iter().all(|report| report.ping_lost == 0),
        json: json!({ "clients": clients }),
    })
}

fn row(client: Client, report: &Report) -> Vec<String> {
    vec![
        client.to_string(),
        report.actions.len().to_string(),
        report.ping_lost.to_string(),
    ]
}

fn to_json(report: &Report) -> Value {
    json!({ "actions": report.actions, "ping_lost": report.ping_lost })
}
