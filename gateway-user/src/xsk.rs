//! AF_XDP over libc: packet memory, rings and sockets.
//!
//! Memory is one [`Umem`] per worker, cut into chunks. A [`Frame`] is the ownership of one chunk: it is neither `Clone` nor `Copy`,
//! and at any time it is in exactly one place: the [`FramePool`], a queue of the worker, or the kernel (fill, RX, TX and
//! completion rings). [`Rings`] moves frames between the process and the kernel and counts them; [`Xsk`] is the socket around it.
//!
//! The kernel's side of the contract is `Documentation/networking/af_xdp.rst`.

#![allow(
    unsafe_code,
    reason = "shared memory with the kernel and socket options that no safe crate covers"
)]

mod ring;
mod rings;
mod socket;
mod umem;

pub use ring::{Consumer, Producer};
pub use rings::{RingCounts, Rings};
pub use socket::{Kick, RingStatistics, Xsk, XskError, XskSizes};
pub use umem::{Frame, FramePool, Umem, XDP_HEADROOM};
