//! ESP packets that reach the kernel's sockets: those that came in IP fragments, which the XDP program cannot put together.
//!
//! The kernel reassembles them (with its own bounds on memory and time, `net.ipv4.ipfrag_*`) and delivers them to a raw socket of
//! protocol 50, or to the UDP socket of port 4500. From here they go to a worker and are treated like any other packet.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway_common::Spi;
use gateway_esp::ip::{Ipv4Header, protocol};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{BindError, IoCounters, MAX_DATAGRAM, refusal};

/// SPI and sequence number.
const ESP_HEADER_LEN: usize = 8;

/// An ESP packet that the kernel delivered.
#[derive(Debug, PartialEq, Eq)]
pub struct EspPacket {
    /// Our address.
    pub local: Ipv4Addr,
    /// The sender.
    pub peer: Ipv4Addr,
    /// Which SA it is for.
    pub spi: Spi,
    /// Type of service of the outer header; 0 where the kernel does not tell.
    pub tos: u8,
    /// From the SPI to the end of the ICV.
    pub octets: Vec<u8>,
}

impl EspPacket {
    /// What follows the header of an IP packet of protocol 50.
    pub(super) fn from_ip(packet: &[u8]) -> Option<Self> {
        let ip = Ipv4Header::parse(packet).filter(|ip| ip.protocol == protocol::ESP)?;
        let esp = packet.get(ip.header_len..ip.total_len)?;
        Self::new(ip.destination, ip.source, ip.tos, esp)
    }

    /// What a datagram on port 4500 carries, if it is no IKE message (RFC 3948 section 2).
    pub(super) fn from_udp(local: Ipv4Addr, peer: Ipv4Addr, datagram: &[u8]) -> Option<Self> {
        Self::new(local, peer, 0, datagram)
    }

    fn new(local: Ipv4Addr, peer: Ipv4Addr, tos: u8, esp: &[u8]) -> Option<Self> {
        let spi = esp.first_chunk().copied().and_then(Spi::from_be_bytes)?;
        (esp.len() >= ESP_HEADER_LEN).then(|| Self {
            local,
            peer,
            spi,
            tos,
            octets: esp.to_vec(),
        })
    }
}

/// A raw socket that gets what is sent to this address with protocol 50.
///
/// It is received from exactly as from a UDP socket, so it travels as one; the datagrams are whole IP packets.
pub(super) fn bind(address: Ipv4Addr) -> Result<UdpSocket, BindError> {
    let bind = || {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::from(i32::from(protocol::ESP))))?;
        socket.set_freebind_v4(true)?;
        socket.bind(&SocketAddrV4::new(address, 0).into())?;
        UdpSocket::from_std(socket.into())
    };
    bind().map_err(|source: io::Error| refusal(address, 0, source))
}

/// Hands packets on until the queue closes. A full queue drops and counts.
pub(super) async fn receive(socket: UdpSocket, queue: mpsc::Sender<EspPacket>, counters: Arc<IoCounters>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let len = match socket.recv(&mut buffer).await {
            Ok(len) => len,
            Err(error) => {
                tracing::debug!(%error, "receive ESP");
                tokio::task::yield_now().await;
                continue;
            }
        };
        match buffer.get(..len).and_then(EspPacket::from_ip) {
            Some(packet) => {
                if !hand_on(&queue, packet, &counters) {
                    return;
                }
            }
            None => {
                counters.not_ike.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// `false` when nobody listens any more.
pub(super) fn hand_on(queue: &mpsc::Sender<EspPacket>, packet: EspPacket, counters: &IoCounters) -> bool {
    match queue.try_send(packet) {
        Ok(()) => {
            counters.esp.fetch_add(1, Ordering::Relaxed);
            true
        }
        Err(mpsc::error::TrySendError::Full(_)) => {
            counters.esp_overflows.fetch_add(1, Ordering::Relaxed);
            true
        }
        Err(mpsc::error::TrySendError::Closed(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(20 + payload.len()).expect("short");
        let mut packet = vec![0x45, 3, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet.extend(PEER.octets());
        packet.extend(US.octets());
        packet.extend(payload);
        packet
    }

    /// E13 and E1: what is too short, reserved or another protocol is no ESP packet.
    #[test]
    fn only_whole_headers_with_a_usable_spi_are_esp() {
        let good = [0, 0, 1, 0, 0, 0, 0, 1, 9];
        let packet = EspPacket::from_ip(&ip(50, &good)).expect("ESP");
        assert_eq!((packet.local, packet.peer, packet.tos), (US, PEER, 3));
        assert_eq!(
            (packet.spi, &packet.octets[..]),
            (Spi::new(256).expect("usable"), &good[..])
        );
        for len in 0..8 {
            assert_eq!(EspPacket::from_ip(&ip(50, &good[..len])), None, "{len}");
            assert_eq!(EspPacket::from_udp(US, PEER, &good[..len]), None, "{len}");
        }
        assert_eq!(EspPacket::from_ip(&ip(17, &good)), None);
        for spi in [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 255]] {
            let reserved = [&spi[..], &good[4..]].concat();
            assert_eq!(EspPacket::from_udp(US, PEER, &reserved), None, "{spi:?}");
        }
        assert_eq!(EspPacket::from_udp(US, PEER, &[0xff]), None, "a NAT-keepalive");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, mut packets) = mpsc::channel(2);
        let counters = IoCounters::default();
        let packet = || EspPacket::from_udp(US, PEER, &[1; 20]).expect("ESP");
        for _ in 0..5 {
            assert!(hand_on(&queue, packet(), &counters));
        }
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&counters.esp), count(&counters.esp_overflows)), (2, 3));
        packets.close();
        assert!(!hand_on(&queue, packet(), &counters));
    }
}
