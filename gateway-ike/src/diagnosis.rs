//! Why a negotiation failed, in words an operator can act on.

use std::fmt;

/// Stable code of a failure: label of a metric, key of the documentation. Never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// No packet came back.
    NoResponse,
    /// The peer refused all of our IKE proposals, or offered none that we allow.
    IkeProposalMismatch,
    /// The peer refused all of our ESP proposals, or offered none that we allow.
    EspProposalMismatch,
    /// The additional key exchange differs (PFS off here and on there, or another group).
    PfsMismatch,
    /// The peer asks for ranges that no rule has.
    SelectorMismatch,
    /// The first encrypted message does not decrypt: the pre-shared keys differ.
    PskMismatch,
    /// The peer proved another identity than the configured one.
    IdentityMismatch,
    /// No tunnel is configured for this address.
    UnknownPeer,
    /// The peer wants an exchange that the tunnel does not allow.
    ExchangeRefused,
    /// A message contradicts the protocol.
    Malformed,
    /// The peer sent an error notification that says no more.
    PeerRefused,
    /// The peer does not answer any longer.
    PeerDead,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 12] = [
        Self::NoResponse,
        Self::IkeProposalMismatch,
        Self::EspProposalMismatch,
        Self::PfsMismatch,
        Self::SelectorMismatch,
        Self::PskMismatch,
        Self::IdentityMismatch,
        Self::UnknownPeer,
        Self::ExchangeRefused,
        Self::Malformed,
        Self::PeerRefused,
        Self::PeerDead,
    ];

    /// The name in metrics, JSON and the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoResponse => "no_response",
            Self::IkeProposalMismatch => "ike_proposal_mismatch",
            Self::EspProposalMismatch => "esp_proposal_mismatch",
            Self::PfsMismatch => "pfs_mismatch",
            Self::SelectorMismatch => "selector_mismatch",
            Self::PskMismatch => "psk_mismatch",
            Self::IdentityMismatch => "identity_mismatch",
            Self::UnknownPeer => "unknown_peer",
            Self::ExchangeRefused => "exchange_refused",
            Self::Malformed => "malformed",
            Self::PeerRefused => "peer_refused",
            Self::PeerDead => "peer_dead",
        }
    }
}

/// A failure with what an operator needs to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Stable code.
    pub code: Code,
    /// What we have: "tunnel allows aes-128/sha1/group14".
    pub local: String,
    /// What the peer sent: "peer offers 3des/md5/group2". Free of control characters and of bounded length.
    pub peer: String,
    /// What to change: "set ike.encryption = \"3des\" ... or have the peer offer ...".
    pub advice: String,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}: {}", self.code.name(), self.peer, self.local, self.advice)
    }
}
