//! Building packets.

use std::{vec, vec::Vec};

use super::Addr;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ESP.
pub const ESP: u8 = 50;
/// The flag that more fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The flag that a packet must not be fragmented.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// Octets of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

/// An IPv4 packet in an Ethernet frame. Lengths are computed and can be made to lie.
#[derive(Clone, Debug)]
pub struct Ipv4<'a> {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Octets between the header and the payload, a multiple of four.
    pub options: &'a [u8],
    /// EtherTypes and tags in front of the one of IPv4.
    pub vlans: &'a [[u16; 2]],
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// A packet without options, tags and fragments.
    pub const fn new(src: Addr, dst: Addr, protocol: u8, payload: &'a [u8]) -> Self {
        Self {
            src,
            dst,
            protocol,
            fragment: DONT_FRAGMENT,
            options: &[],
            vlans: &[],
            payload,
        }
    }

    /// The octets of the frame.
    pub fn build(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for [ethertype, tag] in self.vlans {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend([0x08, 0x00, 0x40 | low_octet(header_len / 4), 0]);
        frame.extend(half(header_len + self.payload.len()));
        frame.extend([0x12, 0x34]);
        frame.extend(self.fragment.to_be_bytes());
        frame.extend([64, self.protocol, 0, 0]);
        frame.extend(self.src);
        frame.extend(self.dst);
        frame.extend(self.options);
        frame.extend(self.payload);
        frame
    }
}

/// A UDP datagram.
pub fn udp(dst_port: u16, payload: &[u8]) -> Vec<u8> {
    udp_with_len(dst_port, 8 + payload.len(), payload)
}

/// A UDP datagram with a length field of the caller's.
pub fn udp_with_len(dst_port: u16, len: usize, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x30, 0x39];
    datagram.extend(dst_port.to_be_bytes());
    datagram.extend(half(len));
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// An ESP header with an SPI, and 40 octets behind it.
pub fn esp(spi: [u8; 4]) -> Vec<u8> {
    let mut packet = spi.to_vec();
    packet.extend([0, 0, 0, 1]);
    packet.extend([0xaa; 40]);
    packet
}

/// The header of an IKE_SA_INIT request, and some octets behind it.
pub fn ike() -> Vec<u8> {
    let mut message = vec![0x11; 8];
    message.extend([0; 8]);
    message.extend([33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 60]);
    message.extend([0x55; 32]);
    message
}

fn half(number: usize) -> [u8; 2] {
    u16::try_from(number)
        .expect("packets of tests are short")
        .to_be_bytes()
}

fn low_octet(number: usize) -> u8 {
    u8::try_from(number).expect("headers of tests are short")
}
