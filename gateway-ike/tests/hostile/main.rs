//! Rows of the attack catalogue that only a peer with the right keys can try: what it sends is authentic, and wrong.
//!
//! The victim has a tunnel with the hostile peer and another one with a neighbour, which must not notice anything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod v1;
mod v1_peer;
mod v2;
mod v2_peer;
mod v2_setup;
mod v2_sync;
mod victim;
