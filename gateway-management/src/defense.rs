//! High defense packages: the limits of the shield in front of a VPN gateway's address, as objects that are bound to a gateway, moved to
//! another or kept for later.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::time::Timestamp;

/// Packages at most.
pub const MOST_PACKAGES: usize = 50;
/// Ranges of one package at most, `allow` and `block` together.
pub const MOST_RANGES: usize = 200;
/// Highest rate, in packets per second.
pub const MOST_RATE: u32 = 100_000_000;

/// A high defense package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefensePackage {
    /// Number in the store.
    pub number: i64,
    /// `dfp-ol6bcqp0`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Id of the VPN gateway that it protects; `None` while it is kept for later.
    pub gateway: Option<String>,
    /// What its shield lets through.
    pub limits: Limits,
    /// When it was made.
    pub created: Timestamp,
}

/// What a shield lets through, in the words of the configuration file. Rates are packets per second; 0 limits nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// IKE of one source.
    pub ike_rate_per_source: u32,
    /// IKE of all strangers together.
    pub ike_rate: u32,
    /// ESP of one source whose SPI no SA has.
    pub unknown_spi_rate_per_source: u32,
    /// Everything of one stranger that belongs to no SA.
    pub rate_per_source: u32,
    /// Dropped packets per second from which the gateway is under attack.
    pub attack_rate: u32,
    /// Dropped packets per second from which strangers are shut out; 0: never.
    pub block_rate: u32,
    /// Sources that are never counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Ipv4Net>,
    /// Sources that are shut out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<Ipv4Net>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ike_rate_per_source: 20,
            ike_rate: 1_000,
            unknown_spi_rate_per_source: 100,
            rate_per_source: 1_000,
            attack_rate: 1_000,
            block_rate: 0,
            allow: Vec::new(),
            block: Vec::new(),
        }
    }
}

/// What changes of [`Limits`]; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsPatch {
    /// [`Limits::ike_rate_per_source`].
    pub ike_rate_per_source: Option<u32>,
    /// [`Limits::ike_rate`].
    pub ike_rate: Option<u32>,
    /// [`Limits::unknown_spi_rate_per_source`].
    pub unknown_spi_rate_per_source: Option<u32>,
    /// [`Limits::rate_per_source`].
    pub rate_per_source: Option<u32>,
    /// [`Limits::attack_rate`].
    pub attack_rate: Option<u32>,
    /// [`Limits::block_rate`].
    pub block_rate: Option<u32>,
    /// [`Limits::allow`], as a whole.
    pub allow: Option<Vec<Ipv4Net>>,
    /// [`Limits::block`], as a whole.
    pub block: Option<Vec<Ipv4Net>>,
}

impl LimitsPatch {
    /// The limits after the change.
    #[must_use]
    pub fn apply(&self, old: &Limits) -> Limits {
        Limits {
            ike_rate_per_source: self.ike_rate_per_source.unwrap_or(old.ike_rate_per_source),
            ike_rate: self.ike_rate.unwrap_or(old.ike_rate),
            unknown_spi_rate_per_source: self
                .unknown_spi_rate_per_source
                .unwrap_or(old.unknown_spi_rate_per_source),
            rate_per_source: self.rate_per_source.unwrap_or(old.rate_per_source),
            attack_rate: self.attack_rate.unwrap_or(old.attack_rate),
            block_rate: self.block_rate.unwrap_or(old.block_rate),
            allow: self.allow.clone().unwrap_or_else(|| old.allow.clone()),
            block: self.block.clone().unwrap_or_else(|| old.block.clone()),
        }
    }
}

impl Limits {
    /// Checks the rates and the ranges.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::RangeConflict`] for a range that is in both lists.
    pub fn check(&self) -> Result<(), Error> {
        let rates = [
            ("ikeRatePerSource", self.ike_rate_per_source),
            ("ikeRate", self.ike_rate),
            ("unknownSpiRatePerSource", self.unknown_spi_rate_per_source),
            ("ratePerSource", self.rate_per_source),
            ("attackRate", self.attack_rate),
            ("blockRate", self.block_rate),
        ];
        if let Some((field, rate)) = rates.into_iter().find(|&(_, rate)| rate > MOST_RATE) {
            let rule = format!("is a whole number from 0 to {MOST_RATE} packets per second");
            return Err(Error::invalid(field, rate, rule));
        }
        let ranges = self.allow.len() + self.block.len();
        if ranges > MOST_RANGES {
            let rule = format!("allow and block have at most {MOST_RANGES} ranges together");
            return Err(Error::invalid("ranges", ranges, rule));
        }
        if let Some(both) = self.block.iter().find(|net| self.allow.contains(net)) {
            return Err(Error::RangeConflict {
                field: "block",
                value: both.to_string(),
                rule: "is in allow too".into(),
            });
        }
        Ok(())
    }
}

/// Whether a gateway is attacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefenseState {
    /// Nothing out of the ordinary.
    #[default]
    Normal,
    /// The shield drops more than the package calls an attack.
    UnderAttack,
    /// So much that strangers are shut out.
    Blocked,
}

impl DefenseState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Normal, Self::UnderAttack, Self::Blocked];

    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::UnderAttack => "under_attack",
            Self::Blocked => "blocked",
        }
    }

    /// Its number in conditions of alarms, the worst highest.
    pub const fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::UnderAttack => 1,
            Self::Blocked => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_refused_with_field_and_rule() {
        let range = |n: u8| format!("10.{n}.0.0/16").parse::<Ipv4Net>().unwrap();
        for (patch, parts) in [
            (
                LimitsPatch {
                    block_rate: Some(MOST_RATE + 1),
                    ..LimitsPatch::default()
                },
                ["blockRate", "100000000"],
            ),
            (
                LimitsPatch {
                    allow: Some(vec![range(1), range(2)]),
                    block: Some(vec![range(2)]),
                    ..LimitsPatch::default()
                },
                ["10.2.0.0/16", "in allow too"],
            ),
            (
                LimitsPatch {
                    allow: Some((0..=200).map(range).collect()),
                    ..LimitsPatch::default()
                },
                ["ranges", "at most 200"],
            ),
        ] {
            let sentence = patch.apply(&Limits::default()).check().unwrap_err().to_string();
            for part in parts {
                assert!(sentence.contains(part), "{sentence}");
            }
        }
        Limits::default().check().unwrap();
    }
}
