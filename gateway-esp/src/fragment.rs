//! IPv4 fragmentation before encryption, RFC 791 section 3.2 and RFC 4301 section 8.2.

use thiserror::Error;

use crate::ip::{Ipv4Header, MAX_HEADER_LEN, MIN_HEADER_LEN, checksum};

/// The smallest MTU of IPv4, RFC 791: a full header and 8 octets.
pub const MIN_MTU: usize = 68;

/// The copied flag of an option, RFC 791 section 3.1.
const OPTION_COPIED: u8 = 0x80;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
/// Fragment offsets count 8 octets.
const UNIT: usize = 8;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Why a packet was not split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FragmentError {
    /// Not a well-formed IPv4 packet.
    #[error("not an IPv4 packet")]
    Malformed,
    /// The sender asked for an ICMP message.
    #[error("the packet must not be fragmented")]
    DontFragment,
    /// Less than [`MIN_MTU`].
    #[error("an MTU of {0} octets is below the minimum of IPv4")]
    MtuTooSmall(usize),
}

/// Splits an IPv4 packet into fragments of at most `mtu` octets and gives each, as header and payload, to `out` in order.
///
/// A packet that fits comes out as one piece with its header unchanged. A fragment may be split again.
///
/// # Errors
/// Nothing was given to `out` then.
pub fn split(packet: &[u8], mtu: usize, mut out: impl FnMut(&[u8], &[u8])) -> Result<(), FragmentError> {
    let ip = Ipv4Header::parse(packet).ok_or(FragmentError::Malformed)?;
    let (first_header, payload) = packet
        .get(..ip.total_len)
        .and_then(|packet| packet.split_at_checked(ip.header_len))
        .ok_or(FragmentError::Malformed)?;
    if ip.total_len <= mtu {
        out(first_header, payload);
        return Ok(());
    }
    if ip.dont_fragment {
        return Err(FragmentError::DontFragment);
    }
    if mtu < MIN_MTU {
        return Err(FragmentError::MtuTooSmall(mtu));
    }

    let mut header = Header::new(first_header);
    let mut rest = payload;
    let mut offset = ip.fragment_offset;
    loop {
        let room = (mtu - header.len) / UNIT * UNIT;
        let last = rest.len() <= mtu - header.len;
        let (piece, after) = rest.split_at(if last { rest.len() } else { room });
        out(
            header.finish(piece.len(), offset, !last || ip.more_fragments),
            piece,
        );
        if last {
            return Ok(());
        }
        offset += piece.len();
        rest = after;
        header.keep_copied_options();
    }
}

/// The header of the next fragment.
struct Header {
    octets: [u8; MAX_HEADER_LEN],
    len: usize,
}

impl Header {
    /// `header` is one that [`Ipv4Header::parse`] measured: 20 to 60 octets.
    fn new(header: &[u8]) -> Self {
        let mut octets = [0; MAX_HEADER_LEN];
        let len = header.len().min(MAX_HEADER_LEN);
        octets[..len].copy_from_slice(&header[..len]);
        Self { octets, len }
    }

