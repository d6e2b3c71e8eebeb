//! IKEv1 in the context of all tunnels: one file per exchange.

mod informational;
mod main_mode;
mod quick_mode;
mod timeouts;
