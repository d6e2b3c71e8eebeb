//! Vendor IDs: what peers announce about themselves and their extensions.
//!
//! Most are the MD5 of a text. Some carry a version behind the digest, so they are compared by prefix.

/// RFC 3947, NAT traversal ("RFC 3947").
pub const NAT_T_RFC3947: [u8; 16] = hex("4a131c81070358455c5728f20e95452f");
/// draft-ietf-ipsec-nat-t-ike-03.
pub const NAT_T_DRAFT_03: [u8; 16] = hex("7d9419a65310ca6f2c179d9215529d56");
/// draft-ietf-ipsec-nat-t-ike-02.
pub const NAT_T_DRAFT_02: [u8; 16] = hex("cd60464335df21f87cfdb2fc68b6a448");
/// draft-ietf-ipsec-nat-t-ike-02 as most send it: the digest of the text with a newline.
pub const NAT_T_DRAFT_02_N: [u8; 16] = hex("90cb80913ebb696e086381b5ec427b1f");
/// draft-ietf-ipsec-nat-t-ike-00.
pub const NAT_T_DRAFT_00: [u8; 16] = hex("4485152d18b6bbcd0be8a8469579ddcc");
/// Dead peer detection (RFC 3706), with major version 1 and minor version 0 in the last octets.
pub const DPD: [u8; 16] = hex("afcad71368a1f1c96b8696fc77570100");
/// draft-beaulieu-ike-xauth.
pub const XAUTH: [u8; 8] = hex("09002689dfd6b712");
/// IKE fragmentation of Microsoft and Cisco ("FRAGMENTATION").
pub const FRAGMENTATION: [u8; 16] = hex("4048b7d56ebce88525e7de7f00d6c2d3");
/// The same with the capability of fragments in phase 1 behind the digest, without which strongSwan and Cisco ignore it.
pub const FRAGMENTATION_PHASE_1: [u8; 20] = hex("4048b7d56ebce88525e7de7f00d6c2d380000000");
/// Cisco Unity, with the version in the last octets.
pub const CISCO_UNITY: [u8; 16] = hex("12f5f28c457168a9702d9fe274cc0100");

/// Octets that vendor ids start with, and what they announce.
const KNOWN: [(&[u8], &str); 11] = [
    (&NAT_T_RFC3947, "NAT-T RFC 3947"),
    (&NAT_T_DRAFT_03, "NAT-T draft 03"),
    (&NAT_T_DRAFT_02, "NAT-T draft 02"),
    (&NAT_T_DRAFT_02_N, "NAT-T draft 02\\n"),
    (&NAT_T_DRAFT_00, "NAT-T draft 00"),
    (&hex::<14>("afcad71368a1f1c96b8696fc7757"), "DPD"),
    (&XAUTH, "XAUTH"),
    (&FRAGMENTATION, "FRAGMENTATION"),
    (&hex::<14>("12f5f28c457168a9702d9fe274cc"), "Cisco Unity"),
    (&hex::<16>("882fe56d6fd20dbc2251613b2ebe5beb"), "strongSwan"),
    (&hex::<16>("1e2b516905991c7d7c96fcbfb587e461"), "Microsoft"),
];

/// A name for a vendor id, if we know it.
pub fn name(vendor_id: &[u8]) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|(prefix, _)| vendor_id.starts_with(prefix))
        .map(|(_, name)| *name)
}

/// Decodes a hexadecimal constant. A wrong length or digit fails the build.
const fn hex<const N: usize>(text: &str) -> [u8; N] {
    const fn digit(c: u8) -> u8 {
        match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => panic!("not a hexadecimal digit"),
        }
    }
    let text = text.as_bytes();
    assert!(text.len() == 2 * N, "wrong length");
    let mut octets = [0; N];
    let mut i = 0;
    while i < N {
        octets[i] = (digit(text[2 * i]) << 4) | digit(text[2 * i + 1]);
        i += 1;
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_ids_are_named_with_any_version_behind_the_digest() {
        let mut unity = CISCO_UNITY;
        unity[15] = 7;
        assert_eq!(name(&unity), Some("Cisco Unity"));
        assert_eq!(name(&NAT_T_RFC3947), Some("NAT-T RFC 3947"));
        assert_eq!(name(&DPD), Some("DPD"));
        assert_eq!(name(&[]), None);
        assert_eq!(name(&NAT_T_RFC3947[..15]), None);
    }
}
