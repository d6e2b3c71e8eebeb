//! Our side of Main Mode as initiator.

use crate::crypto::{DhPrivate, RandomSource, ct_eq};
use crate::diagnosis::{Code, Diagnosis};
use crate::wire::v1::{Message, NotifyType, Payload};
use crate::wire::{Header, IkeSpi, PayloadType, vendor};

use super::super::Refusal;
use super::super::informational::says_initial_contact;
use super::super::keys::{Iv, SealError};
use super::super::malformed;
use super::super::nat_traversal::{self, Nat};
use super::super::proposal::{IkeChoice, chosen_ike, offer_ike};
use super::super::sa::SaKeys;
use super::{
    Authenticated, Exchanged, Extensions, Role, StepCx, Unproven, announces_dpd, identity_mismatch,
    key_exchange, message, nonce, only, psk_mismatch,
};
use crate::ike_sa::Spis;

/// Message 1 sent: `HDR, SA -->`.
#[derive(Debug)]
pub(crate) struct AwaitSa {
    spi: IkeSpi,
    sa_i: Vec<u8>,
}

/// An acceptable message 2.
pub(crate) struct SaAnswer {
    spis: Spis,
    choice: IkeChoice,
    extensions: Extensions,
}

/// Message 3 sent: `HDR, KE, Ni -->`.
#[derive(Debug)]
pub(crate) struct AwaitKe {
    spis: Spis,
    sa_i: Vec<u8>,
    choice: IkeChoice,
    extensions: Extensions,
    private: DhPrivate,
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
}

/// An acceptable message 4.
pub(crate) struct KeAnswer {
    public_r: Vec<u8>,
    nonce_r: Vec<u8>,
    nat: Option<Nat>,
}

/// Message 5 sent: `HDR*, IDii, HASH_I -->`. Only this state holds SKEYID.
#[derive(Debug)]
pub(crate) struct AwaitAuth {
    unproven: Unproven,
}

/// Message 6, found authentic.
pub(crate) struct AuthAnswer {
    next_iv: Iv,
    initial_contact: bool,
}

impl AwaitSa {
    /// Offers our proposals and announces NAT traversal and DPD.
    pub(crate) fn start<R>(spi: IkeSpi, cx: &StepCx<'_, R>) -> Result<(Self, Vec<u8>), SealError> {
        let sa = Payload::Sa(offer_ike(cx.config));
        let sa_i = sa.to_bytes()?;
        let mut payloads = vec![sa];
        payloads.extend(nat_traversal::announcements());
        payloads.push(Payload::VendorId(vendor::DPD.to_vec()));
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
        let spis = Spis {
            initiator: self.spi,
            responder: header.responder_spi,
        };
        let nat_traversal = nat_traversal::agree(message).map(|(numbering, _)| numbering);
        Ok(SaAnswer {
            spis,
            choice,
            extensions: Extensions {
                nat_traversal,
                dpd: announces_dpd(message),
            },
        })
    }

    /// `HDR, KE, Ni, NAT-D, NAT-D -->`
    pub(crate) fn on_sa<R: RandomSource>(
        self,
        answer: SaAnswer,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(AwaitKe, Vec<u8>), SealError> {
        let SaAnswer {
            spis,
            choice,
            extensions,
        } = answer;
        let (private, public_i) = DhPrivate::generate(choice.proposal.group, cx.rng);
        let nonce_i = nonce(cx.rng);
        let mut payloads = vec![Payload::Ke(public_i.clone()), Payload::Nonce(nonce_i.clone())];
        if let Some(numbering) = extensions.nat_traversal {
            let fake = cx.config.force_udp_encapsulation;
            payloads.extend(nat_traversal::payloads(
                numbering,
                choice.proposal.hash,
                spis,
                cx.path,
                fake,
                cx.rng,
            ));
        }
        let datagram = message(spis).payloads(&payloads)?.clear()?;
        Ok((
            AwaitKe {
                spis,
                sa_i: self.sa_i,
                choice,
                extensions,
                private,
                public_i,
                nonce_i,
            },
            datagram,
        ))
    }
}

impl AwaitKe {
    pub(crate) const fn spis(&self) -> Spis {
        self.spis
    }

