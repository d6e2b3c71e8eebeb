//! Payloads of IKEv1: RFC 2408 (ISAKMP), RFC 2407 (IPsec DOI), RFC 2409 (IKE), RFC 3947 (NAT traversal), RFC 3706 (DPD).

mod attribute;
mod builder;
mod id;
mod message;
mod notify;
mod payload;
mod registry;
mod sa;

pub use super::attribute::{Attribute, MAX_ATTRIBUTES};
pub use attribute::{LifeAttributes, Lifetimes};
pub use builder::MessageBuilder;
pub use id::IdPayload;
pub use message::{Message, ParsedPayload, Protection};
pub use notify::{DeletePayload, NotifyPayload};
pub use payload::{NatNumbering, NatOa, Payload};
pub use registry::{
    AuthAlgorithm, AuthMethod, Doi, EncapsulationMode, EspTransform, IkeAttribute, IkeEncryption, IkeHash,
    IkeTransform, IpsecAttribute, LifeType, NotifyType, Situation,
};
pub use sa::{Proposal, SaPayload, Transform};

/// Payloads that we read in one message. The largest message that a peer has reason to send (Main Mode 1 with every vendor id
/// known) has about 30.
pub const MAX_PAYLOADS: usize = 64;
/// Proposals that we read in one SA payload.
pub const MAX_PROPOSALS: usize = 32;
/// Transforms that we read in one SA payload, over all its proposals.
pub const MAX_TRANSFORMS: usize = 255;
/// SPIs that we read in one Delete payload.
pub const MAX_DELETED_SPIS: usize = 128;
/// Octets of the longest SPI: the two cookies of an ISAKMP SA (RFC 2408 section 3.5).
pub const MAX_SPI_LEN: usize = 16;
