//! The control loop: desired and actual state, and the only writer of the maps, the worker tables and the engine.
//!
//! ```text
//! configuration, peers, workers, operator, clock --> Agent (one enum of inputs) --> Core --> Fabric: XDP maps, worker tables
//!                                                                                     |--> gateway-ike --> transmits
//! ```

mod agent;
mod convert;
mod core;
mod defense;
mod detach;
mod events;
mod fabric;
mod kernel;
mod key_exchange;
mod managed;
pub(crate) mod management;
mod plan;
mod probe;
mod process;
mod routes;
mod service_manager;
mod slots;
mod spd;
mod start;
mod start_error;
mod strangers;
#[cfg(test)]
mod testing;
mod timeline;
mod tunnel;

pub use agent::sentence;
pub use detach::{DetachError, detach};
pub use start::run;
pub use start_error::StartError;
