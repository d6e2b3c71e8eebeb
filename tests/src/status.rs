//! `gateway status --json` as a test reads it.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

/// The whole status.
#[derive(Clone, Debug)]
pub struct Status(Value);

/// One tunnel of the status.
#[derive(Clone, Copy, Debug)]
pub struct TunnelStatus<'a>(&'a Value);

impl Status {
    /// Reads what `gateway status --json` printed.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self(
            serde_json::from_str(text).with_context(|| format!("status is no JSON: {text}"))?,
        ))
    }

    /// Any part of it.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// How the XDP program is attached: `native` or `generic`.
    pub fn xdp_mode(&self) -> &str {
        self.0["xdp"]["mode"].as_str().unwrap_or_default()
    }

    /// A tunnel by its id.
    pub fn tunnel(&self, id: &str) -> Option<TunnelStatus<'_>> {
        self.0["tunnels"]
            .as_array()?
            .iter()
            .find(|tunnel| tunnel["id"] == id)
            .map(TunnelStatus)
    }

    /// A counter of the workers, over all of them.
    pub fn workers(&self, name: &str) -> u64 {
        let workers = self.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
        workers
            .iter()
            .filter_map(|worker| worker["counters"][name].as_u64())
            .sum()
    }

    /// How often the XDP program decided `verdict`, over all interfaces.
    pub fn verdicts(&self, verdict: &str) -> u64 {
        let interfaces = self.0["xdp"]["interfaces"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        interfaces
            .iter()
            .filter_map(|interface| interface["verdicts"][verdict].as_u64())
            .sum()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl<'a> TunnelStatus<'a> {
    /// Any part of it.
    pub fn json(self) -> &'a Value {
        self.0
    }

    /// `up`, `negotiating`, `down` or `disabled`.
    pub fn state(self) -> &'a str {
        self.0["state"].as_str().unwrap_or_default()
    }

    /// Number of a counter such as `packets_in`.
    pub fn count(self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    /// The pairs of SAs: inbound and outbound SPI as the status writes them.
    pub fn spis(self) -> Vec<(String, String)> {
        let children = self.0["children"].as_array().map_or(&[][..], Vec::as_slice);
        children
            .iter()
            .map(|child| (child["spi_in"].to_string(), child["spi_out"].to_string()))
            .collect()
    }

    /// The code of the last failure.
    pub fn failure(self) -> Option<&'a str> {
        self.0["last_failure"]["code"].as_str()
    }

    /// Packets of this tunnel that were dropped, for all reasons together.
    pub fn dropped(self) -> u64 {
        self.0["dropped"]
            .as_object()
            .map_or(0, |reasons| reasons.values().filter_map(Value::as_u64).sum())
    }
}
