//! What the failures of phase 1 mean, in words an operator can act on.

use std::net::SocketAddrV4;

use crate::config::ConnectionConfig;
use crate::diagnosis::{Code, Diagnosis};
use crate::wire::v1::{IdPayload, NotifyType};

use super::super::proposal;

/// Names a message: "main mode message 5".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) &'static str, pub(crate) u8);

impl Named {
    /// The message before.
    pub(crate) const fn before(self) -> Self {
        Self(self.0, self.1.saturating_sub(1))
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} message {}", self.0, self.1)
    }
}

/// Main Mode's last messages are only readable with the same key on both ends.
pub(in crate::v1) fn unreadable(message: Named) -> Diagnosis {
    psk_mismatch(format!(
        "peer's {message} does not decrypt to what it must contain"
    ))
}

/// Aggressive Mode's proof travels in the clear, or under keys that a wrong key shares.
pub(in crate::v1) fn wrong_hash(message: Named) -> Diagnosis {
    psk_mismatch(format!("peer's {message} carries the hash of another key"))
}

fn psk_mismatch(peer: String) -> Diagnosis {
    Diagnosis::new(
        Code::PskMismatch,
        "tunnel has another pre-shared key",
        peer,
        "set the same psk on both sides; mind a trailing newline or another encoding",
    )
}

/// The peer has the key and says to be somebody else.
pub(super) fn identity_mismatch(config: &ConnectionConfig, theirs: &IdPayload) -> Diagnosis {
    Diagnosis::new(
        Code::IdentityMismatch,
        format!("tunnel expects {}", config.peer_id),
        format!("peer identifies itself as {}", describe_identity(theirs)),
        "set ike.peer_id to what the peer sends, or the peer's own identity to what is expected here",
    )
}

fn describe_identity(id: &IdPayload) -> String {
    match (id.address(), id.name()) {
        (Some(address), _) => address.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => format!("{:?} of {} octets", id.id_type, id.data.len()).to_lowercase(),
    }
}

/// What an error notification suggests that comes while we wait for `waiting_for`. Whoever sees our messages can forge it.
pub(crate) fn suggested_by_peer(
    config: &ConnectionConfig,
    notify: NotifyType,
    waiting_for: Named,
) -> Diagnosis {
    let Named(mode, number) = waiting_for;
    let sent = waiting_for.before();
    if number == 2 && notify == NotifyType::NO_PROPOSAL_CHOSEN {
        return proposal::ike_refused_by_peer(config);
    }
    let says = format!("peer answers {sent} with {}", notify_name(notify));
    let proves = sent.1 == 5 || mode == AGGRESSIVE;
    if proves && notify != NotifyType::NO_PROPOSAL_CHOSEN {
        return Diagnosis::new(
            Code::PskMismatch,
            "tunnel's pre-shared key or identity is not what the peer expects",
            says,
            "set the same psk on both sides; check ike.local_id",
        );
    }
    Diagnosis::new(
        Code::PeerRefused,
        format!("tunnel waits for {waiting_for}"),
        format!("peer answers with {}", notify_name(notify)),
        "read the peer's log: it knows why it refuses",
    )
}

/// The peer did not answer `sent`, which was sent `times`.
pub(super) fn silence(sent: Named, times: u32, peer: SocketAddrV4) -> Diagnosis {
    match sent {
        Named(MAIN, 5) => Diagnosis::new(
            Code::PskMismatch,
            format!("tunnel sent {sent} {times} times"),
            "peer answers up to message 4 and is silent from there",
            "most devices are silent when the pre-shared keys or identities differ: check psk, ike.local_id and, with a NAT in \
             between, that UDP port 4500 is open",
        ),
        Named(AGGRESSIVE, _) => Diagnosis::new(
            Code::NoResponse,
            format!("sent {sent} {times} times to {peer}"),
            "peer does not answer",
            "check that the peer is reachable, that UDP ports 500 and 4500 are open on the way, that it has a tunnel for our \
             address and ike.local_id, and that it allows aggressive mode",
        ),
        Named(..) => Diagnosis::new(
            Code::NoResponse,
            format!("sent {sent} {times} times to {peer}"),
            "peer does not answer",
            "check that the peer is reachable, that UDP ports 500 and 4500 are open on the way, and that it has a tunnel for our \
             address",
        ),
    }
}

/// Name of Main Mode in diagnoses and status.
pub(in crate::v1) const MAIN: &str = "main mode";
/// Name of Aggressive Mode in diagnoses and status.
pub(crate) const AGGRESSIVE: &str = "aggressive mode";

/// "NO-PROPOSAL-CHOSEN", as the RFC writes it.
pub(crate) fn notify_name(notify: NotifyType) -> String {
    notify.to_string().replace('_', "-")
}
