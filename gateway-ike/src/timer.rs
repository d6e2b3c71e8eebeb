//! Deadlines of everything that waits, ordered, so that the next one costs a look at the front.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A set of named deadlines. A name has at most one.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_name: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_name: BTreeMap::new(),
        }
    }

    /// Sets or moves the deadline of `name`.
    pub(crate) fn set(&mut self, name: K, at: Instant) {
        if let Some(old) = self.by_name.insert(name, at) {
            self.by_time.remove(&(old, name));
        }
        self.by_time.insert((at, name));
    }

    /// Sets the deadline of `name`, or moves it to an earlier time.
    pub(crate) fn set_no_later(&mut self, name: K, at: Instant) {
        if self.by_name.get(&name).is_none_or(|current| *current > at) {
            self.set(name, at);
        }
    }

    /// Forgets the deadline of `name`, if it has one.
    pub(crate) fn clear(&mut self, name: K) {
        if let Some(old) = self.by_name.remove(&name) {
            self.by_time.remove(&(old, name));
        }
    }

    /// Whether `name` has a deadline.
    pub(crate) fn is_set(&self, name: K) -> bool {
        self.by_name.contains_key(&name)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes one name whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, name) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(name);
        Some(name)
    }

    /// How many deadlines are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_fire_once_in_the_order_of_their_latest_deadline() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set('a', at(10));
        timers.set('b', at(5));
        timers.set('c', at(7));
        timers.set_no_later('b', at(6));
        timers.set('a', at(1));
        timers.clear('c');
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(0)), None);
        assert_eq!(timers.pop_due(at(9)), Some('a'));
        assert_eq!(timers.pop_due(at(9)), Some('b'));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.len(), 0);
    }
}
