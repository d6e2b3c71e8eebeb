//! Traffic selectors: ours as the wire has them, and which of our selector pairs the peer's cover (RFC 7296 section 2.9).
//!
//! A pair is served only as a whole. A Child SA carries everything from any of its TSi to any of its TSr, so a responder serves
//! several pairs with one Child SA only where every combination of their ranges is a pair of ours too.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::config::{PairIndex, SelectorPair};
use crate::diagnosis::{Code, Diagnosis, describe_all};
use crate::event::Served;
use crate::v2::Role;
use crate::wire::v2::{TrafficSelector, TsPayload};

/// Pairs of ours that a diagnosis names.
const MAX_NAMED: usize = 6;

/// What a responder grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// The pairs that the Child SA serves. Never empty.
    pub serves: Vec<Served>,
    /// TSi of the answer.
    pub ts_i: TsPayload,
    /// TSr of the answer.
    pub ts_r: TsPayload,
    /// Whether the peer asked for more pairs of ours, which need Child SAs of their own (ADDITIONAL_TS_POSSIBLE).
    pub more: bool,
}

/// TSi and TSr for one pair of ours, `role` being our role in the exchange.
pub fn to_payloads(pair: SelectorPair, role: Role) -> (TsPayload, TsPayload) {
    let payload = |range| TsPayload {
        selectors: vec![TrafficSelector::from_subnet(range)],
    };
    match role {
        Role::Initiator => (payload(pair.local), payload(pair.peer)),
        Role::Responder => (payload(pair.peer), payload(pair.local)),
    }
}

/// As responder: the pairs that the peer asks for whole, as far as one Child SA may serve them.
///
/// The pair that contains the peer's first selectors comes first: an initiator puts the packet that it has in front.
///
/// # Errors
/// What they ask for and what we have, if no pair of ours is covered: TS_UNACCEPTABLE.
pub fn narrow(pairs: &[SelectorPair], ts_i: &TsPayload, ts_r: &TsPayload) -> Result<Narrowed, Diagnosis> {
    let mut covered = covered(pairs, ts_r, ts_i);
    let packet = (ts_r.selectors.first(), ts_i.selectors.first());
    if let Some(at) = covered.iter().position(|served| {
        touches(packet.0, served.selectors.local) && touches(packet.1, served.selectors.peer)
    }) {
        covered[..=at].rotate_right(1);
    }
    let serves = combine(&covered);
    if serves.is_empty() {
        return Err(mismatch(pairs, ts_i, ts_r, "peer asks for"));
    }
    let payload = |range: fn(&Served) -> ipnet::Ipv4Net| {
        let mut ranges: Vec<_> = serves.iter().map(range).collect();
        ranges.sort_unstable();
        ranges.dedup();
        TsPayload {
            selectors: ranges.into_iter().map(TrafficSelector::from_subnet).collect(),
        }
    };
    Ok(Narrowed {
        ts_i: payload(|served| served.selectors.peer),
        ts_r: payload(|served| served.selectors.local),
        more: serves.len() < covered.len(),
        serves,
    })
}

/// As initiator: whether the peer's answer grants the whole of `pair`, and no more than we asked for.
///
/// # Errors
/// What the peer grants and what we have.
pub fn granted(pair: SelectorPair, ts_i: &TsPayload, ts_r: &TsPayload) -> Result<(), Diagnosis> {
    let within = |payload: &TsPayload, range: ipnet::Ipv4Net| {
        payload
            .selectors
            .iter()
            .all(|selector| is_within(selector, range))
    };
    if !covered(&[pair], ts_i, ts_r).is_empty() && within(ts_i, pair.local) && within(ts_r, pair.peer) {
        Ok(())
    } else {
        Err(mismatch(&[pair], ts_i, ts_r, "peer grants"))
    }
}

/// The peer refused a pair of ours with TS_UNACCEPTABLE.
pub fn refused_by_peer(pair: SelectorPair) -> Diagnosis {
    Diagnosis::new(
        Code::SelectorMismatch,
        format!("tunnel asks for {} to {}", pair.local, pair.peer),
        "peer has no such ranges (ts_unacceptable)",
        "make the rules (tunnel.spd) the mirror image of the peer's",
    )
}

