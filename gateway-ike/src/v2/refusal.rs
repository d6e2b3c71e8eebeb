//! Why a message does not do what its sender wants.

use crate::diagnosis::{Code, Diagnosis};
use crate::wire::WireError;
use crate::wire::v2::{NotifyPayload, NotifyType};

use super::sk::SkError;

/// Why a message does not advance its exchange.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It proves nothing and says nothing useful: dropped and counted.
    Drop(&'static str),
    /// It shows the operator what is wrong, but nobody has proven to have sent it: reported, and the step goes on waiting
    /// (RFC 7296 section 2.21.1).
    Report(Diagnosis),
    /// The peer, authenticated, has ended the exchange or sent something that ends it. The notification tells it why.
    End(Diagnosis, Option<NotifyPayload>),
}

impl Refusal {
    /// Ends the exchange and says so with a notification that has no data.
    pub(crate) fn end(diagnosis: Diagnosis, notify: NotifyType) -> Self {
        Self::End(diagnosis, Some(NotifyPayload::new(notify, Vec::new())))
    }
}

impl From<WireError> for Refusal {
    fn from(_: WireError) -> Self {
        Self::Drop("malformed message")
    }
}

impl From<SkError> for Refusal {
    fn from(_: SkError) -> Self {
        Self::Drop("local misuse of the message builder")
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

/// Authentic, and not what the protocol says.
pub(crate) fn invalid_syntax(what: &str) -> Refusal {
    Refusal::end(malformed(what), NotifyType::INVALID_SYNTAX)
}

/// What the sender of an authentic message is told that does not parse (RFC 7296 sections 2.5 and 2.21).
pub(crate) fn unreadable(error: &WireError) -> NotifyPayload {
    match error {
        WireError::CriticalPayload { payload } => {
            NotifyPayload::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![payload.0])
        }
        WireError::Truncated { .. }
        | WireError::BadLength { .. }
        | WireError::TooMany { .. }
        | WireError::Unexpected { .. }
        | WireError::Unsupported { .. } => NotifyPayload::new(NotifyType::INVALID_SYNTAX, Vec::new()),
    }
}
