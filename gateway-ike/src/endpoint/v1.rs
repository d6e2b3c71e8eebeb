//! IKEv1 in the context of all tunnels: one file per exchange.

mod datagrams;
mod informational;
mod phase1;
mod quick_mode;
mod timeouts;