/// The pairs whose ranges are covered whole.
fn covered(pairs: &[SelectorPair], local: &TsPayload, peer: &TsPayload) -> Vec<Served> {
    let (local, peer) = (Ranges::of(local), Ranges::of(peer));
    (0..)
        .map(PairIndex)
        .zip(pairs)
        .filter(|(_, pair)| local.cover(pair.local) && peer.cover(pair.peer))
        .map(|(pair, selectors)| Served {
            pair,
            selectors: *selectors,
        })
        .collect()
}

/// As many of the covered pairs as one Child SA may serve, from the first on: with all combinations of their ranges.
fn combine(covered: &[Served]) -> Vec<Served> {
    let Some(first) = covered.first() else {
        return Vec::new();
    };
    let all: BTreeSet<SelectorPair> = covered.iter().map(|served| served.selectors).collect();
    let has = |local, peer| all.contains(&SelectorPair { local, peer });
    let (mut locals, mut peers) = (vec![first.selectors.local], vec![first.selectors.peer]);
    for served in covered {
        let (local, peer) = (served.selectors.local, served.selectors.peer);
        if !locals.contains(&local) && peers.iter().all(|peer| has(local, *peer)) {
            locals.push(local);
        }
        if !peers.contains(&peer) && locals.iter().all(|local| has(*local, peer)) {
            peers.push(peer);
        }
    }
    covered
        .iter()
        .filter(|served| locals.contains(&served.selectors.local) && peers.contains(&served.selectors.peer))
        .copied()
        .collect()
}

/// Address ranges for every protocol and port, sorted, overlapping and adjacent ones as one.
struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    fn of(payload: &TsPayload) -> Self {
        let mut ranges: Vec<_> = payload.selectors.iter().filter_map(whole_range).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    fn cover(&self, subnet: ipnet::Ipv4Net) -> bool {
        let (first, last) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
        self.0.iter().any(|range| range.0 <= first && last <= range.1)
    }
}

/// The addresses of a selector that restricts neither protocol nor ports. An empty range has none.
fn whole_range(selector: &TrafficSelector) -> Option<(u32, u32)> {
    match selector {
        TrafficSelector::Ipv4 {
            protocol: 0,
            ports: (0, u16::MAX),
            addresses: (first, last),
        } if first <= last => Some((u32::from(*first), u32::from(*last))),
        TrafficSelector::Ipv4 { .. } | TrafficSelector::Ipv6 { .. } | TrafficSelector::Other { .. } => None,
    }
}

/// Whether a selector has addresses of `range`, whatever its protocol and ports.
fn touches(selector: Option<&TrafficSelector>, range: ipnet::Ipv4Net) -> bool {
    let overlaps = |first: Ipv4Addr, last: Ipv4Addr| first <= range.broadcast() && range.network() <= last;
    match selector {
        Some(TrafficSelector::Ipv4 {
            addresses: (first, last),
            ..
        }) => first <= last && overlaps(*first, *last),
        Some(TrafficSelector::Ipv6 { .. } | TrafficSelector::Other { .. }) | None => false,
    }
}

fn is_within(selector: &TrafficSelector, range: ipnet::Ipv4Net) -> bool {
    match selector {
        TrafficSelector::Ipv4 {
            addresses: (first, last),
            ..
        } => range.contains(first) && range.contains(last),
        TrafficSelector::Ipv6 { .. } | TrafficSelector::Other { .. } => false,
    }
}

fn mismatch(pairs: &[SelectorPair], ts_i: &TsPayload, ts_r: &TsPayload, verb: &str) -> Diagnosis {
    let side = |payload: &TsPayload| describe_all(payload.selectors.iter().map(ToString::to_string));
    let ours: Vec<_> = pairs
        .iter()
        .take(MAX_NAMED)
        .map(|pair| format!("{} to {}", pair.local, pair.peer))
        .collect();
    let more = match pairs.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Diagnosis::new(
        Code::SelectorMismatch,
        format!("tunnel has {}{more}", ours.join(", ")),
        format!("{verb} {} to {}", side(ts_i), side(ts_r)),
        "make the rules (tunnel.spd) the mirror image of the peer's",
    )
}

#[cfg(test)]
mod tests;
