//! Replays recordings of strongSwan against itself: every message decrypts, parses, writes back to the same octets and carries the
//! hash that we compute; every key is the one that strongSwan derived.

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, in its helpers too"
)]

use gateway_ike::crypto::{Encryption, Hash};
use gateway_ike::v2::sk::SkAlgorithms;

mod pcap;
mod recorded;
mod v1;
mod v2;

macro_rules! captures {
    ($($test:ident: $name:literal, $messages:literal messages, $ike_sas:literal ike sas, $children:literal child sas;)*) => {
        $(#[test]
        fn $test() {
            let replayed = v1::replay(
                include_bytes!(concat!("../fixtures/captures/", $name, "/wire.pcap")),
                include_str!(concat!("../fixtures/captures/", $name, "/keys-A.json")),
            );
            assert_eq!((replayed.messages, replayed.ike_sas, replayed.children), ($messages, $ike_sas, $children));
        })*
    };
}

captures! {
    aggressive_3des_md5_group2: "v1-aggr-3des-md5-g2-raw", 8 messages, 1 ike sas, 1 child sas;
    aggressive_aes128_sha1_group2: "v1-aggr-aes128-sha1-g2-raw", 8 messages, 1 ike sas, 1 child sas;
    aggressive_aes128_sha1_group2_behind_nat: "v1-aggr-aes128-sha1-g2-udp", 8 messages, 1 ike sas, 1 child sas;
    aggressive_aes256_sha256_group14: "v1-aggr-aes256-sha256-g14-raw", 8 messages, 1 ike sas, 1 child sas;
    aggressive_rekeyed_with_pfs: "v1-aggr-rekey-aes128-sha1-g2-pfs2-raw", 16 messages, 2 ike sas, 2 child sas;
    main_3des_md5_group5: "v1-main-3des-md5-g5-raw", 11 messages, 1 ike sas, 1 child sas;
    main_3des_sha1_group2_pfs: "v1-main-3des-sha1-g2-pfs2-raw", 11 messages, 1 ike sas, 1 child sas;
    main_aes128_sha1_group2: "v1-main-aes128-sha1-g2-raw", 11 messages, 1 ike sas, 1 child sas;
    main_aes128_sha1_group2_behind_nat: "v1-main-aes128-sha1-g2-udp", 11 messages, 1 ike sas, 1 child sas;
    main_aes192_sha512_group24: "v1-main-aes192-sha512-g24-raw", 11 messages, 1 ike sas, 1 child sas;
    main_aes256_sha256_group14_pfs: "v1-main-aes256-sha256-g14-pfs14-raw", 11 messages, 1 ike sas, 1 child sas;
    main_aes256_sha384_with_gcm_child: "v1-main-aes256-sha384-gcm-raw", 11 messages, 1 ike sas, 1 child sas;
    main_des_md5_group1: "v1-main-des-md5-g1-raw", 11 messages, 1 ike sas, 1 child sas;
    main_with_lifebytes: "v1-main-lifebytes-aes128-sha1-g2-raw", 11 messages, 1 ike sas, 1 child sas;
    main_rekeyed_with_pfs: "v1-main-rekey-aes128-sha1-g2-pfs2-raw", 22 messages, 2 ike sas, 2 child sas;
}

macro_rules! v2_captures {
    ($($test:ident: $name:literal, $encryption:ident, $hash:ident, $messages:literal messages, $ike_sas:literal ike sas, $children:literal child sas;)*) => {
        $(#[test]
        fn $test() {
            let replayed = v2::replay(
                include_bytes!(concat!("../fixtures/captures/", $name, "/wire.pcap")),
                include_str!(concat!("../fixtures/captures/", $name, "/keys-A.json")),
                SkAlgorithms::new(Encryption::$encryption, Hash::$hash),
            );
            assert_eq!((replayed.messages, replayed.ike_sas, replayed.children), ($messages, $ike_sas, $children));
        })*
    };
}

v2_captures! {
    ikev2_3des_md5: "v2-3des-md5-g2-raw", TripleDes, Md5, 6 messages, 1 ike sas, 1 child sas;
    ikev2_aes128_sha1: "v2-aes128-sha1-g2-raw", Aes128Cbc, Sha1, 6 messages, 1 ike sas, 1 child sas;
    ikev2_aes128_sha1_behind_nat: "v2-aes128-sha1-g2-udp", Aes128Cbc, Sha1, 6 messages, 1 ike sas, 1 child sas;
    ikev2_aes256_sha256: "v2-aes256-sha256-g14-raw", Aes256Cbc, Sha2_256, 6 messages, 1 ike sas, 1 child sas;
    ikev2_chacha20_poly1305: "v2-chacha-x25519-raw", ChaCha20Poly1305, Sha2_256, 6 messages, 1 ike sas, 1 child sas;
    ikev2_aes128_gcm: "v2-gcm128-x25519-raw", Aes128Gcm16, Sha2_256, 6 messages, 1 ike sas, 1 child sas;
    ikev2_aes256_gcm: "v2-gcm256-ecp256-raw", Aes256Gcm16, Sha2_384, 6 messages, 1 ike sas, 1 child sas;
    ikev2_rekeyed_with_pfs: "v2-rekey-aes128-sha256-g14-pfs14-raw", Aes128Cbc, Sha2_256, 14 messages, 2 ike sas, 2 child sas;
    ikev2_aes128_gcm_rekeyed_with_pfs: "v2-rekey-gcm128-x25519-pfs-raw", Aes128Gcm16, Sha2_256, 14 messages, 2 ike sas, 2 child sas;
}
