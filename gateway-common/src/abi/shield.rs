//! What the shield of a VPN gateway lets through.

use super::LimiterConfig;

/// Number of "no shield" in [`super::LocalAddrValue`].
pub const NO_SHIELD: u32 = 0;

/// Value of `SHIELD_PREFIXES`: a source that nothing is counted of.
pub const SHIELD_ALLOW: u32 = 1;
/// Value of `SHIELD_PREFIXES`: a source from which only ESP of a present SA is taken.
pub const SHIELD_BLOCK: u32 = 2;
/// Value of `SHIELD_PREFIXES`: the peer of a tunnel. It has its own IKE bucket and no share in what strangers use up.
pub const SHIELD_PEER: u32 = 3;

/// [`SourceKey::bucket`] of everything of a stranger that belongs to no SA.
pub const BUCKET_ALL: u32 = 0;
/// [`SourceKey::bucket`] of IKE.
pub const BUCKET_IKE: u32 = 1;
/// [`SourceKey::bucket`] of ESP whose SPI no SA has.
pub const BUCKET_UNKNOWN_SPI: u32 = 2;

/// Value of `SHIELDS`: the limits of one VPN gateway, in packets. A rate of 0 limits nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShieldValue {
    /// Everything of one stranger that belongs to no SA.
    pub source: LimiterConfig,
    /// IKE of one source; takes the place of `IKE_LIMIT`.
    pub ike_source: LimiterConfig,
    /// IKE of all strangers together.
    pub ike_total: LimiterConfig,
    /// ESP of one source whose SPI no SA has.
    pub unknown_spi_source: LimiterConfig,
    /// 1: strangers are dropped altogether.
    pub closed: u32,
    /// Zero.
    pub pad: u32,
}

/// Key of `SHIELD_SOURCES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceKey {
    /// IPv4 source address.
    pub addr: [u8; 4],
    /// Number of the shield.
    pub shield: u32,
    /// One of the `BUCKET_*` constants.
    pub bucket: u32,
}

const _: () = {
    assert!(size_of::<ShieldValue>() == 72 && align_of::<ShieldValue>() == 8);
    assert!(size_of::<SourceKey>() == 12 && align_of::<SourceKey>() == 4);
};

#[cfg(feature = "user")]
mod pod {
    #![allow(unsafe_code, reason = "aya's Pod is an unsafe marker for plain data")]
    use super::ShieldValue;

    // SAFETY: `repr(C)` of integers whose size, asserted above, leaves no implicit padding.
    unsafe impl aya::Pod for ShieldValue {}
}
