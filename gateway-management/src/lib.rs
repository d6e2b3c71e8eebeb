//! Management of the gateway: objects, the store that keeps them, the rules between them, and the API in front.
//!
//! ```text
//!  API v2, API 3.0     one front end each: words of the wire, no rules       api
//!        |
//!    Management        one function per operation, all rules, audit          service
//!        |
//!      Store           typed rows in SQLite, secrets encrypted               store
//!        |
//!   trait Agent        told of changes, asked what is up                     the agent implements it
//! ```
//!
//! This crate knows neither the IKE engine nor the data plane. Stored tunnels leave it as sections of the configuration file
//! ([`desired`]), so that one reader and one set of rules decide what the agent runs.

pub mod alarm;
pub mod algorithms;
pub mod api;
pub mod declaration;
pub mod defense;
pub mod desired;
pub mod download;
pub mod error;
pub mod excerpt;
pub mod health;
pub mod lease;
pub mod monitor;
pub mod objects;
pub mod price;
pub mod psk;
pub mod service;
pub mod site;
pub mod spd;
pub mod store;
pub mod time;
pub mod values;

pub use error::{Error, Kind};
pub use lease::Lease;
pub use service::{Actor, Agent, Health, LiveTunnel, Management, Nobody, Sample};
pub use site::Site;
pub use store::Store;
pub use time::Timestamp;
