//! Main Mode, the Identity Protection exchange (RFC 2409 section 5.4), authenticated with a pre-shared key.
//!
//! ```text
//!  Initiator                                   Responder
//!  1  HDR, SA, VID...               -->
//!                                   <--  2  HDR, SA, VID...
//!  3  HDR, KE, Ni, NAT-D, NAT-D     -->
//!                                   <--  4  HDR, KE, Nr, NAT-D, NAT-D
//!  5  HDR*, IDii, HASH_I            -->
//!                                   <--  6  HDR*, IDir, HASH_R
//! ```
//!
//! Messages 5 and 6 are encrypted. When a NAT was found the initiator sends message 5 from and to port 4500.

pub(crate) mod initiator;
pub(crate) mod responder;

use crate::config::ConnectionConfig;
use crate::crypto::{RandomSource, SharedSecret};
use crate::diagnosis::{Code, Diagnosis};
use crate::wire::v1::{IdPayload, Message, MessageBuilder, NatNumbering, NotifyType, Payload};
use crate::wire::{ExchangeType, Header, PayloadType};

use super::Refusal;
use super::keys::{Phase1Inputs, Phase1Transcript, SealError, Skeyid};
use super::nat_traversal::Nat;
use super::proposal::IkeChoice;
use super::sa::SaKeys;
use crate::ike_sa::Spis;
use crate::path::Path;

/// Octets of our nonces. RFC 2409 section 5 allows 8 to 256.
const NONCE_LEN: usize = 32;

/// What a step needs beside its own state.
pub(crate) struct StepCx<'a, R> {
    pub(crate) config: &'a ConnectionConfig,
    /// Where the message came from and went to.
    pub(crate) path: Path,
    pub(crate) rng: &'a mut R,
}

/// The result of Main Mode.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) keys: SaKeys,
    pub(crate) choice: IkeChoice,
    /// `None`: the peer does not do NAT traversal.
    pub(crate) nat: Option<Nat>,
    /// The peer answers R-U-THERE.
    pub(crate) dpd: bool,
    /// The peer says that it knows of no older SA with us.
    pub(crate) initial_contact: bool,
}

/// What both ends have after messages 3 and 4: keys that prove nothing yet.
#[derive(Debug)]
struct Unproven {
    keys: SaKeys,
    choice: IkeChoice,
    nat: Option<Nat>,
    dpd: bool,
    sa_i: Vec<u8>,
    public_i: Vec<u8>,
    public_r: Vec<u8>,
}

/// Who sends an identity.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Initiator,
    Responder,
}

/// Key exchange and nonces of both ends.
struct Exchanged {
    public_i: Vec<u8>,
    public_r: Vec<u8>,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    shared: SharedSecret,
}

impl Unproven {
    fn derive(
        config: &ConnectionConfig,
        spis: Spis,
        choice: IkeChoice,
        (nat, dpd): (Option<Nat>, bool),
        sa_i: Vec<u8>,
        exchanged: Exchanged,
    ) -> Result<Self, Refusal> {
        let skeyid = Skeyid::from_pre_shared_key(&Phase1Inputs {
            hash: choice.proposal.hash,
            pre_shared_key: config.psk.expose(),
            initiator_spi: spis.initiator,
            responder_spi: spis.responder,
            nonce_i: &exchanged.nonce_i,
            nonce_r: &exchanged.nonce_r,
            shared: &exchanged.shared,
        });
        let transcript = Phase1Transcript {
            public_i: &exchanged.public_i,
            public_r: &exchanged.public_r,
            initiator_spi: spis.initiator,
            responder_spi: spis.responder,
            sa_i: &sa_i,
        };
        let cipher = skeyid
            .cipher(choice.proposal.encryption, &transcript)
            .map_err(|_misuse| Refusal::Drop("local misuse of a cipher"))?;
        let Exchanged {
            public_i, public_r, ..
        } = exchanged;
        Ok(Self {
            keys: SaKeys { spis, skeyid, cipher },
            choice,
            nat,
            dpd,
            sa_i,
            public_i,
            public_r,
        })
    }

    fn transcript(&self) -> Phase1Transcript<'_> {
        Phase1Transcript {
            public_i: &self.public_i,
            public_r: &self.public_r,
            initiator_spi: self.keys.spis.initiator,
            responder_spi: self.keys.spis.responder,
            sa_i: &self.sa_i,
        }
    }

    /// Message 5 or 6: our identity and the proof.
    fn seal_identity(
        &mut self,
        role: Role,
        id: IdPayload,
        initial_contact: bool,
    ) -> Result<Vec<u8>, SealError> {
        let id_octets = id.to_bytes();
        let hash = match role {
            Role::Initiator => self.keys.skeyid.hash_i(&self.transcript(), &id_octets),
            Role::Responder => self.keys.skeyid.hash_r(&self.transcript(), &id_octets),
        };
        let mut payloads = vec![Payload::Id(id), Payload::Hash(hash)];
        if initial_contact {
            payloads.push(self.keys.notify(NotifyType::INITIAL_CONTACT, Vec::new()));
        }
        let builder = message(self.keys.spis).payloads(&payloads)?;
        let iv = self.keys.cipher.phase_1_iv().clone();
        let (datagram, next) = self.keys.cipher.seal(&iv, builder)?;
        self.keys.cipher.commit(next);
        Ok(datagram)
    }

    /// The chain of IVs has moved on past a message that was authentic though refused: what we say next continues there.
    fn into_keys_after(mut self, header: &Header, body: &[u8]) -> SaKeys {
        if let Ok(opened) = self.keys.open(header, body, Some(self.keys.cipher.phase_1_iv())) {
            self.keys.cipher.commit(opened.next_iv);
        }
        self.keys
    }

    fn into_authenticated(self, initial_contact: bool) -> Authenticated {
        let Self {
            keys,
            choice,
            nat,
            dpd,
            ..
        } = self;
        Authenticated {
            keys,
            choice,
            nat,
            dpd,
            initial_contact,
        }
    }
}

