//! Health checks: ICMP echoes through a tunnel. The limits are those of `HealthCheckConfig` of API 3.0, and of `[tunnel.probe]`.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Rule};

/// Milliseconds from echo to echo.
pub const INTERVAL_MS: RangeInclusive<u32> = 1000..=5000;
/// As many lost in a row make a tunnel unhealthy.
pub const THRESHOLD: RangeInclusive<u32> = 3..=8;
/// Milliseconds after which an answer counts as lost.
pub const TIMEOUT_MS: RangeInclusive<u32> = 10..=5000;
/// Default of the interval, in milliseconds.
pub const DEFAULT_INTERVAL_MS: u32 = 5000;
/// Default of the threshold.
pub const DEFAULT_THRESHOLD: u32 = 3;
/// Default of the timeout, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u32 = 1000;

/// First address of 169.254.128.0/17, where default addresses lie.
const FIRST: u32 = u32::from_be_bytes([169, 254, 128, 0]);
/// Pairs of an even address and its neighbour in there, without the first, which has the network's address, and the last, which has
/// the broadcast address.
const PAIRS: u32 = 16_382;

/// The health check of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Where echoes come from.
    pub local: Ipv4Addr,
    /// Who answers.
    pub remote: Ipv4Addr,
    /// [`INTERVAL_MS`].
    pub interval_ms: u32,
    /// [`THRESHOLD`].
    pub threshold: u32,
    /// [`TIMEOUT_MS`].
    pub timeout_ms: u32,
}

/// What changes of a health check; `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthPatch {
    /// Whether there is one.
    pub enabled: Option<bool>,
    /// Where echoes come from and who answers.
    pub addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    /// [`INTERVAL_MS`].
    pub interval_ms: Option<u32>,
    /// [`THRESHOLD`].
    pub threshold: Option<u32>,
    /// [`TIMEOUT_MS`].
    pub timeout_ms: Option<u32>,
}

impl HealthCheck {
    /// The check of a tunnel for which nobody said more.
    pub fn of(tunnel: &str) -> Self {
        let (local, remote) = default_addresses(tunnel);
        Self {
            local,
            remote,
            interval_ms: DEFAULT_INTERVAL_MS,
            threshold: DEFAULT_THRESHOLD,
            timeout_ms: DEFAULT_TIMEOUT_MS,
        }
    }

    /// The rules of a health check alone.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        for (field, value, range) in [
            ("health check interval", self.interval_ms, INTERVAL_MS),
            ("health check threshold", self.threshold, THRESHOLD),
            ("health check timeout", self.timeout_ms, TIMEOUT_MS),
        ] {
            if !range.contains(&value) {
                let rule = format!("is {} to {}", range.start(), range.end());
                return Err(Error::invalid(field, value.to_string(), rule));
            }
        }
        for (field, address) in [
            ("health check local address", self.local),
            ("health check remote address", self.remote),
        ] {
            host(address).map_err(|rule| Error::invalid(field, address.to_string(), rule))?;
        }
        if self.local == self.remote {
            let rule = "is another address than the local one";
            return Err(Error::invalid(
                "health check remote address",
                self.remote.to_string(),
                rule,
            ));
        }
        Ok(())
    }

    /// Local and remote address.
    pub const fn addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        (self.local, self.remote)
    }

    /// The addresses as a pair of ranges.
    pub fn pair(&self) -> (Ipv4Net, Ipv4Net) {
        (self.local.into(), self.remote.into())
    }
}

impl HealthPatch {
    /// The health check of a tunnel after the change.
    ///
    /// # Errors
    /// [`Error::Invalid`]: settings of a check that is off.
    pub fn apply(&self, tunnel: &str, old: Option<HealthCheck>) -> Result<Option<HealthCheck>, Error> {
        let settings = Self {
            enabled: None,
            ..*self
        };
        let check = match (self.enabled, old) {
            (Some(false), _) => return Ok(None),
            (None, None) if settings == Self::default() => return Ok(None),
            (None, None) => {
                let rule = "has no settings while it is off: switch it on with them";
                return Err(Error::invalid("health check", "off", rule));
            }
            (Some(true) | None, Some(check)) => check,
            (Some(true), None) => HealthCheck::of(tunnel),
        };
        let (local, remote) = self.addresses.unwrap_or((check.local, check.remote));
        Ok(Some(HealthCheck {
            local,
            remote,
            interval_ms: self.interval_ms.unwrap_or(check.interval_ms),
            threshold: self.threshold.unwrap_or(check.threshold),
            timeout_ms: self.timeout_ms.unwrap_or(check.timeout_ms),
        }))
    }
}

