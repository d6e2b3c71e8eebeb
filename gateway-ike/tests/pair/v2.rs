//! IKEv2 between two of our own ends.

mod collisions;
mod diagnosis;
mod establish;
mod failover;
mod life;
mod rekey;
