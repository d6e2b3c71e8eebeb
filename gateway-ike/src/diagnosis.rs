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
    /// The peer does not speak the version of IKE that the tunnel initiates.
    VersionMismatch,
    /// A message contradicts the protocol.
    Malformed,
    /// The peer sent an error notification that says no more.
    PeerRefused,
    /// The peer does not answer any longer.
    PeerDead,
    /// An SA carried all that it may before a successor was there: its traffic stops, RFC 4303 section 3.3.3.
    SaExhausted,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 14] = [
        Self::NoResponse,
        Self::IkeProposalMismatch,
        Self::EspProposalMismatch,
        Self::PfsMismatch,
        Self::SelectorMismatch,
        Self::PskMismatch,
        Self::IdentityMismatch,
        Self::UnknownPeer,
        Self::ExchangeRefused,
        Self::VersionMismatch,
        Self::Malformed,
        Self::PeerRefused,
        Self::PeerDead,
        Self::SaExhausted,
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
            Self::VersionMismatch => "version_mismatch",
            Self::Malformed => "malformed",
            Self::PeerRefused => "peer_refused",
            Self::PeerDead => "peer_dead",
            Self::SaExhausted => "sa_exhausted",
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

/// Octets of the longest text that a peer may put into a diagnosis.
const MAX_TEXT: usize = 240;

impl Diagnosis {
    /// Puts a diagnosis together. Texts are cut to a bounded length and cleaned of what could disturb a log or a terminal.
    pub fn new(
        code: Code,
        local: impl Into<String>,
        peer: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            code,
            local: sanitise(&local.into()),
            peer: sanitise(&peer.into()),
            advice: advice.into(),
        }
    }
}

/// Printable ASCII of `text`, everything else as `?`, bounded in length.
pub(crate) fn sanitise(text: &str) -> String {
    let clean = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let mut out: String = text.chars().take(MAX_TEXT).map(clean).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push_str("...");
    }
    out
}

/// Alternatives of the peer that a diagnosis names.
const MAX_DESCRIBED: usize = 6;

/// Joins descriptions without repetitions, and says how many were left out.
pub(crate) fn describe_all(descriptions: impl Iterator<Item = String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    let mut left_out = 0;
    for description in descriptions {
        if distinct.contains(&description) {
            continue;
        }
        if distinct.len() == MAX_DESCRIBED {
            left_out += 1;
        } else {
            distinct.push(description);
        }
    }
    let mut text = if distinct.is_empty() {
        "nothing".to_owned()
    } else {
        distinct.join(", ")
    };
    if left_out > 0 {
        text.push_str(&format!(" and {left_out} more"));
    }
    text
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; {}: {}",
            self.code.name(),
            self.peer,
            self.local,
            self.advice
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_cannot_disturb_a_log_line() {
        let peer = format!("peer is \u{1b}[31m\nroot\0{}", "x".repeat(1000));
        let diagnosis = Diagnosis::new(Code::IdentityMismatch, "tunnel", peer, "change it");
        assert!(diagnosis.peer.starts_with("peer is ?[31m?root?xxx"));
        assert!(diagnosis.peer.len() <= MAX_TEXT + 3);
        assert!(
            diagnosis
                .to_string()
                .bytes()
                .all(|octet| octet == b' ' || octet.is_ascii_graphic())
        );
    }

    #[test]
    fn codes_have_distinct_names() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
