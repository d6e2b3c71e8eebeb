//! Wire formats: the ISAKMP header that IKEv1 and IKEv2 share, and the payloads of each version.
//!
//! Everything is read through [`Reader`], which cannot over-read, and every length is checked where it is read. Parsing is linear
//! in the size of the datagram and allocates in proportion to it; what an attacker may repeat (payloads, proposals, transforms,
//! attributes, SPIs) has a cap. Parse and emit of one format sit side by side, and emitting what was parsed gives the same octets.

mod attribute;
mod cursor;
mod error;
mod header;
mod registry;
pub mod v1;
pub mod v2;
pub mod vendor;

pub use attribute::{Attribute, MAX_ATTRIBUTES};
pub use cursor::{LengthSlot, Reader, Writer};
pub use error::WireError;
pub use header::{Flags, Header, IkeSpi, Version};
pub(crate) use registry::open_number;
pub use registry::{ExchangeType, IdType, PayloadType, ProtocolId};
