//! The last things that happened to a tunnel.
//!
//! Every tunnel may keep some hundred lines, all tunnels together [`BUDGET`]: beyond it the oldest lines of all give way, so that
//! tens of thousands of tunnels that only renew their SAs cost a few megabytes, and the one that has a problem keeps its history.
//!
//! With a store, lines are numbered when they are handed over to it, and what happened before the agent started is read there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use gateway_management::store::EVENTS_PER_TUNNEL;

use crate::status::EventStatus;

/// How many lines a tunnel keeps: as many as it has in the store.
pub(super) const LINES: usize = EVENTS_PER_TUNNEL;
/// How many lines all tunnels keep together.
pub(super) const BUDGET: usize = 65_536;
/// How many lines a tunnel keeps however old they are.
const KEPT: usize = 8;

/// A bounded list of events; the oldest makes room.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    lines: VecDeque<Line>,
    /// How many of the last lines came or happened again since they were handed over.
    changed: usize,
}

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    /// When it happened last.
    pub(super) at: Instant,
    /// How often in a row.
    pub(super) times: u32,
    /// What.
    pub(super) text: Arc<str>,
    /// Its number in the store, once it was handed over.
    number: Option<i64>,
}

impl Timeline {
    pub(super) fn note(&mut self, now: Instant, text: impl AsRef<str>) {
        let text = text.as_ref();
        if let Some(last) = self.lines.back_mut().filter(|last| *last.text == *text) {
            last.at = now;
            last.times = last.times.saturating_add(1);
            self.changed = self.changed.max(1);
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            at: now,
            times: 1,
            text: text.into(),
            number: None,
        });
        self.changed = self.lines.len().min(self.changed + 1);
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many lines wait to be handed over.
    pub(super) const fn changed(&self) -> usize {
        self.changed
    }

    /// Hands over the lines that came or happened again since the last time, with their numbers; new ones are numbered from `next` on.
    pub(super) fn hand_over(&mut self, next: &mut i64, mut to: impl FnMut(i64, &Line)) {
        let changed = std::mem::take(&mut self.changed);
        let unchanged = self.lines.len().saturating_sub(changed);
        for line in self.lines.range_mut(unchanged..) {
            let number = *line.number.get_or_insert_with(|| {
                let number = *next;
                *next = next.saturating_add(1);
                number
            });
            to(number, line);
        }
    }

    /// Number of the oldest line that was handed over and is still here.
    pub(super) fn first_number(&self) -> Option<i64> {
        self.lines.iter().find_map(|line| line.number)
    }

    pub(super) fn status(&self, now: Instant) -> Vec<EventStatus> {
        let line = |line: &Line| EventStatus {
            seconds_ago: now.saturating_duration_since(line.at).as_secs(),
            text: line.text.to_string(),
            times: line.times,
        };
        self.lines.iter().map(line).collect()
    }

    fn forget_before(&mut self, cutoff: Instant) {
        while self.lines.len() > KEPT && self.lines.front().is_some_and(|line| line.at < cutoff) {
            self.lines.pop_front();
        }
        self.lines.shrink_to_fit();
        self.changed = self.changed.min(self.lines.len());
    }
}

/// Takes all timelines back to about half of the budget, the oldest lines first.
pub(super) fn trim<'t>(timelines: impl IntoIterator<Item = &'t mut Timeline>) {
    let timelines: Vec<_> = timelines.into_iter().collect();
    let mut times: Vec<_> = timelines
        .iter()
        .flat_map(|timeline| timeline.lines.iter().map(|line| line.at))
        .collect();
    let Some(surplus) = times.len().checked_sub(BUDGET / 2).filter(|&surplus| surplus > 0) else {
        return;
    };
    let last = times.len() - 1;
    let (_, &mut cutoff, _) = times.select_nth_unstable(surplus.min(last));
    timelines
        .into_iter()
        .for_each(|timeline| timeline.forget_before(cutoff));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_line_makes_room() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        (0..=LINES).for_each(|number| timeline.note(now, number.to_string()));
        let lines = timeline.status(now);
        assert_eq!((lines.len(), lines[0].text.as_str()), (LINES, "1"));
    }

    #[test]
    fn what_repeats_is_one_line_with_a_number() {
        let (mut timeline, now) = (Timeline::default(), Instant::now());
        for (second, text) in (0..).zip(["a", "b", "b", "b", "a"]) {
            timeline.note(now + Duration::from_secs(second), text);
        }
        let lines = timeline.status(now + Duration::from_secs(4));
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (line.text.as_str(), line.times, line.seconds_ago))
            .collect();
        assert_eq!(lines, [("a", 1, 4), ("b", 3, 1), ("a", 1, 0)]);
    }

    #[test]
    fn lines_are_handed_over_once_and_again_when_they_repeat() {
        let (mut timeline, now, mut next) = (Timeline::default(), Instant::now(), 7);
        let mut handed = |timeline: &mut Timeline| {
            let mut lines = Vec::new();
            timeline.hand_over(&mut next, |number, line| {
                lines.push((number, line.text.to_string(), line.times));
            });
            lines
        };
        assert_eq!((timeline.first_number(), handed(&mut timeline).len()), (None, 0));
        ["a", "b", "b"].iter().for_each(|text| timeline.note(now, text));
        assert_eq!(timeline.changed(), 2);
        assert_eq!(handed(&mut timeline), [(7, "a".into(), 1), (8, "b".into(), 2)]);
        assert_eq!(handed(&mut timeline), []);
        ["b", "c"].iter().for_each(|text| timeline.note(now, text));
        assert_eq!(handed(&mut timeline), [(8, "b".into(), 3), (9, "c".into(), 1)]);
        (0..2 * LINES).for_each(|number| timeline.note(now, number.to_string()));
        assert_eq!(handed(&mut timeline).len(), LINES);
        assert_eq!(timeline.first_number(), Some(10));
    }

    #[test]
    fn many_tunnels_share_a_budget_and_the_oldest_lines_go_first() {
        let now = Instant::now();
        let at = |second: usize| now + Duration::from_secs(second as u64);
        let mut timelines: Vec<_> = (0..1000).map(|_| Timeline::default()).collect();
        for second in 0..100 {
            for timeline in &mut timelines {
                timeline.note(at(second), second.to_string());
            }
        }
        let mut quiet = Timeline::default();
        (0..20).for_each(|second| quiet.note(at(second), second.to_string()));
        trim(timelines.iter_mut().chain([&mut quiet]));
        let lines: usize = timelines.iter().map(Timeline::len).sum();
        // A second has a line of each of the thousand: they go or stay together.
        assert!((BUDGET / 2..=BUDGET / 2 + 1000).contains(&lines), "{lines}");
        assert_eq!(
            timelines[0].status(at(99)).last().map(|line| line.seconds_ago),
            Some(0)
        );
        assert_eq!(
            quiet.len(),
            KEPT,
            "a tunnel whose last event is long ago still tells of it"
        );
    }
}
