//! Which policy two addresses have, and a cache in front of that.
//!
//! Two longest-prefix lookups among ten thousand prefixes cost more than everything else the program does. A direct-mapped table
//! per CPU, without lock and without eviction lists, remembers their result, also when it is "none". It cannot go stale: the key
//! contains the space with its version, which is immutable, and whose number comes back after a million changes at the earliest.
//! A collision costs the two lookups, so the time stays bounded whatever addresses come.

use core::cell::Cell;

use gateway_common::abi::{PairKey, PolicyValue, space_slot};

use crate::{packet::Word, tables::Tables};

/// Slots per CPU; a power of two. 40 octets each.
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
    /// 1: `policy` is the policy; 0: there is none.
    found: u32,
    policy: PolicyValue,
    padding: u32,
}

/// The policy between a host of the VPC and one behind a peer.
#[inline(always)]
pub(crate) fn lookup(space: u32, local: Word, peer: Word, tables: &impl Tables) -> Option<PolicyValue> {
    let slot = tables.flow(slot(space, local, peer));
    if let Some(entry) = slot.map(Cell::get)
        && entry.space == space
        && entry.local == local.raw()
        && entry.peer == peer.raw()
    {
        return (entry.found != 0).then_some(entry.policy);
    }
    let policy = search(space, local, peer, tables);
    if let Some(slot) = slot {
        slot.set(FlowEntry {
            space,
            local: local.raw(),
            peer: peer.raw(),
            found: policy.is_some().into(),
            policy: policy.unwrap_or_default(),
            padding: 0,
        });
    }
    policy
}

/// Class of the local address, class of the peer's, policy of the pair: constant time whatever the number of policies.
#[inline(always)]
fn search(space: u32, local: Word, peer: Word, tables: &impl Tables) -> Option<PolicyValue> {
    let space = space_slot(space);
    let local_class = tables.local_class(space, local)?;
    let peer_class = tables.peer_class(space, peer)?;
    tables.policy(&PairKey {
        space,
        local_class,
        peer_class,
    })
}

#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the shift leaves as many bits as there are slots"
)]
fn slot(space: u32, local: Word, peer: Word) -> u32 {
    let pair = u64::from(local.raw()) << 32 | u64::from(peer.raw());
    let hash = (pair ^ u64::from(space).wrapping_mul(GOLDEN)).wrapping_mul(GOLDEN);
    (hash >> (u64::BITS - FLOW_SLOT_BITS)) as u32
}
