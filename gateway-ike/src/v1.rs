//! IKEv1: RFC 2407, 2408, 2409.
//!
//! One file per exchange. Each step of an exchange is a type. A step first *judges* a message, borrowed: what was not proven to
//! come from the peer can at most be refused there, the step goes on waiting. A message that was accepted then *consumes* the
//! step and yields the next one.

pub(crate) mod aggressive;
pub(crate) mod dpd;
pub(crate) mod fragments;
pub(crate) mod informational;
pub(crate) mod isakmp_sa;
mod jobs;
pub mod keys;
pub(crate) mod main_mode;
pub(crate) mod nat_traversal;
pub(crate) mod phase1;
pub(crate) mod proposal;
pub(crate) mod quick_mode;
pub(crate) mod sa;
pub(crate) mod volume;

use crate::crypto::CbcError;
use crate::diagnosis::{Code, Diagnosis};
use crate::wire::WireError;
use crate::wire::v1::NotifyType;

use keys::SealError;

/// Why a message does not advance its exchange.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It proves nothing and says nothing useful: dropped and counted.
    Drop(&'static str),
    /// It shows the operator what is wrong, but nobody has proven to have sent it: reported, and the step goes on waiting.
    Report(Diagnosis, Option<NotifyType>),
    /// The peer, authenticated, has ended the exchange or sent something that ends it.
    End(Diagnosis, Option<NotifyType>),
}

impl Refusal {
    /// The same for a message of an authenticated peer.
    fn proven(self) -> Self {
        match self {
            Self::Report(diagnosis, notify) => {
                Self::End(diagnosis, notify.or(Some(NotifyType::PAYLOAD_MALFORMED)))
            }
            Self::Drop(_) | Self::End(..) => self,
        }
    }
}

impl From<WireError> for Refusal {
    fn from(_: WireError) -> Self {
        Self::Drop("malformed payload")
    }
}

impl From<SealError> for Refusal {
    fn from(_: SealError) -> Self {
        Self::Drop("local misuse of the message builder")
    }
}

impl From<CbcError> for Refusal {
    fn from(error: CbcError) -> Self {
        SealError::from(error).into()
    }
}

/// A message that contradicts the protocol though the peer has proven itself.
pub(crate) fn malformed(what: &str) -> Diagnosis {
    Diagnosis::new(
        Code::Malformed,
        "nothing here needs a change",
        format!("peer sent {what}"),
        "look for an update of the peer's software, and report the log to its vendor",
    )
}
