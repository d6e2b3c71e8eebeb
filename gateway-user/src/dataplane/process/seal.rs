//! Packets of a VPC: into the tunnel.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use gateway_esp::ip::{self, Ipv4Header};
use gateway_esp::{Encapsulation, OutboundSa, Packet, SealError, fragment, mss, mtu};

use super::forward::{Answer, Way, answer, way};
use super::{BATCH, Context, Fate, Job, Received, acquire, wait};
use crate::dataplane::counters::PathError;
use crate::dataplane::tables::{Outbound, Tunnel};
use crate::dataplane::waiting::Awaited;
use crate::dataplane::{DataplaneEvent, SaMark};
use crate::xsk::XDP_HEADROOM;

/// Seals packets of one policy. Says to which tunnel they belong.
///
/// Order: generation, SA, route, TTL (ICMP), MTU (ICMP or fragments), MSS, sequence number, seal. `extra` gets fragments and ICMP answers.
pub(super) fn seal_group(group: &mut [Job], extra: &mut Vec<Job>, cx: &mut Context<'_>) -> Option<u32> {
    let meta = group.first()?.meta;
    let Some(policy) = cx.tables.policy(meta.index, meta.generation) else {
        group
            .iter_mut()
            .for_each(|job| job.drop_for(PathError::StaleGeneration));
        return None;
    };
    let Some(outbound) = cx.tables.outbound_of(&policy) else {
        wait(group, &Awaited::Outbound(Arc::clone(&policy)), cx);
        acquire(&policy, cx);
        return Some(policy.tunnel);
    };
    if outbound.is_over() {
        group.iter_mut().for_each(|job| job.drop_for(PathError::Lifetime));
        return Some(policy.tunnel);
    }
    let sa = outbound.sa.load();
    let way = match way(cx, sa.endpoints().peer) {
        Ok(way) => way,
        Err(error) => {
            group.iter_mut().for_each(|job| job.drop_for(error));
            return Some(policy.tunnel);
        }
    };
    let tunnel = cx.tables.tunnel(policy.tunnel).ok()?;
    let limits = Limits::of(&sa, &way);
    tunnel.mss.store(limits.mss.into(), Ordering::Relaxed);
    tunnel
        .mtu
        .store(u32::try_from(limits.inner).unwrap_or(u32::MAX), Ordering::Relaxed);
    for job in &mut *group {
        prepare(job, limits, &outbound, tunnel, extra, cx);
    }
    seal(group, &outbound, &way, cx);
    for jobs in extra.chunks_mut(BATCH) {
        seal(jobs, &outbound, &way, cx);
    }
    Some(policy.tunnel)
}

/// What fits the tunnel at the moment.
#[derive(Clone, Copy)]
struct Limits {
    /// Octets of the longest inner packet.
    inner: usize,
    mss: u16,
}

impl Limits {
    fn of(sa: &OutboundSa, way: &Way) -> Self {
        let encapsulation = if sa.endpoints().udp.is_some() {
            Encapsulation::Udp
        } else {
            Encapsulation::Esp
        };
        let inner = sa.transform().inner_mtu(way.mtu, encapsulation);
        Self {
            inner,
            mss: u16::try_from(mtu::mss(inner)).unwrap_or(u16::MAX),
        }
    }
}

