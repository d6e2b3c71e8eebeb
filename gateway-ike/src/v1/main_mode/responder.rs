//! Our side of Main Mode as responder.

use crate::crypto::{DhPrivate, RandomSource, ct_eq};
use crate::wire::v1::{Message, NotifyType, Payload};
use crate::wire::{Header, IkeSpi, PayloadType, vendor};

use super::super::informational::says_initial_contact;
use super::super::keys::{Iv, SealError};
use super::super::nat_traversal::{self, Nat};
use super::super::proposal::{IkeChoice, select_ike};
use super::super::sa::SaKeys;
use super::super::{Refusal, malformed};
use super::{
    Authenticated, Exchanged, Extensions, Role, StepCx, Unproven, announces_dpd, identity_mismatch,
    key_exchange, message, nonce, only, psk_mismatch,
};
use crate::ike_sa::Spis;

/// Message 2 sent: `<-- HDR, SA`.
#[derive(Debug)]
pub(crate) struct AwaitKe {
    spis: Spis,
    sa_i: Vec<u8>,
    choice: IkeChoice,
    extensions: Extensions,
}

/// An acceptable message 3.
pub(crate) struct KeRequest {
    public_i: Vec<u8>,
    nonce_i: Vec<u8>,
    nat: Option<Nat>,
}

/// Message 4 sent: `<-- HDR, KE, Nr`. Only this state holds SKEYID.
#[derive(Debug)]
pub(crate) struct AwaitAuth {
    unproven: Unproven,
}

/// Message 5, found authentic.
pub(crate) struct AuthRequest {
    next_iv: Iv,
    initial_contact: bool,
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
    let sa_i = received
        .of_type(PayloadType::SA)
        .next()
        .map_or(&[][..], |parsed| parsed.raw)
        .to_vec();
    let (choice, answer) = select_ike(cx.config, sa)
        .map_err(|diagnosis| Refusal::Report(diagnosis, Some(NotifyType::NO_PROPOSAL_CHOSEN)))?;
    let nat_traversal = nat_traversal::agree(received);
    let dpd = announces_dpd(received);
    let mut payloads = vec![Payload::Sa(answer)];
    payloads.extend(nat_traversal.map(|(_, id)| Payload::VendorId(id.to_vec())));
    payloads.extend(dpd.then(|| Payload::VendorId(vendor::DPD.to_vec())));
    let spis = Spis {
        initiator: header.initiator_spi,
        responder: spi,
    };
    let datagram = message(spis).payloads(&payloads)?.clear()?;
    let extensions = Extensions {
        nat_traversal: nat_traversal.map(|(numbering, _)| numbering),
        dpd,
    };
    Ok((
        AwaitKe {
            spis,
            sa_i,
            choice,
            extensions,
        },
        datagram,
    ))
}

impl AwaitKe {
    /// `HDR, KE, Ni, NAT-D, NAT-D -->`
    pub(crate) fn judge<R>(&self, message: &Message<'_>, cx: &StepCx<'_, R>) -> Result<KeRequest, Refusal> {
        let (public_i, nonce_i) = key_exchange(message)?;
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
        Ok(KeRequest {
            public_i,
            nonce_i,
            nat,
        })
    }

    /// `<-- HDR, KE, Nr, NAT-D, NAT-D`
    pub(crate) fn on_ke<R: RandomSource>(
        self,
        request: KeRequest,
        cx: &mut StepCx<'_, R>,
    ) -> Result<(AwaitAuth, Vec<u8>), Refusal> {
        let KeRequest {
            public_i,
            nonce_i,
            nat,
        } = request;
        let Self {
            spis,
            sa_i,
            choice,
            extensions,
        } = self;
        let (private, public_r) = DhPrivate::generate(choice.proposal.group, cx.rng);
        let shared = private.agree(&public_i).map_err(|error| {
            Refusal::End(
                malformed(&format!("a key exchange payload that is invalid: {error}")),
                None,
            )
        })?;
        let nonce_r = nonce(cx.rng);
        let mut payloads = vec![Payload::Ke(public_r.clone()), Payload::Nonce(nonce_r.clone())];
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
        let exchanged = Exchanged {
            public_i,
            public_r,
            nonce_i,
            nonce_r,
            shared,
        };
        let unproven = Unproven::derive(cx.config, spis, choice, (nat, extensions.dpd), sa_i, exchanged)?;
        Ok((AwaitAuth { unproven }, datagram))
    }
}

impl AwaitAuth {
    /// `HDR*, IDii, HASH_I -->`
    pub(crate) fn judge<R>(
        &self,
        header: &Header,
        body: &[u8],
        cx: &StepCx<'_, R>,
    ) -> Result<AuthRequest, Refusal> {
        let keys = &self.unproven.keys;
        let opened = keys.open(header, body, Some(keys.cipher.phase_1_iv()))?;
        let unreadable = || Refusal::Report(psk_mismatch(5), Some(NotifyType::PAYLOAD_MALFORMED));
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
        if !ct_eq(&keys.skeyid.hash_i(&self.unproven.transcript(), id_octets), hash) {
            return Err(unreadable());
        }
        if !cx.config.peer_id.matches(id) {
            let notify = NotifyType::INVALID_ID_INFORMATION;
            return Err(Refusal::End(identity_mismatch(cx.config, id), Some(notify)));
        }
        Ok(AuthRequest {
            initial_contact: says_initial_contact(&message),
            next_iv: opened.next_iv,
        })
    }

    /// The keys, to tell a peer whose message 5 was authentic why it is refused all the same.
    pub(crate) fn into_keys_after(self, header: &Header, body: &[u8]) -> SaKeys {
        self.unproven.into_keys_after(header, body)
    }

    /// `<-- HDR*, IDir, HASH_R`
    pub(crate) fn on_auth<R>(
        mut self,
        request: AuthRequest,
        initial_contact: bool,
        cx: &StepCx<'_, R>,
    ) -> Result<(Authenticated, Vec<u8>), SealError> {
        self.unproven.keys.cipher.commit(request.next_iv);
        let id = cx.config.local_id.to_payload();
        let datagram = self
            .unproven
            .seal_identity(Role::Responder, id, initial_contact)?;
        Ok((
            self.unproven.into_authenticated(request.initial_contact),
            datagram,
        ))
    }
}
