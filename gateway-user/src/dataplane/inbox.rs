//! Packets that did not come through a ring: ESP that the kernel put together from IP fragments, and our own probes.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gateway_common::abi::{DIRECTION_INBOUND, DIRECTION_OUTBOUND, PACKET_META_MAGIC, PacketMeta};
use gateway_esp::ip::protocol;

use super::counters::PathError;
use super::process::Received;
use crate::xsk::{FramePool, Umem, XDP_HEADROOM};

/// Packets that wait for a worker at most.
const CAPACITY: usize = 256;
/// Octets in front of the ESP header: an Ethernet header, which nobody reads, and the IP header.
const ETHERNET: u8 = 14;
const OUTER: u8 = ETHERNET + 20;

/// A packet that control hands to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injected {
    /// From a peer.
    Esp(InjectedEsp),
    /// To a peer.
    Inner(InjectedInner),
}

/// An inner IPv4 packet of our own and the policy that covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedInner {
    /// Index of the policy.
    pub policy: u32,
    /// Generation of the index.
    pub generation: u32,
    /// From its IP header on.
    pub packet: Vec<u8>,
}

/// An ESP packet and the inbound SA it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedEsp {
    /// Index of the inbound SA.
    pub index: u32,
    /// Generation of the index.
    pub generation: u32,
    /// The sender.
    pub peer: Ipv4Addr,
    /// Our address.
    pub local: Ipv4Addr,
    /// Type of service of the outer header.
    pub tos: u8,
    /// From the SPI to the end of the ICV.
    pub esp: Vec<u8>,
}

/// Where they wait for a worker. Bounded.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    packets: Mutex<VecDeque<Injected>>,
    /// Whether there may be one: a worker looks here in every round, and must not take a lock for nothing.
    filled: AtomicBool,
}

impl Inbox {
    /// `false` when it is full.
    pub(super) fn push(&self, packet: Injected) -> bool {
        let mut packets = self.packets();
        if packets.len() >= CAPACITY {
            return false;
        }
        packets.push_back(packet);
        self.filled.store(true, Ordering::Release);
        true
    }

    /// Takes up to `max` packets, oldest first.
    pub(super) fn take(&self, max: usize, mut each: impl FnMut(Injected)) {
        if !self.filled.load(Ordering::Acquire) {
            return;
        }
        let mut packets = self.packets();
        let count = packets.len().min(max);
        packets.drain(..count).for_each(&mut each);
        self.filled.store(!packets.is_empty(), Ordering::Release);
    }

    fn packets(&self) -> MutexGuard<'_, VecDeque<Injected>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a packet into a frame as the XDP program would have handed it over.
pub(super) fn receive(packet: &Injected, umem: &Umem, pool: &mut FramePool) -> Result<Received, PathError> {
    match packet {
        Injected::Esp(packet) => esp(packet, umem, pool),
        Injected::Inner(packet) => inner(packet, umem, pool),
    }
}

fn esp(packet: &InjectedEsp, umem: &Umem, pool: &mut FramePool) -> Result<Received, PathError> {
    let total = u16::try_from(20 + packet.esp.len())
        .ok()
        .ok_or(PathError::Jumbo)?;
    let meta = PacketMeta {
        magic: PACKET_META_MAGIC,
        direction: DIRECTION_INBOUND,
        l3_offset: ETHERNET,
        index: packet.index,
        generation: packet.generation,
        esp_offset: OUTER.into(),
        udp_encapsulated: 0,
    };
    write(meta, usize::from(OUTER) + packet.esp.len(), umem, pool, |room| {
        let (outer, esp) = room.split_at_mut(OUTER.into());
        outer.fill(0);
        let ip = &mut outer[usize::from(ETHERNET)..];
        ip[0] = 0x45;
        ip[1] = packet.tos;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip[8] = 64;
        ip[9] = protocol::ESP;
        ip[12..16].copy_from_slice(&packet.peer.octets());
        ip[16..20].copy_from_slice(&packet.local.octets());
        esp.copy_from_slice(&packet.esp);
    })
}

fn inner(packet: &InjectedInner, umem: &Umem, pool: &mut FramePool) -> Result<Received, PathError> {
    let meta = PacketMeta {
        magic: PACKET_META_MAGIC,
        direction: DIRECTION_OUTBOUND,
        l3_offset: ETHERNET,
        index: packet.policy,
        generation: packet.generation,
        esp_offset: 0,
        udp_encapsulated: 0,
    };
    let ethernet = usize::from(ETHERNET);
    write(meta, ethernet + packet.packet.len(), umem, pool, |room| {
        let (header, inner) = room.split_at_mut(ethernet);
        header.fill(0);
        inner.copy_from_slice(&packet.packet);
    })
}

/// Takes a frame, writes the metadata, and lets `fill` write the `len` octets behind it.
fn write(
    meta: PacketMeta,
    len: usize,
    umem: &Umem,
    pool: &mut FramePool,
    fill: impl FnOnce(&mut [u8]),
) -> Result<Received, PathError> {
    let mut frame = pool.take().ok_or(PathError::NoFrame)?;
    let chunk = umem.chunk(&mut frame);
    let Some(room) = chunk.get_mut(XDP_HEADROOM - PacketMeta::LEN..XDP_HEADROOM + len) else {
        pool.give_back(frame);
        return Err(PathError::Jumbo);
    };
    let (meta_octets, rest) = room.split_at_mut(PacketMeta::LEN);
    meta_octets.copy_from_slice(&meta.to_bytes());
    fill(rest);
    frame.place(XDP_HEADROOM, len);
    Ok(Received { frame, port: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(index: u32) -> Injected {
        Injected::Esp(InjectedEsp {
            index,
            generation: 1,
            peer: Ipv4Addr::LOCALHOST,
            local: Ipv4Addr::LOCALHOST,
            tos: 0,
            esp: vec![0; 8],
        })
    }

    #[test]
    fn packets_come_out_in_order_and_no_more_than_fit_wait() {
        let inbox = Inbox::default();
        inbox.take(9, |packet| panic!("{packet:?} in an empty inbox"));
        let taken = (0..300).filter(|index| inbox.push(packet(*index))).count();
        assert_eq!(taken, CAPACITY);
        let mut seen = Vec::new();
        for max in [10, 0, 1000, 1000] {
            inbox.take(max, |packet| match packet {
                Injected::Esp(packet) => seen.push(packet.index),
                Injected::Inner(packet) => panic!("{packet:?}"),
            });
        }
        assert_eq!(seen, (0..256).collect::<Vec<_>>());
        assert!(inbox.push(packet(0)));
    }
}
