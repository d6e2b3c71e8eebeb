use super::*;
use crate::crypto::{Hash, SeededRandom};

/// Hands out the same octets again and again.
struct Fixed([u8; 32]);

impl RandomSource for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0[..out.len()]);
    }
}

/// 0x81, 0x02, 0x03, ..., 0x20: an exponent with the top bit set, as `generate` makes them.
fn counting() -> Fixed {
    let mut octets: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap() + 1);
    octets[0] |= 0x80;
    Fixed(octets)
}

fn sha256_hex(octets: &[u8]) -> String {
    Hash::Sha2_256
        .digest(&[octets])
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

fn prime(group: DhGroup) -> Vec<u8> {
    let hex = match group {
        DhGroup::Modp768 => modp::P768,
        DhGroup::Modp1024 => modp::P1024,
        DhGroup::Modp1536 => modp::P1536,
        DhGroup::Modp2048 => modp::P2048,
        DhGroup::Modp3072 => modp::P3072,
        DhGroup::Modp4096 => modp::P4096,
        DhGroup::Modp2048_256 => modp::P2048_256,
    };
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// SHA2-256 of the public value of the counting exponent, and of its shared secret with the exponent 0xc0c0...c0. Computed with
/// Python's `pow` from primes that were themselves computed from the digits of pi (group 24: taken from OpenSSL).
#[test]
fn public_values_and_shared_secrets_match_an_independent_implementation() {
    let cases = [
        (
            DhGroup::Modp768,
            "6f3e253893393fde624b285f98e1b9a2530013bcaddfdd11e86c785c99466efe",
            "8fab3435e263e0ffd7e05539491cb6b031fac3640a65576a8b9b1f8d7c6f71fb",
        ),
        (
            DhGroup::Modp1024,
            "34aae4bf3ac8ad201b1e5a338f02ce46a0eb99af6685dc84b661a157f34fc088",
            "b03b7a31da0a1b26255bcc8b1a65de33ce73958a14d9af7cf37bdad01308c377",
        ),
        (
            DhGroup::Modp1536,
            "454b8432cbd942213571751b20b50e2a506be75f9d9463d55d58722a9650cc61",
            "5ef6282eb007dda9a4fffafb1cab48c84026e7b1f624738ce9f9a61dba0c0ea9",
        ),
        (
            DhGroup::Modp2048,
            "2979f3312e43f70a9714dcda49112b0b3dad685fff298b3ea59526fa863c5060",
            "d097f61bfd54d65e33edc753f0d77d7c29d2c6905a24c65daacb57e4493702be",
        ),
        (
            DhGroup::Modp3072,
            "c5d483477d35f3a0a3a9bcc261928514898ae8f5ddbd388b54c5ac2bc7cc1374",
            "92dfb1c23a7151958e5e85ddb45b46baec2e6ddfdccfaf6b8b4e720a894d763d",
        ),
        (
            DhGroup::Modp4096,
            "aca29270118d35d8808c5a0b8e0b03be7144c5a67b49e10beb6234dcc03bedb2",
            "528ed2c191a371937ae3778eed5c0b1b92cc8809808effa82f1141002603199a",
        ),
        (
            DhGroup::Modp2048_256,
            "d342b825f17a42d89222be65ea41b8294edbacf03b011ff9dd0fd3a622a9bc4f",
            "fe1275b08ccb5e014ecaf07966fa6af9b9d067ade816d31a6333ebf54e22727d",
        ),
    ];
    for (group, public_digest, shared_digest) in cases {
        let (private, public) = DhPrivate::generate(group, &mut counting());
        let (_, peer) = DhPrivate::generate(group, &mut Fixed([0xc0; 32]));
        assert_eq!(public.len(), group.public_len(), "{group}");
        assert_eq!(sha256_hex(&public), public_digest, "{group}");
        assert_eq!(
            sha256_hex(private.agree(&peer).unwrap().expose()),
            shared_digest,
            "{group}"
        );
    }
}

#[test]
fn both_ends_agree_in_every_group() {
    let mut random = SeededRandom::new([7; 32]);
    for group in DhGroup::ALL {
        let (ours, our_public) = DhPrivate::generate(group, &mut random);
        let (theirs, their_public) = DhPrivate::generate(group, &mut random);
        assert_ne!(our_public, their_public);
        let shared = ours.agree(&their_public).unwrap();
        assert_eq!(shared.expose(), theirs.agree(&our_public).unwrap().expose());
        assert_eq!(shared.expose().len(), group.public_len());
    }
}

#[test]
fn a_shared_secret_keeps_its_leading_zeros() {
    // With this exponent the secret has 760 bits, found by trial.
    let mut octets = [0; 32];
    octets[0] = 0x80;
    octets[30..].copy_from_slice(&394_u16.to_be_bytes());
    let (private, _) = DhPrivate::generate(DhGroup::Modp768, &mut counting());
    let (_, peer) = DhPrivate::generate(DhGroup::Modp768, &mut Fixed(octets));
    let shared = private.agree(&peer).unwrap();
    assert_eq!(shared.expose().len(), 96);
    assert_eq!(shared.expose()[0], 0);
}

/// P8 of the attack catalogue: CVE-2015-3240, CVE-2023-41913; RFC 6989 section 2.1.
#[test]
fn degenerate_public_values_are_refused() {
    for group in DhGroup::ALL {
        let len = group.public_len();
        let p = prime(group);
        let number = |value: u8| [vec![0; len - 1], vec![value]].concat();
        let (mut p_minus_1, mut p_plus_1) = (p.clone(), p.clone());
        p_minus_1[len - 1] -= 1;
        let carried = p.iter().rev().take_while(|octet| **octet == 0xff).count();
        p_plus_1[len - carried..].fill(0);
        p_plus_1[len - carried - 1] += 1;
        for public in [number(0), number(1), p_minus_1, p, p_plus_1, vec![0xff; len]] {
            let (private, _) = DhPrivate::generate(group, &mut counting());
            assert_eq!(
                private.agree(&public).unwrap_err(),
                DhError::OutOfRange,
                "{group} {public:?}"
            );
        }
        for got in [0, 1, len - 1, len + 1, 65_535] {
            let (private, _) = DhPrivate::generate(group, &mut counting());
            let refused = DhError::WrongLength { expected: len, got };
            assert_eq!(private.agree(&vec![2; got]).unwrap_err(), refused, "{group}");
        }
    }
}

/// RFC 6989 section 2.2: the group has elements of small order besides p-1.
#[test]
fn group_24_refuses_values_outside_its_subgroup() {
    let len = DhGroup::Modp2048_256.public_len();
    for value in [2, 3, 5] {
        let public = [vec![0; len - 1], vec![value]].concat();
        let (private, _) = DhPrivate::generate(DhGroup::Modp2048_256, &mut counting());
        assert_eq!(private.agree(&public).unwrap_err(), DhError::OutOfRange);
        let (private, _) = DhPrivate::generate(DhGroup::Modp2048, &mut counting());
        assert!(private.agree(&public).is_ok());
    }
}

#[test]
fn a_dead_random_source_does_not_give_a_public_value_of_one() {
    let (_, public) = DhPrivate::generate(DhGroup::Modp1024, &mut Fixed([0; 32]));
    assert!(public[..127].iter().any(|octet| *octet != 0));
}

/// P8: CVE-2014-9221, an internal group number accepted from the wire.
#[test]
fn only_implemented_group_numbers_exist() {
    let found: Vec<u16> = (0..=70_000)
        .filter_map(DhGroup::from_number)
        .map(DhGroup::number)
        .collect();
    assert_eq!(found, [1, 2, 5, 14, 15, 16, 24]);
    assert_eq!(DhGroup::from_number((1 << 16) + 14), None);
    for group in DhGroup::ALL {
        assert_eq!(group.to_string().parse(), Ok(group));
        assert_eq!(group.number().to_string().parse(), Ok(group));
    }
    for name in ["", "group", "group3", "group-14", "1025", "-1"] {
        assert!(name.parse::<DhGroup>().is_err(), "{name}");
    }
}
