//! `cargo xtask abi-check`: the contract between the XDP program and the agent changes only with its number.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use crate::{Outcome, shell};

/// Number and fingerprint of the ABI as it was recorded.
const LOCK: &str = "gateway-common/abi.lock";

/// Options of the verb.
#[derive(Args)]
pub(crate) struct Options {
    /// Record the present ABI under its new number.
    #[arg(long)]
    record: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Abi {
    version: u32,
    fingerprint: u64,
}

/// Runs the verb.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let present = present()?;
    if options.record {
        if let Some(problem) = compare(recorded()?, present)
            && recorded()?.is_some_and(|recorded| recorded.version == present.version)
        {
            bail!(problem);
        }
        let text = format!(
            "# Written by `cargo xtask abi-check --record`.\nversion {}\nfingerprint {:016x}\n",
            present.version, present.fingerprint
        );
        fs::write(shell::root().join(LOCK), text)?;
    }
    let problems = problems()?;
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        println!(
            "ABI version {}, fingerprint {:016x}",
            present.version, present.fingerprint
        );
    }
    Ok(Outcome {
        success: problems.is_empty(),
        json: json!({ "version": present.version, "problems": problems }),
    })
}

/// What is wrong with the ABI, if anything.
pub(super) fn problems() -> Result<Vec<String>> {
    Ok(compare(recorded()?, present()?).into_iter().collect())
}

fn compare(recorded: Option<Abi>, present: Abi) -> Option<String> {
    let record = "and run `cargo xtask abi-check --record`";
    match recorded {
        None => Some(format!("{LOCK} is missing: look at the ABI {record}")),
        Some(recorded) if recorded == present => None,
        Some(recorded) if recorded.version == present.version => Some(format!(
            "gateway-common/src/abi changed and ABI_VERSION is still {}: raise it {record}",
            present.version
        )),
        Some(recorded) => Some(format!(
            "ABI_VERSION is {} and {LOCK} has {}: look at the ABI {record}",
            present.version, recorded.version
        )),
    }
}

fn recorded() -> Result<Option<Abi>> {
    let Ok(text) = fs::read_to_string(shell::root().join(LOCK)) else {
        return Ok(None);
    };
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let version = field("version ").context("abi.lock has no version")?.parse()?;
    let fingerprint = u64::from_str_radix(field("fingerprint ").context("abi.lock has no fingerprint")?, 16)?;
    Ok(Some(Abi { version, fingerprint }))
}

fn present() -> Result<Abi> {
    let base = shell::root().join("gateway-common/src");
    let mut files: Vec<PathBuf> = fs::read_dir(base.join("abi"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.push(base.join("abi.rs"));
    files.sort();
    let text = files
        .iter()
        .map(fs::read_to_string)
        .collect::<std::io::Result<String>>()?;
    let version = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("pub const ABI_VERSION: u32 = ")?
                .strip_suffix(';')?
                .parse()
                .ok()
        })
        .context("no `pub const ABI_VERSION: u32 = N;` in gateway-common/src/abi.rs")?;
    Ok(Abi {
        version,
        fingerprint: fingerprint(&text),
    })
}

/// Fingerprint of the code without comments, empty lines, unit tests and the number itself (FNV-1a, 64 bit).
fn fingerprint(text: &str) -> u64 {
    let mut in_tests = false;
    let code = text.lines().map(str::trim_end).filter(|line| {
        // Unit tests are the last item of a file and end with a brace in the first column.
        if *line == "#[cfg(test)]" {
            in_tests = true;
        }
        let skipped = in_tests || line.is_empty() || line.trim_start().starts_with("//");
        if *line == "}" {
            in_tests = false;
        }
        !skipped && !line.starts_with("pub const ABI_VERSION")
    });
    code.flat_map(|line| line.bytes().chain([b'\n']))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_do_not_change_the_fingerprint() {
        let plain = "pub struct Key {\n    pub a: u32,\n}\n";
        let more = "/// A key.\npub struct Key {\n    // big endian\n    pub a: u32,\n}\n\n\
                    #[cfg(test)]\nmod tests {\n    fn x() {}\n}\n";
        assert_eq!(fingerprint(plain), fingerprint(more));
        assert_ne!(
            fingerprint(plain),
            fingerprint("pub struct Key {\n    pub a: u64,\n}\n")
        );
    }

    #[test]
    fn a_change_needs_a_new_number_and_a_record() {
        let abi = |version, fingerprint| Abi { version, fingerprint };
        assert_eq!(compare(Some(abi(1, 7)), abi(1, 7)), None);
        assert!(compare(Some(abi(1, 7)), abi(1, 8)).unwrap().contains("raise it"));
        assert!(compare(Some(abi(1, 7)), abi(2, 8)).unwrap().contains("--record"));
        assert!(compare(None, abi(1, 7)).is_some());
    }
}
