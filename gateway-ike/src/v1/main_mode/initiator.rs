//! Our side of Main Mode as initiator.

use crate::crypto::{DhPrivate, KeyExchangeDone, KeyExchangeJob, RandomSource};
use crate::wire::v1::{Message, Payload};
use crate::wire::{Header, IkeSpi, PayloadType};

use super::super::Refusal;
use super::super::jobs;
use super::super::keys::SealError;
use super::super::phase1::{Authenticated, Exchanged, Extensions, Role, StepCx, Unproven, nonce, only};
use super::super::proposal::{chosen_ike, offer_ike};
use super::{Agreed, Auth, AwaitAuth, Half, message, seal_identity};
use crate::ike_sa::Spis;

/// Message 1 sent: `HDR, SA -->`.
#[derive(Debug)]
pub(crate) struct AwaitSa {
    spi: IkeSpi,
    sa_i: Vec<u8>,
}

/// An acceptable message 2.
#[derive(Debug)]
pub(crate) struct SaAnswer {
    agreed: Agreed,
}

/// Message 2 accepted, our public value is being computed.
#[derive(Debug)]
pub(crate) struct Generating {
    agreed: Agreed,
}

/// Message 3 sent: `HDR, KE, Ni -->`.
#[derive(Debug)]
pub(crate) struct AwaitKe {
    agreed: Agreed,
    private: DhPrivate,
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
}

/// Message 4 accepted, the shared secret is being computed.
#[derive(Debug)]
pub(crate) struct Agreeing {
    agreed: Agreed,
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
    half: Half,
}

impl AwaitSa {
    /// Offers our proposals and announces NAT traversal, DPD and fragmentation.
    pub(crate) fn start<R>(spi: IkeSpi, cx: &StepCx<'_, R>) -> Result<(Self, Vec<u8>), SealError> {
        let sa = Payload::Sa(offer_ike(cx.config, None));
        let sa_i = sa.to_bytes()?;
        let mut payloads = vec![sa];
        payloads.extend(Extensions::announcements(cx.config));
        let spis = Spis {
            initiator: spi,
            responder: IkeSpi::ZERO,
        };
        let datagram = message(spis).payloads(&payloads)?.clear()?;
        Ok((Self { spi, sa_i }, datagram))
    }

    /// `<-- HDR, SA`
    pub(crate) fn judge<R>(
        &self,
        header: &Header,
        message: &Message<'_>,
        cx: &StepCx<'_, R>,
    ) -> Result<SaAnswer, Refusal> {
        let Payload::Sa(sa) = only(message, PayloadType::SA, "no sa payload")? else {
            return Err(Refusal::Drop("no sa payload"));
        };
        if header.responder_spi.is_zero() || header.responder_spi == self.spi {
            return Err(Refusal::Drop("no spi of the responder"));
        }
        let choice = chosen_ike(cx.config, sa).map_err(|diagnosis| Refusal::Report(diagnosis, None))?;
        let agreed = Agreed {
            spis: Spis {
                initiator: self.spi,
                responder: header.responder_spi,
            },
            sa_i: self.sa_i.clone(),
            choice,
            extensions: Extensions::accepted(cx.config, message),
        };
        Ok(SaAnswer { agreed })
    }

    pub(crate) fn on_sa<R: RandomSource>(
        self,
        SaAnswer { agreed }: SaAnswer,
        cx: &mut StepCx<'_, R>,
    ) -> (Generating, KeyExchangeJob) {
        let job = KeyExchangeJob::generate(agreed.choice.proposal.group, cx.rng);
        (Generating { agreed }, job)
    }
}

impl Generating {
    /// `HDR, KE, Ni, NAT-D, NAT-D -->`
    pub(crate) fn on_generated<R: RandomSource>(
        self,
        done: KeyExchangeDone,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(AwaitKe, Vec<u8>), Refusal> {
        let (private, public_i) = jobs::generated(done)?;
        let nonce_i = nonce(cx.rng);
        let agreed = self.agreed;
        let datagram = agreed.write_half(public_i.clone(), nonce_i.clone(), cx)?;
        Ok((
            AwaitKe {
                agreed,
                private,
                public_i,
                nonce_i,
            },
            datagram,
        ))
    }

    pub(crate) const fn spis(&self) -> Spis {
        self.agreed.spis
    }

    pub(crate) const fn extensions(&self) -> Extensions {
        self.agreed.extensions
    }
}

impl AwaitKe {
    /// `<-- HDR, KE, Nr, NAT-D, NAT-D`
    pub(crate) fn judge<R>(&self, message: &Message<'_>, cx: &StepCx<'_, R>) -> Result<Half, Refusal> {
        let half = self.agreed.read_half(message, cx)?;
        if half.public == self.public_i || half.nonce == self.nonce_i {
            return Err(Refusal::Drop("our own message, reflected"));
        }
        Ok(half)
    }

    pub(crate) fn on_ke(self, half: Half) -> (Agreeing, KeyExchangeJob) {
        let job = KeyExchangeJob::agree(self.private, &half.public);
        let agreeing = Agreeing {
            agreed: self.agreed,
            public_i: self.public_i,
            nonce_i: self.nonce_i,
            half,
        };
        (agreeing, job)
    }
}

impl Agreeing {
    /// `HDR*, IDii, HASH_I -->`, to be sent on the floated path when [`AwaitAuth::floats`].
    pub(crate) fn on_agreed<R>(
        self,
        done: KeyExchangeDone,
        cx: &StepCx<'_, R>,
    ) -> Result<(AwaitAuth, Vec<u8>), Refusal> {
        let shared = jobs::agreed(done)?;
        let Half { public, nonce, nat } = self.half;
        let exchanged = Exchanged {
            public_i: self.public_i,
            public_r: public,
            nonce_i: self.nonce_i,
            nonce_r: nonce,
            shared,
        };
        let Agreed {
            spis,
            sa_i,
            choice,
            extensions,
        } = self.agreed;
        let mut unproven = Unproven::derive(cx.config, spis, choice, (extensions, nat), sa_i, exchanged)?;
        let id = cx.config.local_id.to_payload();
        let datagram = seal_identity(&mut unproven, Role::Initiator, id, cx.initial_contact)?;
        let step = AwaitAuth {
            unproven,
            prover: Role::Responder,
        };
        Ok((step, datagram))
    }
}

impl AwaitAuth {
    /// `<-- HDR*, IDir, HASH_R` was authentic.
    pub(crate) fn on_responder_auth(mut self, auth: Auth) -> Authenticated {
        self.unproven.commit(auth.next_iv);
        self.unproven.into_authenticated(&auth.remarks)
    }
}
