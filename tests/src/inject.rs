//! Packets of our own making: any source, any protocol, any content.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::Namespace;

/// IP protocol number of ESP.
pub const ESP: u8 = 50;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// A raw socket in a namespace that sends whole IPv4 packets.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
}

impl Injector {
    /// Opens it. Packets are routed by the namespace's tables.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        // IPPROTO_RAW: the header is ours (raw(7)). The kernel fills in length and checksum of the IP header only.
        let open = || {
            socket(
                AddressFamily::Inet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::Raw,
            )
        };
        Ok(Self {
            socket: namespace.enter(open)?.context("open a raw socket")?,
        })
    }

    /// Sends a packet. A full queue is waited for, not counted as an error.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        let octets: [u8; 4] = packet
            .get(16..20)
            .and_then(|octets| octets.try_into().ok())
            .context("no IPv4 header")?;
        let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(octets), 0));
        loop {
            match sendto(self.socket.as_raw_fd(), packet, &to, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => return Err(error).context("send a raw packet"),
            }
        }
    }
}

/// An IPv4 packet without options.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a test packet fits into IPv4");
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram in an IPv4 packet, without a checksum (which UDP over IPv4 allows).
pub fn udp(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a test datagram fits into UDP");
    let mut datagram = source.port().to_be_bytes().to_vec();
    datagram.extend(destination.port().to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    ipv4(*source.ip(), *destination.ip(), UDP, &datagram)
}

/// Octets that look random and are the same in every run (xorshift64*).
#[derive(Clone, Debug)]
pub struct Garbage(u64);

impl Garbage {
    /// Seeds it.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Some octets.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number().to_be_bytes()[0]).collect()
    }
}
