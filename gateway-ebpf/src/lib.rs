//! The decisions of the XDP program, free of BPF.
//!
//! [`judge`] turns a packet and the maps into one [`Decision`]. It sees the packet through [`Packet`], whose reads are checked,
//! and the maps through [`Tables`]; the BPF entry in `main.rs` implements both over the kernel's objects and the tests over plain
//! memory, so the code that runs in the kernel is the code that the tests run.
//!
//! ```text
//! parse -> public side: classify by SPI -+-> police -> dispatch
//!       |              \-> no SA: shield
//!       \-> VPC side: classify by SPD ---+-> police -> dispatch
//! ```
//!
//! Everything is `#[inline(always)]`: the program is one function, as the verifier likes it best.
#![no_std]

#[cfg(any(test, feature = "cases"))]
extern crate std;

#[cfg(any(test, feature = "cases"))]
pub mod cases;
mod classify;
mod dispatch;
mod flow;
mod packet;
mod parse;
mod police;
mod shield;
mod tables;

use gateway_common::abi::{IFACE_ROLE_NONE, IFACE_ROLE_PUBLIC, IFACE_ROLE_VPC, IfaceValue, Verdict};

pub use dispatch::{Decision, Redirect};
pub use flow::{FLOW_SLOTS, FlowEntry};
pub use packet::{Packet, Word};
pub use tables::{SharedCell, Tables};

/// Decides about one packet that came in on the interface `iface`, on the RX queue `queue`.
#[inline(always)]
pub fn judge(
    packet: &(impl Packet + ?Sized),
    iface: &IfaceValue,
    queue: u32,
    tables: &impl Tables,
) -> Decision {
    let outcome = match iface.role {
        IFACE_ROLE_PUBLIC => public_side(packet, iface, queue, tables),
        IFACE_ROLE_VPC => vpc_side(packet, iface, queue, tables),
        IFACE_ROLE_NONE => Err(Verdict::Bypass),
        _ => Err(Verdict::Internal),
    };
    match outcome {
        Ok(redirect) => Decision::Redirect(redirect),
        Err(verdict) => Decision::Final(verdict),
    }
}

#[inline(always)]
fn public_side(
    packet: &(impl Packet + ?Sized),
    iface: &IfaceValue,
    queue: u32,
    tables: &impl Tables,
) -> Result<Redirect, Verdict> {
    let ip = parse::ipv4(packet)?;
    let Some(own) = tables.local_addr(ip.dst) else {
        return Err(classify::cleartext(&ip, iface, tables));
    };
    let esp = match parse::local(packet, &ip) {
        Ok(parse::Local::Esp(esp)) => esp,
        Ok(parse::Local::Ike) => return Err(shield::ike(own.shield, ip.src, tables)),
        Ok(parse::Local::Other) => {
            shield::other(own.shield, ip.src, tables)?;
            return Err(classify::cleartext(&ip, iface, tables));
        }
        Err(Verdict::Fragment) => {
            shield::other(own.shield, ip.src, tables)?;
            return Err(Verdict::Fragment);
        }
        Err(verdict) => return Err(verdict),
    };
    let Some(sa) = classify::inbound(&ip, &esp, tables) else {
        let verdict = shield::unknown_spi(own.shield, ip.src, tables);
        if verdict == Verdict::UnknownSpi {
            tables.note_unknown_spi(ip.src, ip.dst, esp.spi);
        }
        return Err(verdict);
    };
    dispatch::require_worker(iface, queue)?;
    let size = u64::from(ip.total_len).saturating_sub(sa.overhead.into());
    police::police(sa.gateway_limiter, sa.tunnel_limiter, size, tables)?;
    Ok(dispatch::inbound(iface, queue, &ip, &esp, &sa))
}

#[inline(always)]
fn vpc_side(
    packet: &(impl Packet + ?Sized),
    iface: &IfaceValue,
    queue: u32,
    tables: &impl Tables,
) -> Result<Redirect, Verdict> {
    let ip = parse::ipv4(packet)?;
    let policy = classify::outbound(&ip, iface, tables)?;
    dispatch::require_worker(iface, queue)?;
    police::police(
        policy.gateway_limiter,
        policy.tunnel_limiter,
        ip.total_len.into(),
        tables,
    )?;
    Ok(dispatch::outbound(iface, queue, &ip, &policy))
}
