//! The ICMP messages of a router: path MTU discovery (RFC 1191) and the end of a TTL (RFC 792).

use std::net::Ipv4Addr;

use crate::ip::{Ipv4Header, MIN_HEADER_LEN, checksum, protocol};

/// Octets of ICMP header before the quoted packet.
const ICMP_HEADER: usize = 8;
/// The longest ICMP error, RFC 1812 section 4.3.2.3.
const MAX_LEN: usize = 576;
/// Type and code of "fragmentation needed and DF set".
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// Type and code of "time to live exceeded in transit".
const TIME_EXCEEDED: [u8; 2] = [11, 0];
/// TTL of packets this gateway originates, RFC 1700.
const TTL: u8 = 64;

/// Writes the answer to a packet too long for the tunnel: destination unreachable, fragmentation needed, with the next-hop `mtu`.
///
/// `original` starts at its IPv4 header, `from` is our own address on the side where it arrived. Returns the length of the IP packet
/// in `out`. `None` if `out` is too small for it (576 octets always suffice), or if RFC 1812 section 4.3.2.7 forbids the answer: to
/// an ICMP error, to a fragment other than the first, to or from an address that is not one host.
///
/// ```text
/// |     Type 3    |     Code 4    |          Checksum             |
/// |           unused (0)          |         Next-Hop MTU          |
/// |      Internet Header + as much of the original as fits        |
/// ```
pub fn fragmentation_needed(original: &[u8], from: Ipv4Addr, mtu: u16, out: &mut [u8]) -> Option<usize> {
    error(original, from, FRAGMENTATION_NEEDED, mtu, out)
}

/// Writes the answer to a packet whose TTL ends here, as [`fragmentation_needed`] does.
///
/// ```text
/// |     Type 11   |     Code 0    |          Checksum             |
/// |                             unused                            |
/// |      Internet Header + as much of the original as fits        |
/// ```
pub fn time_exceeded(original: &[u8], from: Ipv4Addr, out: &mut [u8]) -> Option<usize> {
    error(original, from, TIME_EXCEEDED, 0, out)
}

/// `parameter` is the lower half of the header's second word.
fn error(
    original: &[u8],
    from: Ipv4Addr,
    type_and_code: [u8; 2],
    parameter: u16,
    out: &mut [u8],
) -> Option<usize> {
    let ip = Ipv4Header::parse(original)?;
    if !may_answer(&ip, original) {
        return None;
    }
    let quoted = original.get(..ip.total_len.min(MAX_LEN - MIN_HEADER_LEN - ICMP_HEADER))?;
    let total = MIN_HEADER_LEN + ICMP_HEADER + quoted.len();
    let (header, message) = out.get_mut(..total)?.split_at_mut(MIN_HEADER_LEN);

    header.fill(0);
    header[0] = 0x45;
    header[1] = 0xc0; // RFC 1812 section 4.3.2.5: precedence of internetwork control
    header[2..4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
    header[6] = 0x40; // an atomic datagram (RFC 6864) needs no identification
    header[8] = TTL;
    header[9] = protocol::ICMP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&ip.source.octets());
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());

    let (head, body) = message.split_at_mut(ICMP_HEADER);
    head.fill(0);
    head[..2].copy_from_slice(&type_and_code);
    head[6..8].copy_from_slice(&parameter.to_be_bytes());
    body.copy_from_slice(quoted);
    let sum = checksum(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(total)
}

/// RFC 1812 section 4.3.2.7 and RFC 1122 section 3.2.2.
fn may_answer(ip: &Ipv4Header, original: &[u8]) -> bool {
    let one_host = |address: Ipv4Addr| {
        let first = address.octets()[0];
        first != 0 && first != 127 && first < 224
    };
    // A type that was cut off could be an error, so it counts as one.
    let query = |kind: Option<&u8>| kind.is_some_and(|kind| !matches!(kind, 3 | 4 | 5 | 11 | 12));
    ip.fragment_offset == 0
        && one_host(ip.source)
        && one_host(ip.destination)
        && (ip.protocol != protocol::ICMP || query(original.get(ip.header_len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ipv4_packet, udp_packet};

    const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

    #[test]
    fn quotes_the_packet_and_names_the_mtu() {
        let original = udp_packet(1400);
        let mut out = [0xaa; 600];
        let len = fragmentation_needed(&original, US, 1398, &mut out).unwrap();
        assert_eq!(len, 576);
        let ip = Ipv4Header::parse(&out[..len]).unwrap();
        assert_eq!((ip.source, ip.protocol, ip.total_len), (US, protocol::ICMP, len));
        assert_eq!(ip.destination, Ipv4Header::parse(&original).unwrap().source);
        assert_eq!((checksum(&out[..20]), checksum(&out[20..len])), (0, 0));
        assert_eq!(out[20..22], [3, 4]);
        assert_eq!(out[24..28], [0, 0, 5, 0x76]);
        assert_eq!(out[28..len], original[..548]);
        assert!(out[len..].iter().all(|octet| *octet == 0xaa));
    }

    #[test]
    fn the_end_of_a_ttl_is_told_with_the_packet_quoted() {
        let original = udp_packet(4);
        let mut out = [0xaa; 600];
        let len = time_exceeded(&original, US, &mut out).unwrap();
        assert_eq!(len, 28 + original.len());
        assert_eq!((checksum(&out[..20]), checksum(&out[20..len])), (0, 0));
        assert_eq!(out[20..22], [11, 0]);
        assert_eq!(out[24..28], [0; 4]);
        assert_eq!(out[28..len], original);
        let error = ipv4_packet(protocol::ICMP, &[11, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(time_exceeded(&error, US, &mut out), None);
    }

    #[test]
    fn a_short_packet_is_quoted_whole() {
        let original = udp_packet(4);
        let mut out = [0; 576];
        assert_eq!(
            fragmentation_needed(&original, US, 68, &mut out),
            Some(28 + original.len())
        );
    }

    #[test]
    fn a_buffer_too_small_gives_nothing() {
        let original = udp_packet(4);
        for len in 0..28 + original.len() {
            assert_eq!(
                fragmentation_needed(&original, US, 68, &mut vec![0; len]),
                None,
                "{len}"
            );
        }
    }

    #[test]
    fn never_answers_icmp_errors_but_answers_queries() {
        let mut out = [0; 576];
        for kind in 0..=255u8 {
            let original = ipv4_packet(protocol::ICMP, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            let is_error = [3, 4, 5, 11, 12].contains(&kind);
            assert_eq!(
                fragmentation_needed(&original, US, 1398, &mut out).is_none(),
                is_error,
                "type {kind}"
            );
        }
        assert_eq!(
            fragmentation_needed(&ipv4_packet(protocol::ICMP, &[]), US, 1398, &mut out),
            None
        );
    }

    #[test]
    fn never_answers_later_fragments_and_groups() {
        let mut out = [0; 576];
        let mut answers = |at: usize, value: u8| {
            let mut original = udp_packet(100);
            original[at] = value;
            fragmentation_needed(&original, US, 1398, &mut out).is_some()
        };
        assert!(answers(6, 0x20), "first fragment");
        assert!(!answers(7, 1), "later fragment");
        for first in [0, 127, 224, 239, 255] {
            assert!(!answers(12, first), "source {first}");
            assert!(!answers(16, first), "destination {first}");
        }
    }
}
