//! `cargo xtask test`: builds the test programs once, runs them tier by tier and counts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use gateway_tests::requirements::missing_from_machine;
use serde_json::{Map, Value, json};

use crate::cargo::{self, Target, TestProgram};
use crate::tidy::interop;
use crate::tier::Tier;
use crate::{Outcome, setup, shell, table};

/// A test program that says nothing for this long hangs.
const SILENCE: Duration = Duration::from_secs(300);
/// How many of the slowest tests are named.
const SLOWEST: usize = 10;

/// Options of the verb.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only this tier; may be repeated. Without it: all but vm.
    #[arg(long, value_enum)]
    tier: Vec<Tier>,
    /// Run only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Tier pair: simulate so many seeds.
    #[arg(long, value_name = "COUNT")]
    seeds: Option<u64>,
    /// Tier pair: simulate this seed alone, such as one that failed.
    #[arg(long, value_name = "NUMBER", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Tier interop: when all its tests passed, write docs/interop.md.
    #[arg(long)]
    write: bool,
}

/// Counts of a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Count {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, or programs that ended without a result.
    pub(crate) failed: u64,
    /// Time it took.
    pub(crate) seconds: f64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.seconds += other.seconds;
    }
}

/// Runs the verb.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let numbers = [("GATEWAY_SEEDS", options.seeds), ("GATEWAY_SEED", options.seed)];
    let environment = numbers.map(|(name, number)| number.map(|number| (name, number.to_string())));
    let environment: Vec<_> = environment.into_iter().flatten().collect();
    let counts = run_tiers_with(&options.tier, options.filter.as_deref(), &environment)?;
    let success = counts.values().all(|count| count.failed == 0);
    if options.write {
        if options.filter.is_some() || !success || !counts.contains_key(&Tier::Interop) {
            bail!("docs/interop.md is written when the whole tier interop passed");
        }
        interop::write_page()?;
    }
    Ok(Outcome {
        success,
        json: json!({ "tiers": to_json(&counts) }),
    })
}

/// Runs tiers (all but vm when `asked` is empty), prints failures and a table, and returns the counts.
pub(crate) fn run_tiers(asked: &[Tier]) -> Result<BTreeMap<Tier, Count>> {
    run_tiers_with(asked, None, &[])
}

fn run_tiers_with(
    asked: &[Tier],
    filter: Option<&str>,
    environment: &[(&str, String)],
) -> Result<BTreeMap<Tier, Count>> {
    let tiers = if asked.is_empty() {
        Tier::DEFAULT.to_vec()
    } else {
        asked.to_vec()
    };
    if tiers.iter().any(|tier| tier.needs_root()) {
        let missing = missing_from_machine();
        if !missing.is_empty() {
            bail!(
                "these tests cannot run here:\n  - {}\nWithout root: cargo xtask test --tier unit --tier pair",
                missing.join("\n  - ")
            );
        }
        setup::install_missing()?;
    } else {
        setup::build_tools()?;
    }

    let metadata = cargo::metadata()?;
    let by_tier = targets_by_tier(&cargo::targets(&metadata), &tiers)?;
    for tier in &tiers {
        if !by_tier.contains_key(tier) {
            eprintln!("{tier}: no tests in this tier yet");
            if !asked.is_empty() {
                bail!("no tests in tier {tier} yet");
            }
        }
    }
    let (programs, gateway) = shell::step("building the tests", || build(&metadata, &by_tier))?;

    let mut counts = BTreeMap::new();
    let mut times = Vec::new();
    for tier in by_tier.keys().copied() {
        eprintln!("==> tier {tier}");
        let mut sum = Count::default();
        for program in programs
            .iter()
            .filter(|program| Tier::of(&program.target) == Ok(tier))
        {
            let command = test_command(program, tier, filter, gateway.as_deref(), environment);
            sum.add(run_program(program, command, &mut times)?);
        }
        if sum.passed + sum.failed > 0 || filter.is_none() {
            counts.insert(tier, sum);
        }
    }
    if filter.is_some() && counts.is_empty() {
        bail!("no test matches the filter");
    }
    print_slowest(times);
    print_counts(&counts);
    Ok(counts)
}

