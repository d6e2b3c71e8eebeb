//! Our side of Main Mode as responder.

use crate::crypto::{KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::wire::v1::{Message, NotifyType, Payload};
use crate::wire::{Header, IkeSpi, PayloadType};

use super::super::Refusal;
use super::super::jobs;
use super::super::keys::SealError;
use super::super::phase1::{
    Authenticated, Exchanged, Extensions, Role, StepCx, Unproven, nonce, only, sa_octets,
};
use super::super::proposal::select_ike;
use super::{Agreed, Auth, AwaitAuth, Half, message, seal_identity};
use crate::ike_sa::Spis;

/// Message 2 sent: `<-- HDR, SA`.
#[derive(Debug)]
pub(crate) struct AwaitKe {
    agreed: Agreed,
}

/// Message 3 accepted, our public value and the shared secret are being computed.
#[derive(Debug)]
pub(crate) struct Responding {
    agreed: Agreed,
    half: Half,
}

/// Judges message 1: `HDR, SA -->`. `spi` is ours. Yields the first state with message 2.
///
/// V1: the answer carries only vendor ids that the peer sent itself, so it is never larger than what it answers.
pub(crate) fn answer<R>(
    header: &Header,
    received: &Message<'_>,
    spi: IkeSpi,
    cx: &StepCx<'_, R>,
) -> Result<(AwaitKe, Vec<u8>), Refusal> {
    let Payload::Sa(sa) = only(received, PayloadType::SA, "no sa payload")? else {
        return Err(Refusal::Drop("no sa payload"));
    };
    let (choice, answer) = select_ike(cx.config, sa, None)
        .map_err(|diagnosis| Refusal::Report(diagnosis, Some(NotifyType::NO_PROPOSAL_CHOSEN)))?;
    let (extensions, vendor_ids) = Extensions::answer(cx.config, received);
    let spis = Spis {
        initiator: header.initiator_spi,
        responder: spi,
    };
    let payloads: Vec<_> = [Payload::Sa(answer)].into_iter().chain(vendor_ids).collect();
    let datagram = message(spis).payloads(&payloads)?.clear()?;
    let agreed = Agreed {
        spis,
        sa_i: sa_octets(received),
        choice,
        extensions,
    };
    Ok((AwaitKe { agreed }, datagram))
}

impl AwaitKe {
    /// `HDR, KE, Ni, NAT-D, NAT-D -->`
    pub(crate) fn judge<R>(&self, message: &Message<'_>, cx: &StepCx<'_, R>) -> Result<Half, Refusal> {
        self.agreed.read_half(message, cx)
    }

    pub(crate) fn on_ke<R: RandomSource>(
        self,
        half: Half,
        cx: &mut StepCx<'_, R>,
    ) -> (Responding, KeyExchangeJob) {
        let agreed = self.agreed;
        let job = KeyExchangeJob::respond(agreed.choice.proposal.group, &half.public, cx.rng);
        (Responding { agreed, half }, job)
    }

    pub(crate) const fn extensions(&self) -> Extensions {
        self.agreed.extensions
    }
}

impl Responding {
    /// `<-- HDR, KE, Nr, NAT-D, NAT-D`
    pub(crate) fn on_responded<R: RandomSource>(
        self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(AwaitAuth, Vec<u8>), Refusal> {
        let (public_r, shared) = jobs::responded(done)?;
        let nonce_r = nonce(cx.rng);
        let datagram = self.agreed.write_half(public_r.clone(), nonce_r.clone(), cx)?;
        let Half { public, nonce, nat } = self.half;
        let exchanged = Exchanged {
            public_i: public,
            public_r,
            nonce_i: nonce,
            nonce_r,
            shared,
        };
        let Agreed {
            spis,
            sa_i,
            choice,
            extensions,
        } = self.agreed;
        let unproven = Unproven::derive(cx.config, spis, choice, (extensions, nat), sa_i, exchanged)?;
        let step = AwaitAuth {
            unproven,
            prover: Role::Initiator,
        };
        Ok((step, datagram))
    }
}

impl AwaitAuth {
    /// `HDR*, IDii, HASH_I -->` was authentic: `<-- HDR*, IDir, HASH_R`
    pub(crate) fn on_initiator_auth<R>(
        mut self,
        auth: Auth,
        cx: &StepCx<'_, R>,
    ) -> Result<(Authenticated, Vec<u8>), SealError> {
        self.unproven.commit(auth.next_iv);
        let id = cx.config.local_id.to_payload();
        let datagram = seal_identity(&mut self.unproven, Role::Responder, id, false)?;
        Ok((self.unproven.into_authenticated(&auth.remarks), datagram))
    }
}
