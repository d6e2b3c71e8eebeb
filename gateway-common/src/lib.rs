//! Vocabulary shared by the XDP program and the userspace agent.
//!
//! `no_std`, no dependencies of ours. [`Spi`] is a domain number; [`abi`] is the contract between the kernel program and the
//! agent: map keys and values, packet metadata, verdicts.
#![no_std]

pub mod abi;
mod spi;

pub use spi::Spi;
