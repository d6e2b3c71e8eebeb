//! IKEv2 between two of our own ends.

mod diagnosis;
mod establish;
mod life;
mod rekey;
