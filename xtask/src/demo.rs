//! `cargo xtask demo`.

use anyhow::{Result, bail};
use clap::Args;

use crate::Outcome;

/// Options of the verb.
#[derive(Args)]
pub(crate) struct Options {}

/// Runs the verb.
pub(crate) fn run(_options: &Options) -> Result<Outcome> {
    bail!("the gateway cannot run yet")
}
