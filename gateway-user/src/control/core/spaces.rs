//! The compiled SPDs in the maps: one for each VPC, and one of all rules for what comes from the public side.

use std::collections::BTreeMap;

use gateway_common::abi::{PolicyValue, SPACE_SLOT_BITS};

use super::apply::{ApplyError, report};
use crate::config::Id;
use crate::control::fabric::{Fabric, SpaceNumbers};
use crate::control::spd::{self, SpdRules};
use crate::xdp::{SpdSpace, XdpError};

/// Whose traffic an SPD is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// Packets from this VPC.
    Vpc(Id),
    /// Packets from the public side and from the kernel.
    Everyone,
}

pub(super) type Wanted = BTreeMap<Whose, SpdRules<PolicyValue>>;

/// All SPDs. One that was there once keeps its slots.
#[derive(Debug, Default)]
pub(super) struct Spds {
    of: BTreeMap<Whose, Spd>,
}

/// An SPD in two slots. Interfaces use one; a change is written over what the other has left from the change before.
#[derive(Debug)]
struct Spd {
    rules: SpdRules<PolicyValue>,
    in_force: SpdSpace,
    spare: SpdSpace,
    lag: Lag,
}

/// Whether the spare slot has the rules in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lag {
    /// It has.
    None,
    /// It was in force a moment ago: a packet may still be looked up in it.
    Fresh,
    /// It has older rules, and nobody looks at them.
    Settled,
}

/// A change that is written, and not in force.
pub(super) struct Written {
    whose: Whose,
    rules: SpdRules<PolicyValue>,
}

impl Spd {
    /// The rules as the next version of the spare slot.
    fn compile(&self, rules: &SpdRules<PolicyValue>) -> SpdSpace {
        let compiled = spd::compile(rules, [&self.spare.local, &self.spare.peer]);
        SpdSpace {
            id: self.spare.id.wrapping_add(1 << SPACE_SLOT_BITS),
            local: compiled.local,
            peer: compiled.peer,
            pairs: compiled.pairs,
        }
    }

    /// Changes the spare slot. It is empty after an error.
    fn write_spare(&mut self, fabric: &mut impl Fabric, next: SpdSpace) -> Result<(), XdpError> {
        let written = fabric.change_space(&self.spare, &next);
        self.spare = match written {
            Ok(()) => next,
            Err(_) => SpdSpace::empty(next.id),
        };
        written
    }

    /// Takes out what the spare slot has left.
    fn clear(&mut self, fabric: &mut impl Fabric) {
        let nothing = SpdSpace::empty(self.spare.id);
        report(
            "an old space stays in the maps",
            fabric.change_space(&self.spare, &nothing),
        );
        self.spare = nothing;
        self.lag = Lag::Fresh;
    }
}

impl Spds {
    /// Writes what differs from the rules in force. Nothing is used yet, and what an error leaves behind is removed.
    pub(super) fn write(
        &mut self,
        fabric: &mut impl Fabric,
        mut wanted: Wanted,
    ) -> Result<Vec<Written>, ApplyError> {
        self.make_slots(&wanted)?;
        let mut changes = Vec::new();
        for (whose, spd) in &self.of {
            let rules = wanted.remove(whose).unwrap_or_default();
            if rules != spd.rules {
                let next = spd.compile(&rules);
                let grows = next.pairs.len() > spd.spare.pairs.len();
                changes.push((grows, whose.clone(), rules, next));
            }
        }
        // What shrinks makes room for what grows.
        changes.sort_by_key(|&(grows, ..)| grows);
        let mut written: Vec<Written> = Vec::new();
        for (_, whose, rules, next) in changes {
            let Some(spd) = self.of.get_mut(&whose) else {
                continue;
            };
            if let Err(error) = spd.write_spare(fabric, next) {
                self.discard(fabric, &written);
                return Err(ApplyError::Rules(error));
            }
            written.push(Written { whose, rules });
        }
        Ok(written)
    }

    fn make_slots(&mut self, wanted: &Wanted) -> Result<(), ApplyError> {
        const SLOTS: usize = 1 << SPACE_SLOT_BITS;
        let new: Vec<_> = wanted
            .keys()
            .filter(|whose| !self.of.contains_key(whose))
            .collect();
        let left = SLOTS / 2 - 1 - self.of.len();
        if new.len() > left {
            return Err(ApplyError::Capacity {
                what: "new VPCs",
                wanted: new.len(),
                left,
            });
        }
        for whose in new {
            // Slot 0 is nobody's: the number 0 says that there is no policy.
            let slot = u32::try_from(2 * self.of.len() + 1).unwrap_or_default();
            let spd = Spd {
                rules: SpdRules::new(),
                in_force: SpdSpace::empty(slot),
                spare: SpdSpace::empty(slot + 1),
                lag: Lag::None,
            };
            self.of.insert(whose.clone(), spd);
        }
        Ok(())
    }

    fn discard(&mut self, fabric: &mut impl Fabric, written: &[Written]) {
        for Written { whose, .. } in written {
            if let Some(spd) = self.of.get_mut(whose) {
                spd.clear(fabric);
            }
        }
    }

    /// Makes the interfaces use what was written.
    pub(super) fn take_into_force(&mut self, fabric: &mut impl Fabric, written: Vec<Written>) {
        let mut unused = Vec::new();
        for Written { whose, rules } in written {
            if let Some(spd) = self.of.get_mut(&whose) {
                std::mem::swap(&mut spd.in_force, &mut spd.spare);
                spd.rules = rules;
                spd.lag = Lag::Fresh;
                if spd.rules.is_empty() {
                    unused.push(whose);
                }
            }
        }
        report(
            "an interface keeps its old rules",
            fabric.use_spaces(self.numbers()),
        );
        for whose in unused {
            if let Some(spd) = self.of.get_mut(&whose) {
                spd.clear(fabric);
            }
        }
    }

    /// Brings the spare slots up to the rules in force, so that the next change writes what it changes and nothing else. To be called again
    /// and again when there is time: what has just come into force waits for the next call.
    pub(super) fn catch_up(&mut self, fabric: &mut impl Fabric) {
        for spd in self.of.values_mut() {
            let lag = std::mem::replace(&mut spd.lag, Lag::None);
            if lag == Lag::Fresh {
                spd.lag = Lag::Settled;
            }
            if lag != Lag::Settled || spd.rules.is_empty() {
                continue;
            }
            let copy = SpdSpace {
                id: spd.spare.id,
                ..spd.in_force.clone()
            };
            report(
                "the next change of the rules takes longer",
                spd.write_spare(fabric, copy),
            );
        }
    }

    /// The spaces in force.
    pub(super) fn numbers(&self) -> SpaceNumbers {
        let mut numbers = SpaceNumbers::default();
        for (whose, spd) in self.of.iter().filter(|(_, spd)| !spd.rules.is_empty()) {
            match whose {
                Whose::Vpc(vpc) => {
                    numbers.vpcs.insert(vpc.clone(), spd.in_force.id);
                }
                Whose::Everyone => numbers.union = spd.in_force.id,
            }
        }
        numbers
    }

    /// What the program looks packets up in, VPCs first.
    #[cfg(test)]
    pub(super) fn in_force(&self) -> impl Iterator<Item = &SpdSpace> {
        self.of.values().map(|spd| &spd.in_force)
    }
}
