//! The timelines on their way into the store.

use std::sync::Arc;
use std::time::Instant;

use gateway_management::Timestamp;
use gateway_management::service::EventChange;

use super::Core;
use crate::config::Id;
use crate::control::fabric::Fabric;
use crate::control::timeline::Timeline;

/// What the store has to hear of timelines.
#[derive(Debug)]
pub(super) struct Recording {
    /// Number of the next line.
    next: i64,
    /// Timelines of tunnels that were removed since the last time.
    removed: Vec<(Id, Timeline)>,
}

impl<F: Fabric> Core<F> {
    /// From here on the caller takes [`Self::changed_events`]; lines are numbered from `next` on.
    pub(in crate::control) fn record_events(&mut self, next: i64) {
        self.recording = Some(Recording {
            next,
            removed: Vec::new(),
        });
    }

    /// Keeps the timeline of a removed tunnel until it is handed over.
    pub(super) fn retire_timeline(&mut self, id: &Id, timeline: Timeline) {
        if let Some(recording) = &mut self.recording {
            recording.removed.push((id.clone(), timeline));
        }
    }

    /// How many lines wait for [`Self::changed_events`].
    pub(in crate::control) fn waiting_events(&self) -> usize {
        self.tunnels
            .values()
            .map(|tunnel| tunnel.timeline.changed())
            .sum()
    }

    /// Lines of all timelines that came or happened again since the last call, and the tunnels that were removed, in the order in which
    /// the store takes them. `clock` is the time of day at `now`.
    pub(in crate::control) fn changed_events(&mut self, now: Instant, clock: Timestamp) -> Vec<EventChange> {
        let mut changes = Vec::new();
        let Some(Recording { next, removed }) = &mut self.recording else {
            return changes;
        };
        let since = |at: Instant| {
            let ago = now.saturating_duration_since(at).as_secs();
            clock.plus_seconds(-i64::try_from(ago).unwrap_or(i64::MAX))
        };
        let mut hand_over = |id: &Id, timeline: &mut Timeline, changes: &mut Vec<EventChange>| {
            timeline.hand_over(next, |number, line| {
                changes.push(EventChange::Line {
                    tunnel: id.shared(),
                    number,
                    time: since(line.at),
                    times: line.times,
                    text: Arc::clone(&line.text),
                });
            });
            *next
        };
        // First, so that a tunnel that came back under the same id loses none of its own lines.
        for (id, mut timeline) in removed.drain(..) {
            let before = hand_over(&id, &mut timeline, &mut changes);
            changes.push(EventChange::Removed {
                tunnel: id.shared(),
                before,
            });
        }
        for tunnel in self.tunnels.values_mut() {
            hand_over(&tunnel.config.id, &mut tunnel.timeline, &mut changes);
        }
        changes
    }

    /// Lines of a tunnel in the store that have lower numbers than this are not in its status.
    pub(in crate::control) fn recorded_from(&self, id: &str) -> i64 {
        let tunnel = self.number(id).and_then(|number| self.tunnels.get(&number));
        tunnel
            .and_then(|tunnel| tunnel.timeline.first_number())
            .unwrap_or(i64::MAX)
    }
}
