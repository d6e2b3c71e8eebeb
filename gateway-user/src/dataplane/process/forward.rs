//! The way out: next hops, Ethernet headers, and the ICMP answers to packets that go no further.

use std::net::Ipv4Addr;

use gateway_esp::icmp;

use super::{Context, Fate, Job, Received};
use crate::dataplane::counters::PathError;
use crate::dataplane::tables::Nanoseconds;
use crate::net::{Adjacency, NextHop};
use crate::xsk::{Umem, XDP_HEADROOM};

/// Octets of an Ethernet header without tags.
const ETHERNET: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// ICMP errors that one worker sends per second; the default of Linux (`icmp_msgs_per_sec`).
const ICMP_PER_SECOND: u32 = 1000;
const SECOND: Nanoseconds = 1_000_000_000;

/// What a worker knows of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataplane) struct Port {
    pub(in crate::dataplane) ifindex: u32,
    pub(in crate::dataplane) mac: [u8; 6],
    /// Whether the worker has a socket there.
    pub(in crate::dataplane) bound: bool,
}

/// The way of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Position of the interface.
    pub(super) port: usize,
    header: [u8; ETHERNET],
    /// MTU of the interface.
    pub(super) mtu: usize,
    /// To the kernel, which routes it, takes one from its TTL and fragments it if it must.
    pub(super) slow: bool,
}

/// Finds the way to an address.
pub(super) fn way(cx: &Context<'_>, destination: Ipv4Addr) -> Result<Way, PathError> {
    match cx.routes.next_hop(destination) {
        NextHop::Direct(adjacency) => {
            let bound = |port: &Port| port.bound && port.ifindex == adjacency.ifindex;
            match cx.ports.iter().position(bound) {
                Some(port) => Ok(Way::new(port, adjacency, false)),
                None => slow_way(cx),
            }
        }
        NextHop::SlowPath => slow_way(cx),
        NextHop::Unreachable => Err(PathError::NoRoute),
    }
}

/// The way to the kernel.
pub(super) fn slow_way(cx: &Context<'_>) -> Result<Way, PathError> {
    let bound = |port: &usize| cx.ports.get(*port).is_some_and(|port| port.bound);
    let port = cx.slow_path.filter(bound).ok_or(PathError::NoSlowPath)?;
    let adjacency = cx.routes.slow_path_adjacency().ok_or(PathError::NoSlowPath)?;
    Ok(Way::new(port, adjacency, true))
}

impl Way {
    fn new(port: usize, adjacency: Adjacency, slow: bool) -> Self {
        let Adjacency {
            source,
            destination,
            mtu,
            ..
        } = adjacency;
        Self {
            port,
            header: ethernet(destination, source),
            mtu: mtu as usize,
            slow,
        }
    }

    /// Writes the Ethernet header in front of an IP packet and decides its fate.
    pub(super) fn send(&self, job: &mut Job, cx: &Context<'_>) {
        if prepend(&mut job.received, &self.header, cx.umem) {
            job.fate = Fate::Send(self.port);
            if self.slow {
                cx.counters.slow_path_packets.add(1);
            }
        } else {
            job.drop_for(gateway_esp::SealError::Headroom);
        }
    }
}

/// Bounds how many ICMP errors a worker sends (RFC 1812 section 4.3.2.8).
#[derive(Debug, Default)]
pub(in crate::dataplane) struct IcmpBudget {
    second: u64,
    sent: u32,
}

impl IcmpBudget {
    fn take(&mut self, now: Nanoseconds) -> bool {
        let second = now / SECOND;
        if second != self.second {
            *self = Self { second, sent: 0 };
        }
        let within = self.sent < ICMP_PER_SECOND;
        self.sent += u32::from(within);
        within
    }
}

/// What a sender in a VPC is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Fragmentation needed, and how long a packet may be.
    TooBig { mtu: usize },
    /// The TTL ended here.
    TimeExceeded,
}

/// The ICMP answer to a packet of a VPC, sent back to where the packet came from.
///
/// `job` starts at its IP header; `from` is the gateway's address that signs the answer. `None` when no answer is due or possible.
pub(super) fn answer(job: &mut Job, from: Ipv4Addr, answer: Answer, cx: &mut Context<'_>) -> Option<Job> {
    let port = job.received.port;
    let own = cx.ports.get(port).filter(|port| port.bound)?.mac;
    let sender = ethernet_source(job, cx.umem)?;
    if !cx.icmp.take(cx.now) {
        return None;
    }
    let mut frame = cx.pool.take()?;
    let written = {
        let room = cx
            .umem
            .chunk(&mut frame)
            .get_mut(XDP_HEADROOM..)
            .unwrap_or_default();
        let original = job.octets(cx.umem);
        match answer {
            Answer::TooBig { mtu } => {
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                icmp::fragmentation_needed(original, from, mtu, room)
            }
            Answer::TimeExceeded => icmp::time_exceeded(original, from, room),
        }
    };
    let Some(len) = written else {
        cx.pool.give_back(frame);
        return None;
    };
    frame.place(XDP_HEADROOM, len);
    let mut received = Received { frame, port };
    let fate = if prepend(&mut received, &ethernet(sender, own), cx.umem) {
        Fate::Send(port)
    } else {
        Fate::Drop(PathError::Internal.into())
    };
    Some(Job {
        received,
        meta: job.meta,
        fate,
    })
}

/// The source of the Ethernet header in front of the IP packet.
fn ethernet_source(job: &mut Job, umem: &Umem) -> Option<[u8; 6]> {
    let start = job
        .received
        .frame
        .start()
        .checked_sub(usize::from(job.meta.l3_offset))?;
    umem.chunk(&mut job.received.frame)
        .get(start + 6..start + 12)?
        .first_chunk()
        .copied()
}

fn ethernet(destination: [u8; 6], source: [u8; 6]) -> [u8; ETHERNET] {
    let mut header = [0; ETHERNET];
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&ETHERTYPE_IPV4);
    header
}

/// Puts a header in front of a packet; `false` without room.
fn prepend(received: &mut Received, header: &[u8; ETHERNET], umem: &Umem) -> bool {
    let (start, len) = (received.frame.start(), received.frame.len());
    let Some(at) = start.checked_sub(ETHERNET) else {
        return false;
    };
    umem.chunk(&mut received.frame)[at..start].copy_from_slice(header);
    received.frame.place(at, len + ETHERNET);
    true
}
