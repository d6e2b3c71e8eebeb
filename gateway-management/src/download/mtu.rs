//! Room inside a tunnel.

use crate::algorithms::{EspEncryption, Hash};

/// What fits into a packet of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Octets of an inner IP packet.
    pub mtu: u16,
    /// Octets of a TCP segment's data over IPv4.
    pub mss: u16,
}

/// Room of a tunnel over a link of `link` octets, with an outer IPv4 header and, for NAT traversal, a UDP header.
pub fn room(link: u16, encryption: EspEncryption, integrity: Hash, nat: bool) -> Room {
    const OUTER: u16 = 20;
    const UDP: u16 = 8;
    const SPI_AND_SEQUENCE: u16 = 8;
    const PAD_LENGTH_AND_NEXT_HEADER: u16 = 2;
    let (block, iv) = match encryption {
        EspEncryption::Aes128 | EspEncryption::Aes192 | EspEncryption::Aes256 => (16, 16),
        EspEncryption::TripleDes | EspEncryption::Des => (8, 8),
        EspEncryption::Aes128Gcm | EspEncryption::Aes256Gcm => (4, 8),
    };
    let icv = match integrity {
        _ if encryption.is_aead() => 16,
        Hash::Md5 | Hash::Sha1 => 12,
        Hash::Sha256 => 16,
        Hash::Sha384 => 24,
        Hash::Sha512 => 32,
    };
    let overhead = OUTER + if nat { UDP } else { 0 } + SPI_AND_SEQUENCE + iv + icv;
    let room = link.saturating_sub(overhead);
    let mtu = (room - room % block).saturating_sub(PAD_LENGTH_AND_NEXT_HEADER);
    Room {
        mtu,
        mss: mtu.saturating_sub(40),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_those_of_the_published_table() {
        use EspEncryption::{Aes128, Aes256Gcm, TripleDes};
        for (encryption, integrity, plain, nat) in [
            (Aes256Gcm, Hash::Sha1, (1446, 1406), (1438, 1398)),
            (Aes128, Hash::Sha1, (1438, 1398), (1422, 1382)),
            (Aes128, Hash::Sha256, (1438, 1398), (1422, 1382)),
            (Aes128, Hash::Sha384, (1422, 1382), (1422, 1382)),
            (Aes128, Hash::Sha512, (1422, 1382), (1406, 1366)),
            (TripleDes, Hash::Md5, (1446, 1406), (1438, 1398)),
        ] {
            for (with_nat, (mtu, mss)) in [(false, plain), (true, nat)] {
                assert_eq!(
                    room(1500, encryption, integrity, with_nat),
                    Room { mtu, mss },
                    "{encryption:?} {integrity:?}"
                );
            }
        }
    }
}
