use super::*;
use crate::crypto::{Hash, SeededRandom};

/// Hands out octets that are a function of their position.
struct Fixed(fn(usize) -> u8);

impl RandomSource for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        for (at, octet) in out.iter_mut().enumerate() {
            *octet = (self.0)(at);
        }
    }
}

/// 0x01, 0x02, 0x03, ...
const fn counting() -> Fixed {
    Fixed(|at| at.to_le_bytes()[0] + 1)
}

const fn constant() -> Fixed {
    Fixed(|_| 0xc0)
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn sha256_hex(octets: &[u8]) -> String {
    Hash::Sha2_256
        .digest(&[octets])
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// SHA2-256 of the public value of the counting private value, and of its shared secret with the constant one. Computed with
/// Python's `pow` from primes that were themselves computed from the digits of pi (group 24: taken from OpenSSL), and with Python's
/// `cryptography` for the curves.
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
            DhGroup::Modp6144,
            "455a3986beb526c4c36fc5d80790336e42c432f0be37245540f9546f79d7384d",
            "0a2e5f691dbeb7600d45a76a30fb9aeae9feccb078f3f6613958d76ecff10495",
        ),
        (
            DhGroup::Modp8192,
            "fef1e67ebcd60040d55e306e27383511cbf63917f79ebac7cd777b808f7b88d9",
            "71a9922ca2d34fb15fbf3c81b7a90240ef5f4fa56929b17c254a4bfb5ac09895",
        ),
        (
            DhGroup::Ecp256,
            "919598fbaacc8296e4d9381839b35a45c7e8ef23a30db203b23f90153cad4b9d",
            "4a426a4070e5e76e24ef44028d4cc8d680f910b08ea9eb5d002cfa00cb495e5d",
        ),
        (
            DhGroup::Ecp384,
            "d5385c8889ed0560c0dc7e0c8a02b127711d8f4604d98fa049c56d9aa5c37fb6",
            "5f6b83e14659739a98e4720dc1c1ca2403acb182523eeae13453e3bd70b1fb26",
        ),
        (
            DhGroup::Ecp521,
            "694f8e585d851e841a97d5bff6a42468863ace529ec04dc3c87fbf36ebfc4ccf",
            "f2ccb7fea9d526910e8fada895e3adc2d0436a6165c70333b6cb6b134569f161",
        ),
        (
            DhGroup::X25519,
            "aaa8fff703b50b2297f4f6e13508f72420d96fd01ebb84cb074449caaef64041",
            "b223de6964b56bfe5a99a741f43eeaf44f8921171652a11afa537bffa0458ad1",
        ),
        (
            DhGroup::Modp2048_256,
            "d342b825f17a42d89222be65ea41b8294edbacf03b011ff9dd0fd3a622a9bc4f",
            "fe1275b08ccb5e014ecaf07966fa6af9b9d067ade816d31a6333ebf54e22727d",
        ),
    ];
    for (group, public_digest, shared_digest) in cases {
        let (private, public) = DhPrivate::generate(group, &mut counting());
        let (_, peer) = DhPrivate::generate(group, &mut constant());
        assert_eq!(public.len(), group.public_len(), "{group}");
        assert_eq!(sha256_hex(&public), public_digest, "{group}");
        let shared = private.agree(&peer).unwrap();
        assert_eq!(shared.expose().len(), group.shared_len(), "{group}");
        assert_eq!(sha256_hex(shared.expose()), shared_digest, "{group}");
    }
}

