//! The maps as the decisions see them.

use core::cell::Cell;

use gateway_common::abi::{
    LimiterConfig, LocalAddrValue, PairKey, PolicyValue, SaValue, ShieldValue, Verdict,
};

use crate::{flow::FlowEntry, packet::Word};

/// A `u64` that several CPUs change at once.
pub trait SharedCell {
    /// The value at some moment.
    fn load(&self) -> u64;

    /// Writes `new` if the value is `current`; otherwise tells what it is.
    fn compare_exchange(&self, current: u64, new: u64) -> Result<(), u64>;
}

/// The maps of [`gateway_common::abi::map`], the clock and the flow cache.
pub trait Tables {
    /// How the state of a limiter is held.
    type Shared: SharedCell;

    /// Nanoseconds of the monotonic clock. It costs as much as two map lookups: asked at most once per packet.
    fn now(&self) -> u64;

    /// The same clock as it stood at the last timer tick.
    fn now_coarse(&self) -> u64;

    /// `LOCAL_ADDRS`: `None` when the address is none of the gateways' own.
    fn local_addr(&self, addr: Word) -> Option<LocalAddrValue>;

    /// Class of the longest prefix of the space in `LOCAL_CLASSES`.
    fn local_class(&self, space: u32, addr: Word) -> Option<u32>;

    /// Class of the longest prefix of the space in `PEER_CLASSES`.
    fn peer_class(&self, space: u32, addr: Word) -> Option<u32>;

    /// `POLICIES`.
    fn policy(&self, key: &PairKey) -> Option<PolicyValue>;

    /// `SAS`: the inbound SA by destination address and SPI.
    fn sa(&self, addr: Word, spi: Word) -> Option<SaValue>;

    /// Remembers in `UNKNOWN_SPIS` that no SA has this SPI, unless the path has an entry or there is no room.
    fn note_unknown_spi(&self, peer: Word, local: Word, spi: Word);

    /// `LIMITERS`.
    fn limiter(&self, number: u32) -> Option<LimiterConfig>;

    /// `LIMITER_STATE`.
    fn limiter_state(&self, number: u32) -> Option<&Self::Shared>;

    /// Adds one to `LIMITER_DROPS`.
    fn count_limiter_drop(&self, number: u32);

    /// `IKE_LIMIT`.
    fn ike_limit(&self) -> Option<LimiterConfig>;

    /// The state of a source in `IKE_SOURCES`, created when it is new; `None` when there is no room for it.
    fn ike_source(&self, addr: Word) -> Option<&Self::Shared>;

    /// `SHIELDS`.
    fn shield(&self, number: u32) -> Option<&ShieldValue>;

    /// `SHIELD_STATE`.
    fn shield_state(&self, number: u32) -> Option<&Self::Shared>;

    /// `SHIELD_PREFIXES`: what the longest prefix of the source says.
    fn shield_prefix(&self, number: u32, source: Word) -> Option<u32>;

    /// The state of a bucket of a source in `SHIELD_SOURCES`, created when it is new; `None` when there is no room for it.
    fn shield_source(&self, number: u32, source: Word, bucket: u32) -> Option<&Self::Shared>;

    /// Adds one to `SHIELD_DROPS`.
    fn count_shield_drop(&self, number: u32, verdict: Verdict);

    /// A slot of this CPU's flow cache.
    fn flow(&self, slot: u32) -> Option<&Cell<FlowEntry>>;
}
