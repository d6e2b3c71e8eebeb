//! IKE_AUTH with a pre-shared key (RFC 7296 section 1.2): both ends prove who they are, and the first Child SA.
//!
//! ```text
//! HDR, SK {IDi, IDr, AUTH, SAi2, TSi, TSr}  -->
//!                                           <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
//! ```

pub(crate) mod initiator;
pub(crate) mod responder;

use std::net::IpAddr;

use crate::config::{ConnectionConfig, Identity, IkeProposal};
use crate::diagnosis::{Code, Diagnosis};
use crate::path::NatSides;
use crate::wire::IdType;
use crate::wire::v2::{AuthPayload, IdPayload, Message, NotifyType};

use super::Role;
use super::auth::AuthError;
use super::channel::Channel;
use super::message_id_sync::Known;
use super::refusal::Refusal;
use super::setup::Keyed;

/// The result of IKE_AUTH: an IKE SA between ends that know each other.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) channel: Channel,
    pub(crate) proposal: IkeProposal,
    pub(crate) nat: NatSides,
    /// The peer says that it knows of no older SA with us.
    pub(crate) initial_contact: bool,
    /// What the peer knows of RFC 6311; we know all of it.
    pub(crate) sync: Known,
    /// Message IDs of the first requests of either end after IKE_AUTH: those of the original initiator count on.
    pub(crate) next_id: u32,
}

impl Authenticated {
    fn new(keyed: Keyed, message: &Message<'_>) -> Self {
        Self {
            nat: keyed.extensions.nat.unwrap_or_default(),
            channel: keyed.channel,
            proposal: keyed.proposal,
            initial_contact: message.notify(NotifyType::INITIAL_CONTACT).is_some(),
            sync: Known {
                message_ids: message
                    .notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED)
                    .is_some(),
                counters: message
                    .notify(NotifyType::IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED)
                    .is_some(),
            },
            next_id: keyed.next_id.wrapping_add(1),
        }
    }
}

/// An identity as the wire has it (RFC 7296 section 3.5).
fn to_payload(identity: &Identity) -> IdPayload {
    match identity {
        Identity::Ipv4(address) => IdPayload::from_address(IpAddr::V4(*address)),
        Identity::Fqdn(name) => IdPayload::new(IdType::FQDN, name.as_bytes()),
        Identity::UserFqdn(name) => IdPayload::new(IdType::USER_FQDN, name.as_bytes()),
        Identity::KeyId(octets) => IdPayload::new(IdType::KEY_ID, octets),
    }
}

/// Whether the wire's identity is the configured one. Names compare as DNS names do.
fn matches(identity: &Identity, theirs: &IdPayload) -> bool {
    let named = |id_type, name: &str| {
        theirs.id_type == id_type
            && theirs
                .name()
                .is_some_and(|theirs| theirs.eq_ignore_ascii_case(name))
    };
    match identity {
        Identity::Ipv4(address) => theirs.address() == Some(IpAddr::V4(*address)),
        Identity::Fqdn(name) => named(IdType::FQDN, name),
        Identity::UserFqdn(name) => named(IdType::USER_FQDN, name),
        Identity::KeyId(octets) => theirs.id_type == IdType::KEY_ID && theirs.data == *octets,
    }
}

/// Judges the peer's proof and its identity, in this order: what it says it is means nothing before.
///
/// S4, S5, S15: nothing of the message is looked at besides.
fn judge_proof(
    keyed: &Keyed,
    config: &ConnectionConfig,
    id: (&IdPayload, &[u8]),
    auth: Option<&AuthPayload>,
    ike_auth_id: u32,
) -> Result<(), Refusal> {
    let prover = keyed.channel.role.other();
    let (theirs, octets) = id;
    let failed = |diagnosis| Refusal::end(diagnosis, NotifyType::AUTHENTICATION_FAILED);
    let Some(auth) = auth else {
        return Err(failed(Diagnosis::new(
            Code::ExchangeRefused,
            "tunnel authenticates with a pre-shared key",
            "peer sends no auth payload: it wants eap",
            "set the peer to authenticate with a pre-shared key",
        )));
    };
    let int_auth = keyed.int_auth(ike_auth_id);
    match keyed.signed(prover, config, octets, &int_auth).verify(auth) {
        Ok(()) => {}
        Err(AuthError::Method(method)) => {
            return Err(failed(Diagnosis::new(
                Code::ExchangeRefused,
                "tunnel authenticates with a pre-shared key",
                format!("peer authenticates with {method}"),
                "set the peer to authenticate with a pre-shared key",
            )));
        }
        Err(AuthError::NotAuthentic) => {
            return Err(failed(Diagnosis::new(
                Code::PskMismatch,
                format!(
                    "tunnel expects {} to prove the configured pre-shared key",
                    config.peer_id
                ),
                format!("peer {} proves another one", describe(theirs)),
                "make the pre-shared key the same on both sides: a blank or a line end at its end counts",
            )));
        }
    }
    if matches(&config.peer_id, theirs) {
        return Ok(());
    }
    Err(failed(Diagnosis::new(
        Code::IdentityMismatch,
        format!("tunnel expects {}", config.peer_id),
        format!("peer identifies itself as {}", describe(theirs)),
        "set ike.peer_id to what the peer sends, or the peer's identity to what is expected here",
    )))
}

/// An identity of the peer, for people.
fn describe(id: &IdPayload) -> String {
    if let Some(address) = id.address() {
        return address.to_string();
    }
    id.name().map_or_else(
        || {
            let octets: String = id
                .data
                .iter()
                .take(32)
                .map(|octet| format!("{octet:02x}"))
                .collect();
            format!("{}:{octets}", id.id_type)
        },
        str::to_owned,
    )
}

/// Our identification payload of either role, as it travels.
fn own_id(config: &ConnectionConfig, role: Role) -> (crate::wire::v2::Payload, IdPayload) {
    use crate::wire::v2::Payload;
    let id = to_payload(&config.local_id);
    let payload = match role {
        Role::Initiator => Payload::IdI(id.clone()),
        Role::Responder => Payload::IdR(id.clone()),
    };
    (payload, id)
}
