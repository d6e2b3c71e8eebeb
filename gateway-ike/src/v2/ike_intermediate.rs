//! IKE_INTERMEDIATE with an additional key exchange (RFC 9242, RFC 9370 section 2.2.2): the keys of IKE_AUTH depend on both.
//!
//! ```text
//! HDR, SK {KEi(1)}  -->
//!                   <--  HDR, SK {KEr(1)}
//! ```

use crate::crypto::{DhGroup, DhPrivate, KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::wire::v2::{KePayload, Payload};

use super::channel::Received;
use super::ike_sa_init::invalid_public;
use super::refusal::{Refusal, invalid_syntax};
use super::setup::Keyed;

/// As initiator: the additional public value is being computed.
#[derive(Debug)]
pub(crate) struct Generating(Box<Keyed>);

/// As initiator: `HDR, SK {KEi(1)} -->` is on its way.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    pub(crate) keyed: Box<Keyed>,
    private: DhPrivate,
}

/// As initiator: the additional shared secret is being computed.
#[derive(Debug)]
pub(crate) struct Agreeing(Box<Keyed>);

/// As responder: the answer is being computed.
#[derive(Debug)]
pub(crate) struct Responding {
    keyed: Box<Keyed>,
    group: DhGroup,
    message_id: u32,
}

impl Generating {
    pub(crate) fn start(
        keyed: Box<Keyed>,
        group: DhGroup,
        rng: &mut impl RandomSource,
    ) -> (Self, KeyExchangeJob) {
        (Self(keyed), KeyExchangeJob::generate(group, rng))
    }

    /// `HDR, SK {KEi(1)} -->`
    pub(crate) fn on_generated(
        self,
        done: KeyExchangeDone,
        rng: &mut impl RandomSource,
    ) -> Result<(AwaitAnswer, Vec<Vec<u8>>), Refusal> {
        let mut keyed = self.0;
        let (private, public) = done
            .into_generated()
            .ok_or(Refusal::Drop("the result of another key exchange"))?;
        let datagrams = keyed.intermediate(keyed.next_id, &[ke(private.group(), public)], rng)?;
        Ok((AwaitAnswer { keyed, private }, datagrams))
    }
}

impl AwaitAnswer {
    /// Judges an authentic answer.
    pub(crate) fn judge(&self, received: &Received) -> Result<Vec<u8>, Refusal> {
        let message = received.message()?;
        if let Some(error) = message.error() {
            return Err(invalid_syntax(&format!(
                "{} to ike_intermediate",
                error.notify_type
            )));
        }
        let group = self.private.group();
        match message.ke() {
            Some(ke) if ke.group == group.number() => {
                group.check_response(&ke.data).map_err(invalid_public)?;
                Ok(ke.data.clone())
            }
            Some(_) | None => Err(invalid_syntax(
                "ike_intermediate without the key exchange that was agreed on",
            )),
        }
    }

    pub(crate) fn on_answer(self, received: &Received, public_r: &[u8]) -> (Agreeing, KeyExchangeJob) {
        let mut keyed = self.keyed;
        let sender = keyed.channel.role.other();
        keyed.note_intermediate(sender, &received.header, &received.content);
        keyed.next_id += 1;
        (Agreeing(keyed), KeyExchangeJob::agree(self.private, public_r))
    }
}

impl Agreeing {
    pub(crate) fn on_agreed(self, done: KeyExchangeDone) -> Result<Box<Keyed>, Refusal> {
        let shared = done
            .into_agreed()
            .ok_or(Refusal::Drop("the result of another key exchange"))?
            .map_err(invalid_public)?;
        Ok(Box::new(self.0.with_additional(&shared)?))
    }
}

impl Responding {
    pub(crate) const fn message_id(&self) -> u32 {
        self.message_id
    }

    /// Judges an authentic request, and starts to answer it.
    pub(crate) fn judge(keyed: &Keyed, received: &Received) -> Result<(DhGroup, Vec<u8>), Refusal> {
        let message = received.message()?;
        let Some(group) = keyed.proposal.additional else {
            return Err(invalid_syntax("ike_intermediate that was not agreed on"));
        };
        match message.ke() {
            Some(ke) if ke.group == group.number() => {
                group.check(&ke.data).map_err(invalid_public)?;
                Ok((group, ke.data.clone()))
            }
            Some(_) | None => Err(invalid_syntax(
                "ike_intermediate without the key exchange that was agreed on",
            )),
        }
    }

    pub(crate) fn start(
        mut keyed: Box<Keyed>,
        received: &Received,
        (group, public_i): (DhGroup, Vec<u8>),
        rng: &mut impl RandomSource,
    ) -> (Self, KeyExchangeJob) {
        let sender = keyed.channel.role.other();
        keyed.note_intermediate(sender, &received.header, &received.content);
        let step = Self {
            keyed,
            group,
            message_id: received.header.message_id,
        };
        (step, KeyExchangeJob::respond(group, &public_i, rng))
    }

    /// `<-- HDR, SK {KEr(1)}`
    pub(crate) fn on_responded(
        self,
        done: KeyExchangeDone,
        rng: &mut impl RandomSource,
    ) -> Result<(Box<Keyed>, Vec<Vec<u8>>), Refusal> {
        let response = done
            .into_responded()
            .ok_or(Refusal::Drop("the result of another key exchange"))?
            .map_err(invalid_public)?;
        let mut keyed = self.keyed;
        let datagrams = keyed.intermediate(self.message_id, &[ke(self.group, response.public)], rng)?;
        keyed.next_id = self.message_id.wrapping_add(1);
        Ok((Box::new(keyed.with_additional(&response.shared)?), datagrams))
    }
}

fn ke(group: DhGroup, data: Vec<u8>) -> Payload {
    Payload::Ke(KePayload {
        group: group.number(),
        data,
    })
}
