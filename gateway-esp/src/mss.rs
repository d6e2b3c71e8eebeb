//! The TCP maximum segment size option, RFC 9293 section 3.7.1: clamped to what fits the tunnel.

use crate::Packet;
use crate::ip::{Ipv4Header, checksum_after, protocol};

const MIN_TCP_HEADER: usize = 20;
const CHECKSUM_AT: usize = 16;
const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// Lowers the MSS option of a TCP SYN to `mss` and corrects the TCP checksum. Says whether anything changed.
///
/// A segment without the option, or with a smaller one, stays as it is; so does everything that is not the start of an IPv4 packet
/// with a complete TCP header.
pub fn clamp(packet: &mut Packet<'_>, mss: u16) -> bool {
    clamp_octets(packet.bytes_mut(), mss).is_some()
}

/// `None` if nothing changed.
fn clamp_octets(packet: &mut [u8], mss: u16) -> Option<()> {
    let ip = Ipv4Header::parse(packet)?;
    if ip.protocol != protocol::TCP || ip.fragment_offset > 0 {
        return None;
    }
    let segment = packet.get_mut(ip.header_len..ip.total_len)?;
    let flags = *segment.get(13)?;
    let header_len = usize::from(segment.get(12)? >> 4) * 4;
    if flags & SYN == 0 || header_len < MIN_TCP_HEADER {
        return None;
    }
    let header = segment.get_mut(..header_len)?;
    let at = MIN_TCP_HEADER + mss_value_offset(header.get(MIN_TCP_HEADER..)?)?;
    let value: [u8; 2] = header.get(at..at + 2)?.try_into().ok()?;
    if u16::from_be_bytes(value) <= mss {
        return None;
    }

    let sum = header.get(CHECKSUM_AT..CHECKSUM_AT + 2)?;
    let sum = u16::from_be_bytes([sum[0], sum[1]]);
    let (old, new) = (u16::from_be_bytes(value), mss);
    // A value at an odd offset lies across two words; in ones' complement that only swaps the octets of what it adds.
    let sum = if at.is_multiple_of(2) {
        checksum_after(sum, old, new)
    } else {
        checksum_after(sum, old.swap_bytes(), new.swap_bytes())
    };
    header.get_mut(at..at + 2)?.copy_from_slice(&new.to_be_bytes());
    header
        .get_mut(CHECKSUM_AT..CHECKSUM_AT + 2)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Where in the options the value of the MSS option starts.
fn mss_value_offset(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *options.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(*options.get(at + 1)?);
                if kind == OPTION_MSS && len == 4 {
                    return Some(at + 2);
                }
                if len < 2 {
                    return None;
                }
                at += len;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ip::checksum;
    use crate::testing::ipv4_packet;

    /// A TCP segment with the given flags and options inside an IPv4 packet, checksum included.
    fn segment(flags: u8, options: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0u8; MIN_TCP_HEADER];
        tcp[0..4].copy_from_slice(&[0x12, 0x34, 0x00, 0x50]);
        tcp[12] = u8::try_from((MIN_TCP_HEADER + options.len()) / 4).unwrap() << 4;
        tcp[13] = flags;
        tcp.extend_from_slice(options);
        tcp.extend_from_slice(b"data");
        let mut packet = ipv4_packet(protocol::TCP, &tcp);
        let sum = tcp_checksum(&packet);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn tcp_checksum(packet: &[u8]) -> u16 {
        let len = u16::try_from(packet.len() - 20).unwrap();
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend_from_slice(&[0, protocol::TCP]);
        pseudo.extend_from_slice(&len.to_be_bytes());
        pseudo.extend_from_slice(&packet[20..]);
        checksum(&pseudo)
    }

    /// Clamps to 1398 and compares the MSS field at `at` (offset in the options) and the checksum.
    #[track_caller]
    fn check(flags: u8, options: &[u8], expected: Option<(usize, u16)>) {
        let original = segment(flags, options);
        let mut octets = original.clone();
        let len = octets.len();
        let changed = clamp(&mut Packet::new(&mut octets, 0, len), 1398);
        assert_eq!(changed, expected.is_some());
        match expected {
            None => assert_eq!(octets, original),
            Some((at, value)) => assert_eq!(octets[40 + at..42 + at], value.to_be_bytes()),
        }
        assert_eq!(tcp_checksum(&octets), 0, "checksum holds");
    }

    #[test]
    fn lowers_the_option_wherever_it_stands() {
        check(SYN, &[2, 4, 0x05, 0xb4], Some((2, 1398)));
        check(SYN | 0x10, &[2, 4, 0x05, 0xb4, 1, 3, 3, 7], Some((2, 1398)));
        check(SYN, &[1, 3, 3, 7, 2, 4, 0x23, 0x28], Some((6, 1398)));
        check(SYN, &[1, 2, 4, 0xff, 0xff, 1, 1, 0], Some((3, 1398)));
    }

    #[test]
    fn leaves_everything_else_alone() {
        check(SYN, &[2, 4, 0x05, 0x76], None); // equal
        check(SYN, &[2, 4, 0x02, 0x18], None); // smaller
        check(0x10, &[2, 4, 0x05, 0xb4], None); // not a SYN
        check(SYN, &[], None);
        check(SYN, &[1, 1, 1, 0], None);
        check(SYN, &[0, 2, 4, 0x05, 0xb4, 0, 0, 0], None); // behind the end of options
        check(SYN, &[3, 0, 2, 4], None); // an option of no length
        check(SYN, &[1, 1, 1, 2], None); // cut
        check(SYN, &[1, 2, 4, 5], None); // value cut by the end of the header
    }

    #[test]
    fn a_later_fragment_is_not_a_tcp_header() {
        let mut octets = segment(SYN, &[2, 4, 0x05, 0xb4]);
        octets[7] = 1;
        let len = octets.len();
        assert!(!clamp(&mut Packet::new(&mut octets, 0, len), 500));
    }

    proptest! {
        #[test]
        fn any_options_and_any_cut_keep_the_checksum_and_never_panic(
            words in prop::collection::vec(any::<[u8; 4]>(), 0..10),
            mss: u16,
            cut in 0usize..80,
        ) {
            let mut octets = segment(SYN, words.as_flattened());
            let len = octets.len();
            clamp(&mut Packet::new(&mut octets, 0, len), mss);
            prop_assert_eq!(tcp_checksum(&octets), 0);
            clamp(&mut Packet::new(&mut octets, 0, len.min(cut)), mss);
        }
    }
}
