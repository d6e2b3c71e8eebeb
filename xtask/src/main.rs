//! Everything a developer or a script does with this repository, as `cargo xtask VERB`.
//!
//! Progress goes to standard error, results to standard output. With `--json` the last line of standard output is one JSON
//! object, also when the verb fails (`{"error": ...}`); the exit status is 0 only when all went well.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on its standard output"
)]

mod bench;
mod cargo;
mod ci;
mod demo;
mod fuzz;
mod setup;
mod shell;
mod table;
mod test;
mod tidy;
mod tier;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Tasks of the IPsec gateway's repository",
    max_term_width = 110
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON object as the last line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing on a Debian 12 with rustup: Rust sources, bpf-linker, lab programs.
    Setup,
    /// Bring up a tunnel in network namespaces, send traffic through it, show what happened, clean up.
    Demo(demo::Options),
    /// Run the tests, tier by tier.
    Test(test::Options),
    /// Measure, and compare with strongSwan and plain forwarding.
    Bench(bench::Options),
    /// Feed the parsers and the engines with what a fuzzer invents.
    Fuzz(fuzz::Options),
    /// Check the rules that the compiler does not know: dependencies, unsafe, files, kernel ABI.
    Tidy,
    /// Compare the kernel ABI with its recorded version.
    AbiCheck(tidy::abi::Options),
    /// Everything a change must pass: fmt, clippy, tidy, doc, a fuzz smoke, licences, all tests.
    Ci,
}

/// What a verb reports.
struct Outcome {
    /// Whether the exit status is 0.
    success: bool,
    /// The last line with `--json`.
    json: Value,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = run(arguments.verb).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Outcome {
            success: false,
            json: json!({ "error": format!("{error:#}") }),
        }
    });
    if arguments.json {
        println!("{}", outcome.json);
    }
    if outcome.success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run(verb: Verb) -> Result<Outcome> {
    match verb {
        Verb::Setup => setup::run(),
        Verb::Demo(options) => demo::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Tidy => tidy::run(),
        Verb::AbiCheck(options) => tidy::abi::run(&options),
        Verb::Ci => ci::run(),
    }
}
