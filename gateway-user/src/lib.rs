//! The gateway's agent.

pub mod net;
