//! The Informational exchange: one message without an answer (RFC 2409 section 5.7).
//!
//! V4: once keys exist nothing is looked at before its hash was verified, and what comes in the clear tears nothing down.

use gateway_common::Spi;

use crate::wire::v1::{
    DeletePayload, Doi, LifeAttributes, Lifetimes, Message, NotifyPayload, NotifyType, Payload,
};
use crate::wire::{Header, PayloadType, ProtocolId};

use super::Refusal;
use super::sa::SaKeys;
use crate::ike_sa::Spis;

/// SPIs that we name in one Delete payload; what one peer accepts another may not.
const MAX_SPIS_PER_DELETE: usize = 64;

/// One thing that an authenticated peer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It has deleted the IPsec SAs with these SPIs, which are our outbound ones.
    DeletedEsp(Vec<Spi>),
    /// It has deleted these ISAKMP SAs.
    DeletedIke(Vec<Spis>),
    /// It knows of no older SA with us.
    InitialContact,
    /// It wants to know whether we are there.
    AreYouThere(u32),
    /// It is there.
    IAmHere(u32),
    /// It refuses something of ours; the SPI names what, if it does.
    Error(NotifyType, Option<Spi>),
    /// The responder keeps this ISAKMP SA for a shorter time than was agreed on.
    Lifetime(Lifetimes),
    /// The peer, which set the commit bit, has installed its half of the SAs with this SPI, which may be ours or its own.
    Connected(Option<Spi>),
    /// Anything else.
    Other(NotifyType),
}

/// Decrypts and authenticates a message, and says what it contains.
pub(crate) fn read(keys: &SaKeys, header: &Header, body: &[u8]) -> Result<Vec<Said>, Refusal> {
    let opened = keys.open(header, body, None)?;
    let message = opened.message()?;
    keys.check_hash_1(header.message_id, &message)?;
    let mut said = Vec::new();
    for parsed in &message.payloads {
        match &parsed.payload {
            Payload::Delete(delete) => said.extend(read_delete(delete)),
            Payload::Notify(notify) => said.extend(read_notify(notify, keys.spis)),
            Payload::Sa(_)
            | Payload::Ke(_)
            | Payload::Id(_)
            | Payload::Hash(_)
            | Payload::Nonce(_)
            | Payload::VendorId(_)
            | Payload::NatD { .. }
            | Payload::NatOa(_)
            | Payload::Unknown { .. } => {}
        }
    }
    Ok(said)
}

/// The first error of a message in the clear: a hint and no more.
pub(crate) fn read_hint(message: &Message<'_>) -> Option<NotifyType> {
    notifications(message)
        .map(|notify| notify.notify_type)
        .find(|notify_type| notify_type.is_error())
}

/// The SPI that an INVALID-SPI names: a hint and no more. RFC 2408 section 3.14 has a field for it; some peers leave that empty and put
/// the SPI into the data.
pub(crate) fn read_invalid_spi(message: &Message<'_>) -> Option<Spi> {
    let mut named = notifications(message)
        .filter(|notify| notify.notify_type == NotifyType::INVALID_SPI && notify.protocol == ProtocolId::ESP);
    let notify = named.next()?;
    esp_spi(if notify.spi.is_empty() {
        &notify.data
    } else {
        &notify.spi
    })
}

/// Whether a message that was found authentic has an INITIAL-CONTACT (RFC 2407 section 4.6.3.3).
pub(crate) fn says_initial_contact(message: &Message<'_>) -> bool {
    notifications(message).any(|notify| notify.notify_type == NotifyType::INITIAL_CONTACT)
}

/// The lifetimes of the ISAKMP SA that the responder of a message found authentic announces (RFC 2407 section 4.6.3.1).
pub(crate) fn announced_lifetimes(message: &Message<'_>) -> Lifetimes {
    notifications(message)
        .filter(|notify| {
            notify.notify_type == NotifyType::RESPONDER_LIFETIME && notify.protocol == ProtocolId::IKE
        })
        .find_map(|notify| Lifetimes::from_notify_data(&notify.data, LifeAttributes::IKE).ok())
        .unwrap_or_default()
}

