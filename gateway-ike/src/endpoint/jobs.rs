//! Key exchanges off the control loop: which SA and exchange a job belongs to, and what happens when it is done.
//!
//! An exchange that needs a key exchange goes on in two steps:
//!
//! 1. The message is judged: everything that costs nothing is checked, [`crate::crypto::DhGroup::check`] for the peer's public value
//!    included. Then the step goes into a *computing* state of the SA (or of the Quick Mode), which holds what the message
//!    brought and the message itself, and [`Endpoint::enqueue`] takes the job. The same message again finds the computing state
//!    and is dropped: it is answered once. Without room in the queue the step stays what it was, and the message is dropped as if
//!    it had been lost.
//! 2. The job is done: [`Endpoint::on_job`] finds the owner, whose computing state is consumed together with the result and
//!    yields the next state and the message to send, exactly as if the message had come in at this moment.
//!
//! An SA that ends meanwhile takes its computing state with it; the result finds nobody and is dropped.

use std::time::Instant;

use super::Endpoint;
use crate::crypto::{KeyExchangeDone, KeyExchangeJob};
use crate::ike_sa::SaKey;
use crate::jobs::{JobId, QueueFull, Urgency};

/// Which SA and which exchange of it wait for a job. A variant for each kind of exchange.
#[derive(Clone, Copy, Debug)]
pub(super) enum JobOwner {
    /// Main Mode or Aggressive Mode.
    Phase1(SaKey),
    /// The Quick Mode with this Message ID.
    QuickMode(SaKey, u32),
    /// The set-up of an IKE SA of IKEv2.
    V2Setup(SaKey),
    /// Our request on an IKE SA of IKEv2.
    V2Exchange(SaKey),
    /// The peer's request on an IKE SA of IKEv2.
    V2Answer(SaKey),
}

impl JobOwner {
    /// The IKE SA whose end makes the job pointless.
    const fn sa(self) -> SaKey {
        match self {
            Self::Phase1(key) | Self::QuickMode(key, _) => key,
            Self::V2Setup(key) | Self::V2Exchange(key) | Self::V2Answer(key) => key,
        }
    }
}

impl Endpoint {
    /// Queues a job for `owner`.
    pub(super) fn enqueue(
        &mut self,
        urgency: Urgency,
        owner: JobOwner,
        job: KeyExchangeJob,
    ) -> Result<JobId, QueueFull> {
        self.jobs.push(urgency, owner, job)
    }

    pub(super) fn next_job(&mut self) -> Option<(JobId, KeyExchangeJob)> {
        let sas = &self.sas;
        self.jobs.poll(|owner| sas.contains_key(&owner.sa()))
    }

    /// Dispatches to the exchange that waits.
    pub(super) fn on_job(&mut self, now: Instant, id: JobId, done: KeyExchangeDone) {
        let Some(owner) = self.jobs.done(id) else {
            tracing::trace!(?id, "result of an unknown job");
            return;
        };
        if !self.sas.contains_key(&owner.sa()) {
            return;
        }
        match owner {
            JobOwner::Phase1(key) => self.on_phase_1_job(now, key, done),
            JobOwner::QuickMode(key, message_id) => self.on_quick_mode_job(now, key, message_id, done),
            JobOwner::V2Setup(key) => self.on_setup_job(now, key, done),
            JobOwner::V2Exchange(key) => self.on_exchange_job(now, key, done),
            JobOwner::V2Answer(key) => self.on_answer_job(now, key, done),
        }
    }
}
