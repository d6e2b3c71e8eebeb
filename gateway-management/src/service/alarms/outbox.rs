//! What waits to be told, and what came of telling it.

use super::super::Management;
use crate::alarm::{Delivery, Figures, Notice, Receiver, Targets};
use crate::store::{StoreError, Waiting};
use crate::time::Timestamp;

/// Attempts to deliver a notice: with the pauses between them, about ten hours.
const ATTEMPTS: u32 = 16;
/// Seconds before the second attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: i64 = 5;
const LONGEST_PAUSE: i64 = 3600;

impl Management {
    /// For every receiver the notice that is due, with the receiver; `None` where it was removed.
    pub(crate) fn due_notices(&self, now: Timestamp) -> Result<Vec<(Waiting, Option<Receiver>)>, StoreError> {
        self.store.read(|rows| {
            let due = rows.due_notices(now)?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            let mut receivers = rows.receivers()?;
            let with_receiver = |waiting: Waiting| {
                let receiver = receivers.remove(&waiting.receiver);
                (waiting, receiver)
            };
            Ok(due.into_iter().map(with_receiver).collect())
        })
    }

    /// What alarms do. Never waits.
    pub fn alarm_figures(&self) -> Figures {
        self.alarm_counters.figures()
    }

    /// Notes that a notice was delivered, as an internal message where it was one.
    pub(crate) fn delivered(&self, waiting: &Waiting, message: bool) -> Result<(), StoreError> {
        self.store.write(|rows| {
            if message {
                let Notice { time, .. } = waiting.notice;
                rows.insert_message(time, &waiting.notice.title(), &waiting.notice.text())?;
            }
            rows.remove_notice(waiting.number)
        })?;
        self.alarm_counters.count(Delivery::Delivered);
        Ok(())
    }

    /// Forgets a notice whose receiver was removed.
    pub(crate) fn dropped(&self, waiting: &Waiting) -> Result<(), StoreError> {
        self.store.write(|rows| rows.remove_notice(waiting.number))
    }

    /// Where alarms may be sent to.
    pub(crate) const fn alarm_targets(&self) -> &Targets {
        &self.targets
    }

    /// Notes that a notice was not delivered: it is tried again later, and given up at last, which is an internal message.
    pub(crate) fn not_delivered(
        &self,
        now: Timestamp,
        mut waiting: Waiting,
        receiver: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        waiting.attempts = waiting.attempts.saturating_add(1);
        let attempts = waiting.attempts;
        self.alarm_counters.count(if attempts < ATTEMPTS {
            Delivery::Failed
        } else {
            Delivery::GivenUp
        });
        self.store.write(|rows| {
            if attempts < ATTEMPTS {
                let pause = (FIRST_PAUSE << attempts.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
                return rows.postpone_notice(&waiting, now.plus_seconds(pause));
            }
            let title = format!("{receiver} was not told: {}", waiting.notice.title());
            let text = format!(
                "{attempts} attempts failed, the last one: {reason}\n{}",
                waiting.notice.text()
            );
            rows.insert_message(now, &title, &text)?;
            rows.remove_notice(waiting.number)
        })
    }
}
