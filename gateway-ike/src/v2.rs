//! IKEv2 (RFC 7296): the pure functions that its exchanges are made of.
//!
//! [`keys`] derives, [`sk`] seals and opens messages, [`auth`] proves identities, [`proposal`] and [`selectors`] negotiate,
//! [`nat_detection`] and [`cookie`] are what their names say. Nothing here knows an exchange or holds state beyond one message.

pub mod auth;
pub(crate) mod channel;
pub(crate) mod child_sa;
pub mod cookie;
pub(crate) mod counter_sync;
pub(crate) mod create_child_sa;
pub(crate) mod ike_auth;
pub(crate) mod ike_intermediate;
pub(crate) mod ike_sa;
pub(crate) mod ike_sa_init;
pub mod keys;
pub(crate) mod message_id_sync;
pub mod nat_detection;
pub mod proposal;
pub(crate) mod refusal;
pub(crate) mod rekey_ike_sa;
pub mod selectors;
pub(crate) mod setup;
pub mod sk;

/// Who sent the first message of the IKE SA. It keeps the role for the IKE SA's life, whoever starts later exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The original initiator: SK_ai, SK_ei, SK_pi.
    Initiator,
    /// The original responder: SK_ar, SK_er, SK_pr.
    Responder,
}

impl Role {
    /// The other end's role.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}
