//! SKEYID, SKEYID_d, SKEYID_a and SKEYID_e against NIST CAVS 17.3.
//!
//! A handful of cases is a fixture. `GATEWAY_NIST_VECTORS=<folder>` runs all 1,700 of `ikev1_psk.fax` (or `.fax.xz`, through `xz`).

#![allow(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, in its helpers too"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use gateway_ike::crypto::{Hash, SharedSecret};
use gateway_ike::v1::keys::{Phase1Inputs, Skeyid};
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
fn check(hash: Hash, case: &Case) {
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

#[test]
fn skeyids_match_the_first_nist_case_of_every_section_kind() {
    let cases = cases(include_str!("fixtures/ikev1_psk.fax"));
    assert_eq!(cases.len(), 9);
    cases.iter().for_each(|(hash, case)| check(*hash, case));
}

#[test]
fn skeyids_match_all_nist_cases() {
    let Some(folder) = std::env::var_os("GATEWAY_NIST_VECTORS") else {
        println!(
            "GATEWAY_NIST_VECTORS does not name a folder with ikev1_psk.fax: only the fixture is checked"
        );
        return;
    };
    let plain = Path::new(&folder).join("ikev1_psk.fax");
    let text = if plain.exists() {
        std::fs::read_to_string(plain).unwrap()
    } else {
        let packed = Path::new(&folder).join("ikev1_psk.fax.xz");
        let output = Command::new("xz")
            .arg("--decompress")
            .arg("--stdout")
            .arg(packed)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "xz: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let cases = cases(&text);
    assert_eq!(cases.len(), 1700);
    cases.iter().for_each(|(hash, case)| check(*hash, case));
}
