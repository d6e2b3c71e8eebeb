//! Payloads of IKEv2: RFC 7296 section 3, encrypted fragments (RFC 7383), additional key exchanges (RFC 9370).
//!
//! A datagram is read in three steps: the header, the chain in the clear, and behind [`Message::encrypted`] the chain that
//! `v2::sk` decrypts.
//!
//! ```
//! use gateway_ike::crypto::{Encryption, Hash, SeededRandom};
//! use gateway_ike::v2::sk::{SkAlgorithms, SkKeys};
//! use gateway_ike::wire::v2::{Message, MessageBuilder, NotifyType, Payload};
//! use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi};
//!
//! // The keys of one direction; `v2::keys` derives them.
//! let algorithms = SkAlgorithms::new(Encryption::Aes128Gcm16, Hash::Sha2_256);
//! let mut keys = SkKeys::new(algorithms, &[7; 20], &[])?;
//!
//! // Build and seal a request.
//! let (spi_i, spi_r) = (IkeSpi([1; 8]), IkeSpi([2; 8]));
//! let message = MessageBuilder::new(spi_i, spi_r, ExchangeType::INFORMATIONAL, 5, Flags::INITIATOR)
//!     .payload(&Payload::notify(NotifyType::INITIAL_CONTACT))?;
//! let datagram = keys.seal(message, &mut SeededRandom::new([0; 32]))?;
//!
//! // Parse and open it.
//! let (header, body) = Header::parse(&datagram)?;
//! let outer = Message::parse(header.next_payload, body)?;
//! let encrypted = outer.encrypted.ok_or("not encrypted")?;
//! let opened = keys.open(&datagram, &encrypted)?;
//! let inner = Message::parse_decrypted(opened.first, &opened.chain)?;
//! assert!(inner.notify(NotifyType::INITIAL_CONTACT).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What an attacker may repeat has a cap, and payloads of which an exchange has at most one (SA, KE, nonce, identities, AUTH,
//! traffic selectors) are refused when they come twice, so that the accessors of [`Message`] are unambiguous.

mod builder;
mod id;
mod message;
mod notify;
mod payload;
mod registry;
mod sa;
mod ts;

pub use builder::MessageBuilder;
pub use id::IdPayload;
pub use message::{Encrypted, Fragment, Message, ParsedPayload};
pub use notify::{DeletePayload, NotifyPayload};
pub use payload::{AuthPayload, KePayload, Payload};
pub use registry::{AuthMethod, EncryptionId, Esn, IntegrityId, NotifyType, PrfId, TransformType, TsType};
pub use sa::{Proposal, SaPayload, Transform, UnknownAttribute};
pub use ts::{TrafficSelector, TsPayload};

/// Payloads that we read in one chain. The largest message that a peer has reason to send (IKE_AUTH with many notifications) has
/// about 30.
pub const MAX_PAYLOADS: usize = 64;
/// Proposals that we read in one SA payload. Windows sends about 20.
pub const MAX_PROPOSALS: usize = 64;
/// Transforms that we read in one SA payload, over all its proposals.
pub const MAX_TRANSFORMS: usize = 512;
/// SPIs that we read in one Delete payload.
pub const MAX_DELETED_SPIS: usize = 1024;
/// Octets of the longest SPI that a notification may name: IKEv2 knows 0, 4 and 8, some peers write both IKE SPIs.
pub const MAX_SPI_LEN: usize = 16;
/// Octets of a nonce (RFC 7296 section 3.9).
pub const NONCE_LEN: std::ops::RangeInclusive<usize> = 16..=256;
/// Octets of the generic payload header.
pub const GENERIC_HEADER_LEN: usize = 4;