/// `{"unit": {"passed": 1, "failed": 0, "seconds": 0.1}, ...}`
pub(crate) fn to_json(counts: &BTreeMap<Tier, Count>) -> Value {
    let entry = |(tier, count): (&Tier, &Count)| {
        let seconds = (count.seconds * 10.0).round() / 10.0;
        let count = json!({ "passed": count.passed, "failed": count.failed, "seconds": seconds });
        (tier.name().to_owned(), count)
    };
    Value::Object(counts.iter().map(entry).collect::<Map<_, _>>())
}

fn targets_by_tier(targets: &[Target], tiers: &[Tier]) -> Result<BTreeMap<Tier, Vec<Target>>> {
    let mut found: BTreeMap<Tier, Vec<Target>> = BTreeMap::new();
    for target in targets
        .iter()
        .filter(|target| ["lib", "bin", "test"].contains(&target.kind.as_str()))
    {
        let tier = Tier::of(target).map_err(anyhow::Error::msg)?;
        if tiers.contains(&tier) {
            found.entry(tier).or_default().push(target.clone());
        }
    }
    Ok(found)
}

/// Builds the test programs of these tiers, and the gateway for those that run it.
fn build(
    metadata: &Value,
    by_tier: &BTreeMap<Tier, Vec<Target>>,
) -> Result<(Vec<TestProgram>, Option<PathBuf>)> {
    let (plain, with_gateway) = selections(by_tier);
    let mut programs = Vec::new();
    let mut gateway = None;
    if !with_gateway.is_empty() {
        programs = cargo::build_tests(metadata, &["build"], &with_gateway)?;
        gateway = Some(cargo::gateway(metadata)?);
    }
    if !plain.is_empty() {
        programs.extend(cargo::build_tests(metadata, &["test", "--no-run"], &plain)?);
    }
    Ok((programs, gateway))
}

/// Targets for cargo: of the tiers without root, and of those with the gateway itself.
fn selections(by_tier: &BTreeMap<Tier, Vec<Target>>) -> (Vec<String>, Vec<String>) {
    let arguments = |root: bool| {
        let tests = by_tier
            .iter()
            .filter(move |(tier, _)| tier.needs_root() == root)
            .flat_map(|(_, targets)| targets);
        let names = tests.filter(|target| target.is_integration_test());
        names.flat_map(|target| ["--test".to_owned(), target.name.clone()])
    };
    let mut plain: Vec<String> = arguments(false).collect();
    if by_tier.contains_key(&Tier::Unit) {
        plain.extend(["--lib".to_owned(), "--bins".to_owned()]);
    }
    let mut with_gateway: Vec<String> = arguments(true).collect();
    if !with_gateway.is_empty() {
        with_gateway.extend(["--bin".to_owned(), "gateway".to_owned()]);
    }
    (plain, with_gateway)
}

/// How a test program is started.
fn test_command(
    program: &TestProgram,
    tier: Tier,
    filter: Option<&str>,
    gateway: Option<&Path>,
    environment: &[(&str, String)],
) -> Command {
    let mut command = Command::new(&program.executable);
    // As `cargo test` does: tests find their files relative to their package.
    command
        .current_dir(&program.directory)
        .env("CARGO_MANIFEST_DIR", &program.directory);
    // Errors carry their own context; a backtrace of each would bury it.
    command
        .env("GATEWAY_TESTS_STRICT", "1")
        .env("RUST_LIB_BACKTRACE", "0")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .args(filter);
    // libtest's times of single tests are there, but count as unstable: the variable unlocks them.
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["-Zunstable-options", "--report-time"]);
    if let Some(gateway) = gateway {
        command.env("GATEWAY_BIN", gateway);
    }
    if let Some(threads) = tier.threads() {
        command.arg(format!("--test-threads={threads}"));
    }
    command
}

fn run_program(program: &TestProgram, command: Command, times: &mut Vec<(f64, String)>) -> Result<Count> {
    let title = format!(
        "{} {} {}",
        program.target.package, program.target.kind, program.target.name
    );
    let start = Instant::now();
    let (output, ended) = watch(command, &title)?;
    times.extend(
        parse_times(&output).map(|(seconds, test)| (seconds, format!("{} {test}", program.target.name))),
    );
    let mut count = parse_result(&output).unwrap_or_default();
    if !ended && count.failed == 0 {
        count.failed = 1;
    }
    count.seconds = start.elapsed().as_secs_f64();
    if count.failed > 0 {
        eprintln!("{output}");
    }
    if count.passed + count.failed > 0 {
        let word = if count.failed > 0 { "FAILED" } else { "ok" };
        eprintln!(
            "    {title}: {word}, {} passed, {} failed, {:.1} s",
            count.passed, count.failed, count.seconds
        );
    }
    Ok(count)
}

