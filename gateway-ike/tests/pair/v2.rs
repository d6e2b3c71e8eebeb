//! IKEv2 between two of our own ends.

mod establish;
mod rekey;
