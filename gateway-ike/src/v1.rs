//! IKEv1: RFC 2407, 2408, 2409.

pub mod keys;