    /// `<-- HDR, KE, Nr, NAT-D, NAT-D`
    pub(crate) fn judge<R>(&self, message: &Message<'_>, cx: &StepCx<'_, R>) -> Result<KeAnswer, Refusal> {
        let (public_r, nonce_r) = key_exchange(message)?;
        if public_r == self.public_i || nonce_r == self.nonce_i {
            return Err(Refusal::Drop("our own message, reflected"));
        }
        let nat = self.extensions.nat_traversal.map(|numbering| {
            let fake = cx.config.force_udp_encapsulation;
            nat_traversal::detect(
                numbering,
                message,
                self.choice.proposal.hash,
                self.spis,
                cx.path,
                fake,
            )
        });
        Ok(KeAnswer {
            public_r,
            nonce_r,
            nat,
        })
    }

    /// `HDR*, IDii, HASH_I -->`, to be sent on the floated path when [`AwaitAuth::floats`].
    pub(crate) fn on_ke<R>(
        self,
        answer: KeAnswer,
        initial_contact: bool,
        cx: &StepCx<'_, R>,
    ) -> Result<(AwaitAuth, Vec<u8>), Refusal> {
        let KeAnswer {
            public_r,
            nonce_r,
            nat,
        } = answer;
        let shared = self.private.agree(&public_r).map_err(|error| {
            Refusal::End(
                malformed(&format!("a key exchange payload that is invalid: {error}")),
                None,
            )
        })?;
        let exchanged = Exchanged {
            public_i: self.public_i,
            public_r,
            nonce_i: self.nonce_i,
            nonce_r,
            shared,
        };
        let mut unproven = Unproven::derive(
            cx.config,
            self.spis,
            self.choice,
            (nat, self.extensions.dpd),
            self.sa_i,
            exchanged,
        )?;
        let datagram =
            unproven.seal_identity(Role::Initiator, cx.config.local_id.to_payload(), initial_contact)?;
        Ok((AwaitAuth { unproven }, datagram))
    }
}

impl AwaitAuth {
    pub(crate) const fn keys(&self) -> &SaKeys {
        &self.unproven.keys
    }

    /// Whether a NAT was found, so that message 5 and all that follows takes port 4500.
    pub(crate) fn floats(&self) -> bool {
        self.unproven.nat.is_some_and(Nat::found)
    }

    /// `<-- HDR*, IDir, HASH_R`
    pub(crate) fn judge<R>(
        &self,
        header: &Header,
        body: &[u8],
        cx: &StepCx<'_, R>,
    ) -> Result<AuthAnswer, Refusal> {
        let keys = &self.unproven.keys;
        let opened = keys.open(header, body, Some(keys.cipher.phase_1_iv()))?;
        let unreadable = || Refusal::Report(psk_mismatch(6), None);
        let message = opened.message().map_err(|_malformed| unreadable())?;
        let Ok(Payload::Id(id)) = only(&message, PayloadType::ID, "no identity") else {
            return Err(unreadable());
        };
        let Ok(Payload::Hash(hash)) = only(&message, PayloadType::HASH, "no hash") else {
            return Err(unreadable());
        };
        let id_octets = message
            .of_type(PayloadType::ID)
            .next()
            .map_or(&[][..], |parsed| parsed.raw);
        if !ct_eq(&keys.skeyid.hash_r(&self.unproven.transcript(), id_octets), hash) {
            return Err(unreadable());
        }
        if !cx.config.peer_id.matches(id) {
            let notify = NotifyType::INVALID_ID_INFORMATION;
            return Err(Refusal::End(identity_mismatch(cx.config, id), Some(notify)));
        }
        Ok(AuthAnswer {
            initial_contact: says_initial_contact(&message),
            next_iv: opened.next_iv,
        })
    }

    pub(crate) fn on_auth(mut self, answer: AuthAnswer) -> Authenticated {
        self.unproven.keys.cipher.commit(answer.next_iv);
        self.unproven.into_authenticated(answer.initial_contact)
    }

    /// The keys, to tell a peer whose message 6 was authentic why it is refused all the same.
    pub(crate) fn into_keys_after(self, header: &Header, body: &[u8]) -> SaKeys {
        self.unproven.into_keys_after(header, body)
    }

    /// The peer did not answer message 5 at all.
    pub(crate) fn silence(sent: u32) -> Diagnosis {
        Diagnosis::new(
            Code::PskMismatch,
            format!("tunnel sent main mode message 5 {sent} times"),
            "peer answers up to message 4 and is silent from there",
            "most devices are silent when the pre-shared keys or identities differ: check psk, ike.local_id and, with a NAT in \
             between, that UDP port 4500 is open",
        )
    }
}
