//! The XDP program: the kernel's packet, maps and helpers under the decisions of the library.
//!
//! Built for `bpfel-unknown-none` by the build script of gateway-user; on the host an empty program.
#![cfg_attr(
    target_arch = "bpf",
    no_std,
    no_main,
    feature(core_intrinsics, asm_experimental_arch)
)]
#![cfg_attr(
    target_arch = "bpf",
    allow(
        internal_features,
        reason = "the only way to a compare-and-swap: core's atomics have none on BPF"
    )
)]

#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod program;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
