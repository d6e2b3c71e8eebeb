//! What keeps a flood from the IKE engine.

use gateway_common::abi::Verdict;

use crate::{
    parse::Ipv4,
    police::{self, Clock},
    tables::Tables,
};

/// Passes an IKE packet unless its source sent more than it may.
///
/// A source that the LRU table has no room for is treated as one above its rate: that only happens in a flood.
#[inline(always)]
pub(crate) fn ike(ip: &Ipv4, tables: &impl Tables) -> Verdict {
    let Some(limit) = tables.ike_limit() else {
        return Verdict::Internal;
    };
    if limit.rate == 0 {
        return Verdict::Ike;
    }
    match tables.ike_source(ip.src) {
        Some(state) if police::conforms(&limit, state, &mut Clock::new(tables), 1) => Verdict::Ike,
        Some(_) | None => Verdict::IkeRate,
    }
}
