//! Packets through [`process_batch`] without a kernel: one gateway that is its own peer.

mod conservation;
mod outcomes;
mod world;
