//! The key derivations of both versions against NIST CAVS 17.3.
//!
//! A handful of cases of each is a fixture. `GATEWAY_NIST_VECTORS=<folder>` runs all 1,700 of `ikev1_psk.fax` and all 900 of
//! `ikev2.fax` (or `.fax.xz`, through `xz`).

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, in its helpers too"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use gateway_ike::crypto::{Encryption, Hash, Prf, Secret, SharedSecret};
use gateway_ike::v1::keys::{Phase1Inputs, Skeyid};
use gateway_ike::v2::Role;
use gateway_ike::v2::keys::{self, Contributions, IkeKeys};
use gateway_ike::v2::sk::SkAlgorithms;
use gateway_ike::wire::IkeSpi;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// One `COUNT` block: names to values.
type Case = HashMap<String, String>;

fn cases(text: &str) -> Vec<(Hash, Case)> {
    let mut cases = Vec::new();
    let mut hash = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("[SHA-").and_then(|rest| rest.strip_suffix(']')) {
            let name = if name == "1" {
                "sha1".to_owned()
            } else {
                format!("sha2-{name}")
            };
            hash = Some(name.parse().unwrap());
        } else if line.starts_with("COUNT") {
            cases.push((hash.expect("a hash before the first case"), Case::new()));
        } else if let (Some((name, value)), Some((_, case))) = (line.split_once(" = "), cases.last_mut())
            && !line.starts_with('[')
        {
            case.insert(name.to_owned(), value.to_owned());
        }
    }
    cases
}

#[track_caller]
fn check_v1(hash: Hash, case: &Case) {
    let octets = |name: &str| unhex(&case[name]);
    let spi = |name: &str| IkeSpi(octets(name).try_into().unwrap());
    let skeyid = Skeyid::from_pre_shared_key(&Phase1Inputs {
        hash,
        pre_shared_key: &octets("pre-shared-key"),
        initiator_spi: spi("CKY_I"),
        responder_spi: spi("CKY_R"),
        nonce_i: &octets("Ni"),
        nonce_r: &octets("Nr"),
        shared: &SharedSecret::new(octets("g^xy")),
    });
    assert_eq!(skeyid.skeyid().expose(), octets("SKEYID"), "{case:?}");
    assert_eq!(skeyid.skeyid_d().expose(), octets("SKEYID_d"), "{case:?}");
    assert_eq!(skeyid.skeyid_a().expose(), octets("SKEYID_a"), "{case:?}");
    assert_eq!(skeyid.skeyid_e().expose(), octets("SKEYID_e"), "{case:?}");
}

#[track_caller]
fn check_v2(hash: Hash, case: &Case) {
    let octets = |name: &str| unhex(&case[name]);
    let spi = |name: &str| IkeSpi(octets(name).try_into().unwrap());
    let (nonce_i, nonce_r) = (octets("Ni"), octets("Nr"));
    let contributions = Contributions {
        nonce_i: &nonce_i,
        nonce_r: &nonce_r,
        spi_i: spi("SPIi"),
        spi_r: spi("SPIr"),
    };
    let shared = |name: &str| SharedSecret::new(octets(name));
    let skeyseed = keys::skeyseed(hash, &contributions, &shared("g^ir"));
    assert_eq!(skeyseed.expose(), octets("SKEYSEED"), "{case:?}");

    // DKM starts with the seven keys, whatever their lengths, and its first key is SK_d.
    let dkm = octets("DKM");
    let prf = Prf::new(hash, skeyseed.expose());
    let seed = [
        &nonce_i[..],
        &nonce_r,
        &contributions.spi_i.0,
        &contributions.spi_r.0,
    ];
    assert_eq!(keys::prf_plus(&prf, &seed, dkm.len()).expose(), dkm, "{case:?}");
    let algorithms = SkAlgorithms::new(Encryption::Aes128Cbc, hash);
    let ike = IkeKeys::initial(algorithms, &contributions, &shared("g^ir"));
    let mut rest = &dkm[..];
    for key in [
        ike.sk_d(),
        ike.sk_a(Role::Initiator),
        ike.sk_a(Role::Responder),
        ike.sk_e(Role::Initiator),
        ike.sk_e(Role::Responder),
        ike.sk_p(Role::Initiator),
        ike.sk_p(Role::Responder),
    ] {
        // NIST stops before the end of our seven keys for the longer hashes.
        let len = key.len().min(rest.len());
        assert_eq!(key.expose()[..len], rest[..len], "{case:?}");
        rest = &rest[len..];
    }

    let child = octets("DKM(Child SA)");
    let keymat = ike.keymat(None, &nonce_i, &nonce_r, &[], child.len());
    assert_eq!(keymat.expose(), child, "{case:?}");
    let child = octets("DKM(Child SA D-H)");
    let new = shared("g^ir (new)");
    let keymat = ike.keymat(Some(&new), &nonce_i, &nonce_r, &[], child.len());
    assert_eq!(keymat.expose(), child, "{case:?}");

    // The keys of the new IKE SA are those of the rekeyed SKEYSEED.
    let rekeyed = ike.rekeyed(algorithms, &contributions, &new, &[]);
    let expected = IkeKeys::from_skeyseed(
        algorithms,
        &Secret::new(octets("SKEYSEED(Rekey)")),
        &contributions,
    );
    assert_eq!(rekeyed.sk_d().expose(), expected.sk_d().expose(), "{case:?}");
}

#[test]
fn skeyids_match_the_first_nist_case_of_every_section_kind() {
    let cases = cases(include_str!("fixtures/ikev1_psk.fax"));
    assert_eq!(cases.len(), 9);
    cases.iter().for_each(|(hash, case)| check_v1(*hash, case));
}

#[test]
fn skeyseed_and_its_keys_match_a_nist_case_of_every_section() {
    let cases = cases(include_str!("fixtures/ikev2.fax"));
    assert_eq!(cases.len(), 9);
    cases.iter().for_each(|(hash, case)| check_v2(*hash, case));
}

#[test]
fn all_nist_cases_match() {
    let Some(folder) = std::env::var_os("GATEWAY_NIST_VECTORS") else {
        println!(
            "GATEWAY_NIST_VECTORS names no folder with ikev1_psk.fax and ikev2.fax: only the fixtures are checked"
        );
        return;
    };
    let v1 = cases(&read(Path::new(&folder), "ikev1_psk.fax"));
    assert_eq!(v1.len(), 1700);
    v1.iter().for_each(|(hash, case)| check_v1(*hash, case));
    let v2 = cases(&read(Path::new(&folder), "ikev2.fax"));
    assert_eq!(v2.len(), 900);
    v2.iter().for_each(|(hash, case)| check_v2(*hash, case));
}

/// The text of a file, or of its packed form.
fn read(folder: &Path, name: &str) -> String {
    let plain = folder.join(name);
    if plain.exists() {
        return std::fs::read_to_string(plain).unwrap();
    }
    let output = Command::new("xz")
        .arg("--decompress")
        .arg("--stdout")
        .arg(folder.join(format!("{name}.xz")))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "xz: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
