//! `cargo xtask bench`: what the parts and the whole can do on this machine.
//!
//! Machines differ and shared ones drift, so figures are medians with the spread beside them, and comparisons are made in turn in
//! one run and given as ratios.

mod api;
mod ike;
mod lab;
mod page;
mod rekey;

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use gateway_tests::requirements::missing_from_machine;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Outcome, cargo, setup, shell, table};

/// Options of the verb.
#[derive(Args)]
pub(crate) struct Options {
    /// What to measure; without it: xdp, esp and lab.
    #[arg(value_enum)]
    subject: Option<Subject>,
    /// Also write the table into docs/performance.md.
    #[arg(long)]
    write: bool,
    /// Minutes of traffic for `bench rekey`.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Nanoseconds per packet of the XDP program, by verdict.
    Xdp,
    /// Nanoseconds per packet of sealing and opening, by algorithm, on one core.
    Esp,
    /// Throughput of the lab: our gateways, strongSwan's, plain forwarding, in turn.
    Lab,
    /// Handshakes of the IKE engine, in process and over the wire, floods and many tunnels.
    Ike,
    /// The management API with ten thousand tunnels.
    Api,
    /// Failover of a pair.
    Ha,
    /// Packets lost while keys are replaced all the time; takes as long as `--minutes` says.
    Rekey,
}

impl Subject {
    const DEFAULT: [Self; 3] = [Self::Xdp, Self::Esp, Self::Lab];

    /// Its name, also in docs/performance.md.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Esp => "esp",
            Self::Lab => "lab",
            Self::Ike => "ike",
            Self::Api => "api",
            Self::Ha => "ha",
            Self::Rekey => "rekey",
        }
    }
}

/// One figure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Unit of the numbers.
    pub(crate) unit: String,
    /// Median.
    pub(crate) value: f64,
    /// Smallest run.
    pub(crate) min: f64,
    /// Largest run.
    pub(crate) max: f64,
    /// Name of the row that this one is compared with.
    #[serde(default)]
    pub(crate) against: Option<String>,
    /// This row's value divided by the other's.
    #[serde(default)]
    pub(crate) ratio: Option<f64>,
}

/// Runs the verb.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let subjects = options
        .subject
        .map_or_else(|| Subject::DEFAULT.to_vec(), |subject| vec![subject]);
    let missing = missing_from_machine();
    if !missing.is_empty() && subjects.iter().any(|subject| *subject != Subject::Esp) {
        bail!("benchmarks cannot run here:\n  - {}", missing.join("\n  - "));
    }
    setup::install_for_lab()?;
    let mut all = Vec::new();
    for subject in subjects {
        let rows = match subject {
            Subject::Xdp => example("gateway-user", "xdp_bench")?,
            Subject::Esp => example("gateway-esp", "esp_bench")?,
            Subject::Lab => lab::rows()?,
            Subject::Rekey => rekey::rows(options.minutes)?,
            Subject::Ike => [example("gateway-ike", "ike_bench")?, ike::rows()?].concat(),
            Subject::Api => api::rows()?,
            Subject::Ha => bail!("nothing to measure under `{}` yet", subject.name()),
        };
        println!();
        table::print(&page::HEADER, &rows.iter().map(page::cells).collect::<Vec<_>>());
        if options.write {
            page::write(subject, &rows)?;
        }
        all.extend(rows);
    }
    Ok(Outcome {
        success: true,
        json: json!({ "rows": all }),
    })
}

/// Builds and runs a benchmark program that prints one row of JSON per line.
fn example(package: &str, name: &str) -> Result<Vec<Row>> {
    shell::step(&format!("building {name}"), || {
        shell::run(shell::cargo().args(["build", "--release", "--package", package, "--example", name]))
    })?;
    let program = cargo::target_directory(&cargo::metadata()?)
        .join("release/examples")
        .join(name);
    let text = shell::step(&format!("running {name}"), || {
        shell::output(&mut Command::new(program))
    })?;
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("{name} printed {line}")))
        .collect()
}

/// A row of these values, compared with nothing.
fn row(name: impl Into<String>, unit: &str, values: &[f64]) -> Row {
    Row {
        name: name.into(),
        unit: unit.to_owned(),
        value: lab::median(values),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(0.0, f64::max),
        against: None,
        ratio: None,
    }
}