/// The one payload of `kind` that a message must have.
fn only<'m>(
    message: &'m Message<'_>,
    kind: PayloadType,
    missing: &'static str,
) -> Result<&'m Payload, Refusal> {
    let mut found = message.of_type(kind);
    match (found.next(), found.next()) {
        (Some(parsed), None) => Ok(&parsed.payload),
        (Some(_), Some(_)) | (None, _) => Err(Refusal::Drop(missing)),
    }
}

/// KE and nonce of message 3 or 4.
fn key_exchange(message: &Message<'_>) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let Payload::Ke(public) = only(message, PayloadType::KE, "no key exchange payload")? else {
        return Err(Refusal::Drop("no key exchange payload"));
    };
    let Payload::Nonce(nonce) = only(message, PayloadType::NONCE, "no nonce payload")? else {
        return Err(Refusal::Drop("no nonce payload"));
    };
    Ok((public.clone(), nonce.clone()))
}

/// A nonce of ours.
fn nonce(rng: &mut impl RandomSource) -> Vec<u8> {
    let mut nonce = vec![0; NONCE_LEN];
    rng.fill(&mut nonce);
    nonce
}

/// Messages 5 and 6 are only readable with the same key on both ends.
fn psk_mismatch(message: u8) -> Diagnosis {
    Diagnosis::new(
        Code::PskMismatch,
        "tunnel has another pre-shared key",
        format!("peer's main mode message {message} does not decrypt to what it must contain"),
        "set the same psk on both sides; mind a trailing newline or another encoding",
    )
}

/// The peer has the key and says to be somebody else.
fn identity_mismatch(config: &ConnectionConfig, theirs: &IdPayload) -> Diagnosis {
    let peer = match (theirs.address(), theirs.name()) {
        (Some(address), _) => format!("peer identifies itself as {address}"),
        (None, Some(name)) => format!("peer identifies itself as {name}"),
        (None, None) => format!(
            "peer identifies itself with {:?} of {} octets",
            theirs.id_type,
            theirs.data.len()
        ),
    };
    Diagnosis::new(
        Code::IdentityMismatch,
        format!("tunnel expects {}", config.peer_id),
        peer,
        "set ike.peer_id to what the peer sends, or the peer's own identity to what is expected here",
    )
}

/// What an error notification in the clear suggests while we wait for message 2, 4 or 6. Whoever sees our messages can forge it.
pub(crate) fn suggested_by_peer(config: &ConnectionConfig, notify: NotifyType, waiting_for: u8) -> Diagnosis {
    if waiting_for == 2 && notify == NotifyType::NO_PROPOSAL_CHOSEN {
        return super::proposal::ike_refused_by_peer(config);
    }
    if waiting_for == 6 {
        return Diagnosis::new(
            Code::PskMismatch,
            "tunnel's pre-shared key or identity is not what the peer expects",
            format!("peer answers main mode message 5 with {}", notify_name(notify)),
            "set the same psk on both sides; check ike.local_id",
        );
    }
    Diagnosis::new(
        Code::PeerRefused,
        format!("tunnel waits for main mode message {waiting_for}"),
        format!("peer answers with {}", notify_name(notify)),
        "read the peer's log: it knows why it refuses",
    )
}

/// "NO-PROPOSAL-CHOSEN", as the RFC writes it.
pub(crate) fn notify_name(notify: NotifyType) -> String {
    notify.to_string().replace('_', "-")
}

/// Starts messages 1 to 4.
fn message(spis: Spis) -> MessageBuilder {
    spis.message(ExchangeType::IDENTITY_PROTECTION, 0)
}

/// Whether the peer announces DPD (RFC 3706 section 5.1).
fn announces_dpd(message: &Message<'_>) -> bool {
    message
        .of_type(PayloadType::VENDOR_ID)
        .any(|parsed| crate::wire::vendor::name(parsed.raw) == Some("DPD"))
}

/// The dialect of NAT traversal and DPD, as agreed on in messages 1 and 2.
#[derive(Clone, Copy, Debug)]
struct Extensions {
    nat_traversal: Option<NatNumbering>,
    dpd: bool,
}
