//! Phase 1 as one machine: every state of both exchanges, and which message or result takes it where.

use std::net::SocketAddrV4;

use crate::crypto::{KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::diagnosis::Diagnosis;
use crate::ike_sa::random_u32;
use crate::wire::v1::{Message, NotifyType, Protection};
use crate::wire::{ExchangeType, Flags, Header, IkeSpi};

use super::super::Refusal;
use super::super::aggressive;
use super::super::main_mode;
use super::super::sa::SaKeys;
use super::diagnosis::{AGGRESSIVE, MAIN, Named, silence};
use super::{Authenticated, Extensions, StepCx};
use crate::ike_sa::Spis;

/// How far phase 1 has come. A state that computes has accepted a message and waits for a key exchange.
#[derive(Debug)]
pub(crate) enum Phase1 {
    /// Main Mode initiator, message 1 sent.
    MainSentSa(main_mode::initiator::AwaitSa),
    /// Main Mode initiator, message 2 accepted.
    MainGenerating(Box<main_mode::initiator::Generating>),
    /// Main Mode initiator, message 3 sent.
    MainSentKe(Box<main_mode::initiator::AwaitKe>),
    /// Main Mode initiator, message 4 accepted.
    MainAgreeing(Box<main_mode::initiator::Agreeing>),
    /// Main Mode initiator, message 5 sent.
    MainSentAuth(Box<main_mode::AwaitAuth>),
    /// Main Mode responder, message 2 sent.
    MainAnsweredSa(Box<main_mode::responder::AwaitKe>),
    /// Main Mode responder, message 3 accepted.
    MainResponding(Box<main_mode::responder::Responding>),
    /// Main Mode responder, message 4 sent.
    MainAnsweredKe(Box<main_mode::AwaitAuth>),
    /// Aggressive Mode initiator, nothing sent.
    AggressiveGenerating(aggressive::initiator::Generating),
    /// Aggressive Mode initiator, message 1 sent.
    AggressiveSent(Box<aggressive::initiator::AwaitAnswer>),
    /// Aggressive Mode initiator, message 2 accepted.
    AggressiveAgreeing(Box<aggressive::initiator::Agreeing>),
    /// Aggressive Mode responder, message 1 accepted.
    AggressiveResponding(Box<aggressive::responder::Responding>),
    /// Aggressive Mode responder, message 2 sent.
    AggressiveAnswered(Box<aggressive::responder::AwaitProof>),
    /// Nothing more will happen.
    Ended,
}

/// What a message, or the result of a key exchange, brought about.
#[derive(Debug)]
pub(crate) enum Advance {
    /// A key exchange has to be computed; its result goes to [`Phase1::on_key_exchange`].
    Compute(KeyExchangeJob),
    /// Send this message and wait for the next.
    Reply(Vec<u8>),
    /// Established. Our last message is to be sent, if there is one.
    Up(Option<Vec<u8>>, Box<Authenticated>),
}

/// Why phase 1 does not advance.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// What to tell the peer, protected if it has proven itself.
    pub(crate) reply: Option<Vec<u8>>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, reply: None }
    }
}

impl Phase1 {
    /// `HDR, SA -->`
    pub(crate) fn start_main<R: RandomSource>(
        spi: IkeSpi,
        cx: &StepCx<'_, R>,
    ) -> Result<(Self, Advance), Refusal> {
        let (step, datagram) = main_mode::initiator::AwaitSa::start(spi, cx)?;
        Ok((Self::MainSentSa(step), Advance::Reply(datagram)))
    }

