//! Expensive work that waits for the driver, and whom its results belong to.

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::KeyExchangeJob;

/// The number of a job, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// Who wants a job done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// An authenticated peer or we ourselves: always before the others.
    Trusted,
    /// Whoever can send a datagram.
    Unproven,
}

/// The queue is full: whoever wanted the job has to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// Jobs, each for one owner `K`: those that wait, and those that the driver has taken.
///
/// An owner that goes away does not tell: a job that waits for it is passed over when its turn comes, and the result of one that
/// is under way is dropped.
#[derive(Debug)]
pub(crate) struct Jobs<K> {
    trusted: VecDeque<(JobId, K, KeyExchangeJob)>,
    unproven: VecDeque<(JobId, K, KeyExchangeJob)>,
    under_way: BTreeMap<JobId, K>,
    next: u64,
}

impl<K: Copy> Jobs<K> {
    /// Jobs of proven peers and of ourselves that may wait: more than there are tunnels.
    const MAX_TRUSTED: usize = 1 << 17;
    /// Jobs of unproven peers that may wait. Some thousand a second are done; who waits longer than that has sent again.
    const MAX_UNPROVEN: usize = 1024;

    pub(crate) const fn new() -> Self {
        Self {
            trusted: VecDeque::new(),
            unproven: VecDeque::new(),
            under_way: BTreeMap::new(),
            next: 0,
        }
    }

    /// Whether a job would be taken.
    pub(crate) fn has_room(&self, urgency: Urgency) -> bool {
        match urgency {
            Urgency::Trusted => self.trusted.len() < Self::MAX_TRUSTED,
            Urgency::Unproven => self.unproven.len() < Self::MAX_UNPROVEN,
        }
    }

    /// Puts a job at the end of its queue.
    pub(crate) fn push(
        &mut self,
        urgency: Urgency,
        owner: K,
        job: KeyExchangeJob,
    ) -> Result<JobId, QueueFull> {
        let (queue, limit) = match urgency {
            Urgency::Trusted => (&mut self.trusted, Self::MAX_TRUSTED),
            Urgency::Unproven => (&mut self.unproven, Self::MAX_UNPROVEN),
        };
        if queue.len() >= limit {
            return Err(QueueFull);
        }
        let id = JobId(self.next);
        self.next += 1;
        queue.push_back((id, owner, job));
        Ok(id)
    }

    /// Takes the next job whose owner is `alive`.
    pub(crate) fn poll(&mut self, alive: impl Fn(K) -> bool) -> Option<(JobId, KeyExchangeJob)> {
        loop {
            let (id, owner, job) = self.trusted.pop_front().or_else(|| self.unproven.pop_front())?;
            if alive(owner) {
                self.under_way.insert(id, owner);
                return Some((id, job));
            }
        }
    }

    /// Jobs that wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.trusted.len() + self.unproven.len()
    }

    /// A job that was polled is done: whose was it? `None` when nobody waits for that number.
    pub(crate) fn done(&mut self, id: JobId) -> Option<K> {
        self.under_way.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{DhGroup, SeededRandom};

    fn job() -> KeyExchangeJob {
        KeyExchangeJob::generate(DhGroup::Modp768, &mut SeededRandom::new([1; 32]))
    }

    #[test]
    fn trusted_jobs_come_first_each_kind_in_order() {
        let mut jobs = Jobs::new();
        for (urgency, owner) in [
            (Urgency::Unproven, 'a'),
            (Urgency::Trusted, 'b'),
            (Urgency::Unproven, 'c'),
            (Urgency::Trusted, 'd'),
        ] {
            jobs.push(urgency, owner, job()).unwrap();
        }
        assert_eq!(jobs.waiting(), 4);
        let order: Vec<char> = std::iter::from_fn(|| {
            let (id, _) = jobs.poll(|_| true)?;
            jobs.done(id)
        })
        .collect();
        assert_eq!(order, ['b', 'd', 'a', 'c']);
        assert_eq!(jobs.waiting(), 0);
    }

    #[test]
    fn a_job_without_an_owner_is_passed_over_and_a_result_counts_once() {
        let mut jobs = Jobs::new();
        let gone = jobs.push(Urgency::Trusted, 'a', job()).unwrap();
        jobs.push(Urgency::Trusted, 'b', job()).unwrap();
        assert_eq!(jobs.done(gone), None, "nobody took it yet");
        let (id, _) = jobs.poll(|owner| owner != 'a').unwrap();
        assert_eq!(jobs.done(id), Some('b'));
        assert_eq!(jobs.done(id), None);
        assert!(jobs.poll(|_| true).is_none());
    }

    #[test]
    fn a_flood_of_unproven_jobs_is_bounded_and_leaves_room_for_trusted_ones() {
        let mut jobs = Jobs::new();
        let taken = (0..5000)
            .filter(|&owner| jobs.push(Urgency::Unproven, owner, job()).is_ok())
            .count();
        assert_eq!(taken, Jobs::<i32>::MAX_UNPROVEN);
        assert!(jobs.push(Urgency::Trusted, 5000, job()).is_ok());
        let (id, _) = jobs.poll(|_| true).unwrap();
        assert_eq!(jobs.done(id), Some(5000));
    }
}
