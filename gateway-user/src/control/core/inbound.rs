//! Places of inbound SAs in the tables of the workers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::control::fabric::Fabric;
use crate::control::slots::{Slot, Slots};
use crate::dataplane::Message;

/// How long a packet may lie in a worker's ring.
const GRACE: Duration = Duration::from_millis(100);

/// The places, and SAs that have left the map while the workers still open what they have received: it was sent in good time.
#[derive(Debug)]
pub(super) struct InboundSlots {
    slots: Slots,
    /// Until when the workers have them, the earliest first.
    leaving: VecDeque<(Instant, Slot)>,
}

impl InboundSlots {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            slots: Slots::new(capacity),
            leaving: VecDeque::new(),
        }
    }

    /// A place that nobody uses. When there is none, SAs that are leaving make room at once.
    pub(super) fn take(&mut self, fabric: &mut impl Fabric) -> Option<Slot> {
        self.slots.take().or_else(|| {
            for (_, slot) in std::mem::take(&mut self.leaving) {
                self.release(slot, fabric);
            }
            self.slots.take()
        })
    }

    /// Takes an SA from the workers.
    pub(super) fn release(&mut self, slot: Slot, fabric: &mut impl Fabric) {
        fabric.message(Message::RemoveInbound { index: slot.index });
        self.slots.give_back(slot);
    }

    /// Lets the workers have an SA for a little while yet. What they open meanwhile is in none of the tunnel's counters.
    pub(super) fn leave(&mut self, now: Instant, slot: Slot) {
        self.leaving.push_back((now + GRACE, slot));
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.leaving.front().map(|&(at, _)| at)
    }

    /// Takes those from the workers whose time is over.
    pub(super) fn handle_timeout(&mut self, now: Instant, fabric: &mut impl Fabric) {
        while let Some(&(at, slot)) = self.leaving.front()
            && at <= now
        {
            self.leaving.pop_front();
            self.release(slot, fabric);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::Recorder;

    #[test]
    fn what_leaves_makes_room_when_its_time_is_over_or_the_place_is_needed() {
        let (now, mut fabric) = (Instant::now(), Recorder::default());
        let mut slots = InboundSlots::new(1);
        let first = slots.take(&mut fabric).unwrap();
        slots.leave(now, first);
        let second = slots.take(&mut fabric).unwrap();
        assert_eq!(
            (second.index, second.generation),
            (first.index, first.generation + 1)
        );
        assert_eq!(fabric.take(), ["remove inbound 0"]);
        assert_eq!(slots.poll_timeout(), None);

        slots.leave(now, second);
        slots.handle_timeout(now, &mut fabric);
        assert!(fabric.take().is_empty());
        slots.handle_timeout(now + GRACE, &mut fabric);
        assert_eq!(fabric.take(), ["remove inbound 0"]);
    }
}
