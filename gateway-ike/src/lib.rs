//! The IKE engine: IKEv1 (and the shape for IKEv2) without sockets, clocks or operating system randomness.
//!
//! [`Endpoint`] is the engine: datagrams, time and commands go in, [`Event`]s and [`Transmit`]s come out. [`wire`] turns octets
//! into messages and back, [`crypto`] holds the primitives, [`v1`] the exchanges of IKEv1.

mod child;
pub mod config;
pub mod crypto;
pub mod diagnosis;
mod endpoint;
pub mod event;
mod half_open;
mod ike_sa;
mod jobs;
mod outbox;
mod path;
mod policy;
mod timer;
mod tunnel;
mod unknown_spi;
pub mod v1;
pub mod v2;
pub mod wire;

pub use diagnosis::{Code, Diagnosis};
pub use endpoint::{Endpoint, EndpointConfig};
pub use event::{Event, Transmit, TransmitKind};
pub use jobs::JobId;
pub use policy::{RekeyPolicy, RetransmitPolicy};
