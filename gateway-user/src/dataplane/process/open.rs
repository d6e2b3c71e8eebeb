//! Packets of a peer: out of the tunnel.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use gateway_esp::ip::{self, Ipv4Header};
use gateway_esp::{OpenError, Packet, mss};

use super::forward::{Way, slow_way, way};
use super::{BATCH, Context, Job};
use crate::dataplane::DataplaneEvent;
use crate::dataplane::counters::PathError;
use crate::dataplane::tables::{Inbound, Tunnel};

/// Opens packets of one SA. Says to which tunnel they belong.
///
/// Order: generation, outer lengths, everything of [`gateway_esp::InboundSa::open`], own addresses, route, TTL, MSS.
pub(super) fn open_group(group: &mut [Job], cx: &mut Context<'_>) -> Option<u32> {
    let meta = group.first()?.meta;
    let Some(inbound) = cx.tables.inbound(meta.index, meta.generation) else {
        group
            .iter_mut()
            .for_each(|job| job.drop_for(PathError::StaleGeneration));
        return None;
    };
    let tunnel = cx.tables.tunnel(inbound.tunnel).ok()?;
    open(group, &inbound, cx);
    let mut found = None;
    for job in group.iter_mut().filter(|job| job.is_pending()) {
        forward(job, &mut found, tunnel, cx);
    }
    if inbound.usage.is_used() && inbound.is_first_use() {
        (cx.events)(DataplaneEvent::InboundFirstUse {
            index: meta.index,
            generation: meta.generation,
        });
    }
    Some(inbound.tunnel)
}

/// Opens the packets in place; those that stay pending are inner IP packets.
fn open(group: &mut [Job], inbound: &Inbound, cx: &Context<'_>) {
    let mut tos = ArrayVec::<u8, BATCH>::new();
    for job in &mut *group {
        match find_esp(job, cx) {
            Some(outer_tos) => tos.push(outer_tos),
            None => job.drop_for(PathError::Header),
        }
    }
    let pending = group.iter_mut().filter(|job| job.is_pending());
    let mut packets: ArrayVec<Packet<'_>, BATCH> = pending.map(|job| job.packet(cx.umem)).collect();
    let mut results = [Ok::<(), OpenError>(()); BATCH];
    let results = &mut results[..packets.len()];
    inbound.sa.open_batch(&mut packets, &tos, results);

    let places: ArrayVec<_, BATCH> = packets
        .into_iter()
        .map(|packet| (packet.start, packet.len))
        .collect();
    let (mut opened, mut octets) = (0, 0);
    let pending = group.iter_mut().filter(|job| job.is_pending());
    for ((job, (start, len)), result) in pending.zip(places).zip(results) {
        match result {
            Ok(()) => {
                job.received.frame.place(start, len);
                opened += 1;
                octets += len as u64;
            }
            Err(error) => job.drop_for(*error),
        }
    }
    if opened > 0 {
        inbound.usage.add(opened, octets, cx.now);
    }
}

/// Lets the packet start at its ESP header, as the XDP program found it, and end where the outer IP packet ends. Gives the outer
/// type of service.
fn find_esp(job: &mut Job, cx: &Context<'_>) -> Option<u8> {
    let (l3, esp) = (usize::from(job.meta.l3_offset), usize::from(job.meta.esp_offset));
    let outer = Ipv4Header::parse(job.octets(cx.umem).get(l3..)?)?;
    let len = (l3 + outer.total_len).checked_sub(esp)?;
    let start = job.received.frame.start() + esp;
    job.received.frame.place(start, len);
    Some(outer.tos)
}

/// Sends an inner packet on its way. Neighbours in a batch mostly have the same destination: `found` is the last way.
fn forward(job: &mut Job, found: &mut Option<(Ipv4Addr, Way)>, tunnel: &Tunnel, cx: &Context<'_>) {
    let Some(inner) = Ipv4Header::parse(job.octets(cx.umem)) else {
        return job.drop_for(OpenError::InnerHeader);
    };
    if cx.routes.is_own(inner.source) {
        return job.drop_for(PathError::OwnSource);
    }
    let way = match found {
        Some((destination, way)) if *destination == inner.destination => *way,
        _ => match way(cx, inner.destination) {
            Ok(way) => {
                *found = Some((inner.destination, way));
                way
            }
            Err(error) => return job.drop_for(error),
        },
    };
    // A TTL that is used up and a packet too long for the interface are the kernel's to answer.
    let way = if !way.slow && (inner.ttl <= 1 || inner.total_len > way.mtu) {
        match slow_way(cx) {
            Ok(way) => way,
            Err(_) if inner.ttl <= 1 => return job.drop_for(PathError::Ttl),
            Err(_) => return job.drop_for(PathError::Mtu),
        }
    } else {
        way
    };
    if !way.slow && !ip::decrement_ttl(job.octets(cx.umem)) {
        return job.drop_for(PathError::Ttl);
    }
    let mss = u16::try_from(tunnel.mss.load(Ordering::Relaxed)).unwrap_or(0);
    if mss > 0 && mss::clamp(&mut job.packet(cx.umem), mss) {
        tunnel.mss_clamped.fetch_add(1, Ordering::Relaxed);
    }
    way.send(job, cx);
}
