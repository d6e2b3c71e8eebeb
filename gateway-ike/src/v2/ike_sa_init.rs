//! IKE_SA_INIT (RFC 7296 section 1.2): algorithms, key exchange, nonces; nobody is authenticated.
//!
//! ```text
//! HDR, SAi1, KEi, Ni  -->
//!                     <--  HDR, SAr1, KEr, Nr
//! ```

pub(crate) mod initiator;
pub(crate) mod responder;

use crate::crypto::{DhError, DhGroup};
use crate::wire::v2::{KePayload, Message, NotifyPayload, NotifyType};

use super::refusal::{Refusal, malformed};

/// KE and nonce of a message.
fn key_exchange<'m>(message: &'m Message<'_>) -> Result<(&'m KePayload, &'m [u8]), Refusal> {
    let ke = message.ke().ok_or(Refusal::Drop("no key exchange payload"))?;
    let nonce = message.nonce().ok_or(Refusal::Drop("no nonce payload"))?;
    Ok((ke, nonce))
}

/// "Use this group" (RFC 7296 section 1.2).
pub(crate) fn invalid_ke(group: DhGroup) -> NotifyPayload {
    NotifyPayload::new(
        NotifyType::INVALID_KE_PAYLOAD,
        group.number().to_be_bytes().to_vec(),
    )
}

/// The group that an INVALID_KE_PAYLOAD asks for.
pub(crate) fn wanted_group(notify: &NotifyPayload) -> Option<DhGroup> {
    let number = <[u8; 2]>::try_from(notify.data.as_slice()).ok()?;
    DhGroup::from_number(u64::from(u16::from_be_bytes(number)))
}

/// A public value that is not worth a job. P8: most are found out without any arithmetic.
pub(crate) fn invalid_public(error: DhError) -> Refusal {
    Refusal::Report(malformed(&format!(
        "a key exchange payload that is invalid: {error}"
    )))
}
