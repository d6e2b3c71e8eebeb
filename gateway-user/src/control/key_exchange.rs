//! Key exchanges off the control loop.
//!
//! A few threads of our own: tokio's for blocking work are as many as there is work, and all of one priority. Ours are bounded by
//! the processors and *nice*, because strangers can make them busy: on a processor that they share with a worker, the packets of
//! established tunnels come first.

use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use gateway_ike::crypto::{KeyExchangeDone, KeyExchangeJob};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// A thread at this level gets about a tenth of a processor that another thread wants, too.
const NICENESS: i32 = 10;
/// Jobs given to each thread in advance, so that it need not wait for the control loop after each one. What else waits stays in the
/// engine, which knows who comes first.
const IN_ADVANCE: usize = 4;

/// The threads, as the control loop sees them. `Id` names a job.
pub(super) struct KeyExchanges<Id> {
    jobs: mpsc::Sender<(Id, KeyExchangeJob)>,
    under_way: usize,
    limit: usize,
}

/// What comes back.
pub(super) type Finished<Id> = Receiver<(Id, KeyExchangeDone)>;

impl<Id: Send + 'static> KeyExchanges<Id> {
    /// Starts a thread for every second processor, at least one.
    pub(super) fn start() -> io::Result<(Self, Finished<Id>)> {
        let threads = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .div_ceil(2);
        let limit = threads * IN_ADVANCE;
        let (jobs, inbox) = mpsc::channel();
        let inbox = Arc::new(Mutex::new(inbox));
        // There is room for all that can be under way: a thread never waits for the control loop.
        let (results, finished) = channel(limit);
        for _ in 0..threads {
            let (inbox, results) = (Arc::clone(&inbox), results.clone());
            thread::Builder::new()
                .name("key-exchange".to_owned())
                .spawn(move || work(&inbox, &results))?;
        }
        let pool = Self {
            jobs,
            under_way: 0,
            limit,
        };
        Ok((pool, finished))
    }

    /// Whether another job may be given to the threads.
    pub(super) const fn has_room(&self) -> bool {
        self.under_way < self.limit
    }

    /// Gives a job to the threads.
    pub(super) fn run(&mut self, id: Id, job: KeyExchangeJob) {
        if self.jobs.send((id, job)).is_ok() {
            self.under_way += 1;
        }
    }

    /// A result was received.
    pub(super) const fn finished(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

/// The life of one thread. It ends with the control loop.
fn work<Id>(inbox: &Mutex<mpsc::Receiver<(Id, KeyExchangeJob)>>, results: &Sender<(Id, KeyExchangeDone)>) {
    // On Linux the level is the calling thread's own.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "key exchanges run at the priority of everything else");
    }
    loop {
        let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((id, job)) = next else { return };
        if results.blocking_send((id, job.run())).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_ike::crypto::{DhGroup, SeededRandom};

    use super::*;

    #[test]
    fn every_job_comes_back_and_the_threads_take_no_more_than_their_share() {
        let (mut pool, mut finished) = KeyExchanges::start().unwrap();
        let mut random = SeededRandom::new([1; 32]);
        let mut given = 0;
        while pool.has_room() {
            pool.run(given, KeyExchangeJob::generate(DhGroup::X25519, &mut random));
            given += 1;
        }
        assert_eq!(given, pool.limit);
        let mut back: Vec<usize> = (0..given)
            .map(|_| {
                let (id, done) = finished.blocking_recv().unwrap();
                assert!(done.into_generated().is_some());
                pool.finished();
                id
            })
            .collect();
        back.sort_unstable();
        assert!(back.into_iter().eq(0..given));
        assert_eq!(pool.under_way, 0);
    }

    #[test]
    fn the_threads_end_with_the_control_loop() {
        let (pool, mut finished) = KeyExchanges::<u8>::start().unwrap();
        drop(pool);
        assert!(finished.blocking_recv().is_none());
    }
}