    /// Fills in what differs from fragment to fragment.
    fn finish(&mut self, payload: usize, offset: usize, more: bool) -> &[u8] {
        let units = u16::try_from(offset / UNIT).unwrap_or(u16::MAX) & 0x1fff;
        let fragment = if more { MORE_FRAGMENTS | units } else { units };
        let total = u16::try_from(self.len + payload).unwrap_or(u16::MAX);
        let header = &mut self.octets[..self.len];
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// Drops the options that belong to the first fragment only. What does not parse as options is dropped too.
    fn keep_copied_options(&mut self) {
        let old = self.octets;
        let mut options = &old[MIN_HEADER_LEN..self.len];
        let mut len = MIN_HEADER_LEN;
        while let [kind, tail @ ..] = options {
            let size = match (*kind, tail.first()) {
                (OPTION_END, _) => break,
                (OPTION_NOP, _) => 1,
                (_, size) => size.map_or(0, |size| usize::from(*size)),
            };
            let Some((option, after)) = options
                .split_at_checked(size)
                .filter(|(option, _)| !option.is_empty())
            else {
                break;
            };
            if kind & OPTION_COPIED != 0 {
                self.octets[len..len + size].copy_from_slice(option);
                len += size;
            }
            options = after;
        }
        let padded = len.next_multiple_of(4);
        self.octets[len..padded].fill(OPTION_END);
        self.len = padded;
        self.octets[0] = 0x40 | u8::try_from(padded / 4).unwrap_or(0x0f);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::udp_packet;

    /// Header and payload.
    type Piece = (Vec<u8>, Vec<u8>);

    fn pieces(packet: &[u8], mtu: usize) -> Result<Vec<Piece>, FragmentError> {
        let mut pieces = Vec::new();
        split(packet, mtu, |header, payload| {
            pieces.push((header.to_vec(), payload.to_vec()))
        })?;
        Ok(pieces)
    }

    /// Puts the payload together again and checks what every receiver would check.
    fn reassemble(pieces: &[Piece], mtu: usize) -> (usize, Vec<u8>, bool) {
        let mut whole = Vec::new();
        let mut start = None;
        let mut more = true;
        for (header, payload) in pieces {
            let packet = [header.as_slice(), payload].concat();
            let ip = Ipv4Header::parse(&packet).unwrap();
            assert!(packet.len() <= mtu && ip.total_len == packet.len());
            assert_eq!(checksum(header), 0);
            assert!(more, "nothing follows the last fragment");
            let first = *start.get_or_insert(ip.fragment_offset);
            assert_eq!(ip.fragment_offset, first + whole.len());
            whole.extend_from_slice(payload);
            more = ip.more_fragments;
        }
        (start.unwrap(), whole, more)
    }

    #[test]
    fn a_packet_that_fits_is_unchanged() {
        let packet = udp_packet(100);
        let whole = pieces(&packet, packet.len()).unwrap();
        assert_eq!(whole, [(packet[..20].to_vec(), packet[20..].to_vec())]);
    }

    #[test]
    fn octets_behind_the_packet_do_not_travel() {
        let packet = udp_packet(10);
        let padded = [packet.as_slice(), &[0xee; 9]].concat();
        assert_eq!(pieces(&padded, 1500), pieces(&packet, 1500));
    }

    #[test]
    fn refuses_df_and_tiny_mtus() {
        let mut packet = udp_packet(1400);
        assert_eq!(pieces(&packet, 67), Err(FragmentError::MtuTooSmall(67)));
        packet[6] = 0x40;
        assert_eq!(pieces(&packet, 1398), Err(FragmentError::DontFragment));
        assert_eq!(pieces(&packet[..100], 1398), Err(FragmentError::Malformed));
    }

    #[test]
    fn a_fragment_split_again_keeps_its_place_and_its_more_flag() {
        let packet = udp_packet(1400);
        let first = pieces(&packet, 1000).unwrap();
        let again: Vec<_> = first
            .iter()
            .flat_map(|(h, p)| pieces(&[h.as_slice(), p].concat(), 300).unwrap())
            .collect();
        assert_eq!(reassemble(&again, 300), (0, packet[20..].to_vec(), false));
    }

    #[test]
    fn only_options_with_the_copied_flag_go_into_later_fragments() {
        // Record route (7, not copied), NOP, router alert (0x94, copied), end.
        let options = [7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0, 0, 0, 0, 0];
        let mut packet = udp_packet(200);
        packet.splice(20..20, options);
        packet[0] = 0x49;
        let total = u16::try_from(packet.len()).unwrap();
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        let pieces = pieces(&packet, 100).unwrap();
        assert_eq!(pieces[0].0[20..], options);
        for (header, _) in &pieces[1..] {
            assert_eq!(header[20..], [0x94, 4, 0, 0]);
        }
        reassemble(&pieces, 100);
    }

    proptest! {
        #[test]
        fn fragments_fit_and_reassemble(payload in 0usize..3000, mtu in MIN_MTU..1600, options in 0usize..=10, junk: [u8; 40]) {
            let mut packet = udp_packet(payload);
            packet.splice(20..20, junk[..options * 4].iter().copied());
            packet[0] = 0x45 + u8::try_from(options).unwrap();
            let total = u16::try_from(packet.len()).unwrap();
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[10..12].fill(0);
            let header_len = 20 + options * 4;
            let sum = checksum(&packet[..header_len]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            let pieces = pieces(&packet, mtu).unwrap();
            prop_assert_eq!(reassemble(&pieces, mtu), (0, packet[header_len..].to_vec(), false));
        }
    }
}