/// RFC 5903 section 8.1 and RFC 7748 section 6.1.
#[test]
fn curves_match_the_vectors_of_their_rfcs() {
    let cases = [
        (
            Curve::P256,
            "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
             56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
            "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
        ),
        (
            Curve::X25519,
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ];
    for (curve, private, peer, shared) in cases {
        let agreed = curve.agree(&hex(private), &hex(peer)).unwrap();
        assert_eq!(*agreed, hex(shared));
    }
}

/// The digest is of the encapsulation key of the counting seed, computed with Python's `cryptography`; the ciphertext is aws-lc's.
#[test]
fn ml_kem_matches_independent_implementations() {
    let (private, public) = DhPrivate::generate(DhGroup::MlKem768, &mut counting());
    let digest = "db4782927013b79c13111f87949d9c9d39ca8c25dd52155d98d6e7f2bad55087";
    assert_eq!(sha256_hex(&public), digest);
    let theirs = aws_lc_rs::kem::EncapsulationKey::new(&aws_lc_rs::kem::ML_KEM_768, &public).unwrap();
    let (ciphertext, shared) = theirs.encapsulate().unwrap();
    let ours = private.agree(ciphertext.as_ref()).unwrap();
    assert_eq!(ours.expose(), shared.as_ref());
}

/// The second opinion for the code with `unsafe`: another library, on numbers that no table has.
#[test]
fn powers_match_those_of_another_library() {
    use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
    use crypto_bigint::{Odd, U256, U2048};
    let prime = U2048::from_be_slice(&modp::primes::P2048);
    let params = FixedMontyParams::new_vartime(Odd::new(prime).unwrap());
    let mut random = SeededRandom::new([3; 32]);
    for _ in 0..20 {
        let (mut base, mut exponent) = ([0; 256], [0; 32]);
        random.fill(&mut base[1..]);
        random.fill(&mut exponent);
        let theirs = FixedMontyForm::new(&U2048::from_be_slice(&base), &params)
            .pow(&U256::from_be_slice(&exponent))
            .retrieve();
        let ours = modp::MODP_2048.agree(&exponent, &base).unwrap();
        assert_eq!(ours.as_slice(), theirs.to_be_bytes().as_ref());
    }
}

#[test]
fn powers_of_the_generator_are_those_of_any_base() {
    let two = |len: usize| [vec![0; len - 1], vec![2]].concat();
    let mut one = [0; modp::EXPONENT_LEN];
    one[modp::EXPONENT_LEN - 1] = 1;
    let counting = *b"0123456789abcdefghijklmnopqrstuv";
    for (group, generator) in [
        (&*modp::MODP_768, two(96)),
        (&*modp::MODP_1024, two(128)),
        (&*modp::MODP_1536, two(192)),
        (&*modp::MODP_2048, two(256)),
        (&*modp::MODP_3072, two(384)),
        (&*modp::MODP_4096, two(512)),
        (&*modp::MODP_6144, two(768)),
        (&*modp::MODP_8192, two(1024)),
        (&*modp::MODP_2048_256, modp::primes::G2048_256.to_vec()),
    ] {
        for exponent in [one, [0xff; 32], [0x80; 32], [0x0f; 32], counting] {
            let any_base = group.agree(&exponent, &generator).unwrap();
            assert_eq!(
                group.public(&exponent),
                *any_base,
                "{} {exponent:02x?}",
                generator.len()
            );
        }
    }
}

#[test]
fn a_shared_secret_keeps_its_leading_zeros() {
    // With this exponent the secret has 760 bits, found by trial.
    let peer = Fixed(|at| match at {
        0 => 0x80,
        30 => 1,
        31 => 138,
        _ => 0,
    });
    let (private, _) = DhPrivate::generate(DhGroup::Modp768, &mut counting());
    let (_, peer) = DhPrivate::generate(DhGroup::Modp768, &mut { peer });
    let shared = private.agree(&peer).unwrap();
    assert_eq!(shared.expose().len(), 96);
    assert_eq!(shared.expose()[0], 0);
}

/// What the group makes of a peer's public value, as either role.
#[track_caller]
fn check_refused(group: DhGroup, public: &[u8], error: DhError) {
    let mut random = SeededRandom::new([9; 32]);
    let respond = KeyExchangeJob::respond(group, public, &mut random).run();
    assert_eq!(
        respond.into_responded().unwrap().unwrap_err(),
        error,
        "{group} {public:?}"
    );
    if group.stands_alone() {
        let (private, _) = DhPrivate::generate(group, &mut random);
        assert_eq!(private.agree(public).unwrap_err(), error, "{group} {public:?}");
    }
}

/// P8 of the attack catalogue: CVE-2023-41913.
#[test]
fn p8_public_values_of_another_length_are_refused() {
    for group in DhGroup::ALL {
        let expected = group.public_len();
        for len in [0, 1, expected - 1, expected + 1, 65_535] {
            // A job copies no more of an oversized value than shows that it is one.
            let got = len.min(expected + 1);
            let value = vec![2; len];
            assert_eq!(
                group.check(&value),
                Err(DhError::WrongLength { expected, got: len }),
                "{group}"
            );
            let job = KeyExchangeJob::respond(group, &value, &mut counting());
            let error = job.run().into_responded().unwrap().unwrap_err();
            assert_eq!(error, DhError::WrongLength { expected, got }, "{group}");
            if len != group.response_len() {
                let (private, _) = DhPrivate::generate(group, &mut counting());
                let expected = group.response_len();
                let error = private.agree(&value).unwrap_err();
                assert_eq!(error, DhError::WrongLength { expected, got: len }, "{group}");
            }
        }
    }
}

/// P8: CVE-2015-3240; RFC 6989 section 2.1.
#[test]
fn p8_degenerate_public_values_are_refused() {
    let groups: [(DhGroup, &[u8]); 9] = [
        (DhGroup::Modp768, &modp::primes::P768),
        (DhGroup::Modp1024, &modp::primes::P1024),
        (DhGroup::Modp1536, &modp::primes::P1536),
        (DhGroup::Modp2048, &modp::primes::P2048),
        (DhGroup::Modp3072, &modp::primes::P3072),
        (DhGroup::Modp4096, &modp::primes::P4096),
        (DhGroup::Modp6144, &modp::primes::P6144),
        (DhGroup::Modp8192, &modp::primes::P8192),
        (DhGroup::Modp2048_256, &modp::primes::P2048_256),
    ];
    for (group, p) in groups {
        let len = group.public_len();
        let number = |value: u8| [vec![0; len - 1], vec![value]].concat();
        let (mut p_minus_1, mut p_plus_1) = (p.to_vec(), p.to_vec());
        p_minus_1[len - 1] -= 1;
        let carried = p.iter().rev().take_while(|octet| **octet == 0xff).count();
        p_plus_1[len - carried..].fill(0);
        p_plus_1[len - carried - 1] += 1;
        for public in [
            number(0),
            number(1),
            p_minus_1,
            p.to_vec(),
            p_plus_1,
            vec![0xff; len],
        ] {
            assert_eq!(group.check(&public), Err(DhError::OutOfRange), "{group}");
            check_refused(group, &public, DhError::OutOfRange);
        }
    }
}

/// P8: not on the curve, infinity, on the twist, compressed, coordinates beyond the prime.
#[test]
fn p8_what_is_no_point_of_the_curve_is_refused() {
    for group in [DhGroup::Ecp256, DhGroup::Ecp384, DhGroup::Ecp521] {
        let len = group.public_len();
        let (_, good) = DhPrivate::generate(group, &mut counting());
        let mut off = good.clone();
        off[len - 1] ^= 1;
        let swapped = [&good[len / 2..], &good[..len / 2]].concat();
        // The form of SEC 1 with a y of one bit, padded to the length of the group.
        let mut compressed = vec![0; len];
        compressed[0] = 2;
        compressed[1..=len / 2].copy_from_slice(&good[..len / 2]);
        for public in [vec![0; len], vec![0xff; len], off, swapped, compressed] {
            check_refused(group, &public, DhError::OutOfRange);
        }
        check_refused(
            group,
            &good[..len / 2],
            DhError::WrongLength {
                expected: len,
                got: len / 2,
            },
        );
    }
}

/// P8, RFC 8031 section 2.3: points whose order divides 8, with and without the unused bit, and their other encodings.
#[test]
fn p8_points_of_small_order_are_refused() {
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for digits in small {
        let mut public = hex(digits);
        check_refused(DhGroup::X25519, &public, DhError::OutOfRange);
        public[31] |= 0x80;
        check_refused(DhGroup::X25519, &public, DhError::OutOfRange);
    }
}

/// FIPS 203 section 7.2: twelve bits that are no coefficient.
#[test]
fn an_encapsulation_key_beyond_the_modulus_is_refused() {
    let (_, mut public) = DhPrivate::generate(DhGroup::MlKem768, &mut counting());
    public[..2].fill(0xff);
    check_refused(DhGroup::MlKem768, &public, DhError::OutOfRange);
}

#[test]
fn a_ciphertext_for_another_key_gives_a_secret_that_nobody_has() {
    let (private, public) = DhPrivate::generate(DhGroup::MlKem768, &mut counting());
    let job = KeyExchangeJob::respond(DhGroup::MlKem768, &public, &mut constant());
    let mut response = job.run().into_responded().unwrap().unwrap();
    response.public[0] ^= 1;
    let ours = private.agree(&response.public).unwrap();
    assert_ne!(ours.expose(), response.shared.expose());
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
fn a_dead_random_source_still_gives_private_values_of_the_group() {
    for source in [|_| 0, |_| 0xff] {
        for group in DhGroup::ALL {
            let (_, public) = DhPrivate::generate(group, &mut Fixed(source));
            assert_eq!(public.len(), group.public_len(), "{group}");
            assert_eq!(group.check(&public), Ok(()), "{group}");
        }
    }
}

/// P8: CVE-2014-9221, an internal group number accepted from the wire.
#[test]
fn p8_only_implemented_group_numbers_exist() {
    let found: Vec<u16> = (0..=70_000)
        .filter_map(DhGroup::from_number)
        .map(DhGroup::number)
        .collect();
    assert_eq!(found, [1, 2, 5, 14, 15, 16, 17, 18, 19, 20, 21, 24, 31, 36]);
    assert_eq!(DhGroup::from_number((1 << 16) + 14), None);
    for group in DhGroup::ALL {
        assert_eq!(group.to_string().parse(), Ok(group));
        assert_eq!(group.number().to_string().parse(), Ok(group));
    }
    for name in ["", "group", "group3", "group-14", "1025", "-1"] {
        assert!(name.parse::<DhGroup>().is_err(), "{name}");
    }
}
