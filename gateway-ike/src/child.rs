//! The Child SAs of one tunnel: which exist, which one is in use, which are only kept for packets in flight.
//!
//! IKEv1 has no message that says "this SA replaces that one", and both ends may negotiate at once, so the rule is by age: of the
//! Child SAs with the same selectors the newest confirmed one seals, and all of them open until they end. Where both versions of a
//! collision are known to both ends, they agree on one that yields to the others whatever its age.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gateway_common::Spi;

use crate::config::{EspProposal, PairIndex, SelectorPair};
use crate::event::{ChildId, EspSa, Served};
use crate::ike_sa::SaKey;

/// What a Child SA is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The peer has not proven yet that it has its half, or has not had the time. Opens, does not seal.
    Unconfirmed,
    /// Seals and opens.
    Current,
    /// A newer one seals; this one opens until it ends.
    Superseded,
}

/// What the engine remembers of a Child SA. The keys are the data plane's.
#[derive(Debug)]
pub(crate) struct Child {
    /// Never empty.
    pub(crate) serves: Vec<Served>,
    /// Ours: packets of the peer carry it.
    pub(crate) inbound: Spi,
    /// The peer's: what a Delete of the peer names.
    pub(crate) outbound: Spi,
    /// Whether its sequence numbers have 64 bits.
    pub(crate) esn: bool,
    /// The IKE SA that negotiated it.
    pub(crate) ike: SaKey,
    pub(crate) usage: Use,
    /// Whether we initiated the exchange, and so care for the end of what it replaces.
    pub(crate) initiator: bool,
    /// The Child SA that this one was negotiated to replace.
    pub(crate) replaces: Option<ChildId>,
    /// Made at the same time as one that both ends prefer: it seals only while there is no other.
    pub(crate) yields: bool,
    /// Whether its end was agreed on, or was asked for.
    pub(crate) ending: bool,
    /// Whether the peer was seen to seal with this one.
    pub(crate) inbound_used: bool,
    pub(crate) installed_at: Instant,
    pub(crate) rekey_at: Instant,
    pub(crate) expires_at: Instant,
}

impl Child {
    /// Whether it serves exactly these selectors.
    pub(crate) fn has(&self, selectors: SelectorPair) -> bool {
        self.serves.iter().any(|served| served.selectors == selectors)
    }

    /// Whether it serves a selector pair, or a part of it.
    pub(crate) fn is_for(&self, pair: PairIndex) -> bool {
        self.serves.iter().any(|served| served.pair == pair)
    }

    /// Whether both serve some of the same selectors.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.serves.iter().any(|served| other.has(served.selectors))
    }
}

/// What confirming a Child SA changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Confirmed {
    /// It seals from here on.
    pub(crate) in_use: bool,
    /// These no longer seal and need no rekey.
    pub(crate) superseded: Vec<ChildId>,
}

/// What a negotiation of either version yields: a pair of ESP SAs.
#[derive(Debug)]
pub(crate) struct NewChild {
    pub(crate) serves: Vec<Served>,
    /// The Child SA that it was negotiated to replace.
    pub(crate) replaces: Option<ChildId>,
    pub(crate) proposal: EspProposal,
    pub(crate) esn: bool,
    pub(crate) lifetime: Duration,
    pub(crate) kilobytes: Option<u64>,
    pub(crate) inbound: EspSa,
    pub(crate) outbound: EspSa,
}

/// All Child SAs of a tunnel. Ids grow with the time of installation.
#[derive(Debug, Default)]
pub(crate) struct Children {
    by_id: BTreeMap<ChildId, Child>,
}

impl Children {
    pub(crate) fn insert(&mut self, id: ChildId, child: Child) {
        self.by_id.insert(id, child);
    }

    pub(crate) fn remove(&mut self, id: ChildId) -> Option<Child> {
        self.by_id.remove(&id)
    }

    pub(crate) fn find(&self, id: ChildId) -> Option<&Child> {
        self.by_id.get(&id)
    }

    pub(crate) fn find_mut(&mut self, id: ChildId) -> Option<&mut Child> {
        self.by_id.get_mut(&id)
    }

    /// The Child SAs of an IKE SA yield to those of another.
    pub(crate) fn yield_all_of(&mut self, ike: SaKey) {
        for child in self.by_id.values_mut().filter(|child| child.ike == ike) {
            child.yields = true;
        }
    }

    /// An IKE SA takes over what another has negotiated.
    pub(crate) fn move_to(&mut self, old: SaKey, new: SaKey) {
        for child in self.by_id.values_mut().filter(|child| child.ike == old) {
            child.ike = new;
        }
    }

