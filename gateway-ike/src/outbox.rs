//! What waits for the driver: events and datagrams, in order.

use std::collections::VecDeque;

use crate::event::{Event, Transmit};

/// Datagrams that wait. The driver drains after every call, so only a driver that does not reaches the limit.
const MAX_TRANSMITS: usize = 4096;
/// Events that wait before those that only inform are dropped. Those that say what to install or remove never are.
const MAX_EVENTS: usize = 4096;

/// The two queues.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
    /// Events and datagrams that did not fit.
    dropped: u64,
}

impl Outbox {
    pub(crate) fn event(&mut self, event: Event) {
        let informs = match event {
            Event::Note { .. } | Event::Failed { .. } => true,
            Event::IkeUp { .. }
            | Event::IkeDown { .. }
            | Event::ExpectInbound { .. }
            | Event::ForgetInbound { .. }
            | Event::InstallChild { .. }
            | Event::UseOutbound { .. }
            | Event::RaiseSequence { .. }
            | Event::RemoveChild { .. }
            | Event::PeerPortChanged { .. } => false,
        };
        if informs && self.events.len() >= MAX_EVENTS {
            self.dropped += 1;
        } else {
            self.events.push_back(event);
        }
    }

    pub(crate) fn transmit(&mut self, transmit: Transmit) {
        if self.transmits.len() >= MAX_TRANSMITS {
            self.dropped += 1;
        } else {
            self.transmits.push_back(transmit);
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }
}
