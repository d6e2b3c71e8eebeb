//! Two endpoints, virtual time, a network that does what a seed says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod aggressive;
mod attacks;
mod attacks_v2;
mod crossings;
mod diagnosis;
mod establish;
mod field;
mod hints;
mod life;
mod net;
mod node;
mod rekey;
mod renewals_v1;
mod repeats;
mod setup;
mod simulation;
mod storm;
mod v2;
