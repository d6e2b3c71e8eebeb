//! Numbers of policies, SAs and tunnels, each with a generation that tells a number from its next use.

use std::collections::VecDeque;

/// A number in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Gives out the numbers below a capacity. A number that was returned is used again as late as possible.
#[derive(Debug)]
pub(super) struct Slots {
    generations: Vec<u32>,
    returned: VecDeque<u32>,
    capacity: u32,
}

impl Slots {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            generations: Vec::new(),
            returned: VecDeque::new(),
            capacity,
        }
    }

    /// How many can still be taken.
    pub(super) fn left(&self) -> usize {
        let used = self.generations.len() - self.returned.len();
        usize::try_from(self.capacity)
            .unwrap_or(usize::MAX)
            .saturating_sub(used)
    }

    /// A number that nobody uses; `None` when all are in use.
    pub(super) fn take(&mut self) -> Option<Slot> {
        let fresh = u32::try_from(self.generations.len())
            .ok()
            .filter(|&fresh| fresh < self.capacity);
        let index = match fresh {
            Some(fresh) => {
                self.generations.push(0);
                fresh
            }
            None => self.returned.pop_front()?,
        };
        let generation = self.generations.get_mut(usize::try_from(index).ok()?)?;
        *generation = generation.wrapping_add(1);
        Some(Slot {
            index,
            generation: *generation,
        })
    }

    /// Returns a number.
    pub(super) fn give_back(&mut self, slot: Slot) {
        self.returned.push_back(slot.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_number_comes_back_last_and_with_a_new_generation() {
        let mut slots = Slots::new(3);
        let first = slots.take().unwrap();
        slots.give_back(first);
        assert_eq!(slots.left(), 3);
        let taken: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(taken.iter().map(|slot| slot.index).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(
            taken.last().map(|slot| slot.generation),
            Some(first.generation + 1)
        );
        assert_eq!(slots.left(), 0);
    }
}
