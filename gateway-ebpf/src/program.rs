//! Entry, counting and the way to the worker.

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT},
    helpers::bpf_xdp_adjust_meta,
    macros::xdp,
    programs::XdpContext,
};
use gateway_common::abi::{Action, IFACE_ROLE_NONE, PacketMeta, Verdict};
use gateway_ebpf::{Decision, Redirect, judge};

use crate::kernel::{COUNTERS, IFACES, KernelPacket, KernelTables, XSKS, increment};

/// Read by the loader from the object before anything is loaded.
#[unsafe(no_mangle)]
static ABI_VERSION: u32 = gateway_common::abi::ABI_VERSION;

/// Helpers such as `bpf_ktime_get_ns` are for programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Judges one packet.
#[xdp]
pub(crate) fn gateway(ctx: XdpContext) -> u32 {
    // SAFETY: the kernel hands in a valid context.
    let ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
    let queue = ctx.rx_queue_index();
    let Some(iface) = IFACES.get(ifindex) else {
        // The loader attaches to no interface beyond the map. Should it happen, nothing gets through in the clear.
        return XDP_DROP;
    };
    if iface.role == IFACE_ROLE_NONE {
        return XDP_PASS;
    }
    let verdict = match judge(&KernelPacket(&ctx), iface, queue, &KernelTables) {
        Decision::Final(verdict) => verdict,
        Decision::Redirect(redirect) => hand_over(&ctx, &redirect),
    };
    increment(
        &COUNTERS,
        iface
            .slot
            .wrapping_mul(Verdict::COUNT)
            .wrapping_add(verdict as u32),
    );
    match verdict.action() {
        Action::Pass => XDP_PASS,
        Action::Redirect => XDP_REDIRECT,
        Action::Drop => {
            aya_log_ebpf::debug!(
                &ctx,
                "dropped: verdict {}, ifindex {}, queue {}",
                verdict as u32,
                ifindex,
                queue
            );
            XDP_DROP
        }
    }
}

/// Writes the metadata and picks the worker's socket.
///
/// Fails closed: without a socket the packet is dropped, never passed in the clear.
#[inline(always)]
fn hand_over(ctx: &XdpContext, redirect: &Redirect) -> Verdict {
    if !prepend(ctx, redirect.meta) {
        return Verdict::Internal;
    }
    match XSKS.redirect(redirect.slot, u64::from(XDP_DROP)) {
        Ok(_) => redirect.verdict,
        Err(_) => Verdict::NoWorker,
    }
}

/// Puts the metadata right in front of the packet, in the place of what may be there from another program; `false` where the
/// driver has no room for it.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the kernel keeps metadata below 256 octets"
)]
fn prepend(ctx: &XdpContext, meta: PacketMeta) -> bool {
    let missing = PacketMeta::LEN.wrapping_sub(ctx.data().wrapping_sub(ctx.metadata())) as i32;
    // SAFETY: the context is the one of this run, and no pointer into the packet is used after the call.
    if unsafe { bpf_xdp_adjust_meta(ctx.as_ptr().cast(), missing.wrapping_neg()) } != 0 {
        return false;
    }
    let start = ctx.metadata();
    if start + PacketMeta::LEN > ctx.data() {
        return false;
    }
    // SAFETY: the line above keeps the sixteen octets in front of the packet; the kernel aligns them to four.
    unsafe { (start as *mut PacketMeta).write(meta) };
    true
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
