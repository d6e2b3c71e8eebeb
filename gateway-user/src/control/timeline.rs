//! The last things that happened to a tunnel.

use std::collections::VecDeque;
use std::time::Instant;

use crate::status::EventStatus;

/// How many lines are kept.
const LINES: usize = 200;

/// A bounded list of events; the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Timeline(VecDeque<(Instant, String)>);

impl Timeline {
    pub(super) fn note(&mut self, now: Instant, text: impl Into<String>) {
        if self.0.len() == LINES {
            self.0.pop_front();
        }
        self.0.push_back((now, text.into()));
    }

    pub(super) fn status(&self, now: Instant) -> Vec<EventStatus> {
        let line = |(at, text): &(Instant, String)| EventStatus {
            seconds_ago: now.saturating_duration_since(*at).as_secs(),
            text: text.clone(),
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_line_makes_room() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        (0..=LINES).for_each(|number| timeline.note(now, number.to_string()));
        let lines = timeline.status(now);
        assert_eq!((lines.len(), lines[0].text.as_str()), (LINES, "1"));
    }
}
