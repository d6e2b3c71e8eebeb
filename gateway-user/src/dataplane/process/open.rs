//! Packets of a peer: out of the tunnel.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrayvec::ArrayVec;
use gateway_common::abi::PacketMeta;
use gateway_esp::ip::{self, Ipv4Header};
use gateway_esp::{OpenError, Packet, mss};

use super::forward::{Way, slow_way, way};
use super::{BATCH, Context, Fate, Job, wait};
use crate::dataplane::DataplaneEvent;
use crate::dataplane::counters::PathError;
use crate::dataplane::tables::{Inbound, Tunnel};
use crate::dataplane::waiting::Awaited;

/// Opens packets of one SA. Says to which tunnel they belong.
///
/// Order: generation, outer lengths, everything of [`gateway_esp::InboundSa::open`], own addresses, route, TTL, MSS.
pub(super) fn open_group(group: &mut [Job], cx: &mut Context<'_>) -> Option<u32> {
    let meta = group.first()?.meta;
    let Some(inbound) = cx.tables.inbound(meta.index, meta.generation) else {
        if let Some(expected) = cx.tables.expected(meta.index, meta.generation) {
            let tunnel = expected.tunnel;
            wait(group, &Awaited::Inbound(expected), cx);
            return Some(tunnel);
        }
        group
            .iter_mut()
            .for_each(|job| job.drop_for(PathError::StaleGeneration));
        return None;
    };
    let tunnel = cx.tables.tunnel(inbound.tunnel).ok()?;
    open(group, meta, &inbound, tunnel, cx);
    let mut found = None;
    let probe = tunnel.probe_answers();
    for job in group.iter_mut().filter(|job| job.is_pending()) {
        if probe.is_some_and(|probe| is_probe_answer(job, probe, inbound.tunnel, cx)) {
            job.fate = Fate::Consumed;
        } else {
            forward(job, &mut found, tunnel, cx);
        }
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
fn open(group: &mut [Job], meta: PacketMeta, inbound: &Inbound, tunnel: &Tunnel, cx: &Context<'_>) {
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
                follow_peer(job, meta, inbound, tunnel, cx);
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

/// Tells control that a NAT gave the peer another port: the newest authentic packet came from there (RFC 7296 section 2.23). One that was
/// overtaken says where the peer was. `job` still starts at its ESP header.
fn follow_peer(job: &mut Job, meta: PacketMeta, inbound: &Inbound, tunnel: &Tunnel, cx: &Context<'_>) {
    const UDP_HEADER: usize = 8;
    if job.meta.udp_encapsulated == 0 {
        return;
    }
    let start = job.received.frame.start();
    let octets = cx.umem.chunk(&mut job.received.frame);
    let udp = start.checked_sub(UDP_HEADER).and_then(|udp| octets.get(udp..));
    let Some(&[port_high, port_low, _, _, _, _, _, _, _, _, _, _, a, b, c, d]) =
        udp.and_then(|udp| udp.first_chunk())
    else {
        return;
    };
    let port = u16::from_be_bytes([port_high, port_low]);
    if port == inbound.peer_port.load(Ordering::Relaxed) {
        return;
    }
    let is_newest =
        u64::from(u32::from_be_bytes([a, b, c, d])) == inbound.sa.highest_sequence() & 0xffff_ffff;
    if is_newest && tunnel.may_tell(cx.now) {
        inbound.peer_port.store(port, Ordering::Relaxed);
        (cx.events)(DataplaneEvent::PeerPort {
            index: meta.index,
            generation: meta.generation,
            port,
        });
    }
}

/// Tells control of an answer to one of its probes, which come to `local` with `identifier`. `false`: the packet is another one.
fn is_probe_answer(
    job: &mut Job,
    (local, identifier): (Ipv4Addr, u16),
    number: u32,
    cx: &Context<'_>,
) -> bool {
    const ECHO_REPLY: u8 = 0;
    let octets = job.octets(cx.umem);
    let Some(inner) = Ipv4Header::parse(octets)
        .filter(|inner| inner.destination == local && inner.protocol == ip::protocol::ICMP)
        .filter(|inner| !inner.is_fragment())
    else {
        return false;
    };
    let message = octets.get(inner.header_len..inner.total_len).unwrap_or_default();
    let Some(&[kind, _, _, _, id_high, id_low, high, low]) = message.first_chunk() else {
        return false;
    };
    if kind != ECHO_REPLY || u16::from_be_bytes([id_high, id_low]) != identifier || ip::checksum(message) != 0
    {
        return false;
    }
    if cx
        .tables
        .tunnel(number)
        .is_ok_and(|tunnel| tunnel.may_tell(cx.now))
    {
        (cx.events)(DataplaneEvent::ProbeAnswered {
            tunnel: number,
            from: inner.source,
            sequence: u16::from_be_bytes([high, low]),
            at: Instant::now(),
        });
    }
    true
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