    pub(crate) fn ids(&self) -> Vec<ChildId> {
        self.by_id.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ChildId, &Child)> {
        self.by_id.iter().map(|(&id, child)| (id, child))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The Child SA that seals for `pair`.
    pub(crate) fn current(&self, pair: PairIndex) -> Option<(ChildId, &Child)> {
        self.iter()
            .filter(|(_, child)| child.is_for(pair) && child.usage == Use::Current)
            .last()
    }

    /// The Child SA that seals for these selectors.
    pub(crate) fn current_for(&self, selectors: SelectorPair) -> Option<ChildId> {
        self.iter()
            .filter(|(_, child)| child.has(selectors) && child.usage == Use::Current)
            .map(|(id, _)| id)
            .last()
    }

    /// The Child SAs for exactly these selectors that do not seal yet.
    pub(crate) fn unconfirmed_for(&self, selectors: SelectorPair) -> impl Iterator<Item = ChildId> {
        self.iter()
            .filter(move |(_, child)| child.has(selectors) && child.usage == Use::Unconfirmed)
            .map(|(id, _)| id)
    }

    /// The Child SA whose outbound SPI is `spi`.
    pub(crate) fn by_outbound(&self, spi: Spi) -> Option<ChildId> {
        self.iter()
            .find(|(_, child)| child.outbound == spi)
            .map(|(id, _)| id)
    }

    /// The peer is seen to seal with `id`, so it has left everything older. Returns what both ends have left and we have replaced:
    /// whoever initiated the successor says so, once packets in flight have arrived.
    pub(crate) fn left_for(&self, id: ChildId) -> Vec<ChildId> {
        let Some(used) = self.find(id) else {
            return Vec::new();
        };
        self.iter()
            .filter(|(_, child)| child.initiator && child.overlaps(used))
            .filter_map(|(_, child)| child.replaces)
            .filter(|old| *old < id && self.by_id.contains_key(old))
            .collect()
    }

    /// The peer has proven that it has its half of `id`.
    ///
    /// An older Child SA that is confirmed late (its last message was delayed) does not take over from newer ones.
    pub(crate) fn confirm(&mut self, id: ChildId) -> Confirmed {
        let Some(child) = self.by_id.get_mut(&id) else {
            return Confirmed::default();
        };
        if child.usage != Use::Unconfirmed {
            return Confirmed::default();
        }
        child.usage = Use::Current;
        let superseded: Vec<_> = self
            .iter()
            .filter(|(_, child)| child.usage == Use::Current)
            .map(|(id, _)| id)
            .filter(|&id| self.is_superseded(id))
            .collect();
        for old in &superseded {
            if let Some(child) = self.by_id.get_mut(old) {
                child.usage = Use::Superseded;
            }
        }
        Confirmed {
            in_use: !superseded.contains(&id),
            superseded,
        }
    }

    /// The Child SA in use ends. Returns the best of those that can take over: one that waits for its proof or, with `left_too`, one
    /// that was left. It is to be confirmed.
    pub(crate) fn stand_in_for(&mut self, id: ChildId, left_too: bool) -> Option<ChildId> {
        let old = self.find(id).filter(|child| child.usage == Use::Current)?;
        let stand_in = self
            .iter()
            .filter(|(_, child)| !child.ending && child.overlaps(old))
            .filter(|(_, child)| match child.usage {
                Use::Unconfirmed => true,
                Use::Current => false,
                Use::Superseded => left_too,
            })
            .max_by_key(|(other, child)| (!child.yields, child.usage == Use::Unconfirmed, *other))
            .map(|(stand_in, _)| stand_in)?;
        self.by_id.get_mut(&stand_in)?.usage = Use::Unconfirmed;
        let old = self.by_id.get_mut(&id)?;
        (old.usage, old.ending) = (Use::Superseded, true);
        Some(stand_in)
    }

    /// Whether better confirmed Child SAs serve everything that `id` serves: newer ones, and any that do not yield to one that does.
    fn is_superseded(&self, id: ChildId) -> bool {
        let Some(child) = self.find(id) else { return false };
        let better = |selectors| {
            self.iter()
                .filter(|(_, other)| other.has(selectors) && other.usage != Use::Unconfirmed)
                .any(|(other_id, other)| !other.ending && (!other.yields, other_id) > (!child.yields, id))
        };
        child.serves.iter().all(|served| better(served.selectors))
    }

    /// The IKE SA on which the peer has asked for a Child SA with exactly these selectors that it has not proven yet to have.
    pub(crate) fn answered_for(&self, selectors: SelectorPair) -> Option<SaKey> {
        self.iter()
            .filter(|(_, child)| child.has(selectors) && child.usage == Use::Unconfirmed)
            .filter(|(_, child)| !child.initiator && !child.yields)
            .map(|(_, child)| child.ike)
            .last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(spi: u32) -> Child {
        Child {
            serves: vec![Served {
                pair: PairIndex(0),
                selectors: SelectorPair {
                    local: "10.0.0.0/24".parse().unwrap(),
                    peer: "10.1.0.0/24".parse().unwrap(),
                },
            }],
            inbound: Spi::new(spi).unwrap(),
            outbound: Spi::new(spi + 1000).unwrap(),
            esn: false,
            ike: SaKey(1),
            usage: Use::Unconfirmed,
            initiator: false,
            replaces: None,
            yields: false,
            ending: false,
            inbound_used: false,
            installed_at: Instant::now(),
            rekey_at: Instant::now(),
            expires_at: Instant::now() + Duration::from_secs(1),
        }
    }

    #[test]
    fn the_newest_confirmed_one_is_current_whatever_the_order_of_confirmation() {
        let (first, second) = (ChildId(1), ChildId(2));
        let mut children = Children::default();
        children.insert(first, child(300));
        children.insert(second, child(400));
        assert_eq!(children.current(PairIndex(0)).map(|(id, _)| id), None);
        assert_eq!(
            children.confirm(second),
            Confirmed {
                in_use: true,
                superseded: vec![]
            }
        );
        assert_eq!(
            children.confirm(first),
            Confirmed {
                in_use: false,
                superseded: vec![first]
            }
        );
        assert_eq!(children.current(PairIndex(0)).map(|(id, _)| id), Some(second));

        let third = ChildId(3);
        children.insert(third, child(500));
        assert_eq!(children.current(PairIndex(0)).map(|(id, _)| id), Some(second));
        assert_eq!(
            children.confirm(third),
            Confirmed {
                in_use: true,
                superseded: vec![second]
            }
        );
        assert_eq!(children.confirm(third), Confirmed::default());
    }
}
