//! The agent of the gateway: everything around the two pure engines `gateway-ike` and `gateway-esp`.
//!
//! [`config`] turns a file into values with nothing left to check; [`control`] makes them true.

pub mod cli;
pub mod config;
pub mod control;
pub mod control_socket;
pub mod dataplane;
pub mod ike_io;
pub mod metrics;
pub mod net;
pub mod status;
pub mod xdp;
pub mod xsk;
