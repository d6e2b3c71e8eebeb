//! How much of a link a tunnel leaves: inner MTU, TCP MSS, average overhead.
//!
//! All lengths are octets of IP packets, without the link's own header.

use crate::Encapsulation;

/// Octets of the outer header of a tunnel over IPv4.
pub const OUTER_IPV4: usize = 20;
/// Octets of the outer header of a tunnel over IPv6.
pub const OUTER_IPV6: usize = 40;
/// The UDP header of RFC 3948.
const UDP: usize = 8;
/// SPI and sequence number.
const ESP_HEADER: usize = 8;
/// Pad length and next header.
const TRAILER: usize = 2;
/// An IPv4 and a TCP header without options.
const IPV4_AND_TCP: usize = 40;

/// The lengths of a transform that decide how much room a packet needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Octets of explicit IV.
    pub iv_len: usize,
    /// Octets of ICV.
    pub icv_len: usize,
    /// Payload, padding and trailer together are a multiple of this.
    pub block_len: usize,
}

/// The longest inner packet whose sealed form fits `link_mtu`; 0 if there is none.
pub const fn inner_mtu(
    shape: Shape,
    link_mtu: usize,
    outer_header: usize,
    encapsulation: Encapsulation,
) -> usize {
    let room = link_mtu.saturating_sub(fixed_overhead(shape, outer_header, encapsulation));
    (room - room % shape.block_len).saturating_sub(TRAILER)
}

/// The TCP maximum segment size (over IPv4, without options) that fits an inner MTU; 0 if there is none.
pub const fn mss(inner_mtu: usize) -> usize {
    inner_mtu.saturating_sub(IPV4_AND_TCP)
}

/// Octets added to an inner packet on average, with every length equally likely; rounded up.
pub const fn average_overhead(shape: Shape, outer_header: usize, encapsulation: Encapsulation) -> usize {
    fixed_overhead(shape, outer_header, encapsulation) + TRAILER + shape.block_len / 2
}

const fn fixed_overhead(shape: Shape, outer_header: usize, encapsulation: Encapsulation) -> usize {
    let udp = match encapsulation {
        Encapsulation::Esp => 0,
        Encapsulation::Udp => UDP,
    };
    outer_header + udp + ESP_HEADER + shape.iv_len + shape.icv_len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cipher, Integrity, Transform};

    const fn shape(iv_len: usize, icv_len: usize, block_len: usize) -> Shape {
        Shape {
            iv_len,
            icv_len,
            block_len,
        }
    }

    /// One row: inner MTU and MSS over IPv4, over IPv4 with UDP, over IPv6.
    #[track_caller]
    fn check(name: &str, shape: Shape, expected: [(usize, usize); 3]) {
        let cases = [
            (OUTER_IPV4, Encapsulation::Esp),
            (OUTER_IPV4, Encapsulation::Udp),
            (OUTER_IPV6, Encapsulation::Esp),
        ];
        for ((outer, encapsulation), expected) in cases.into_iter().zip(expected) {
            let mtu = inner_mtu(shape, 1500, outer, encapsulation);
            assert_eq!(
                (mtu, mss(mtu)),
                expected,
                "{name}, outer header {outer}, {encapsulation:?}"
            );
        }
    }

    #[test]
    fn reproduces_the_table_that_cloud_providers_publish() {
        check(
            "AES-GCM-16",
            shape(8, 16, 4),
            [(1446, 1406), (1438, 1398), (1426, 1386)],
        );
        check(
            "AES-CBC, MD5 or SHA1-96",
            shape(16, 12, 16),
            [(1438, 1398), (1422, 1382), (1422, 1382)],
        );
        check(
            "AES-CBC, SHA256-128",
            shape(16, 16, 16),
            [(1438, 1398), (1422, 1382), (1406, 1366)],
        );
        check(
            "AES-CBC, SHA384-192",
            shape(16, 24, 16),
            [(1422, 1382), (1422, 1382), (1406, 1366)],
        );
        check(
            "AES-CBC, SHA512-256",
            shape(16, 32, 16),
            [(1422, 1382), (1406, 1366), (1390, 1350)],
        );
        check(
            "3DES, MD5 or SHA1-96",
            shape(8, 12, 8),
            [(1446, 1406), (1438, 1398), (1430, 1390)],
        );
        check(
            "NULL, SHA1-96",
            shape(0, 12, 4),
            [(1458, 1418), (1450, 1410), (1438, 1398)],
        );
    }

    #[test]
    fn transforms_have_the_shapes_of_the_table() {
        let shape_of = |cipher, integrity| Transform::new(cipher, integrity).unwrap().shape();
        assert_eq!(shape_of(Cipher::Aes128Gcm, None), shape(8, 16, 4));
        assert_eq!(shape_of(Cipher::Aes256Gcm, None), shape(8, 16, 4));
        assert_eq!(shape_of(Cipher::Aes192Gcm, None), shape(8, 16, 4));
        assert_eq!(shape_of(Cipher::ChaCha20Poly1305, None), shape(8, 16, 4));
        for aes in [Cipher::Aes128Cbc, Cipher::Aes192Cbc, Cipher::Aes256Cbc] {
            assert_eq!(shape_of(aes, Some(Integrity::HmacMd5_96)), shape(16, 12, 16));
            assert_eq!(shape_of(aes, Some(Integrity::HmacSha1_96)), shape(16, 12, 16));
            assert_eq!(
                shape_of(aes, Some(Integrity::HmacSha2_256_128)),
                shape(16, 16, 16)
            );
            assert_eq!(
                shape_of(aes, Some(Integrity::HmacSha2_384_192)),
                shape(16, 24, 16)
            );
            assert_eq!(
                shape_of(aes, Some(Integrity::HmacSha2_512_256)),
                shape(16, 32, 16)
            );
        }
        for des in [Cipher::Des, Cipher::TripleDes] {
            assert_eq!(shape_of(des, Some(Integrity::HmacMd5_96)), shape(8, 12, 8));
            assert_eq!(shape_of(des, Some(Integrity::HmacSha2_512_256)), shape(8, 32, 8));
        }
    }

    #[test]
    fn a_link_too_small_for_the_headers_leaves_nothing() {
        for link in 0..=70 {
            assert_eq!(
                inner_mtu(shape(16, 12, 16), link, OUTER_IPV4, Encapsulation::Esp),
                0,
                "link {link}"
            );
        }
        assert_eq!(
            inner_mtu(shape(16, 12, 16), 72, OUTER_IPV4, Encapsulation::Esp),
            14
        );
        assert_eq!(mss(39), 0);
    }
}