/// Runs a program, shows the test that ended last, and returns its output and whether it ended well.
fn watch(mut command: Command, title: &str) -> Result<(String, bool)> {
    let (reader, writer) = pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {title}"))?;
    // The command holds our ends of the pipe; without them the reader sees the program's end.
    drop(command);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let terminal = std::io::stderr().is_terminal();
    let mut output = String::new();
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => {
                if terminal && line.starts_with("test ") {
                    eprint!(
                        "\r\x1b[K    {title}: {}",
                        line.chars().take(80).collect::<String>()
                    );
                    std::io::stderr().flush()?;
                }
                output.push_str(&line);
                output.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                output.push_str(&format!(
                    "{title} said nothing for {} s and was killed\n",
                    SILENCE.as_secs()
                ));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
    }
    Ok((output, child.wait()?.success()))
}

/// Reads `test result: ok. 4 passed; 0 failed; ...`.
fn parse_result(output: &str) -> Option<Count> {
    let line = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("test result: "))?;
    let number = |word: &str| line.split(word).next()?.trim().rsplit(' ').next()?.parse().ok();
    Some(Count {
        passed: number(" passed;")?,
        failed: number(" failed;")?,
        seconds: 0.0,
    })
}

/// Reads lines such as `test case ... ok <1.234s>`.
fn parse_times(output: &str) -> impl Iterator<Item = (f64, &str)> {
    output.lines().filter_map(|line| {
        let (test, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let seconds = outcome.split_once('<')?.1.strip_suffix("s>")?;
        Some((seconds.parse().ok()?, test))
    })
}

fn print_slowest(mut times: Vec<(f64, String)>) {
    times.sort_by(|a, b| b.0.total_cmp(&a.0));
    let rows: Vec<_> = times
        .into_iter()
        .take(SLOWEST)
        .map(|(seconds, test)| vec![format!("{seconds:.1}"), test])
        .collect();
    println!();
    table::print(&["seconds", "slowest tests"], &rows);
}

fn print_counts(counts: &BTreeMap<Tier, Count>) {
    let row = |(tier, count): (&Tier, &Count)| {
        vec![
            tier.to_string(),
            count.passed.to_string(),
            count.failed.to_string(),
            format!("{:.1}", count.seconds),
        ]
    };
    println!();
    table::print(
        &["tier", "passed", "failed", "seconds"],
        &counts.iter().map(row).collect::<Vec<_>>(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_result_line_counts() {
        let output = "test result: FAILED. 1 passed; 1 failed; 0 ignored\nnoise\n\
                      test result: FAILED. 41 passed; 2 failed; 0 ignored; 0 measured; finished in 3.95s\n";
        assert_eq!(
            parse_result(output),
            Some(Count {
                passed: 41,
                failed: 2,
                seconds: 0.0
            })
        );
        assert_eq!(parse_result("panicked\n"), None);
    }

    #[test]
    fn times_of_tests_are_read() {
        let output =
            "running 2 tests\ntest a::b ... ok <1.250s>\ntest c ... FAILED <0.003s>\ntest d ... ignored\n";
        let times: Vec<_> = parse_times(output).collect();
        assert_eq!(times, [(1.25, "a::b"), (0.003, "c")]);
    }

    #[test]
    fn only_the_asked_tiers_are_built() {
        let target = |package: &str, kind: &str, name: &str| Target {
            package: package.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let targets = [
            target("gateway-ike", "lib", "gateway_ike"),
            target("gateway-ike", "test", "pair"),
            target("gateway-tests", "test", "lab_itself"),
        ];
        let picked = |tiers: &[Tier]| selections(&targets_by_tier(&targets, tiers).unwrap());
        assert_eq!(picked(&[Tier::Unit]).0, ["--lib", "--bins"]);
        let (plain, with_gateway) = picked(&[Tier::Pair, Tier::Lab]);
        assert_eq!(plain, ["--test", "pair"]);
        assert_eq!(with_gateway, ["--test", "lab_itself", "--bin", "gateway"]);
    }
}
