//! `[tunnel.probe]`: ICMP echoes through the tunnel.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::mistake::{At, Log, Place, Rule};
use super::model::ProbeConfig;
use super::read::value_or;
use super::section::Section;
use super::values::Id;

/// Milliseconds from probe to probe: these ranges are those of `HealthCheckConfig` of API 3.0.
const INTERVAL_MS: RangeInclusive<u64> = 1000..=5000;
/// As many lost in a row make a tunnel unhealthy.
const THRESHOLD: RangeInclusive<u64> = 3..=8;
/// Milliseconds after which an answer counts as lost.
const TIMEOUT_MS: RangeInclusive<u64> = 10..=5000;

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
            .unwrap_or_else(|| default_addresses(tunnel.as_str()))
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
    let milliseconds = |at: Option<At<u64>>, default| Duration::from_millis(value_or(at, || default));
    let interval = section.number("interval_ms", INTERVAL_MS);
    let timeout = section.number("timeout_ms", TIMEOUT_MS);
    let threshold = section.number("threshold", THRESHOLD);
    section.finish();
    ProbeDraft {
        place,
        addresses: local
            .zip(remote)
            .map(|(local, remote)| (local.value, remote.value)),
        interval: milliseconds(interval, 5000),
        threshold: value_or(threshold, || 3),
        timeout: milliseconds(timeout, 1000),
    }
}

/// Probe addresses of a tunnel that has no others: two neighbours within 169.254.128.0/17, ours the even one.
///
/// They are derived from the id, so that they stay the same; FNV-1a spreads ids over the 16,383 pairs.
fn default_addresses(tunnel: &str) -> (Ipv4Addr, Ipv4Addr) {
    const PAIRS: u32 = 16_383;
    let hash = tunnel.bytes().fold(0x811c_9dc5_u32, |hash, octet| {
        (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
    });
    let first = u32::from_be_bytes([169, 254, 128, 0]) + 2 * (hash % PAIRS) + 2;
    (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + 1))
}

/// An address of one host. It may be link-local: packets to it travel inside of the tunnel and are not routed.
fn host_address(text: &str) -> Result<Ipv4Addr, Rule> {
    text.parse::<Ipv4Addr>()
        .ok()
        .filter(|address| !address.is_unspecified() && !address.is_loopback() && address.octets()[0] < 224)
        .ok_or(Rule::Borrowed("is the IPv4 address of one host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_addresses_are_neighbours_in_their_range_and_stay() {
        for tunnel in ["vpnx-ol6bcqp0", "net", "", "a tunnel"] {
            let (local, remote) = default_addresses(tunnel);
            assert_eq!(remote.to_bits(), local.to_bits() + 1);
            assert_eq!(local.to_bits() % 2, 0);
            let range: ipnet::Ipv4Net = "169.254.128.0/17".parse().unwrap();
            assert!(
                range.contains(&local) && range.contains(&remote),
                "{local} {remote}"
            );
            assert!(range.broadcast() != remote && range.network() != local);
            assert_eq!(default_addresses(tunnel), (local, remote));
        }
    }
}
