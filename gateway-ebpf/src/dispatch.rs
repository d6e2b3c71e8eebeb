//! The outcome of the decisions, and what a worker is told.

use gateway_common::abi::{
    DIRECTION_INBOUND, DIRECTION_OUTBOUND, IfaceValue, PACKET_META_MAGIC, PacketMeta, PolicyValue, SaValue,
    Verdict,
};

use crate::parse::{Esp, Ipv4};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Passed or dropped, as [`Verdict::action`] says.
    Final(Verdict),
    /// Handed to a worker.
    Redirect(Redirect),
}

/// A packet for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// [`Verdict::Outbound`] or [`Verdict::Inbound`].
    pub verdict: Verdict,
    /// Slot of the worker's socket in `XSKS`.
    pub slot: u32,
    /// To be written in front of the packet.
    pub meta: PacketMeta,
}

impl Decision {
    /// The verdict, which is also the number of the counter.
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Final(verdict) => *verdict,
            Self::Redirect(redirect) => redirect.verdict,
        }
    }
}

/// Refuses a packet of a queue without a socket, before it is charged to a limiter.
#[inline(always)]
pub(crate) fn require_worker(iface: &IfaceValue, queue: u32) -> Result<(), Verdict> {
    if queue < iface.queues {
        Ok(())
    } else {
        Err(Verdict::NoWorker)
    }
}

#[inline(always)]
pub(crate) fn outbound(iface: &IfaceValue, queue: u32, ip: &Ipv4, policy: &PolicyValue) -> Redirect {
    Redirect {
        verdict: Verdict::Outbound,
        slot: slot(iface, queue),
        meta: PacketMeta {
            magic: PACKET_META_MAGIC,
            direction: DIRECTION_OUTBOUND,
            l3_offset: octet(ip.l3_offset),
            index: policy.policy,
            generation: policy.generation,
            esp_offset: 0,
            udp_encapsulated: 0,
        },
    }
}

#[inline(always)]
pub(crate) fn inbound(iface: &IfaceValue, queue: u32, ip: &Ipv4, esp: &Esp, sa: &SaValue) -> Redirect {
    Redirect {
        verdict: Verdict::Inbound,
        slot: slot(iface, queue),
        meta: PacketMeta {
            magic: PACKET_META_MAGIC,
            direction: DIRECTION_INBOUND,
            l3_offset: octet(ip.l3_offset),
            index: sa.sa,
            generation: sa.generation,
            esp_offset: octet(esp.offset).into(),
            udp_encapsulated: esp.udp_encapsulated.into(),
        },
    }
}

/// `queues` sockets stand in a row from `xsk_base`.
#[inline(always)]
fn slot(iface: &IfaceValue, queue: u32) -> u32 {
    iface.xsk_base.wrapping_add(queue)
}

/// Header offsets are at most 22 + 60 + 8.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "header offsets are at most 90")]
fn octet(offset: usize) -> u8 {
    offset as u8
}
