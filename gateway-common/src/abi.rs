//! The contract between the XDP program and the agent.
//!
//! Every type is `#[repr(C)]` with explicit padding; addresses, ports and SPIs are byte arrays in network order; all other
//! integers are in host order. A change of layout or meaning must raise [`ABI_VERSION`], which the loader compares with the
//! number compiled into the object.

mod maps;
mod meta;
mod shield;
mod verdict;

pub use maps::{
    IFACE_ROLE_NONE, IFACE_ROLE_PUBLIC, IFACE_ROLE_VPC, IfaceValue, LimiterConfig, LocalAddrValue, PairKey,
    PathKey, PolicyValue, PrefixKey, SPACE_SLOT_BITS, SaKey, SaValue, space_slot, v4_mapped,
};
pub use meta::{DIRECTION_INBOUND, DIRECTION_OUTBOUND, PACKET_META_MAGIC, PacketMeta};
pub use shield::{
    BUCKET_ALL, BUCKET_IKE, BUCKET_UNKNOWN_SPI, NO_SHIELD, SHIELD_ALLOW, SHIELD_BLOCK, SHIELD_PEER,
    ShieldValue, SourceKey,
};
pub use verdict::{Action, Verdict};

/// Version of this module. The object carries it in the global `ABI_VERSION`; the loader refuses another number.
pub const ABI_VERSION: u32 = 5;

/// Names of the maps in the object.
pub mod map {
    /// Array by ifindex of [`super::IfaceValue`].
    pub const IFACES: &str = "IFACES";
    /// LPM trie of [`super::PrefixKey`] to the class (`u32`) of a local address.
    pub const LOCAL_CLASSES: &str = "LOCAL_CLASSES";
    /// LPM trie of [`super::PrefixKey`] to the class (`u32`) of a peer address.
    pub const PEER_CLASSES: &str = "PEER_CLASSES";
    /// Hash of [`super::PairKey`] to [`super::PolicyValue`].
    pub const POLICIES: &str = "POLICIES";
    /// Hash of [`super::SaKey`] to [`super::SaValue`].
    pub const SAS: &str = "SAS";
    /// Hash of [`super::PathKey`] to the SPI (four octets in network order) of the first ESP packet on this path that no SA opens. The
    /// agent takes the entries out; what finds no room is not reported.
    pub const UNKNOWN_SPIS: &str = "UNKNOWN_SPIS";
    /// Hash of a gateway's own address, 16 octets (IPv4 mapped into IPv6), to [`super::LocalAddrValue`].
    pub const LOCAL_ADDRS: &str = "LOCAL_ADDRS";
    /// Array of [`super::LimiterConfig`] by limiter number.
    pub const LIMITERS: &str = "LIMITERS";
    /// Array of `u64` by limiter number: theoretical arrival time of the GCRA in nanoseconds of the monotonic clock.
    pub const LIMITER_STATE: &str = "LIMITER_STATE";
    /// Per-CPU array of `u64` by limiter number: packets dropped by it.
    pub const LIMITER_DROPS: &str = "LIMITER_DROPS";
    /// LRU hash of a source address, 16 octets, to the GCRA state (`u64`) of its IKE packets.
    pub const IKE_SOURCES: &str = "IKE_SOURCES";
    /// Array with one [`super::LimiterConfig`], in packets instead of bytes: the rate of IKE packets per source address.
    pub const IKE_LIMIT: &str = "IKE_LIMIT";
    /// Array of [`super::ShieldValue`] by shield number.
    pub const SHIELDS: &str = "SHIELDS";
    /// Array of `u64` by shield number: GCRA state of the IKE packets of all strangers together.
    pub const SHIELD_STATE: &str = "SHIELD_STATE";
    /// LPM trie of [`super::PrefixKey`], whose space is the shield number, to one of the `SHIELD_*` constants.
    pub const SHIELD_PREFIXES: &str = "SHIELD_PREFIXES";
    /// LRU hash of [`super::SourceKey`] to the GCRA state (`u64`) of one bucket of a source.
    pub const SHIELD_SOURCES: &str = "SHIELD_SOURCES";
    /// Per-CPU array of `u64` by `shield number * Verdict::COUNT + verdict`: what a shield dropped.
    pub const SHIELD_DROPS: &str = "SHIELD_DROPS";
    /// Per-CPU array of `u64` by `iface slot * Verdict::COUNT + verdict`.
    pub const COUNTERS: &str = "COUNTERS";
    /// XSKMAP by `IfaceValue::xsk_base + rx queue`.
    pub const XSKS: &str = "XSKS";
}
