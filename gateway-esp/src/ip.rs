//! The IPv4 header (RFC 791): a checked parse, the checksum, the TTL.

use std::net::Ipv4Addr;

/// Octets of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Octets of a header with all options.
pub const MAX_HEADER_LEN: usize = 60;

/// Protocol numbers, IANA "Protocol Numbers".
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// IPv4 inside ESP in tunnel mode.
    pub const IPV4: u8 = 4;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Encapsulating Security Payload.
    pub const ESP: u8 = 50;
    /// No next header: a dummy packet of RFC 4303 section 2.6.
    pub const NONE: u8 = 59;
}

/// What an IPv4 header says, with lengths that were checked against the packet.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// |Version|  IHL  |Type of Service|          Total Length         |
/// |         Identification        |Flags|      Fragment Offset    |
/// |  Time to Live |    Protocol   |         Header Checksum       |
/// |                       Source Address                          |
/// |                    Destination Address                        |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Octets of the header; 20 to 60, never more than `total_len`.
    pub header_len: usize,
    /// Octets of the packet, header included; never more than the buffer had.
    pub total_len: usize,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification, for reassembly.
    pub identification: u16,
    /// The DF flag.
    pub dont_fragment: bool,
    /// The MF flag.
    pub more_fragments: bool,
    /// Where the payload belongs in the reassembled one, in octets.
    pub fragment_offset: usize,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Sender.
    pub source: Ipv4Addr,
    /// Receiver.
    pub destination: Ipv4Addr,
}

impl Ipv4Header {
    /// Reads the header at the start of `packet`; octets behind the total length are allowed (Ethernet padding).
    ///
    /// `None` if it is not IPv4 or its lengths contradict each other or the buffer. The checksum is not looked at.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; MIN_HEADER_LEN] = packet.first_chunk()?;
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        let total_len = usize::from(be16(fixed, 2));
        let ordered = MIN_HEADER_LEN <= header_len && header_len <= total_len && total_len <= packet.len();
        if fixed[0] >> 4 != 4 || !ordered {
            return None;
        }
        let fragment = be16(fixed, 6);
        Some(Self {
            header_len,
            total_len,
            tos: fixed[1],
            identification: be16(fixed, 4),
            dont_fragment: fragment & 0x4000 != 0,
            more_fragments: fragment & 0x2000 != 0,
            fragment_offset: usize::from(fragment & 0x1fff) * 8,
            ttl: fixed[8],
            protocol: fixed[9],
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
        })
    }

    /// Whether the packet is a piece of a larger one.
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset > 0
    }
}

/// The Internet checksum of RFC 1071 over `octets`, ready to be stored; 0 if they hold a correct checksum already.
pub fn checksum(octets: &[u8]) -> u16 {
    let (words, rest) = octets.as_chunks::<2>();
    let mut sum: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum();
    if let [last] = rest {
        sum += u64::from(*last) << 8;
    }
    !fold(sum)
}

/// A checksum after one of the 16-bit words that it covers changed, RFC 1624 equation 3.
pub fn checksum_after(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

/// Adds up with end-around carry.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Takes one from the TTL of the IPv4 packet and corrects its checksum.
///
/// `false`, with nothing changed, if the TTL is used up (the packet must not be forwarded; RFC 1812 section 5.3.1) or the buffer
/// holds no header.
pub fn decrement_ttl(packet: &mut [u8]) -> bool {
    let Some(header) = packet.first_chunk_mut::<MIN_HEADER_LEN>() else {
        return false;
    };
    if header[8] <= 1 {
        return false;
    }
    let old = be16(header, 8);
    header[8] -= 1;
    let new = be16(header, 8);
    correct_checksum(header, old, new);
    true
}

/// Replaces the type of service and corrects the checksum.
pub(crate) fn set_tos(header: &mut [u8; MIN_HEADER_LEN], tos: u8) {
    let old = be16(header, 0);
    header[1] = tos;
    let new = be16(header, 0);
    correct_checksum(header, old, new);
}

fn correct_checksum(header: &mut [u8; MIN_HEADER_LEN], old: u16, new: u16) {
    let corrected = checksum_after(be16(header, 10), old, new);
    header[10..12].copy_from_slice(&corrected.to_be_bytes());
}

/// A network-order word of a header.
fn be16(header: &[u8; MIN_HEADER_LEN], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::udp_packet;

    /// The worked example of the Wikipedia article on the IPv4 header checksum, widely used as a test vector.
    const EXAMPLE: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7,
    ];

    #[test]
    fn computes_the_checksum_of_a_known_header() {
        assert_eq!(checksum(&EXAMPLE), 0);
        let mut blank = EXAMPLE;
        blank[10..12].fill(0);
        assert_eq!(checksum(&blank), 0xb861);
    }

    #[test]
    fn an_odd_last_octet_counts_as_the_upper_half() {
        assert_eq!(checksum(&[0x12]), !0x1200);
        assert_eq!(checksum(&[0xff, 0xff, 0xff]), !0xff00);
    }

    #[test]
    fn an_incremental_checksum_equals_the_full_one() {
        for old in [0u16, 1, 0x1234, 0xffff] {
            for new in [0u16, 1, 0x1234, 0x8000, 0xffff] {
                let mut octets = [0x45, 0, 0, 0, 0xab, 0xcd];
                octets[2..4].copy_from_slice(&old.to_be_bytes());
                let before = checksum(&octets);
                octets[2..4].copy_from_slice(&new.to_be_bytes());
                assert_eq!(
                    checksum_after(before, old, new),
                    checksum(&octets),
                    "{old:#x} to {new:#x}"
                );
            }
        }
    }

    #[test]
    fn the_ttl_ends_at_one_and_the_checksum_follows() {
        let mut packet = udp_packet(8);
        for ttl in (1..64).rev() {
            assert!(decrement_ttl(&mut packet));
            assert_eq!((packet[8], checksum(&packet[..20])), (ttl, 0));
        }
        let last = packet.clone();
        assert!(!decrement_ttl(&mut packet));
        assert_eq!(packet, last);
        assert!(!decrement_ttl(&mut packet[..19]));
    }

    #[test]
    fn refuses_headers_whose_lengths_contradict() {
        let good = udp_packet(8);
        assert!(Ipv4Header::parse(&good).is_some());
        let with = |at: usize, value: u8| {
            let mut packet = good.clone();
            packet[at] = value;
            Ipv4Header::parse(&packet)
        };
        assert_eq!(with(0, 0x65), None, "version 6");
        assert_eq!(with(0, 0x44), None, "header of 16 octets");
        assert_eq!(with(0, 0x4f), None, "header longer than the packet");
        assert_eq!(with(3, 19), None, "total length shorter than the header");
        assert_eq!(with(3, 37), None, "total length longer than the buffer");
        for len in 0..good.len() {
            assert_eq!(Ipv4Header::parse(&good[..len]), None, "cut to {len}");
        }
    }

    #[test]
    fn reads_flags_and_fragment_offset() {
        let mut packet = udp_packet(8);
        packet[6..8].copy_from_slice(&0x4000u16.to_be_bytes());
        let whole = Ipv4Header::parse(&packet).unwrap();
        assert!(whole.dont_fragment && !whole.is_fragment());
        packet[6..8].copy_from_slice(&(0x2000u16 | 185).to_be_bytes());
        let middle = Ipv4Header::parse(&packet).unwrap();
        assert!(middle.is_fragment() && middle.more_fragments && middle.fragment_offset == 1480);
    }
}
