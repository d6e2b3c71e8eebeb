//! Timelines between the control loop and the store: the control loop hands changed lines over and never waits for the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway_management::service::EventChange;
use gateway_management::store::EventLine;
use gateway_management::{Management, Timestamp};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::timeline;
use crate::status::EventStatus;

/// How often changed lines are handed over: what an agent loses that is killed.
const PACE: Duration = Duration::from_secs(5);
/// With so many changed lines they are handed over at once, before the timelines' budget takes the oldest.
const HASTE: usize = 16_384;
/// Changes that wait for the disk, at most.
pub(super) const QUEUE: usize = 65_536;
/// Changes of one transaction, at most: others want the store too.
const BATCH: usize = 4096;
/// How long the end of the agent waits for the disk.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// The control loop's end.
#[derive(Debug)]
pub(super) struct EventQueue {
    changes: mpsc::Sender<EventChange>,
    lost: Arc<AtomicU64>,
    handed: Instant,
    written: oneshot::Receiver<()>,
}

/// The disk's end.
#[derive(Debug)]
pub(super) struct EventWriter {
    changes: mpsc::Receiver<EventChange>,
    lost: Arc<AtomicU64>,
    written: oneshot::Sender<()>,
}

/// A queue of changes.
pub(super) fn queue(now: Instant) -> (EventQueue, EventWriter) {
    let (changes, received) = mpsc::channel(QUEUE);
    let (done, written) = oneshot::channel();
    let lost = Arc::new(AtomicU64::new(0));
    (
        EventQueue {
            changes,
            lost: Arc::clone(&lost),
            handed: now,
            written,
        },
        EventWriter {
            changes: received,
            lost,
            written: done,
        },
    )
}

impl EventQueue {
    /// Whether `waiting` changed lines are to be handed over.
    pub(super) fn is_due(&self, now: Instant, waiting: usize) -> bool {
        waiting >= HASTE || now.saturating_duration_since(self.handed) >= PACE
    }

    /// Hands changes over. What the queue has no room for is lost and counted.
    pub(super) fn hand_over(&mut self, now: Instant, changes: Vec<EventChange>) {
        self.handed = now;
        for change in changes {
            match self.changes.try_send(change) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// How many changes did not reach the disk.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is on disk.
    pub(super) async fn finish(self) {
        drop(self.changes);
        match tokio::time::timeout(LAST_PATIENCE, self.written).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => tracing::warn!("the last events are not all in the store"),
        }
    }
}

impl EventWriter {
    /// Writes until the queue's other end is gone and everything is on disk.
    pub(super) async fn run(mut self, management: Arc<Management>) {
        loop {
            let mut batch = Vec::new();
            let count = self.changes.recv_many(&mut batch, BATCH).await;
            if count == 0 {
                break;
            }
            let management = Arc::clone(&management);
            let written = tokio::task::spawn_blocking(move || management.record_events(&batch)).await;
            if let Ok(Ok(())) = written {
                continue;
            }
            self.lost
                .fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
            if let Ok(Err(error)) = written {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    count,
                    "events of tunnels were not stored"
                );
            }
        }
        // Whoever does not wait does not want to know.
        self.written.send(()).ok();
    }
}

/// Puts what the store has of a tunnel before its timeline.
pub(super) fn with_earlier(
    earlier: Vec<EventLine>,
    clock: Timestamp,
    timeline: Vec<EventStatus>,
) -> Vec<EventStatus> {
    let room = timeline::LINES.saturating_sub(timeline.len());
    let surplus = earlier.len().saturating_sub(room);
    let line = |line: EventLine| EventStatus {
        seconds_ago: u64::try_from(clock.0.saturating_sub(line.time.0)).unwrap_or(0),
        text: line.text,
        times: line.times,
    };
    earlier
        .into_iter()
        .skip(surplus)
        .map(line)
        .chain(timeline)
        .collect()
}

#[cfg(test)]
mod tests {
    use gateway_management::Nobody;
    use gateway_management::price::PriceBook;
    use gateway_management::site::{Quotas, Site};
    use gateway_management::store::Store;

    use super::*;

    const CLOCK: Timestamp = Timestamp(1_700_000_000);

    fn management() -> Arc<Management> {
        let site = Site {
            region: "gz".to_owned(),
            vpcs: Vec::new(),
            public_addresses: Vec::new(),
            quotas: Quotas::default(),
            prices: PriceBook::default(),
        };
        Arc::new(Management::new(
            Store::in_memory().unwrap(),
            site,
            Arc::new(Nobody),
        ))
    }

    fn line(number: i64) -> EventChange {
        EventChange::Line {
            tunnel: "one".into(),
            number,
            time: CLOCK,
            times: 1,
            text: number.to_string().into(),
        }
    }

    #[tokio::test]
    async fn the_end_waits_for_the_last_lines() {
        let management = management();
        let (mut queue, writer) = queue(Instant::now());
        // More than one batch.
        queue.hand_over(Instant::now(), (1..=5000).map(line).collect());
        let writer = tokio::spawn(writer.run(Arc::clone(&management)));
        assert_eq!(queue.lost(), 0);
        queue.finish().await;
        let lines = management.events("one", i64::MAX).unwrap();
        assert_eq!(lines.len(), timeline::LINES);
        assert_eq!(lines.last().map(|line| line.number), Some(5000));
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_full_queue_loses_and_counts() {
        let management = management();
        let (mut queue, writer) = queue(Instant::now());
        let most = i64::try_from(QUEUE).unwrap();
        queue.hand_over(Instant::now(), (1..=most + 3).map(line).collect());
        assert_eq!(queue.lost(), 3);
        tokio::spawn(writer.run(Arc::clone(&management)));
        queue.finish().await;
        let lines = management.events("one", i64::MAX).unwrap();
        assert_eq!(lines.last().map(|line| line.number), Some(most));
    }

    #[test]
    fn lines_are_handed_over_once_in_a_while_or_when_they_are_many() {
        let now = Instant::now();
        let (mut queue, _writer) = queue(now);
        assert!(!queue.is_due(now, HASTE - 1) && queue.is_due(now, HASTE));
        let later = now + PACE;
        assert!(queue.is_due(later, 0));
        queue.hand_over(later, Vec::new());
        assert!(!queue.is_due(later, 0));
    }

    #[test]
    fn earlier_lines_come_first_and_the_oldest_make_room() {
        let earlier = (0..timeline::LINES).map(|number| EventLine {
            number: 1 + i64::try_from(number).unwrap(),
            time: Timestamp(CLOCK.0 - 60),
            times: 2,
            text: format!("earlier {number}"),
        });
        let started = EventStatus {
            seconds_ago: 3,
            text: "the agent started".to_owned(),
            times: 1,
        };
        let lines = with_earlier(earlier.collect(), CLOCK, vec![started.clone()]);
        assert_eq!(lines.len(), timeline::LINES);
        assert_eq!((lines[0].text.as_str(), lines[0].seconds_ago), ("earlier 1", 60));
        assert_eq!(lines.last(), Some(&started));
        // A clock that was set back.
        let ahead = EventLine {
            number: 1,
            time: Timestamp(CLOCK.0 + 5),
            times: 1,
            text: "ahead".to_owned(),
        };
        assert_eq!(with_earlier(vec![ahead], CLOCK, Vec::new())[0].seconds_ago, 0);
    }
}
