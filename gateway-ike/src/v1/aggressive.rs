//! Aggressive Mode (RFC 2409 section 5.4), authenticated with a pre-shared key.
//!
//! ```text
//!  Initiator                                        Responder
//!  1  HDR, SA, KE, Ni, IDii, VID...   -->
//!                                     <--  2  HDR, SA, KE, Nr, IDir, HASH_R, VID..., NAT-D, NAT-D
//!  3  HDR*, HASH_I, NAT-D, NAT-D      -->
//! ```
//!
//! Whoever receives message 2 can try pre-shared keys on HASH_R at leisure (V2), so a tunnel uses this exchange only when it says so.
//! Identities and HASH_R travel in the clear. When a NAT was found the initiator sends message 3 from and to port 4500.

pub(crate) mod initiator;
pub(crate) mod responder;

use crate::wire::ExchangeType;
use crate::wire::v1::MessageBuilder;

use crate::ike_sa::Spis;

/// Starts a message.
fn message(spis: Spis) -> MessageBuilder {
    spis.message(ExchangeType::AGGRESSIVE, 0)
}