/// Everything before the cryptography. The packet starts at its IP header afterwards, without Ethernet padding.
fn prepare(
    job: &mut Job,
    limits: Limits,
    outbound: &Outbound,
    tunnel: &Tunnel,
    extra: &mut Vec<Job>,
    cx: &mut Context<'_>,
) {
    let start = usize::from(job.meta.l3_offset);
    let Some(header) = job.octets(cx.umem).get(start..).and_then(Ipv4Header::parse) else {
        return job.drop_for(PathError::Header);
    };
    let at = job.received.frame.start() + start;
    job.received.frame.place(at, header.total_len);

    if header.ttl <= 1 {
        let from = answer_address(job, outbound, cx);
        if let Some(answer) = answer(job, from, Answer::TimeExceeded, cx) {
            tunnel.icmp_time_exceeded_sent.fetch_add(1, Ordering::Relaxed);
            extra.push(answer);
        }
        return job.drop_for(PathError::Ttl);
    }
    if header.total_len > limits.inner {
        if header.dont_fragment {
            let from = answer_address(job, outbound, cx);
            if let Some(answer) = answer(job, from, Answer::TooBig { mtu: limits.inner }, cx) {
                tunnel.icmp_too_big_sent.fetch_add(1, Ordering::Relaxed);
                extra.push(answer);
            }
            return job.drop_for(PathError::Mtu);
        }
        if !ip::decrement_ttl(job.octets(cx.umem)) {
            return job.drop_for(PathError::Ttl);
        }
        return match fragments(job, limits.inner, extra, cx) {
            Ok(()) => {
                tunnel.fragmented.fetch_add(1, Ordering::Relaxed);
                job.fate = Fate::Replaced;
            }
            Err(error) => job.drop_for(error),
        };
    }
    if !ip::decrement_ttl(job.octets(cx.umem)) {
        return job.drop_for(PathError::Ttl);
    }
    if mss::clamp(&mut job.packet(cx.umem), limits.mss) {
        tunnel.mss_clamped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The gateway's own address on the side where the packet came in; the tunnel's own where that side has none.
fn answer_address(job: &Job, outbound: &Outbound, cx: &Context<'_>) -> Ipv4Addr {
    let port = cx.ports.get(job.received.port);
    port.and_then(|port| cx.routes.address_of(port.ifindex))
        .unwrap_or_else(|| outbound.sa.load().endpoints().local)
}

/// Splits a packet into new frames. Either all fragments are added, or none.
fn fragments(job: &mut Job, mtu: usize, extra: &mut Vec<Job>, cx: &mut Context<'_>) -> Result<(), PathError> {
    let (meta, port, before) = (job.meta, job.received.port, extra.len());
    let mut complete = true;
    let (umem, pool) = (cx.umem, &mut *cx.pool);
    let split = fragment::split(job.octets(umem), mtu, |header, payload| {
        let Some(mut frame) = pool.take() else {
            complete = false;
            return;
        };
        let len = header.len() + payload.len();
        if let Some(room) = umem.chunk(&mut frame).get_mut(XDP_HEADROOM..XDP_HEADROOM + len) {
            let (head, body) = room.split_at_mut(header.len());
            head.copy_from_slice(header);
            body.copy_from_slice(payload);
        } else {
            complete = false;
        }
        frame.place(XDP_HEADROOM, len);
        extra.push(Job {
            received: Received { frame, port },
            meta,
            fate: Fate::Pending,
        });
    });
    let result = match split {
        Ok(()) if complete => return Ok(()),
        Ok(()) => Err(PathError::NoFrame),
        Err(_) => Err(PathError::Fragmentation),
    };
    extra
        .drain(before..)
        .for_each(|job| pool.give_back(job.received.frame));
    result
}

/// Tells control how near an SA is to its end.
fn report(outbound: &Outbound, mark: SaMark, cx: &Context<'_>) {
    (cx.events)(DataplaneEvent::SaLimit {
        index: outbound.index,
        tunnel: outbound.tunnel,
        mark,
    });
}

/// Seals what is still pending: at most [`BATCH`] packets.
fn seal(jobs: &mut [Job], outbound: &Outbound, way: &Way, cx: &mut Context<'_>) {
    let mut octets = 0u64;
    let mut packets = ArrayVec::<Packet<'_>, BATCH>::new();
    for job in jobs.iter_mut().filter(|job| job.is_pending()) {
        octets += job.received.frame.len() as u64;
        packets.push(job.packet(cx.umem));
    }
    let Ok(count) = u32::try_from(packets.len()) else {
        return;
    };
    if count == 0 {
        return;
    }
    let mut results = [Ok::<(), SealError>(()); BATCH];
    let results = &mut results[..packets.len()];
    let sa = outbound.sa.load();
    let Ok(block) = sa.reserve(count) else {
        drop(packets);
        let pending = jobs.iter_mut().filter(|job| job.is_pending());
        pending.for_each(|job| job.drop_for(PathError::SequenceExhausted));
        if outbound.is_fresh(SaMark::End) {
            report(outbound, SaMark::End, cx);
        }
        return;
    };
    sa.seal_batch(&mut packets, block, cx.ivs, results);
    outbound.usage.add(count.into(), octets, cx.now);
    if let Some(mark) = outbound.fresh_mark() {
        report(outbound, mark, cx);
    }

    let places: ArrayVec<_, BATCH> = packets
        .into_iter()
        .map(|packet| (packet.start, packet.len))
        .collect();
    let pending = jobs.iter_mut().filter(|job| job.is_pending());
    for ((job, (start, len)), result) in pending.zip(places).zip(results) {
        match result {
            Ok(()) => {
                job.received.frame.place(start, len);
                way.send(job, cx);
            }
            Err(error) => job.drop_for(*error),
        }
    }
}
