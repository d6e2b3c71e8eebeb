//! The maps as the decisions see them.

use core::cell::Cell;

use gateway_common::abi::{LimiterConfig, PairKey, PolicyValue, SaValue};

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

    /// Whether the address is one of the gateways' own (`LOCAL_ADDRS`).
    fn is_local(&self, addr: Word) -> bool;

    /// Class of the longest prefix of the space in `LOCAL_CLASSES`.
    fn local_class(&self, space: u32, addr: Word) -> Option<u32>;

    /// Class of the longest prefix of the space in `PEER_CLASSES`.
    fn peer_class(&self, space: u32, addr: Word) -> Option<u32>;

    /// `POLICIES`.
    fn policy(&self, key: &PairKey) -> Option<PolicyValue>;

    /// `SAS`: the inbound SA by destination address and SPI.
    fn sa(&self, addr: Word, spi: Word) -> Option<SaValue>;

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

    /// A slot of this CPU's flow cache.
    fn flow(&self, slot: u32) -> Option<&Cell<FlowEntry>>;
}
