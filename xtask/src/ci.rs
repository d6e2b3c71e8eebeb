//! `cargo xtask ci`: everything a change must pass. The last line is `N passed, M failed`.

use std::process::Command;

use anyhow::Result;
use gateway_tests::requirements::find_program;
use serde_json::json;

use crate::{Outcome, fuzz, setup, shell, test, tidy};

/// Runs the verb. Every check runs even when one before it failed, so that one run shows all there is to repair.
pub(crate) fn run() -> Result<Outcome> {
    let mut checks = Checks::default();
    checks.run("setup", || setup::install_missing().map(drop));
    checks.run("fmt", || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
    });
    checks.run("clippy", || {
        shell::run(shell::cargo().args([
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    });
    checks.run("tidy", tidy::check);
    checks.run("doc", || {
        let mut command = shell::cargo();
        command.args(["doc", "--release", "--workspace", "--no-deps", "--quiet"]);
        shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
    checks.run("fuzz --smoke", fuzz::smoke);
    if cargo_deny_is_here() {
        checks.run("licences, banned crates and sources", || {
            shell::run(shell::cargo().args([
                "deny",
                "--log-level",
                "error",
                "check",
                "bans",
                "licenses",
                "sources",
            ]))
        });
    } else {
        eprintln!(
            "warning: cargo-deny cannot be installed here; licences, bans and sources were not checked"
        );
    }

    let (mut passed, mut failed) = (checks.passed, checks.failed.len());
    match test::run_tiers(&[]) {
        Ok(counts) => {
            for (tier, count) in counts {
                passed += usize::try_from(count.passed)?;
                failed += usize::try_from(count.failed)?;
                if count.failed > 0 {
                    checks.failed.push(format!("tier {tier}"));
                }
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            failed += 1;
            checks.failed.push("test".to_owned());
        }
    }
    if !checks.failed.is_empty() {
        println!("\nfailed: {}", checks.failed.join(", "));
    }
    println!("\n{passed} passed, {failed} failed");
    Ok(Outcome {
        success: failed == 0,
        json: json!({ "passed": passed, "failed": failed, "failures": checks.failed }),
    })
}

#[derive(Default)]
struct Checks {
    passed: usize,
    failed: Vec<String>,
}

impl Checks {
    fn run(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        match shell::step(name, check) {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }
}

/// Installs cargo-deny when it is missing: only here, because compiling it takes minutes.
fn cargo_deny_is_here() -> bool {
    if find_program("cargo-deny").is_some() {
        return true;
    }
    let install = || {
        let mut command = Command::new("cargo");
        // Outside the repository: its profile and toolchain file are not meant for other programs.
        command
            .args(["install", "cargo-deny", "--locked", "--quiet"])
            .current_dir(std::env::temp_dir());
        shell::run(&mut command)
    };
    shell::step("installing cargo-deny (takes some minutes, once)", install).is_ok()
}
