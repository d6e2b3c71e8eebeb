//! The gateway's agent.

pub mod net;
pub mod xdp;
