//! IKE_AUTH as the end that answers.

use gateway_common::Spi;

use crate::child::NewChild;
use crate::config::ConnectionConfig;
use crate::crypto::RandomSource;
use crate::diagnosis::Diagnosis;
use crate::wire::v2::{NotifyType, Payload};
use crate::wire::{ExchangeType, PayloadType};

use super::super::Role;
use super::super::channel::Received;
use super::super::child_sa::{self, KeySource};
use super::super::proposal::EspTerms;
use super::super::refusal::{Refusal, invalid_syntax};
use super::super::setup::Keyed;
use super::{Authenticated, judge_proof, own_id};

/// What the request makes.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) authenticated: Authenticated,
    /// The first Child SA, or why there is none although the IKE SA is.
    pub(crate) child: Result<NewChild, Diagnosis>,
    /// `<-- HDR, SK {IDr, AUTH, SAr2, TSi, TSr}`
    pub(crate) answer: Vec<Vec<u8>>,
}

/// Judges an authentic `HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr} -->`.
pub(crate) fn judge(keyed: &Keyed, received: &Received, config: &ConnectionConfig) -> Result<(), Refusal> {
    let message = received.message()?;
    let id = message
        .id_i()
        .ok_or_else(|| invalid_syntax("ike_auth without identity"))?;
    let octets = message.raw(PayloadType::V2_ID_I).unwrap_or_default();
    judge_proof(
        keyed,
        config,
        (id, octets),
        message.auth(),
        received.header.message_id,
    )
}

/// `<-- HDR, SK {IDr, AUTH, SAr2, TSi, TSr}`. `spi` is our inbound SPI of the first Child SA.
pub(crate) fn answer(
    mut keyed: Box<Keyed>,
    received: &Received,
    config: &ConnectionConfig,
    spi: Spi,
    rng: &mut impl RandomSource,
) -> Result<Outcome, Refusal> {
    let message = received.message()?;
    let message_id = received.header.message_id;
    keyed.next_id = message_id;
    let (id, _) = own_id(config, Role::Responder);
    let octets = id.to_bytes()?;
    let int_auth = keyed.int_auth(message_id);
    let auth = keyed.signed(Role::Responder, config, &octets, &int_auth).prove();
    let mut payloads = vec![id, Payload::Auth(auth)];
    let child = match child_sa::judge_request(config, EspTerms::in_ike_auth(config), spi, &message) {
        Ok((agreed, answer)) => {
            payloads.extend(answer);
            let (nonce_i, nonce_r) = keyed.nonces();
            let source = KeySource {
                nonce_i,
                nonce_r,
                shared: None,
            };
            Ok(agreed.into_child(config, &keyed.channel.keys, false, source, None))
        }
        Err(refused) => {
            payloads.push(Payload::Notify(refused.notify));
            Err(refused.diagnosis)
        }
    };
    payloads.push(Payload::notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED));
    let mut authenticated = Authenticated::new(*keyed, &message);
    if authenticated.sync.message_ids {
        payloads.push(Payload::notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED));
    }
    if authenticated.sync.counters {
        payloads.push(Payload::notify(NotifyType::IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED));
    }
    let name = (ExchangeType::IKE_AUTH, message_id, true);
    let answer = authenticated.channel.message(name, &payloads, rng)?;
    Ok(Outcome {
        authenticated,
        child,
        answer,
    })
}
