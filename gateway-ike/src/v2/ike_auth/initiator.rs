//! IKE_AUTH as the end that starts.

use gateway_common::Spi;

use crate::child::NewChild;
use crate::config::ConnectionConfig;
use crate::crypto::RandomSource;
use crate::diagnosis::{Code, Diagnosis};
use crate::tunnel::Want;
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};
use crate::wire::{ExchangeType, PayloadType};

use super::super::Role;
use super::super::channel::Received;
use super::super::child_sa::{self, KeySource};
use super::super::proposal::EspTerms;
use super::super::refusal::{Refusal, invalid_syntax};
use super::super::setup::Keyed;
use super::{Authenticated, judge_proof, own_id, to_payload};

/// `HDR, SK {IDi, IDr, AUTH, SAi2, TSi, TSr} -->` is on its way.
#[derive(Debug)]
pub(crate) struct AwaitAnswer {
    pub(crate) keyed: Box<Keyed>,
    pub(crate) want: Want,
    /// Our inbound SPI of the first Child SA.
    pub(crate) spi: Spi,
}

/// What the answer makes.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) authenticated: Authenticated,
    /// The first Child SA, or why there is none although the IKE SA is.
    pub(crate) child: Result<NewChild, Diagnosis>,
}

impl AwaitAnswer {
    /// `HDR, SK {IDi, IDr, AUTH, SAi2, TSi, TSr} -->`
    pub(crate) fn start(
        mut keyed: Box<Keyed>,
        config: &ConnectionConfig,
        want: Want,
        spi: Spi,
        initial_contact: bool,
        rng: &mut impl RandomSource,
    ) -> Result<(Self, Vec<Vec<u8>>), Refusal> {
        let (id, _) = own_id(config, Role::Initiator);
        let octets = id.to_bytes()?;
        let int_auth = keyed.int_auth(keyed.next_id);
        let auth = keyed.signed(Role::Initiator, config, &octets, &int_auth).prove();
        let mut payloads = vec![id, Payload::IdR(to_payload(&config.peer_id)), Payload::Auth(auth)];
        payloads.extend(child_sa::offer(EspTerms::in_ike_auth(config), want, spi));
        if initial_contact {
            payloads.push(Payload::notify(NotifyType::INITIAL_CONTACT));
        }
        payloads.push(Payload::notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED));
        payloads.push(Payload::notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED));
        payloads.push(Payload::notify(NotifyType::IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED));
        let name = (ExchangeType::IKE_AUTH, keyed.next_id, false);
        let datagrams = keyed.channel.message(name, &payloads, rng)?;
        Ok((Self { keyed, want, spi }, datagrams))
    }

    /// Judges an authentic answer. Only a proof makes it more than a message of whoever answered IKE_SA_INIT.
    pub(crate) fn judge(&self, received: &Received, config: &ConnectionConfig) -> Result<(), Refusal> {
        let message = received.message()?;
        let Some(id) = message.id_r() else {
            return Err(match message.error() {
                Some(error) => Refusal::End(refused(config, error), None),
                None => invalid_syntax("an answer to ike_auth without identity"),
            });
        };
        let octets = message.raw(PayloadType::V2_ID_R).unwrap_or_default();
        judge_proof(
            &self.keyed,
            config,
            (id, octets),
            message.auth(),
            self.keyed.next_id,
        )
    }

    /// The answer was accepted.
    pub(crate) fn on_answer(self, message: &Message<'_>, config: &ConnectionConfig) -> Outcome {
        let agreed = child_sa::judge_answer(
            config,
            EspTerms::in_ike_auth(config),
            self.want,
            self.spi,
            message,
        );
        let (nonce_i, nonce_r) = self.keyed.nonces();
        let source = KeySource {
            nonce_i,
            nonce_r,
            shared: None,
        };
        let keys = &self.keyed.channel.keys;
        let child = agreed.map(|agreed| agreed.into_child(config, keys, true, source, self.want.replaces));
        Outcome {
            authenticated: Authenticated::new(*self.keyed, message),
            child,
        }
    }
}

/// The peer refuses all. It has the keys of IKE_SA_INIT, so this is whoever answered there.
fn refused(config: &ConnectionConfig, error: &NotifyPayload) -> Diagnosis {
    let peer = format!("peer answers ike_auth with {}", error.notify_type);
    if error.notify_type == NotifyType::AUTHENTICATION_FAILED {
        return Diagnosis::new(
            Code::PskMismatch,
            format!(
                "tunnel proves its pre-shared key as {} and asks for {}",
                config.local_id, config.peer_id
            ),
            peer,
            "make the pre-shared key the same on both sides, ike.local_id what the peer expects, and ike.peer_id what it calls itself",
        );
    }
    Diagnosis::new(
        Code::PeerRefused,
        format!("tunnel identifies itself as {}", config.local_id),
        peer,
        "read the peer's log: it knows why it refuses",
    )
}
