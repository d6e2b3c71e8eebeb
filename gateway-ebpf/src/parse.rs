//! Headers of a packet, every length checked where it is read.

use gateway_common::abi::Verdict;

use crate::packet::{Packet, Word};

const ETHERTYPE_IPV4: u16 = 0x0800;
/// IEEE 802.1Q.
const ETHERTYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad.
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERNET_LEN: usize = 14;
const VLAN_TAG_LEN: usize = 4;
const VLAN_TAGS_MAX: usize = 2;

const IPV4_LEN_MIN: usize = 20;
const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ESP: u8 = 50;

const UDP_LEN: u16 = 8;
const PORT_IKE: u16 = 500;
/// RFC 3948: IKE and ESP behind a NAT.
const PORT_IKE_NAT: u16 = 4500;
/// RFC 3948 section 2.2: four zero octets, where an ESP packet has its SPI.
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// RFC 3948 section 2.3.
const NAT_KEEPALIVE: u8 = 0xff;
/// SPI and sequence number, RFC 4303 section 2. What must follow depends on the algorithm: the worker's matter.
const ESP_LEN_MIN: u16 = 8;

/// What the decisions need of an IPv4 header, RFC 791 section 3.1.
pub(crate) struct Ipv4 {
    /// Octets from the start of the packet to the header: 14, 18 or 22.
    pub(crate) l3_offset: usize,
    /// Octets of the header, 20 to 60.
    pub(crate) header_len: u16,
    /// Octets of the header and what follows it. Not more than the packet has.
    pub(crate) total_len: u16,
    pub(crate) protocol: u8,
    /// Flags and fragment offset.
    fragment: u16,
    pub(crate) src: Word,
    pub(crate) dst: Word,
}

impl Ipv4 {
    fn is_fragment(&self) -> bool {
        self.fragment & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET) != 0
    }

    fn is_later_fragment(&self) -> bool {
        self.fragment & IPV4_FRAGMENT_OFFSET != 0
    }

    /// Octets from the start of the packet to the payload.
    fn l4_offset(&self) -> usize {
        self.l3_offset + self.header_len as usize
    }

    fn payload_len(&self) -> u16 {
        self.total_len - self.header_len
    }
}

/// Where the ESP header of a packet is.
pub(crate) struct Esp {
    /// Octets from the start of the packet.
    pub(crate) offset: usize,
    pub(crate) spi: Word,
    /// RFC 3948: behind a UDP header.
    pub(crate) udp_encapsulated: bool,
}

/// A packet to one of our own addresses.
pub(crate) enum Local {
    /// A whole ESP packet, in UDP or not.
    Esp(Esp),
    /// A datagram, or the first fragment of one, for the IKE sockets.
    Ike,
    /// Neither.
    Other,
}

/// Finds and checks the IPv4 header behind an Ethernet header with up to two VLAN tags.
///
/// The header's own checksum is left to the kernel and the peer: ESP authenticates what matters.
#[inline(always)]
pub(crate) fn ipv4(packet: &(impl Packet + ?Sized)) -> Result<Ipv4, Verdict> {
    let l3_offset = network_header(packet)?;
    if !packet.has(l3_offset + IPV4_LEN_MIN) {
        return Err(Verdict::Malformed);
    }
    let [version_and_len] = field(packet, l3_offset)?;
    let header_len = u16::from(version_and_len & 0x0f) * 4;
    let total_len = u16::from_be_bytes(field(packet, l3_offset + 2)?);
    if version_and_len >> 4 != 4
        || usize::from(header_len) < IPV4_LEN_MIN
        || total_len < header_len
        || !packet.has(l3_offset + usize::from(total_len))
    {
        return Err(Verdict::Malformed);
    }
    let [protocol] = field(packet, l3_offset + 9)?;
    Ok(Ipv4 {
        l3_offset,
        header_len,
        total_len,
        protocol,
        fragment: u16::from_be_bytes(field(packet, l3_offset + 6)?),
        src: Word::new(field(packet, l3_offset + 12)?),
        dst: Word::new(field(packet, l3_offset + 16)?),
    })
}

