//! One side's work of a key exchange as a value: made where the randomness is, run where there is time.
//!
//! The work takes between 10 microseconds and several milliseconds, and a peer that has proven nothing can ask for it. So the
//! engine does not do it: it makes a [`KeyExchangeJob`], the driver runs it on a thread of its choice, and the
//! [`KeyExchangeDone`] comes back to the engine.

use std::fmt;

use super::{DhError, DhGroup, DhPrivate};
use crate::crypto::{RandomSource, SharedSecret};

/// Work of a key exchange. All randomness that it needs was drawn when it was made, so that its outcome does not depend on when
/// and where it runs.
pub struct KeyExchangeJob(Task);

enum Task {
    Generate(DhPrivate),
    Respond(DhPrivate, Vec<u8>),
    Agree(DhPrivate, Vec<u8>),
}

/// What came of a [`KeyExchangeJob`].
#[derive(Debug)]
pub enum KeyExchangeDone {
    /// Of [`KeyExchangeJob::generate`]: what to keep and what to send.
    Generated(DhPrivate, Vec<u8>),
    /// Of [`KeyExchangeJob::respond`].
    Responded(Result<Response, DhError>),
    /// Of [`KeyExchangeJob::agree`].
    Agreed(Result<SharedSecret, DhError>),
}

/// All that a responder needs.
#[derive(Debug)]
pub struct Response {
    /// What to send, [`DhGroup::response_len`] octets.
    pub public: Vec<u8>,
    /// The shared secret.
    pub shared: SharedSecret,
}

impl KeyExchangeJob {
    /// An initiator's first half: the public value of a fresh private one.
    pub fn generate(group: DhGroup, random: &mut impl RandomSource) -> Self {
        Self(Task::Generate(DhPrivate::draw(group, random)))
    }

    /// All of a responder's work: a fresh private value, its public value, and the agreement with the initiator's `peer_public`.
    ///
    /// A value of the wrong length is not copied; running the job reports it.
    pub fn respond(group: DhGroup, peer_public: &[u8], random: &mut impl RandomSource) -> Self {
        let value = bounded(peer_public, group.public_len());
        Self(Task::Respond(DhPrivate::draw(group, random), value))
    }

    /// An initiator's second half: the agreement with what the responder sent.
    pub fn agree(private: DhPrivate, peer_public: &[u8]) -> Self {
        let value = bounded(peer_public, private.group().response_len());
        Self(Task::Agree(private, value))
    }

    /// The group.
    pub const fn group(&self) -> DhGroup {
        match &self.0 {
            Task::Generate(private) | Task::Respond(private, _) | Task::Agree(private, _) => private.group(),
        }
    }

    /// Does the work. Blocks the thread for up to some milliseconds, never longer; it does not panic.
    pub fn run(self) -> KeyExchangeDone {
        match self.0 {
            Task::Generate(private) => {
                let public = private.public();
                KeyExchangeDone::Generated(private, public)
            }
            Task::Respond(private, peer) => KeyExchangeDone::Responded(private.respond(&peer)),
            Task::Agree(private, peer) => KeyExchangeDone::Agreed(private.agree(&peer)),
        }
    }
}

impl KeyExchangeDone {
    /// The outcome of [`KeyExchangeJob::generate`]; `None` if it is that of another job.
    pub fn into_generated(self) -> Option<(DhPrivate, Vec<u8>)> {
        match self {
            Self::Generated(private, public) => Some((private, public)),
            Self::Responded(_) | Self::Agreed(_) => None,
        }
    }

    /// The outcome of [`KeyExchangeJob::respond`]; `None` if it is that of another job.
    pub fn into_responded(self) -> Option<Result<Response, DhError>> {
        match self {
            Self::Responded(outcome) => Some(outcome),
            Self::Generated(..) | Self::Agreed(_) => None,
        }
    }

    /// The outcome of [`KeyExchangeJob::agree`]; `None` if it is that of another job.
    pub fn into_agreed(self) -> Option<Result<SharedSecret, DhError>> {
        match self {
            Self::Agreed(outcome) => Some(outcome),
            Self::Generated(..) | Self::Responded(_) => None,
        }
    }
}

impl fmt::Debug for KeyExchangeJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            Task::Generate(_) => "Generate",
            Task::Respond(..) => "Respond",
            Task::Agree(..) => "Agree",
        };
        write!(f, "{name}({})", self.group())
    }
}

/// A copy of a value of the right length, and of another as much as shows that its length is wrong.
fn bounded(value: &[u8], expected: usize) -> Vec<u8> {
    value.iter().copied().take(expected + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn an_initiator_and_a_responder_agree_through_jobs() {
        let mut random = SeededRandom::new([5; 32]);
        for group in DhGroup::ALL {
            let job = KeyExchangeJob::generate(group, &mut random);
            let (private, public_i) = job.run().into_generated().unwrap();
            let job = KeyExchangeJob::respond(group, &public_i, &mut random);
            let response = job.run().into_responded().unwrap().unwrap();
            assert_eq!(public_i.len(), group.public_len(), "{group}");
            assert_eq!(response.public.len(), group.response_len(), "{group}");
            let job = KeyExchangeJob::agree(private, &response.public);
            let shared = job.run().into_agreed().unwrap().unwrap();
            assert_eq!(shared.expose(), response.shared.expose(), "{group}");
        }
    }

    #[test]
    fn a_job_can_go_to_another_thread() {
        const fn check<T: Send + 'static>() {}
        check::<KeyExchangeJob>();
        check::<KeyExchangeDone>();
    }

    #[test]
    fn an_oversized_public_value_is_neither_copied_nor_accepted() {
        let mut random = SeededRandom::new([5; 32]);
        let job = KeyExchangeJob::respond(DhGroup::Modp768, &[2; 65_535], &mut random);
        assert!(matches!(&job.0, Task::Respond(_, copy) if copy.len() == 97));
        let refused = DhError::WrongLength {
            expected: 96,
            got: 97,
        };
        assert_eq!(job.run().into_responded().unwrap().unwrap_err(), refused);
    }
}