/// Delete payloads for our inbound SPIs.
pub(crate) fn delete_esp(spis: &[Spi]) -> impl Iterator<Item = Payload> {
    spis.chunks(MAX_SPIS_PER_DELETE).map(|chunk| {
        Payload::Delete(DeletePayload {
            doi: Doi::IPSEC,
            protocol: ProtocolId::ESP,
            spis: chunk.iter().map(|spi| spi.to_be_bytes().to_vec()).collect(),
        })
    })
}

/// A notification about the peer's proposal with this SPI.
pub(crate) fn notify_esp(notify_type: NotifyType, spi: Option<Spi>) -> Payload {
    Payload::Notify(NotifyPayload {
        doi: Doi::IPSEC,
        protocol: ProtocolId::ESP,
        spi: spi.map(|spi| spi.to_be_bytes().to_vec()).unwrap_or_default(),
        notify_type,
        data: Vec::new(),
    })
}

fn notifications<'m>(message: &'m Message<'_>) -> impl Iterator<Item = &'m NotifyPayload> {
    message
        .of_type(PayloadType::NOTIFY)
        .filter_map(|parsed| match &parsed.payload {
            Payload::Notify(notify) => Some(notify),
            Payload::Sa(_)
            | Payload::Ke(_)
            | Payload::Id(_)
            | Payload::Hash(_)
            | Payload::Nonce(_)
            | Payload::Delete(_)
            | Payload::VendorId(_)
            | Payload::NatD { .. }
            | Payload::NatOa(_)
            | Payload::Unknown { .. } => None,
        })
}

fn read_delete(delete: &DeletePayload) -> Option<Said> {
    match delete.protocol {
        ProtocolId::ESP => Some(Said::DeletedEsp(
            delete.spis.iter().filter_map(|spi| esp_spi(spi)).collect(),
        )),
        ProtocolId::IKE => Some(Said::DeletedIke(
            delete.spis.iter().filter_map(|spi| ike_spis(spi)).collect(),
        )),
        _ => None,
    }
}

fn read_notify(notify: &NotifyPayload, spis: Spis) -> Option<Said> {
    let about_us = notify.spi == spis.joined();
    let number = || {
        <[u8; 4]>::try_from(notify.data.as_slice())
            .ok()
            .map(u32::from_be_bytes)
    };
    match notify.notify_type {
        NotifyType::INITIAL_CONTACT => Some(Said::InitialContact),
        // V5: the SPIs and the number must be there and be right.
        NotifyType::R_U_THERE if about_us => number().map(Said::AreYouThere),
        NotifyType::R_U_THERE_ACK if about_us => number().map(Said::IAmHere),
        NotifyType::R_U_THERE | NotifyType::R_U_THERE_ACK => None,
        NotifyType::RESPONDER_LIFETIME if notify.protocol == ProtocolId::IKE => {
            let lifetimes = Lifetimes::from_notify_data(&notify.data, LifeAttributes::IKE);
            lifetimes.ok().map(Said::Lifetime)
        }
        NotifyType::CONNECTED => Some(Said::Connected(esp_spi(&notify.spi))),
        error if error.is_error() => Some(Said::Error(error, esp_spi(&notify.spi))),
        other => Some(Said::Other(other)),
    }
}

fn esp_spi(octets: &[u8]) -> Option<Spi> {
    Spi::from_be_bytes(<[u8; 4]>::try_from(octets).ok()?)
}

fn ike_spis(octets: &[u8]) -> Option<Spis> {
    let (initiator, responder) = octets.split_first_chunk::<8>()?;
    let responder = <[u8; 8]>::try_from(responder).ok()?;
    Some(Spis {
        initiator: crate::wire::IkeSpi(*initiator),
        responder: crate::wire::IkeSpi(responder),
    })
}