/// Reads a field of a header that has to be there.
///
/// One read per field: what is read as an array of octets stays one.
#[inline(always)]
fn field<const N: usize>(packet: &(impl Packet + ?Sized), offset: usize) -> Result<[u8; N], Verdict> {
    packet.read(offset).ok_or(Verdict::Malformed)
}

/// Octets before the IPv4 header.
#[inline(always)]
fn network_header(packet: &(impl Packet + ?Sized)) -> Result<usize, Verdict> {
    let mut offset = ETHERNET_LEN;
    for _ in 0..=VLAN_TAGS_MAX {
        match u16::from_be_bytes(field(packet, offset - 2)?) {
            ETHERTYPE_IPV4 => return Ok(offset),
            ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => offset += VLAN_TAG_LEN,
            _ => return Err(Verdict::NotIp),
        }
    }
    Err(Verdict::NotIp)
}

/// Sorts a packet to one of our own addresses.
///
/// Fragments of what could be ESP go to the kernel, which puts them together: `Fragment`. A fragment behind the first has no
/// ports, so any UDP one counts.
#[inline(always)]
pub(crate) fn local(packet: &(impl Packet + ?Sized), ip: &Ipv4) -> Result<Local, Verdict> {
    match ip.protocol {
        PROTOCOL_ESP if ip.is_fragment() => Err(Verdict::Fragment),
        PROTOCOL_ESP => esp(packet, ip.l4_offset(), ip.payload_len(), false).map(Local::Esp),
        PROTOCOL_UDP if ip.is_later_fragment() => Err(Verdict::Fragment),
        PROTOCOL_UDP => udp(packet, ip),
        _ => Ok(Local::Other),
    }
}

#[inline(always)]
fn udp(packet: &(impl Packet + ?Sized), ip: &Ipv4) -> Result<Local, Verdict> {
    if ip.payload_len() < UDP_LEN {
        return Err(Verdict::Malformed);
    }
    // In one read: behind a header of variable length the verifier does not see that two checks are of the same place.
    let header: [u8; UDP_LEN as usize] = field(packet, ip.l4_offset())?;
    let port = u16::from_be_bytes([header[2], header[3]]);
    if port != PORT_IKE && port != PORT_IKE_NAT {
        return Ok(Local::Other);
    }
    if ip.is_fragment() {
        return if port == PORT_IKE {
            Ok(Local::Ike)
        } else {
            Err(Verdict::Fragment)
        };
    }
    // Octets behind the datagram but inside the IP packet would be a second length for the worker to believe.
    if u16::from_be_bytes([header[4], header[5]]) != ip.payload_len() {
        return Err(Verdict::Malformed);
    }
    if port == PORT_IKE {
        return Ok(Local::Ike);
    }
    udp_4500(
        packet,
        ip.l4_offset() + UDP_LEN as usize,
        ip.payload_len() - UDP_LEN,
    )
}

/// Tells IKE, ESP and keepalives on port 4500 apart, RFC 3948 section 2.
#[inline(always)]
fn udp_4500(packet: &(impl Packet + ?Sized), offset: usize, len: u16) -> Result<Local, Verdict> {
    if len == 1 {
        let [octet] = field(packet, offset)?;
        return Err(if octet == NAT_KEEPALIVE {
            Verdict::NatKeepalive
        } else {
            Verdict::Malformed
        });
    }
    if len >= 4 && packet.read(offset) == Some(NON_ESP_MARKER) {
        return Ok(Local::Ike);
    }
    esp(packet, offset, len, true).map(Local::Esp)
}

#[inline(always)]
fn esp(
    packet: &(impl Packet + ?Sized),
    offset: usize,
    len: u16,
    udp_encapsulated: bool,
) -> Result<Esp, Verdict> {
    if len < ESP_LEN_MIN {
        return Err(Verdict::Malformed);
    }
    Ok(Esp {
        offset,
        spi: Word::new(field(packet, offset)?),
        udp_encapsulated,
    })
}
