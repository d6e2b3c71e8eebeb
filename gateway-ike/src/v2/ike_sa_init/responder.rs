//! IKE_SA_INIT as the end that answers.

use crate::config::IkeProposal;
use crate::crypto::{KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::ike_sa::Spis;
use crate::wire::v2::{KePayload, Message, MessageBuilder, NotifyPayload, NotifyType, Payload, SaPayload};
use crate::wire::{ExchangeType, Flags, Header, IkeSpi};

use super::super::Role;
use super::super::proposal;
use super::super::refusal::Refusal;
use super::super::setup::{Extensions, Keyed, Said, StepCx, nonce};
use super::{invalid_ke, invalid_public, key_exchange};

/// An acceptable request.
#[derive(Debug)]
pub(crate) struct Request {
    spi_i: IkeSpi,
    proposal: IkeProposal,
    answer: SaPayload,
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
    extensions: Extensions,
    request: Vec<u8>,
}

/// Why a request is not answered with keys. The notification goes back in the clear.
pub(crate) type Refused = (Refusal, Option<NotifyPayload>);

/// Our public value and the shared secret are being computed.
#[derive(Debug)]
pub(crate) struct Responding {
    spis: Spis,
    nonce_r: Vec<u8>,
    request: Request,
}

/// Judges `HDR, SAi1, KEi, Ni -->`. Costs no key exchange.
pub(crate) fn judge<R>(
    header: &Header,
    message: &Message<'_>,
    datagram: &[u8],
    cx: &StepCx<'_, R>,
) -> Result<Request, Refused> {
    let drop = |why| (Refusal::Drop(why), None);
    if header.flags.contains(Flags::RESPONSE) || !header.flags.contains(Flags::INITIATOR) {
        return Err(drop("not the request of an initiator"));
    }
    if header.message_id != 0 || message.encrypted.is_some() {
        return Err(drop("not an ike_sa_init"));
    }
    let (ke, nonce_i) = key_exchange(message).map_err(|refusal| (refusal, None))?;
    let sa = message.sa().ok_or_else(|| drop("no sa payload"))?;
    let spis = Spis {
        initiator: header.initiator_spi,
        responder: IkeSpi::ZERO,
    };
    let extensions = Extensions::read(message, spis, cx.path, cx.config);
    let (choice, answer) = proposal::select_ike(&cx.config.ike_proposals, sa, &[]).map_err(|diagnosis| {
        let notify = NotifyPayload::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new());
        (Refusal::Report(diagnosis), Some(notify))
    })?;
    let group = choice.proposal.group;
    if ke.group != group.number() {
        return Err((
            Refusal::Drop("a key exchange of another group than the one to use"),
            Some(invalid_ke(group)),
        ));
    }
    group
        .check(&ke.data)
        .map_err(|error| (invalid_public(error), None))?;
    Ok(Request {
        spi_i: header.initiator_spi,
        proposal: choice.proposal,
        answer,
        public_i: ke.data.clone(),
        nonce_i: nonce_i.to_vec(),
        extensions,
        request: datagram.to_vec(),
    })
}

impl Request {
    /// `spi` is ours.
    pub(crate) fn respond<R: RandomSource>(
        self,
        spi: IkeSpi,
        cx: &mut StepCx<'_, R>,
    ) -> (Responding, KeyExchangeJob) {
        let job = KeyExchangeJob::respond(self.proposal.group, &self.public_i, cx.rng);
        let step = Responding {
            spis: Spis {
                initiator: self.spi_i,
                responder: spi,
            },
            nonce_r: nonce(cx.rng),
            request: self,
        };
        (step, job)
    }
}

impl Responding {
    /// `<-- HDR, SAr1, KEr, Nr, N...`
    pub(crate) fn on_responded<R: RandomSource>(
        self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(Keyed, Vec<u8>), Refusal> {
        let response = done
            .into_responded()
            .ok_or(Refusal::Drop("the result of another key exchange"))?
            .map_err(invalid_public)?;
        let Self {
            spis,
            nonce_r,
            request,
        } = self;
        let ke = KePayload {
            group: request.proposal.group.number(),
            data: response.public,
        };
        let fixed = [
            Payload::Sa(request.answer),
            Payload::Ke(ke),
            Payload::Nonce(nonce_r.clone()),
        ];
        let additional = request.proposal.additional.is_some();
        let extensions = Extensions::payloads(spis, Some(request.extensions), additional, cx);
        let datagram = MessageBuilder::new(
            spis.initiator,
            spis.responder,
            ExchangeType::IKE_SA_INIT,
            0,
            Flags::RESPONSE,
        )
        .payloads(fixed.iter().chain(&extensions))?
        .clear()?;
        let said = Said {
            spis,
            proposal: request.proposal,
            extensions: request.extensions,
            nonce_i: request.nonce_i,
            nonce_r,
            request: request.request,
            response: datagram.clone(),
        };
        Ok((Keyed::derive(Role::Responder, said, &response.shared)?, datagram))
    }
}