/// An address of one host. It may be link-local: packets to it travel inside of the tunnel and are not routed.
///
/// # Errors
/// The rule that it breaks.
pub fn host(address: Ipv4Addr) -> Result<Ipv4Addr, Rule> {
    if address.is_unspecified() || address.is_loopback() || address.octets()[0] >= 224 {
        return Err("is the IPv4 address of one host".into());
    }
    Ok(address)
}

/// Addresses of a tunnel that has no others: two neighbours within 169.254.128.0/17, ours the even one.
///
/// They are derived from the id, so that they stay the same; FNV-1a spreads ids over the pairs.
pub fn default_addresses(tunnel: &str) -> (Ipv4Addr, Ipv4Addr) {
    let hash = tunnel.bytes().fold(0x811c_9dc5_u32, |hash, octet| {
        (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
    });
    neighbours(hash)
}

/// A pair of default addresses for each `number`, which is taken modulo the number of pairs.
pub(crate) fn neighbours(number: u32) -> (Ipv4Addr, Ipv4Addr) {
    let first = FIRST + 2 * (number % PAIRS) + 2;
    (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_addresses_are_neighbours_in_their_range_and_neither_network_nor_broadcast() {
        let range: Ipv4Net = "169.254.128.0/17".parse().unwrap();
        for number in [0, 1, PAIRS - 1, PAIRS, u32::MAX] {
            let (local, remote) = neighbours(number);
            assert_eq!(
                (local.to_bits() % 2, remote.to_bits()),
                (0, local.to_bits() + 1),
                "{number}"
            );
            assert!(
                range.contains(&local) && range.contains(&remote),
                "{local} {remote}"
            );
            assert!(
                range.network() != local && range.broadcast() != remote,
                "{local} {remote}"
            );
        }
        assert_eq!(default_addresses("net"), default_addresses("net"));
        assert_ne!(default_addresses("net"), default_addresses("other"));
    }

    #[test]
    fn a_patch_switches_on_changes_and_switches_off() {
        let on = HealthPatch {
            enabled: Some(true),
            ..HealthPatch::default()
        };
        let made = on.apply("t", None).unwrap().unwrap();
        assert_eq!(made, HealthCheck::of("t"));
        let slower = HealthPatch {
            threshold: Some(8),
            ..HealthPatch::default()
        };
        let changed = slower.apply("t", Some(made)).unwrap().unwrap();
        assert_eq!(changed, HealthCheck { threshold: 8, ..made });
        assert_eq!(on.apply("t", Some(changed)).unwrap(), Some(changed));
        assert!(slower.apply("t", None).is_err(), "settings of nothing");
        assert_eq!(HealthPatch::default().apply("t", None).unwrap(), None);
        let off = HealthPatch {
            enabled: Some(false),
            ..slower
        };
        assert_eq!(off.apply("t", Some(changed)).unwrap(), None);
    }

    #[test]
    fn each_rule_names_its_field() {
        let good = HealthCheck::of("t");
        good.check().unwrap();
        for (bad, field) in [
            (
                HealthCheck {
                    interval_ms: 999,
                    ..good
                },
                "interval = \"999\": is 1000 to 5000",
            ),
            (HealthCheck { threshold: 9, ..good }, "threshold"),
            (
                HealthCheck {
                    timeout_ms: 5001,
                    ..good
                },
                "timeout",
            ),
            (
                HealthCheck {
                    local: Ipv4Addr::LOCALHOST,
                    ..good
                },
                "local address",
            ),
            (
                HealthCheck {
                    remote: Ipv4Addr::BROADCAST,
                    ..good
                },
                "remote address",
            ),
            (
                HealthCheck {
                    remote: good.local,
                    ..good
                },
                "another address",
            ),
        ] {
            let refusal = bad.check().unwrap_err().to_string();
            assert!(refusal.contains(field), "{refusal:?} lacks {field:?}");
        }
    }
}
