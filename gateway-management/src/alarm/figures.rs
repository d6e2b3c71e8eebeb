//! How many alarms there are and what came of telling them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What came of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Its receiver took it.
    Delivered,
    /// An attempt failed; there is another one.
    Failed,
    /// The last attempt failed.
    GivenUp,
    /// Too many waited already.
    Refused,
}

impl Delivery {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Failed, Self::GivenUp, Self::Refused];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Refused => "refused",
        }
    }
}

/// What [`Figures`] are read from without asking the store.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lasting: AtomicU64,
    waiting: AtomicU64,
    deliveries: [AtomicU64; Delivery::ALL.len()],
}

impl Counters {
    pub(crate) fn count(&self, delivery: Delivery) {
        if let Some(counter) = self.deliveries.get(delivery as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes what the store says.
    pub(crate) fn note(&self, lasting: u64, waiting: u64) {
        self.lasting.store(lasting, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            lasting: read(&self.lasting),
            waiting: read(&self.waiting),
            deliveries: self.deliveries.each_ref().map(read),
        }
    }
}

/// What alarms do, as of the last evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Alarms that last.
    pub lasting: u64,
    /// Notices that wait.
    pub waiting: u64,
    /// What came of notices since the start, in the order of [`Delivery::ALL`].
    pub deliveries: [u64; Delivery::ALL.len()],
}
