//! `cargo xtask fuzz`: coverage-guided fuzzing with libFuzzer, on the pinned stable toolchain.
//!
//! The flags are those of `cargo fuzz --sanitizer none`. Our code has next to no `unsafe`, so that a finding is a panic, an
//! overflow or a violated assertion, which needs no sanitizer.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{Outcome, shell};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Instrumentation that libFuzzer reads.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Clinker=cc",
    "-Cdebug-assertions",
];

/// Seconds for each target in a smoke run.
const SMOKE_SECONDS: u64 = 5;

/// Options of the verb.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Targets to run; all of them when none is named.
    targets: Vec<String>,
    /// A few seconds for each target, for CI.
    #[arg(long, conflicts_with = "seconds")]
    smoke: bool,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// What a run of one target came to.
struct Run {
    target: String,
    executions: u64,
    finding: Option<PathBuf>,
}

/// Runs the verb. Inputs that reach new code stay in `fuzz/libfuzzer/target/corpus`; a finding is copied to `fuzz/libfuzzer/artifacts`.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let seconds = if options.smoke {
        SMOKE_SECONDS
    } else {
        options.seconds
    };
    let all = targets()?;
    if let Some(unknown) = options.targets.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target {unknown}; there are {}", all.join(", "));
    }
    let chosen = if options.targets.is_empty() {
        all
    } else {
        options.targets.clone()
    };
    shell::step("building the fuzz targets", || build(&chosen))?;
    let mut runs = Vec::new();
    for target in &chosen {
        runs.push(shell::step(&format!("fuzzing {target} for {seconds} s"), || {
            fuzz(target, seconds)
        })?);
    }
    for run in &runs {
        let finding = run
            .finding
            .as_ref()
            .map_or_else(String::new, |path| format!("  FINDING {}", path.display()));
        println!("{:16} {:>12} executions{finding}", run.target, run.executions);
    }
    let total: u64 = runs.iter().map(|run| run.executions).sum();
    let findings = runs.iter().filter(|run| run.finding.is_some()).count();
    println!("{total} executions, {findings} findings");
    Ok(Outcome {
        success: findings == 0,
        json: json!({ "executions": total, "findings": findings }),
    })
}

/// The smoke run as a check of its own: it fails when there is a finding.
pub(crate) fn smoke() -> Result<()> {
    let outcome = run(&Options {
        targets: Vec::new(),
        smoke: true,
        seconds: SMOKE_SECONDS,
    })?;
    if !outcome.success {
        bail!("the fuzzer has found something; the inputs are in fuzz/libfuzzer/artifacts");
    }
    Ok(())
}

fn folder() -> PathBuf {
    shell::root().join("fuzz/libfuzzer")
}

/// The names of the files in `fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder().join("fuzz_targets")).context("fuzz/libfuzzer/fuzz_targets")? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn build(targets: &[String]) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args(["build", "--release", "--quiet", "--target", TRIPLE])
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .current_dir(folder());
    for target in targets {
        command.args(["--bin", target]);
    }
    shell::run(&mut command)
}

fn fuzz(target: &str, seconds: u64) -> Result<Run> {
    let (grown, artifacts) = (
        folder().join("target/corpus").join(target),
        folder().join("artifacts").join(target),
    );
    fs::create_dir_all(&grown)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(folder().join("target").join(TRIPLE).join("release").join(target));
    command
        .arg(&grown)
        .arg(shell::root().join("fuzz/corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            "-max_len=4096",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start the fuzz target")?;
    let stderr = child.stderr.take().context("no pipe from the fuzz target")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stderr).lines() {
        lines.push(line?);
    }
    let success = child.wait()?.success();
    let executions = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0);
    let finding = lines
        .iter()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, path)| Path::new(path.trim()).to_owned());
    if !success {
        let tail = lines.len().saturating_sub(40);
        for line in lines.iter().skip(tail) {
            eprintln!("    {line}");
        }
        if finding.is_none() {
            bail!("{target} ended without a finding");
        }
    }
    Ok(Run {
        target: target.to_owned(),
        executions,
        finding,
    })
}
