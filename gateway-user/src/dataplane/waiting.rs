//! Packets that wait for an SA: from a VPC for the first one of their tunnel, so that the first ping is answered and not lost; from a
//! peer for the keys that it has before us, so that a rekey under load loses nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::counters::Direction;
use super::process::{BATCH, Received};
use super::tables::{Expected, Nanoseconds, Policy, Tables};

/// Packets of one policy that may wait, over all workers: what a few hosts send while two messages travel there and back.
const PER_POLICY: u32 = 16;
/// Packets that may wait for the keys of one inbound SA, over all workers: what a fast peer sends while its answer travels and a key
/// exchange is computed.
const PER_INBOUND: u32 = 512;
/// How long a packet waits: an exchange with one lost message takes less.
const PATIENCE: Nanoseconds = 5_000_000_000;

/// The waiting packets of one worker, oldest first. Their frames stay out of the pool.
#[derive(Debug)]
pub(super) struct Waiting {
    packets: VecDeque<Entry>,
    capacity: usize,
    /// [`Tables::changes`] at the last look.
    seen: u64,
}

#[derive(Debug)]
struct Entry {
    received: Received,
    awaited: Awaited,
    deadline: Nanoseconds,
}

/// What a packet waits for.
#[derive(Clone, Debug)]
pub(super) enum Awaited {
    /// An outbound SA of this policy.
    Outbound(Arc<Policy>),
    /// The keys of this inbound SA.
    Inbound(Arc<Expected>),
}

/// A packet whose wait is over.
#[derive(Debug)]
pub(super) enum Released {
    /// What it waits for is there, or will never be: to be processed again.
    Ready(Received),
    /// It waited for too long.
    TimedOut(Received, Awaited),
}

impl Waiting {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            packets: VecDeque::with_capacity(capacity + BATCH),
            capacity,
            seen: 0,
        }
    }

    /// Whether one more packet may wait for this; if so, its place is taken.
    ///
    /// Packets are pushed at the end of their batch, so that the capacity can be exceeded by one batch.
    pub(super) fn admit(&self, awaited: &Awaited) -> bool {
        if self.packets.len() >= self.capacity {
            return false;
        }
        let limit = match awaited {
            Awaited::Outbound(_) => PER_POLICY,
            Awaited::Inbound(_) => PER_INBOUND,
        };
        let below = |waiting: u32| (waiting < limit).then_some(waiting + 1);
        awaited
            .count()
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .is_ok()
    }

    /// Keeps a packet that was admitted.
    pub(super) fn push(&mut self, received: Received, awaited: Awaited, now: Nanoseconds) {
        self.packets.push_back(Entry {
            received,
            awaited,
            deadline: now + PATIENCE,
        });
    }

    /// Ends the wait of up to `max` packets. Looks at all of them only after the tables changed.
    pub(super) fn release(
        &mut self,
        now: Nanoseconds,
        tables: &Tables,
        max: usize,
        mut each: impl FnMut(Released),
    ) {
        let mut room = max;
        while room > 0
            && let Some(entry) = self.packets.pop_front_if(|entry| entry.deadline <= now)
        {
            each(entry.leave(Released::TimedOut));
            room -= 1;
        }
        let changes = tables.changes();
        if changes == self.seen {
            return;
        }
        for _ in 0..self.packets.len() {
            let Some(entry) = self.packets.pop_front() else {
                break;
            };
            if room > 0 && entry.awaited.is_over(tables) {
                each(entry.leave(|received, _| Released::Ready(received)));
                room -= 1;
            } else {
                self.packets.push_back(entry);
            }
        }
        // Without room left there may be more that are ready.
        if room > 0 {
            self.seen = changes;
        }
    }

    /// When the next packet has waited for too long.
    pub(super) fn next_deadline(&self) -> Option<Nanoseconds> {
        self.packets.front().map(|entry| entry.deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }
}

impl Entry {
    fn leave(self, how: impl FnOnce(Received, Awaited) -> Released) -> Released {
        self.awaited.count().fetch_sub(1, Ordering::Relaxed);
        how(self.received, self.awaited)
    }
}

impl Awaited {
    /// Number of the tunnel.
    pub(super) fn tunnel(&self) -> u32 {
        match self {
            Self::Outbound(policy) => policy.tunnel,
            Self::Inbound(expected) => expected.tunnel,
        }
    }

    /// Of the packet.
    pub(super) fn direction(&self) -> Direction {
        match self {
            Self::Outbound(_) => Direction::Outbound,
            Self::Inbound(_) => Direction::Inbound,
        }
    }

    fn count(&self) -> &AtomicU32 {
        match self {
            Self::Outbound(policy) => &policy.waiting,
            Self::Inbound(expected) => &expected.waiting,
        }
    }

    fn is_over(&self, tables: &Tables) -> bool {
        match self {
            Self::Outbound(policy) => tables
                .policy(policy.index, policy.generation)
                .is_none_or(|current| {
                    !Arc::ptr_eq(&current, policy) || tables.outbound_of(&current).is_some()
                }),
            Self::Inbound(expected) => {
                let (index, generation) = (expected.index, expected.generation);
                tables.expected(index, generation).is_none() || tables.inbound(index, generation).is_some()
            }
        }
    }
}
