//! The flow cache: which policy the last packets between two addresses had.
//!
//! Two longest-prefix lookups among ten thousand prefixes cost more than everything else the program does. A direct-mapped table
//! per CPU, without lock and without eviction lists, remembers their result. It cannot go stale: the key contains the space, a
//! space is immutable, and its number is never used again. A collision costs the two lookups, so the time stays bounded whatever
//! addresses come.

use gateway_common::abi::PolicyValue;

use crate::{packet::Word, tables::Tables};

/// Slots per CPU; a power of two. 32 octets each.
pub const FLOW_SLOTS: u32 = 1 << FLOW_SLOT_BITS;
const FLOW_SLOT_BITS: u32 = 13;
/// 2^64 divided by the golden ratio: Fibonacci hashing.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One slot. All zero, as the kernel hands it out, it matches nothing: no interface with policies has space 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowEntry {
    space: u32,
    local: u32,
    peer: u32,
    policy: PolicyValue,
}

#[inline(always)]
pub(crate) fn recall(space: u32, local: Word, peer: Word, tables: &impl Tables) -> Option<PolicyValue> {
    let (local, peer) = (local.raw(), peer.raw());
    let entry = tables.flow(slot(space, local, peer))?.get();
    (entry.space == space && entry.local == local && entry.peer == peer).then_some(entry.policy)
}

#[inline(always)]
pub(crate) fn remember(space: u32, local: Word, peer: Word, policy: PolicyValue, tables: &impl Tables) {
    let (local, peer) = (local.raw(), peer.raw());
    if let Some(entry) = tables.flow(slot(space, local, peer)) {
        entry.set(FlowEntry {
            space,
            local,
            peer,
            policy,
        });
    }
}

#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the shift leaves as many bits as there are slots"
)]
fn slot(space: u32, local: u32, peer: u32) -> u32 {
    let pair = u64::from(local) << 32 | u64::from(peer);
    let hash = (pair ^ u64::from(space).wrapping_mul(GOLDEN)).wrapping_mul(GOLDEN);
    (hash >> (u64::BITS - FLOW_SLOT_BITS)) as u32
}
