//! Enough of pcap, Ethernet, IPv4 and UDP to find the IKE messages in our recordings.

use std::net::{Ipv4Addr, SocketAddrV4};

/// One IKE message, without the non-ESP marker.
pub(crate) struct Datagram {
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

/// The IKE messages of a little-endian, microsecond, Ethernet capture without VLAN tags.
pub(crate) fn ike_messages(file: &[u8]) -> Vec<Datagram> {
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    assert_eq!(file[20], 1, "link type Ethernet");
    let mut messages = Vec::new();
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let captured = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        messages.extend(ike_message(&rest[16..16 + captured]));
        rest = &rest[16 + captured..];
    }
    messages
}

fn ike_message(frame: &[u8]) -> Option<Datagram> {
    const UDP: u8 = 17;
    let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    if ip[9] != UDP {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let udp = &ip[usize::from(ip[0] & 15) * 4..total];
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let (from, to) = (
        SocketAddrV4::new(address(12), port(0)),
        SocketAddrV4::new(address(16), port(2)),
    );
    let payload = match to.port() {
        500 => &udp[8..],
        4500 => udp[8..].strip_prefix(&[0; 4])?,
        _ => return None,
    };
    Some(Datagram {
        from,
        to,
        payload: payload.to_vec(),
    })
}
