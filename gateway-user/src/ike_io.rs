//! The IKE sockets: UDP ports 500 and 4500 of every gateway's address. And, since they belong to the same addresses, the raw
//! sockets of protocol 50.
//!
//! On port 4500 IKE shares the port with ESP (RFC 3948): four zero octets, the non-ESP marker, stand in front of every IKE message,
//! one octet 0xff is a NAT-keepalive, anything else is ESP. The XDP program takes the ESP packets before they come here, all but those
//! that come in IP fragments.

mod esp;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_ike::event::{Transmit, TransmitKind};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub use esp::EspPacket;

/// Port of IKE, RFC 7296 section 2.
const IKE_PORT: u16 = 500;
/// Port of IKE and ESP when a NAT is in between, RFC 3948.
const NAT_PORT: u16 = 4500;
/// RFC 3948 section 2.2.
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// Longest datagram taken; IKE messages without certificates are far shorter.
const MAX_DATAGRAM: usize = 16 * 1024;
/// Datagrams that wait for the control loop, over all sockets. What comes beyond is dropped: peers send again.
const QUEUE: usize = 256;
/// ESP packets that wait for the control loop. Fragmented tunnels are slow ones.
const ESP_QUEUE: usize = 256;

/// An IKE message as it came in, without the non-ESP marker.
#[derive(Debug)]
pub struct Datagram {
    /// Our address and port.
    pub local: SocketAddrV4,
    /// The sender.
    pub peer: SocketAddrV4,
    /// The message.
    pub payload: Vec<u8>,
}

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error("UDP port {port} of {address} belongs to another process: is another IKE daemon running?")]
    InUse {
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// The process may not bind ports below 1024.
    #[error("binding UDP port {port} needs the capability CAP_NET_BIND_SERVICE (or root)")]
    Capability {
        /// The port.
        port: u16,
    },
    /// Anything else.
    #[error("cannot bind UDP port {port} of {address}")]
    Io {
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
}

/// Counters of all sockets.
#[derive(Debug, Default)]
pub struct IoCounters {
    /// Datagrams that the kernel did not take.
    pub send_errors: AtomicU64,
    /// Datagrams dropped because the control loop was busy.
    pub overflows: AtomicU64,
    /// Datagrams that are neither IKE nor ESP: keepalives, too long, too short.
    pub not_ike: AtomicU64,
    /// ESP packets that the kernel put together from fragments.
    pub esp: AtomicU64,
    /// Such packets dropped because the control loop or the worker was busy.
    pub esp_overflows: AtomicU64,
    /// Such packets dropped because there is no SA with their SPI.
    pub esp_unknown_spi: AtomicU64,
}

/// The sockets of all gateways.
#[derive(Debug)]
pub struct IkeSockets {
    sockets: BTreeMap<SocketAddrV4, Listening>,
    raw: BTreeMap<Ipv4Addr, Task>,
    queue: mpsc::Sender<Datagram>,
    esp_queue: mpsc::Sender<EspPacket>,
    counters: Arc<IoCounters>,
}

#[derive(Debug)]
struct Listening {
    socket: Arc<UdpSocket>,
    _task: Task,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(AbortHandle);

impl Task {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl IkeSockets {
    /// No sockets yet. The receivers get what the sockets hear.
    pub fn new() -> (Self, mpsc::Receiver<Datagram>, mpsc::Receiver<EspPacket>) {
        let (queue, datagrams) = mpsc::channel(QUEUE);
        let (esp_queue, esp_packets) = mpsc::channel(ESP_QUEUE);
        (
            Self {
                sockets: BTreeMap::new(),
                raw: BTreeMap::new(),
                queue,
                esp_queue,
                counters: Arc::default(),
            },
            datagrams,
            esp_packets,
        )
    }

    /// Listens on exactly these addresses: binds what is new, closes what is gone.
    ///
    /// # Errors
    /// The first address that cannot be had; nothing is changed then.
    pub fn listen(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>) -> Result<(), BindError> {
        let ports = [IKE_PORT, NAT_PORT];
        let addresses: BTreeSet<_> = addresses.into_iter().collect();
        let wanted: Vec<_> = addresses
            .iter()
            .flat_map(|address| ports.map(|port| SocketAddrV4::new(*address, port)))
            .collect();
        let mut bound = Vec::new();
        for local in wanted.iter().filter(|local| !self.sockets.contains_key(local)) {
            bound.push((*local, bind(*local)?));
        }
        let mut raw = Vec::new();
        for address in addresses.iter().filter(|address| !self.raw.contains_key(address)) {
            raw.push((*address, esp::bind(*address)?));
        }
        self.sockets.retain(|local, _| wanted.contains(local));
        self.raw.retain(|address, _| addresses.contains(address));
        for (address, socket) in raw {
            let receiver = esp::receive(socket, self.esp_queue.clone(), Arc::clone(&self.counters));
            self.raw.insert(address, Task::spawn(receiver));
        }
        for (local, socket) in bound {
            let socket = Arc::new(socket);
            let receiver = receive(
                local,
                Arc::clone(&socket),
                (self.queue.clone(), self.esp_queue.clone()),
                Arc::clone(&self.counters),
            );
            let _task = Task::spawn(receiver);
            self.sockets.insert(local, Listening { socket, _task });
        }
        Ok(())
    }

    /// Sends at once or not at all: IKE sends again what was lost.
    pub fn send(&self, transmit: &Transmit) {
        let sent = match self.sockets.get(&transmit.local) {
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
            Some(Listening { socket, .. }) => {
                let peer = SocketAddr::V4(transmit.peer);
                if transmit.kind == TransmitKind::Ike && transmit.local.port() == NAT_PORT {
                    socket.try_send_to(&[&NON_ESP_MARKER, &transmit.payload[..]].concat(), peer)
                } else {
                    socket.try_send_to(&transmit.payload, peer)
                }
            }
        };
        if let Err(error) = sent {
            self.counters.send_errors.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(local = %transmit.local, peer = %transmit.peer, %error, "an IKE datagram was not sent");
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> &IoCounters {
        &self.counters
    }
}

fn bind(local: SocketAddrV4) -> Result<UdpSocket, BindError> {
    let (address, port) = (*local.ip(), local.port());
    let bind = || {
        let socket = Socket::new(
            Domain::IPV4,
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        // The address may belong to an interface that appears later.
        socket.set_freebind_v4(true)?;
        socket.bind(&local.into())?;
        UdpSocket::from_std(socket.into())
    };
    bind().map_err(|source: io::Error| refusal(address, port, source))
}

fn refusal(address: Ipv4Addr, port: u16, source: io::Error) -> BindError {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => BindError::InUse { address, port },
        Some(libc::EACCES | libc::EPERM) => BindError::Capability { port },
        Some(_) | None => BindError::Io {
            address,
            port,
            source,
        },
    }
}

async fn receive(
    local: SocketAddrV4,
    socket: Arc<UdpSocket>,
    (queue, esp_queue): (mpsc::Sender<Datagram>, mpsc::Sender<EspPacket>),
    counters: Arc<IoCounters>,
) {
    let mut buffer = vec![0; MAX_DATAGRAM + 1];
    loop {
        let (len, peer) = match socket.recv_from(&mut buffer).await {
            Ok((len, SocketAddr::V4(peer))) => (len, peer),
            Ok((_, SocketAddr::V6(_))) => continue,
            Err(error) => {
                // An ICMP error of an earlier datagram comes back here; the engine's timers know what to do.
                tracing::debug!(%local, %error, "receive");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let datagram = buffer.get(..len).unwrap_or_default();
        let Some(payload) = ike_message(local.port(), datagram) else {
            match esp_packet(local, peer, datagram) {
                Some(packet) => {
                    if !esp::hand_on(&esp_queue, packet, &counters) {
                        return;
                    }
                }
                None => {
                    counters.not_ike.fetch_add(1, Ordering::Relaxed);
                }
            }
            continue;
        };
        let datagram = Datagram {
            local,
            peer,
            payload: payload.to_vec(),
        };
        match queue.try_send(datagram) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                counters.overflows.fetch_add(1, Ordering::Relaxed);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

/// The IKE message of a datagram; `None` for everything else.
fn ike_message(port: u16, datagram: &[u8]) -> Option<&[u8]> {
    if datagram.len() > MAX_DATAGRAM {
        return None;
    }
    if port == NAT_PORT {
        datagram.strip_prefix(&NON_ESP_MARKER)
    } else {
        Some(datagram)
    }
}

/// The ESP packet of a datagram, if it is one.
fn esp_packet(local: SocketAddrV4, peer: SocketAddrV4, datagram: &[u8]) -> Option<EspPacket> {
    if local.port() != NAT_PORT || datagram.len() > MAX_DATAGRAM {
        return None;
    }
    EspPacket::from_udp(*local.ip(), *peer.ip(), datagram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_the_marker_is_ike_on_port_4500() {
        for (port, datagram, expected) in [
            (IKE_PORT, &[1, 2, 3][..], Some(&[1, 2, 3][..])),
            (IKE_PORT, &[], Some(&[])),
            (NAT_PORT, &[0, 0, 0, 0, 7], Some(&[7])),
            (NAT_PORT, &[0, 0, 0, 0], Some(&[])),
            (NAT_PORT, &[0, 0, 0], None),
            (NAT_PORT, &[0xff], None),
            (NAT_PORT, &[0, 0, 1, 0, 7], None),
            (NAT_PORT, &[], None),
        ] {
            assert_eq!(ike_message(port, datagram), expected, "{port} {datagram:?}");
        }
        assert_eq!(ike_message(IKE_PORT, &[0; MAX_DATAGRAM + 1]), None);
    }
}
