//! Why octets do not parse, or a message cannot be written.

use super::PayloadType;

/// A malformed datagram, or a message whose parts exceed what the format can carry.
///
/// Carries names and numbers only, never octets of the peer, so it is safe to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The data ends inside `what`.
    #[error("{what} needs {needed} octets, {have} left")]
    Truncated {
        /// The field or structure being read.
        what: &'static str,
        /// Octets that it needs.
        needed: usize,
        /// Octets that are left.
        have: usize,
    },
    /// A length or count field contradicts the data around it.
    #[error("{what} has the impossible length or count {got}")]
    BadLength {
        /// The field or structure.
        what: &'static str,
        /// The value that it has.
        got: usize,
    },
    /// More elements than we are willing to read, or than the format can carry.
    #[error("more than {limit} {what}")]
    TooMany {
        /// The repeated element.
        what: &'static str,
        /// Our cap.
        limit: usize,
    },
    /// An element that must not stand here: a payload of the other IKE version, a transform outside a proposal.
    #[error("{what} {got} is out of place")]
    Unexpected {
        /// The field.
        what: &'static str,
        /// Its value.
        got: u32,
    },
    /// A payload that its sender wants understood or the message refused, and that we do not know: IKEv2 answers a request with
    /// UNSUPPORTED_CRITICAL_PAYLOAD and this number (RFC 7296 section 2.5).
    #[error("unknown critical payload {}", payload.0)]
    CriticalPayload {
        /// Its number.
        payload: PayloadType,
    },
    /// Well formed as far as we can tell, in a dialect that we do not read (a DOI, a situation).
    #[error("unsupported {what} {got}")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// Its value.
        got: u32,
    },
}
