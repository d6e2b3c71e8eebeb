//! The octets around the payload: outer IPv4 and UDP header, ESP header and trailer.
//!
//! ```text
//! | outer IPv4 | UDP, RFC 3948 | SPI | sequence number | IV | inner packet | padding | pad length | next header | ICV |
//!                              |<------------- authenticated (AEAD: IV not in the AAD) -------------------->|
//!                                                           |<--------------- encrypted ------------------->|
//! ```

use crate::ip::{MIN_HEADER_LEN, fold, protocol};
use crate::{Spi, TunnelEndpoints, ecn};

/// SPI and sequence number.
pub(crate) const ESP_HEADER_LEN: usize = 8;
/// Pad length and next header.
pub(crate) const TRAILER_LEN: usize = 2;
/// The header of RFC 3948.
pub(crate) const UDP_HEADER_LEN: usize = 8;
/// The outer IPv4 header, as it counts in a total length.
const IPV4_LEN: u16 = 20;
/// TTL of the outer header, RFC 4301 section 5.1.2.1: constructed.
const OUTER_TTL: u8 = 64;

/// The padding of RFC 4303 section 2.4: 1, 2, 3 and so on.
const PADDING: [u8; 256] = {
    let mut octets = [0; 256];
    let mut value = 1u8;
    let mut i = 0;
    while i < octets.len() {
        octets[i] = value;
        value = value.wrapping_add(1);
        i += 1;
    }
    octets
};

/// The outer headers of a tunnel, all but what differs from packet to packet.
#[derive(Debug)]
pub(crate) struct OuterHeader {
    ipv4: [u8; MIN_HEADER_LEN],
    /// The sum over `ipv4`, not folded.
    sum: u64,
    /// Source and destination port.
    udp: Option<[u8; 4]>,
}

/// What of the inner header shows in the outer one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    pub(crate) tos: u8,
    pub(crate) dont_fragment: bool,
}

impl OuterHeader {
    pub(crate) fn new(endpoints: &TunnelEndpoints) -> Self {
        let mut ipv4 = [0; MIN_HEADER_LEN];
        ipv4[0] = 0x45;
        ipv4[8] = OUTER_TTL;
        ipv4[9] = if endpoints.udp.is_some() {
            protocol::UDP
        } else {
            protocol::ESP
        };
        ipv4[12..16].copy_from_slice(&endpoints.local.octets());
        ipv4[16..20].copy_from_slice(&endpoints.peer.octets());
        let sum = ipv4
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from(u16::from_be_bytes(*word)))
            .sum();
        let udp = endpoints.udp.map(|ports| {
            let ([a, b], [c, d]) = (ports.local.to_be_bytes(), ports.peer.to_be_bytes());
            [a, b, c, d]
        });
        Self { ipv4, sum, udp }
    }

    /// Octets of the headers.
    pub(crate) const fn len(&self) -> usize {
        match self.udp {
            None => MIN_HEADER_LEN,
            Some(_) => MIN_HEADER_LEN + UDP_HEADER_LEN,
        }
    }

    /// Writes the headers of a packet of `total` octets; `out` has [`Self::len`] octets.
    pub(crate) fn write(&self, out: &mut [u8], total: u16, identification: u16, copied: Copied) {
        let tos = ecn::encapsulate(copied.tos);
        // The outer packet is fragmented on the way exactly when the inner sender allows it, RFC 4301 section 8.1.
        let flags = if copied.dont_fragment { 0x4000u16 } else { 0 };
        let sum = self.sum + u64::from(tos) + u64::from(total) + u64::from(identification) + u64::from(flags);

        let (ipv4, rest) = out.split_at_mut(MIN_HEADER_LEN);
        ipv4.copy_from_slice(&self.ipv4);
        ipv4[1] = tos;
        ipv4[2..4].copy_from_slice(&total.to_be_bytes());
        ipv4[4..6].copy_from_slice(&identification.to_be_bytes());
        ipv4[6..8].copy_from_slice(&flags.to_be_bytes());
        ipv4[10..12].copy_from_slice(&(!fold(sum)).to_be_bytes());
        if let Some(ports) = self.udp {
            rest[..4].copy_from_slice(&ports);
            rest[4..6].copy_from_slice(&total.saturating_sub(IPV4_LEN).to_be_bytes());
            rest[6..8].fill(0); // RFC 3948 section 2.1: no checksum
        }
    }
}

/// Writes SPI and sequence number.
pub(crate) fn write_esp_header(out: &mut [u8], spi: Spi, sequence: u32) {
    out[..4].copy_from_slice(&spi.to_be_bytes());
    out[4..8].copy_from_slice(&sequence.to_be_bytes());
}

/// Reads SPI and sequence number.
pub(crate) fn read_esp_header(esp: &[u8]) -> Option<(u32, u32)> {
    let [a, b, c, d, e, f, g, h] = *esp.first_chunk()?;
    Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
}

/// Octets of padding after `payload` octets.
pub(crate) const fn padding_len(payload: usize, block_len: usize) -> usize {
    let used = (payload + TRAILER_LEN) % block_len;
    if used == 0 { 0 } else { block_len - used }
}

/// Fills padding and trailer; `out` is exactly as long.
pub(crate) fn write_trailer(out: &mut [u8], next_header: u8) {
    let (padding, trailer) = out.split_at_mut(out.len() - TRAILER_LEN);
    padding.copy_from_slice(&PADDING[..padding.len()]);
    trailer[0] = padding.len().to_le_bytes()[0];
    trailer[1] = next_header;
}

/// What the trailer of a decrypted payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Octets before the padding.
    pub(crate) payload_len: usize,
    pub(crate) next_header: u8,
}

/// Checks padding and pad length of a decrypted payload; `None` if they are not what RFC 4303 section 2.4 says.
pub(crate) fn read_trailer(plaintext: &[u8]) -> Option<Trailer> {
    let (rest, [pad_len, next_header]) = plaintext.split_last_chunk()?;
    let payload_len = rest.len().checked_sub((*pad_len).into())?;
    let padding = &rest[payload_len..];
    (padding == &PADDING[..padding.len()]).then_some(Trailer {
        payload_len,
        next_header: *next_header,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_of_every_length_read_back() {
        for pad in 0..=255 {
            let mut plaintext = vec![0xee; 7 + pad + 2];
            write_trailer(&mut plaintext[7..], 4);
            assert_eq!(
                read_trailer(&plaintext),
                Some(Trailer {
                    payload_len: 7,
                    next_header: 4
                }),
                "{pad}"
            );
        }
    }

    #[test]
    fn refuses_padding_that_is_not_one_two_three() {
        assert_eq!(
            read_trailer(&[9, 1, 2, 3, 3, 4]),
            Some(Trailer {
                payload_len: 1,
                next_header: 4
            })
        );
        for bad in [
            &[9, 0, 0, 0, 3, 4][..],
            &[9, 1, 2, 4, 3, 4],
            &[1, 2, 3, 5, 4],
            &[4],
            &[],
        ] {
            assert_eq!(read_trailer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn padding_fills_the_block() {
        assert_eq!(
            (
                padding_len(14, 16),
                padding_len(15, 16),
                padding_len(0, 4),
                padding_len(3, 4)
            ),
            (0, 15, 2, 3)
        );
    }
}
