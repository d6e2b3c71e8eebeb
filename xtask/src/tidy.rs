//! `cargo xtask tidy`: rules of the architecture that the compiler does not check. ARCHITECTURE.md gives the reasons.

pub(crate) mod abi;
mod arrows;
pub(crate) mod interop;
mod sources;

use anyhow::{Result, bail};
use serde_json::json;

use crate::Outcome;

/// Runs the verb.
pub(crate) fn run() -> Result<Outcome> {
    let problems = problems()?;
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        println!("tidy");
    }
    Ok(Outcome {
        success: problems.is_empty(),
        json: json!({ "problems": problems }),
    })
}

/// As a check of `ci`.
pub(crate) fn check() -> Result<()> {
    let problems = problems()?;
    if !problems.is_empty() {
        bail!("\n  {}", problems.join("\n  "));
    }
    Ok(())
}

fn problems() -> Result<Vec<String>> {
    let mut problems = arrows::problems()?;
    problems.extend(sources::problems()?);
    problems.extend(abi::problems()?);
    problems.extend(interop::problems()?);
    Ok(problems)
}