    /// `HDR, SA, KE, Ni, IDii -->`, once the public value is there.
    pub(crate) fn start_aggressive<R: RandomSource>(
        spi: IkeSpi,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(Self, Advance), Refusal> {
        let (step, job) = aggressive::initiator::Generating::start(spi, cx)?;
        Ok((Self::AggressiveGenerating(step), Advance::Compute(job)))
    }

    /// A peer's message 1 of either exchange. `spi` is ours.
    pub(crate) fn answer<R: RandomSource>(
        header: &Header,
        body: &[u8],
        spi: IkeSpi,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(Self, Advance), Refusal> {
        let message = clear(header, body)?;
        if header.exchange_type == ExchangeType::AGGRESSIVE {
            let (step, job) = aggressive::responder::answer(header, &message, spi, cx)?;
            Ok((Self::AggressiveResponding(Box::new(step)), Advance::Compute(job)))
        } else {
            let (step, datagram) = main_mode::responder::answer(header, &message, spi, cx)?;
            Ok((Self::MainAnsweredSa(Box::new(step)), Advance::Reply(datagram)))
        }
    }

    /// Takes a message. After an error the state is what it was, or [`Phase1::Ended`].
    pub(crate) fn on_message<R: RandomSource>(
        &mut self,
        header: &Header,
        body: &[u8],
        cx: &mut StepCx<'_, R>,
    ) -> Result<Advance, Refused> {
        if header.exchange_type != self.exchange_type() {
            return Err(Refusal::Drop("a message of another exchange").into());
        }
        match std::mem::replace(self, Self::Ended) {
            Self::MainSentSa(step) => match clear(header, body).and_then(|m| step.judge(header, &m, cx)) {
                Err(refusal) => self.keep(Self::MainSentSa(step), refusal),
                Ok(answer) => {
                    let (step, job) = step.on_sa(answer, cx);
                    self.compute(Self::MainGenerating(Box::new(step)), job)
                }
            },
            Self::MainSentKe(step) => match clear(header, body).and_then(|m| step.judge(&m, cx)) {
                Err(refusal) => self.keep(Self::MainSentKe(step), refusal),
                Ok(half) => {
                    let (step, job) = step.on_ke(half);
                    self.compute(Self::MainAgreeing(Box::new(step)), job)
                }
            },
            Self::MainSentAuth(step) => match step.judge(header, body, cx) {
                Err(Refusal::End(diagnosis, notify)) => {
                    // The peer counts the SA as established: it has to hear that it is not.
                    let keys = step.into_keys_after(header, body);
                    Err(refused_under_keys(&keys, diagnosis, notify, true, cx.rng))
                }
                Err(refusal) => self.keep(Self::MainSentAuth(step), refusal),
                Ok(auth) => Ok(Advance::Up(None, Box::new(step.on_responder_auth(auth)))),
            },
            Self::MainAnsweredSa(step) => match clear(header, body).and_then(|m| step.judge(&m, cx)) {
                Err(refusal) => self.keep(Self::MainAnsweredSa(step), refusal),
                Ok(half) => {
                    let (step, job) = step.on_ke(half, cx);
                    self.compute(Self::MainResponding(Box::new(step)), job)
                }
            },
            Self::MainAnsweredKe(step) => match step.judge(header, body, cx) {
                Err(Refusal::End(diagnosis, notify)) => {
                    let keys = step.into_keys_after(header, body);
                    Err(refused_under_keys(&keys, diagnosis, notify, false, cx.rng))
                }
                Err(refusal) => self.keep(Self::MainAnsweredKe(step), refusal),
                Ok(auth) => {
                    let (authenticated, datagram) =
                        step.on_initiator_auth(auth, cx).map_err(Refusal::from)?;
                    Ok(Advance::Up(Some(datagram), Box::new(authenticated)))
                }
            },
            Self::AggressiveSent(step) => {
                match clear(header, body).and_then(|m| step.judge(header, &m, cx)) {
                    Err(refusal) => self.keep(Self::AggressiveSent(step), refusal),
                    Ok(answer) => {
                        let (step, job) = step.on_answer(answer);
                        self.compute(Self::AggressiveAgreeing(Box::new(step)), job)
                    }
                }
            }
            Self::AggressiveAnswered(step) => match step.judge(header, body, cx) {
                Err(Refusal::End(diagnosis, notify)) => {
                    // The peer counts the SA as established, as above.
                    let keys = step.into_keys_after(header, body);
                    Err(refused_under_keys(&keys, diagnosis, notify, true, cx.rng))
                }
                Err(refusal) => self.keep(Self::AggressiveAnswered(step), refusal),
                Ok(proof) => Ok(Advance::Up(None, Box::new(step.on_proof(proof)))),
            },
            state @ (Self::MainGenerating(_)
            | Self::MainAgreeing(_)
            | Self::MainResponding(_)
            | Self::AggressiveGenerating(_)
            | Self::AggressiveAgreeing(_)
            | Self::AggressiveResponding(_)) => {
                self.keep(state, Refusal::Drop("a key exchange is being computed"))
            }
            Self::Ended => Err(Refusal::Drop("phase 1 is over").into()),
        }
    }

    /// Takes the result of the key exchange that [`Advance::Compute`] asked for.
    pub(crate) fn on_key_exchange<R: RandomSource>(
        &mut self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<Advance, Refused> {
        let (next, datagram) = match std::mem::replace(self, Self::Ended) {
            Self::MainGenerating(step) => {
                let (step, datagram) = step.on_generated(done, cx)?;
                (Self::MainSentKe(Box::new(step)), datagram)
            }
            Self::MainAgreeing(step) => {
                let (step, datagram) = step.on_agreed(done, cx)?;
                (Self::MainSentAuth(Box::new(step)), datagram)
            }
            Self::MainResponding(step) => {
                let (step, datagram) = step.on_responded(done, cx)?;
                (Self::MainAnsweredKe(Box::new(step)), datagram)
            }
            Self::AggressiveGenerating(step) => {
                let (step, datagram) = step.on_generated(done, cx)?;
                (Self::AggressiveSent(Box::new(step)), datagram)
            }
            Self::AggressiveResponding(step) => {
                let (step, datagram) = step.on_responded(done, cx)?;
                (Self::AggressiveAnswered(Box::new(step)), datagram)
            }
            Self::AggressiveAgreeing(step) => {
                return match step.on_agreed(done, cx)? {
                    aggressive::initiator::Outcome::Up(authenticated, datagram) => {
                        Ok(Advance::Up(Some(datagram), authenticated))
                    }
                    aggressive::initiator::Outcome::Refused(refusal, keys) => Err(match refusal {
                        Refusal::End(diagnosis, notify) => {
                            refused_under_keys(&keys, diagnosis, notify, false, cx.rng)
                        }
                        refusal @ (Refusal::Drop(_) | Refusal::Report(..)) => refusal.into(),
                    }),
                };
            }
            state @ (Self::MainSentSa(_)
            | Self::MainSentKe(_)
            | Self::MainSentAuth(_)
            | Self::MainAnsweredSa(_)
            | Self::MainAnsweredKe(_)
            | Self::AggressiveSent(_)
            | Self::AggressiveAnswered(_)
            | Self::Ended) => {
                return self.keep(state, Refusal::Drop("a key exchange that nobody waits for"));
            }
        };
        *self = next;
        Ok(Advance::Reply(datagram))
    }

    fn keep(&mut self, state: Self, refusal: Refusal) -> Result<Advance, Refused> {
        *self = state;
        Err(refusal.into())
    }

    fn compute(&mut self, state: Self, job: KeyExchangeJob) -> Result<Advance, Refused> {
        *self = state;
        Ok(Advance::Compute(job))
    }

    /// The responder's SPI, in the state in which a responder's first message was accepted.
    pub(crate) fn learned_spis(&self) -> Option<Spis> {
        match self {
            Self::MainGenerating(step) => Some(step.spis()),
            Self::AggressiveAgreeing(step) => Some(step.spis()),
            Self::MainSentSa(_)
            | Self::MainSentKe(_)
            | Self::MainAgreeing(_)
            | Self::MainSentAuth(_)
            | Self::MainAnsweredSa(_)
            | Self::MainResponding(_)
            | Self::MainAnsweredKe(_)
            | Self::AggressiveGenerating(_)
            | Self::AggressiveSent(_)
            | Self::AggressiveResponding(_)
            | Self::AggressiveAnswered(_)
            | Self::Ended => None,
        }
    }

    /// What both ends announced, in the state in which it becomes known.
    pub(crate) fn learned_extensions(&self) -> Option<Extensions> {
        match self {
            Self::MainGenerating(step) => Some(step.extensions()),
            Self::AggressiveAgreeing(step) => Some(step.extensions()),
            Self::MainAnsweredSa(step) => Some(step.extensions()),
            Self::AggressiveResponding(step) => Some(step.extensions()),
            Self::MainSentSa(_)
            | Self::MainSentKe(_)
            | Self::MainAgreeing(_)
            | Self::MainSentAuth(_)
            | Self::MainResponding(_)
            | Self::MainAnsweredKe(_)
            | Self::AggressiveGenerating(_)
            | Self::AggressiveSent(_)
            | Self::AggressiveAnswered(_)
            | Self::Ended => None,
        }
    }

    /// Whether message 5 and all that follows takes port 4500.
    pub(crate) fn floats(&self) -> bool {
        matches!(self, Self::MainSentAuth(step) if step.floats())
    }

    /// Keys that can read what a peer says that has the same pre-shared key, while its proof is awaited.
    pub(crate) fn keys(&self) -> Option<&SaKeys> {
        match self {
            Self::MainSentAuth(step) | Self::MainAnsweredKe(step) => Some(step.keys()),
            Self::AggressiveAnswered(step) => Some(step.keys()),
            Self::MainSentSa(_)
            | Self::MainGenerating(_)
            | Self::MainSentKe(_)
            | Self::MainAgreeing(_)
            | Self::MainAnsweredSa(_)
            | Self::MainResponding(_)
            | Self::AggressiveGenerating(_)
            | Self::AggressiveSent(_)
            | Self::AggressiveAgreeing(_)
            | Self::AggressiveResponding(_)
            | Self::Ended => None,
        }
    }

    /// Whether our last message carried our proof, which the peer may find wrong.
    pub(crate) const fn has_proven(&self) -> bool {
        matches!(self, Self::MainSentAuth(_) | Self::AggressiveAnswered(_))
    }

    /// Whether a peer's attempt has come no further than our first answer.
    pub(crate) const fn is_fresh(&self) -> bool {
        matches!(
            self,
            Self::MainAnsweredSa(_) | Self::AggressiveResponding(_) | Self::AggressiveAnswered(_)
        )
    }

    const fn exchange_type(&self) -> ExchangeType {
        match self {
            Self::AggressiveGenerating(_)
            | Self::AggressiveSent(_)
            | Self::AggressiveAgreeing(_)
            | Self::AggressiveResponding(_)
            | Self::AggressiveAnswered(_) => ExchangeType::AGGRESSIVE,
            Self::MainSentSa(_)
            | Self::MainGenerating(_)
            | Self::MainSentKe(_)
            | Self::MainAgreeing(_)
            | Self::MainSentAuth(_)
            | Self::MainAnsweredSa(_)
            | Self::MainResponding(_)
            | Self::MainAnsweredKe(_)
            | Self::Ended => ExchangeType::IDENTITY_PROTECTION,
        }
    }

    /// The message that we wait for, or that is being worked on.
    pub(crate) const fn waits_for(&self) -> Named {
        match self {
            Self::MainSentSa(_) | Self::MainGenerating(_) => Named(MAIN, 2),
            Self::MainAnsweredSa(_) | Self::MainResponding(_) => Named(MAIN, 3),
            Self::MainSentKe(_) | Self::MainAgreeing(_) => Named(MAIN, 4),
            Self::MainAnsweredKe(_) => Named(MAIN, 5),
            Self::MainSentAuth(_) => Named(MAIN, 6),
            Self::AggressiveGenerating(_) | Self::AggressiveResponding(_) => Named(AGGRESSIVE, 1),
            Self::AggressiveSent(_) | Self::AggressiveAgreeing(_) => Named(AGGRESSIVE, 2),
            Self::AggressiveAnswered(_) => Named(AGGRESSIVE, 3),
            Self::Ended => Named(MAIN, 0),
        }
    }

    /// The peer never said anything: it may not be there at all.
    pub(crate) const fn heard_nothing(&self) -> bool {
        matches!(self, Self::MainSentSa(_) | Self::AggressiveSent(_))
    }

    /// What it means that our last message, sent `times`, is not answered.
    pub(crate) fn silence(&self, times: u32, peer: SocketAddrV4) -> Diagnosis {
        silence(self.waits_for().before(), times, peer)
    }
}

/// An authentic message is refused: the peer is told under the keys that both ends have. With `ends` it also hears that the SA is
/// gone, which it counts as established.
fn refused_under_keys(
    keys: &SaKeys,
    diagnosis: Diagnosis,
    notify: Option<NotifyType>,
    ends: bool,
    rng: &mut impl RandomSource,
) -> Refused {
    let payloads: Vec<_> = notify
        .map(|notify| keys.notify(notify, Vec::new()))
        .into_iter()
        .chain(ends.then(|| keys.delete()))
        .collect();
    // The only phase 2 message of this SA; zero is phase 1.
    let message_id = random_u32(rng).max(1);
    Refused {
        reply: keys.informational(message_id, &payloads).ok(),
        refusal: Refusal::End(diagnosis, notify),
    }
}

/// Reads a message that comes in the clear.
pub(crate) fn clear<'b>(header: &Header, body: &'b [u8]) -> Result<Message<'b>, Refusal> {
    if header.flags.contains(Flags::ENCRYPTION) {
        return Err(Refusal::Drop("encrypted before there are keys"));
    }
    Ok(Message::parse(header.next_payload, body, Protection::Clear)?)
}
