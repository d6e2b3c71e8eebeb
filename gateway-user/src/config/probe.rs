//! `[tunnel.probe]`: ICMP echoes through the tunnel.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use gateway_management::health;

use super::mistake::{At, Log, Place, Rule};
use super::model::ProbeConfig;
use super::read::value_or;
use super::section::Section;
use super::values::Id;

/// A probe whose addresses may depend on the id of its tunnel.
#[derive(Clone, Debug)]
pub(super) struct ProbeDraft {
    place: Place,
    addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    interval: Duration,
    threshold: u32,
    timeout: Duration,
}

impl ProbeDraft {
    /// Where the table stands.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Where probes come from, and who answers.
    pub(super) fn addresses_of(&self, tunnel: &Id) -> (Ipv4Addr, Ipv4Addr) {
        self.addresses
            .unwrap_or_else(|| health::default_addresses(tunnel.as_str()))
    }

    pub(super) fn build(self, tunnel: &Id) -> ProbeConfig {
        let (local, remote) = self.addresses_of(tunnel);
        ProbeConfig {
            local,
            remote,
            interval: self.interval,
            threshold: self.threshold,
            timeout: self.timeout,
        }
    }
}

/// Reads the table of a tunnel that has one.
pub(super) fn read(log: &Log, mut section: Section<'_>) -> ProbeDraft {
    let place = section.place().clone();
    let local = section.text("local", host_address);
    let remote = section.text("remote", host_address);
    if section.has("local") != section.has("remote") {
        log.mistake(section.place(), "has both local and remote, or neither");
    }
    if let Some((local, remote)) = local.as_ref().zip(remote.as_ref())
        && local.value == remote.value
    {
        log.mistake(&remote.place, "is another address than local");
    }
    let milliseconds = |at: Option<At<u32>>, default| Duration::from_millis(value_or(at, || default).into());
    let wide = |range: RangeInclusive<u32>| u64::from(*range.start())..=u64::from(*range.end());
    let interval = section.number("interval_ms", wide(health::INTERVAL_MS));
    let timeout = section.number("timeout_ms", wide(health::TIMEOUT_MS));
    let threshold = section.number("threshold", wide(health::THRESHOLD));
    section.finish();
    ProbeDraft {
        place,
        addresses: local
            .zip(remote)
            .map(|(local, remote)| (local.value, remote.value)),
        interval: milliseconds(interval, health::DEFAULT_INTERVAL_MS),
        threshold: value_or(threshold, || health::DEFAULT_THRESHOLD),
        timeout: milliseconds(timeout, health::DEFAULT_TIMEOUT_MS),
    }
}

fn host_address(text: &str) -> Result<Ipv4Addr, Rule> {
    const RULE: Rule = Rule::Borrowed("is the IPv4 address of one host");
    health::host(text.parse().map_err(|_not_an_address| RULE)?)
}
