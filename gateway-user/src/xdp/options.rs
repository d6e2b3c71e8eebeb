//! Sizes and places of what is loaded.

use std::path::PathBuf;

use gateway_common::abi::{Verdict, map};
use tracing::level_filters::LevelFilter;

/// How many compiled spaces of one policy exist at once: those of its VPC and of the union, each in the version in force and in
/// the spare slot.
const SPACES_PER_POLICY: u32 = 4;

/// How [`super::XdpProgram::load`] sizes and pins things. A size is a bound: only arrays take the memory beforehand.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Directory on a bpffs that keeps the links and shows the maps; without it the program ends with the process.
    pub pin_dir: Option<PathBuf>,
    /// `DEBUG` logs each dropped packet; less logs nothing, and then the program has no code for it.
    pub log_level: LevelFilter,
    /// Highest interface index plus one. Arrays: 24 octets each.
    pub max_ifindex: u32,
    /// Interfaces with counters (`IfaceValue::slot`).
    pub max_interfaces: u32,
    /// Selector pairs of all tunnels together, and prefixes of either side.
    pub max_policies: u32,
    /// Inbound SAs.
    pub max_sas: u32,
    /// Paths on which ESP that no SA opens is noted until it is taken out. Its memory is taken beforehand, 64 octets each.
    pub max_unknown_spis: u32,
    /// Highest limiter number plus one. Arrays: 24 octets each, and eight for every CPU.
    pub max_limiters: u32,
    /// Own addresses of all VPN gateways.
    pub max_local_addrs: u32,
    /// Sources of IKE packets that are remembered; the least recent one makes room.
    pub max_ike_sources: u32,
    /// Highest shield number plus one. Arrays: 80 octets each, and 160 for every CPU.
    pub max_shields: u32,
    /// Prefixes of all shields together, the peers of their gateways included.
    pub max_shield_prefixes: u32,
    /// Buckets of sources that shields remember; the least recent one makes room.
    pub max_shield_sources: u32,
    /// Sockets: RX queues of all interfaces.
    pub max_xsks: u32,
    /// Remember the policy of address pairs. Off only to measure what that saves.
    pub flow_cache: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            pin_dir: None,
            log_level: LevelFilter::OFF,
            max_ifindex: 65_536,
            max_interfaces: 256,
            max_policies: 65_536,
            max_sas: 65_536,
            max_unknown_spis: 1_024,
            max_limiters: 32_768,
            max_local_addrs: 4_096,
            max_ike_sources: 65_536,
            max_shields: 1_024,
            max_shield_prefixes: 131_072,
            max_shield_sources: 131_072,
            max_xsks: 4_096,
            flow_cache: true,
        }
    }
}

impl LoadOptions {
    /// Entries of each map.
    pub(super) fn map_sizes(&self) -> [(&'static str, u32); 18] {
        let spd = self.max_policies.saturating_mul(SPACES_PER_POLICY);
        [
            (map::IFACES, self.max_ifindex),
            (map::LOCAL_CLASSES, spd),
            (map::PEER_CLASSES, spd),
            (map::POLICIES, spd),
            (map::SAS, self.max_sas),
            (map::UNKNOWN_SPIS, self.max_unknown_spis),
            (map::LOCAL_ADDRS, self.max_local_addrs),
            (map::LIMITERS, self.max_limiters),
            (map::LIMITER_STATE, self.max_limiters),
            (map::LIMITER_DROPS, self.max_limiters),
            (map::IKE_SOURCES, self.max_ike_sources),
            (map::SHIELDS, self.max_shields),
            (map::SHIELD_STATE, self.max_shields),
            (map::SHIELD_PREFIXES, self.max_shield_prefixes),
            (map::SHIELD_SOURCES, self.max_shield_sources),
            (map::SHIELD_DROPS, self.max_shields.saturating_mul(Verdict::COUNT)),
            (map::COUNTERS, self.max_interfaces.saturating_mul(Verdict::COUNT)),
            (map::XSKS, self.max_xsks),
        ]
    }

    /// The level as aya-log counts: 0 off, 1 error, ... 5 trace.
    pub(super) fn log_level_number(&self) -> u8 {
        match self.log_level.into_level() {
            None => 0,
            Some(tracing::Level::ERROR) => 1,
            Some(tracing::Level::WARN) => 2,
            Some(tracing::Level::INFO) => 3,
            Some(tracing::Level::DEBUG) => 4,
            Some(tracing::Level::TRACE) => 5,
        }
    }
}
