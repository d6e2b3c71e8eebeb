//! Packets and tables that the unit tests share.

use std::net::Ipv4Addr;

use crate::ip::{checksum, protocol};
use crate::{
    Cipher, InboundSa, Integrity, IvGenerator, Keys, NonceSpace, OpenError, OutboundSa, Packet, Selector,
    Spi, Transform, TunnelEndpoints,
};

/// An IPv4 packet from 192.168.1.2 to 10.0.0.9, TTL 64.
pub(crate) fn ipv4_packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 192, 168, 1, 2, 10, 0, 0, 9,
    ];
    packet.extend_from_slice(payload);
    let total = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A UDP datagram with `len` octets of payload that differ from each other.
pub(crate) fn udp_packet(len: usize) -> Vec<u8> {
    let mut udp = vec![0x30, 0x39, 0x00, 0x35, 0, 0, 0, 0];
    udp.extend((0..len).map(|i| u8::try_from(i % 251).unwrap()));
    let udp_len = u16::try_from(udp.len()).unwrap();
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    ipv4_packet(protocol::UDP, &udp)
}

/// Octets from hexadecimal digits; blanks do not count.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter(|digit| !digit.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Every transform there is, with and without extended sequence numbers.
pub(crate) fn all_transforms() -> Vec<Transform> {
    let cbc = [
        Cipher::Des,
        Cipher::TripleDes,
        Cipher::Aes128Cbc,
        Cipher::Aes192Cbc,
        Cipher::Aes256Cbc,
    ];
    let macs = [
        Integrity::HmacMd5_96,
        Integrity::HmacSha1_96,
        Integrity::HmacSha2_256_128,
        Integrity::HmacSha2_384_192,
        Integrity::HmacSha2_512_256,
    ];
    let aead = [
        Cipher::Aes128Gcm,
        Cipher::Aes192Gcm,
        Cipher::Aes256Gcm,
        Cipher::ChaCha20Poly1305,
    ];
    let pairs = cbc
        .into_iter()
        .flat_map(|cipher| macs.map(|mac| Transform::new(cipher, Some(mac))));
    let all: Vec<_> = pairs
        .chain(aead.map(|cipher| Transform::new(cipher, None)))
        .map(Result::unwrap)
        .collect();
    [false, true]
        .into_iter()
        .flat_map(|esn| all.iter().map(move |transform| transform.with_esn(esn)))
        .collect()
}

/// How many [`all_transforms`] there are.
pub(crate) const TRANSFORMS: usize = 2 * (5 * 5 + 4);

/// Keys of the right lengths, different for each `tag`.
pub(crate) fn keys(transform: Transform, tag: u8) -> Keys {
    let octets = |len: usize, first: u8| {
        (0..len)
            .map(|i| first.wrapping_add(i.to_le_bytes()[0].wrapping_mul(7)))
            .collect()
    };
    Keys::new(
        octets(transform.encryption_key_len(), tag),
        octets(transform.integrity_key_len(), tag ^ 0x80),
    )
}

pub(crate) fn spi() -> Spi {
    Spi::new(0xc0de_0001).unwrap()
}

pub(crate) fn endpoints() -> TunnelEndpoints {
    TunnelEndpoints {
        local: Ipv4Addr::new(192, 0, 2, 1),
        peer: Ipv4Addr::new(198, 51, 100, 2),
        udp: None,
    }
}

/// One selector that admits every pair of addresses.
pub(crate) fn any_selector() -> Vec<Selector> {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    vec![Selector {
        local: any,
        peer: any,
    }]
}

/// Both ends of an SA: what the first seals the second opens.
pub(crate) fn pair(transform: Transform) -> (OutboundSa, InboundSa) {
    let keys = keys(transform, 1);
    let outbound = OutboundSa::new(spi(), transform, &keys, endpoints(), NonceSpace::default()).unwrap();
    (
        outbound,
        InboundSa::new(spi(), transform, &keys, any_selector(), 64).unwrap(),
    )
}

/// Room that suffices for every transform.
pub(crate) const ROOM: usize = 96;

/// A frame with the packet in it and [`ROOM`] on both sides.
pub(crate) fn frame(packet: &[u8]) -> Vec<u8> {
    [&[0; ROOM], packet, &[0; ROOM]].concat()
}

/// The outer packet that `sa` makes of `inner`.
pub(crate) fn sealed(sa: &OutboundSa, inner: &[u8]) -> Vec<u8> {
    let mut frame = frame(inner);
    let mut packet = Packet::new(&mut frame, ROOM, inner.len());
    let number = sa.reserve(1).unwrap().next().unwrap();
    sa.seal(&mut packet, number, &mut IvGenerator::from_seed([9; 32]))
        .unwrap();
    packet.bytes().to_vec()
}

/// The inner packet that `sa` finds in an ESP packet.
pub(crate) fn opened(sa: &InboundSa, esp: &[u8], outer_tos: u8) -> Result<Vec<u8>, OpenError> {
    let mut frame = esp.to_vec();
    let mut packet = Packet::new(&mut frame, 0, esp.len());
    sa.open(&mut packet, outer_tos)?;
    Ok(packet.bytes().to_vec())
}
