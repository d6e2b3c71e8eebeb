//! Packets and the verdicts they must have, for the host build and for the kernel alike.
//!
//! [`rows`] is a table: one packet, one interface, one outcome. [`STORIES`] are sequences, where an earlier packet or a change of
//! the maps matters. Both run against a [`Target`], of which there are two: [`HostTarget`] here, and the loaded program in
//! `tests/tests/kernel_classify.rs`.

mod host;
pub mod packets;
mod rows;
mod shields;
mod stories;

use std::vec::Vec;

use gateway_common::abi::{
    IFACE_ROLE_PUBLIC, IFACE_ROLE_VPC, IfaceValue, LimiterConfig, PacketMeta, PathKey, PolicyValue, SaKey,
    SaValue, ShieldValue, Verdict, v4_mapped,
};

pub use host::HostTarget;
pub use rows::rows;
pub use shields::STORIES as SHIELD_STORIES;
pub use stories::{STORIES, Story};

/// An IPv4 address.
pub type Addr = [u8; 4];

/// Something that judges packets by maps.
pub trait Target {
    /// `IFACES` of the interface that all packets come in on, queue 0.
    fn set_iface(&mut self, value: IfaceValue);
    /// `LOCAL_CLASSES`, `PEER_CLASSES` and `POLICIES`.
    fn write_space(&mut self, space: &Space<'_>);
    /// `SAS`.
    fn put_sa(&mut self, key: SaKey, value: SaValue);
    /// `SAS`.
    fn remove_sa(&mut self, key: &SaKey);
    /// `LOCAL_ADDRS`.
    fn put_local_addr(&mut self, addr: Addr, shield: u32);
    /// `SHIELDS` and, with one of the `SHIELD_*` constants each, `SHIELD_PREFIXES`.
    fn set_shield(&mut self, number: u32, limits: ShieldValue, prefixes: &[(Addr, u8, u32)]);
    /// `SHIELD_DROPS`.
    fn shield_drops(&self, number: u32, verdict: Verdict) -> u64;
    /// `UNKNOWN_SPIS`, which is empty then.
    fn take_unknown_spis(&mut self) -> Vec<(PathKey, [u8; 4])>;
    /// `LIMITERS`.
    fn set_limiter(&mut self, number: u32, config: LimiterConfig);
    /// `LIMITER_DROPS`.
    fn limiter_drops(&self, number: u32) -> u64;
    /// `IKE_LIMIT`.
    fn set_ike_limit(&mut self, config: LimiterConfig);
    /// Judges a packet.
    fn judge(&mut self, packet: &[u8]) -> Outcome;
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict that was counted.
    pub verdict: Verdict,
    /// What stands in front of a redirected packet.
    pub meta: Option<PacketMeta>,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, meta: None }
    }
}

/// One packet and its outcome.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the row is about.
    pub name: std::string::String,
    /// The interface.
    pub iface: IfaceValue,
    /// The packet, from its Ethernet header.
    pub packet: Vec<u8>,
    /// The outcome.
    pub expected: Outcome,
}

/// A compiled SPD.
#[derive(Clone, Copy, Debug)]
pub struct Space<'a> {
    /// Number of the space.
    pub id: u32,
    /// Address, prefix length and class on the VPC side.
    pub local: &'a [(Addr, u8, u32)],
    /// Address, prefix length and class on the peers' side.
    pub peer: &'a [(Addr, u8, u32)],
    /// Local class, peer class and policy.
    pub pairs: &'a [(u32, u32, PolicyValue)],
}

/// Address of a VPN gateway.
pub const GATEWAY: Addr = [203, 0, 113, 1];
/// Address of another one.
pub const GATEWAY_2: Addr = [203, 0, 113, 2];
/// Address of a peer.
pub const PEER: Addr = [198, 51, 100, 1];
/// A host of the VPC, in the class of `10.0.0.0/16`.
pub const LOCAL_HOST: Addr = [10, 0, 0, 9];
/// A host of the VPC, in the class of `10.0.5.0/24`.
pub const LOCAL_HOST_2: Addr = [10, 0, 5, 9];
/// A host behind the peer, in the class of `172.16.0.0/12`.
pub const PEER_HOST: Addr = [172, 16, 3, 4];
/// A host that no policy names.
pub const STRANGER: Addr = [8, 8, 8, 8];
/// SPI of the SA in [`furnish`].
pub const SPI: [u8; 4] = [0xc0, 0xff, 0xee, 0x01];
/// The SPD of [`furnish`].
pub const SPACE: Space<'_> = Space {
    id: 1,
    local: &[([10, 0, 0, 0], 16, 1), ([10, 0, 5, 0], 24, 2)],
    peer: &[
        ([172, 16, 0, 0], 12, 1),
        ([192, 168, 7, 0], 24, 2),
        ([192, 168, 7, 1], 32, 3),
    ],
    pairs: &[
        (1, 1, policy(11, 3)),
        (2, 1, policy(12, 4)),
        (2, 2, policy(13, 5)),
        (2, 3, policy(14, 6)),
    ],
};
/// A VPC interface with [`SPACE`].
pub const VPC: IfaceValue = IfaceValue {
    role: IFACE_ROLE_VPC,
    space: SPACE.id,
    xsk_base: 0,
    slot: 0,
    default_deny: 0,
    queues: 1,
};
/// A public interface with [`SPACE`].
pub const PUBLIC: IfaceValue = IfaceValue {
    role: IFACE_ROLE_PUBLIC,
    ..VPC
};
/// The SA of [`furnish`].
pub const SA: SaValue = SaValue {
    sa: 7,
    generation: 9,
    tunnel: 1,
    gateway_limiter: 0,
    tunnel_limiter: 0,
    overhead: 60,
};

/// A policy without limiters.
pub const fn policy(policy: u32, generation: u32) -> PolicyValue {
    PolicyValue {
        policy,
        generation,
        tunnel: 1,
        gateway_limiter: 0,
        tunnel_limiter: 0,
    }
}

/// The key of an SA.
pub const fn sa_key(addr: Addr, spi: [u8; 4]) -> SaKey {
    SaKey {
        addr: v4_mapped(addr),
        spi,
    }
}

/// Fills the maps with what every row relies on.
pub fn furnish(target: &mut impl Target) {
    target.put_local_addr(GATEWAY, 0);
    target.put_local_addr(GATEWAY_2, 0);
    target.write_space(&SPACE);
    target.put_sa(sa_key(GATEWAY, SPI), SA);
}

/// Judges the packet of a row.
///
/// # Panics
///
/// When the outcome is another one than expected.
#[track_caller]
pub fn check(target: &mut impl Target, row: &Row) {
    target.set_iface(row.iface);
    let outcome = target.judge(&row.packet);
    assert_eq!(outcome, row.expected, "{}: {:02x?}", row.name, row.packet);
}
