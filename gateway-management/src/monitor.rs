//! What monitoring can be asked for: the metrics of Cloud Monitor, and a few of ours beside them.

use serde::{Deserialize, Serialize};

use crate::store::Traffic;

/// What a metric belongs to, in the words of Cloud Monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// `QCE/VPNGW`.
    Gateway,
    /// `QCE/VPNX`.
    Tunnel,
}

impl Namespace {
    /// Reads the name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Gateway, Self::Tunnel]
            .into_iter()
            .find(|namespace| namespace.name().eq_ignore_ascii_case(text))
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "QCE/VPNGW",
            Self::Tunnel => "QCE/VPNX",
        }
    }

    /// The dimension that names the object.
    pub const fn dimension(self) -> &'static str {
        match self {
            Self::Gateway => "vpnGwId",
            Self::Tunnel => "vpnConnId",
        }
    }
}

/// A number over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// Traffic to the peers.
    OutBandwidth,
    /// Traffic from the peers.
    InBandwidth,
    /// Packets to the peers.
    OutPackets,
    /// Packets from the peers.
    InPackets,
    /// Share of the bandwidth setting that the busier direction uses.
    BandwidthUsage,
    /// Share of the probes that was lost.
    ProbeLoss,
    /// What the answer to a probe took.
    Delay,
    /// Packets that were dropped.
    DroppedPackets,
    /// Packets above the bandwidth setting of the gateway.
    LimitedPackets,
    /// Share of the time that the tunnel was up.
    Connectivity,
    /// Negotiations that failed.
    IkeFailures,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 11] = [
        Self::OutBandwidth,
        Self::InBandwidth,
        Self::OutPackets,
        Self::InPackets,
        Self::BandwidthUsage,
        Self::ProbeLoss,
        Self::Delay,
        Self::DroppedPackets,
        Self::LimitedPackets,
        Self::Connectivity,
        Self::IkeFailures,
    ];

    /// Reads the name, in any case: Cloud Monitor writes some of them in two ways.
    pub fn parse(namespace: Namespace, text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|metric| metric.belongs_to(namespace) && metric.name().eq_ignore_ascii_case(text))
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutBandwidth => "OutBandwidth",
            Self::InBandwidth => "InBandwidth",
            Self::OutPackets => "OutPkg",
            Self::InPackets => "InPkg",
            Self::BandwidthUsage => "VpnBandwidthUsageRate",
            Self::ProbeLoss => "PkgDrop",
            Self::Delay => "Delay",
            Self::DroppedPackets => "DroppedPkg",
            Self::LimitedPackets => "LimitedPkg",
            Self::Connectivity => "Connectivity",
            Self::IkeFailures => "IkeFailures",
        }
    }

    /// Its unit.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::OutBandwidth | Self::InBandwidth => "Mbps",
            Self::OutPackets | Self::InPackets | Self::DroppedPackets => "Count/s",
            Self::LimitedPackets | Self::IkeFailures => "Count",
            Self::BandwidthUsage | Self::ProbeLoss | Self::Connectivity => "%",
            Self::Delay => "ms",
        }
    }

    /// Whether objects of the namespace have it.
    pub const fn belongs_to(self, namespace: Namespace) -> bool {
        match self {
            Self::OutBandwidth
            | Self::InBandwidth
            | Self::OutPackets
            | Self::InPackets
            | Self::ProbeLoss
            | Self::Delay
            | Self::DroppedPackets
            | Self::IkeFailures => true,
            Self::Connectivity => matches!(namespace, Namespace::Tunnel),
            Self::BandwidthUsage | Self::LimitedPackets => matches!(namespace, Namespace::Gateway),
        }
    }

    /// The value over `seconds` with this traffic; `None` where there is none. `bandwidth` is the setting in Mbit/s.
    ///
    /// No traffic is a value of 0. No probe is no value: nobody asked how long an answer takes.
    #[allow(clippy::cast_precision_loss, reason = "a display of rates, far below 2^53")]
    pub fn value(self, traffic: &Traffic, seconds: i64, bandwidth: Option<u32>) -> Option<f64> {
        let over = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let seconds = seconds.unsigned_abs();
        let megabits = |octets: u64| over(octets.saturating_mul(8), seconds.saturating_mul(1_000_000));
        let value = match self {
            Self::OutBandwidth => megabits(traffic.bytes_out),
            Self::InBandwidth => megabits(traffic.bytes_in),
            Self::OutPackets => over(traffic.packets_out, seconds),
            Self::InPackets => over(traffic.packets_in, seconds),
            Self::BandwidthUsage => {
                let setting = bandwidth.filter(|setting| *setting > 0)?;
                megabits(traffic.bytes_in.max(traffic.bytes_out))
                    .map(|used| 100.0 * used / f64::from(setting))
            }
            Self::ProbeLoss => over(
                traffic.probes_lost.saturating_mul(100),
                traffic.probes_lost.saturating_add(traffic.probes_answered),
            ),
            Self::Delay => over(traffic.probe_micros, traffic.probes_answered.saturating_mul(1000)),
            Self::DroppedPackets => over(traffic.dropped, seconds),
            Self::LimitedPackets => over(traffic.limited, 1),
            Self::Connectivity => {
                let up = seconds.saturating_sub(traffic.down_seconds);
                over(up.saturating_mul(100), seconds)
            }
            Self::IkeFailures => over(traffic.ike_failures, 1),
        };
        value.map(|value| (value * 1000.0).round() / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rates_in_the_units_of_cloud_monitor() {
        let traffic = Traffic {
            bytes_in: 7_500_000,
            bytes_out: 75_000_000,
            packets_in: 600,
            packets_out: 6_000,
            dropped: 30,
            probes_sent: 10,
            probes_lost: 1,
            probes_answered: 9,
            probe_micros: 90_000,
            limited: 5,
            ike_failures: 2,
            down_seconds: 15,
        };
        let value = |metric: Metric| metric.value(&traffic, 60, Some(20));
        for (metric, expected) in [
            (Metric::OutBandwidth, 10.0),
            (Metric::InBandwidth, 1.0),
            (Metric::OutPackets, 100.0),
            (Metric::InPackets, 10.0),
            (Metric::BandwidthUsage, 50.0),
            (Metric::ProbeLoss, 10.0),
            (Metric::Delay, 10.0),
            (Metric::DroppedPackets, 0.5),
            (Metric::LimitedPackets, 5.0),
            (Metric::Connectivity, 75.0),
            (Metric::IkeFailures, 2.0),
        ] {
            assert_eq!(value(metric), Some(expected), "{metric:?}");
        }
        let idle = |metric: Metric| metric.value(&Traffic::default(), 60, None);
        assert_eq!(idle(Metric::OutBandwidth), Some(0.0));
        for metric in [Metric::ProbeLoss, Metric::Delay, Metric::BandwidthUsage] {
            assert_eq!(idle(metric), None, "{metric:?}");
        }
    }

    #[test]
    fn names_are_read_in_any_case_and_within_their_namespace() {
        assert_eq!(Namespace::parse("qce/vpnx"), Some(Namespace::Tunnel));
        assert_eq!(
            Metric::parse(Namespace::Gateway, "Outpkg"),
            Some(Metric::OutPackets)
        );
        assert_eq!(Metric::parse(Namespace::Tunnel, "VpnBandwidthUsageRate"), None);
        assert_eq!(Metric::parse(Namespace::Tunnel, "cpu"), None);
    }
}
