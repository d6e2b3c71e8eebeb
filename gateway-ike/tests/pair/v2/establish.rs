//! From nothing to a tunnel.

use std::time::Duration;

use gateway_ike::config::{Esn, EspCipher, EspIntegrity, Identity, IkeProposal, IkeVersion, PairIndex};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::{Setup, esp, ike};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn ike_sa_init_and_ike_auth_make_the_ike_sa_and_the_first_child_sa() {
    // a --> IKE_SA_INIT { SA, KE, Ni }      <-- b { SA, KE, Nr }
    // a --> IKE_AUTH { IDi, AUTH, SA, TS }  <-- b { IDr, AUTH, SA, TS }
    // b --> INFORMATIONAL {}                <-- a {}, without traffic the only proof that a has the answer
    let pair = Pair::established(Setup::v2());
    let from: Vec<_> = pair.sent.iter().map(|(_, end, _)| *end).collect();
    assert_eq!(from, [End::A, End::B, End::A, End::B, End::B, End::A]);
    assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (1, 1));
    assert!(pair.a.failures.is_empty() && pair.b.failures.is_empty());
    assert_eq!(pair.void, []);
}

#[test]
fn every_algorithm_of_ike_works() {
    let groups = [DhGroup::Modp1024, DhGroup::Modp2048];
    for encryption in Encryption::ALL {
        for hash in Hash::ALL {
            for group in groups {
                let setup = Setup::v2().both(|side| side.ike = vec![ike(encryption, hash, group)]);
                Pair::established(setup);
            }
        }
    }
}

#[test]
fn every_algorithm_of_esp_works_with_and_without_esn() {
    let block = [
        EspCipher::Des,
        EspCipher::TripleDes,
        EspCipher::Aes128Cbc,
        EspCipher::Aes192Cbc,
        EspCipher::Aes256Cbc,
    ];
    let aead = [
        EspCipher::Aes128Gcm16,
        EspCipher::Aes192Gcm16,
        EspCipher::Aes256Gcm16,
        EspCipher::ChaCha20Poly1305,
    ];
    let macs = [
        EspIntegrity::HmacMd5,
        EspIntegrity::HmacSha1,
        EspIntegrity::HmacSha2_256,
        EspIntegrity::HmacSha2_384,
        EspIntegrity::HmacSha2_512,
    ];
    let block = block
        .into_iter()
        .flat_map(|cipher| macs.map(|mac| esp(cipher, Some(mac))));
    let proposals: Vec<_> = block.chain(aead.map(|cipher| esp(cipher, None))).collect();
    for proposal in proposals {
        for esn in [Esn::Off, Esn::Allow] {
            let setup = Setup::v2().both(|side| {
                side.esp = vec![proposal.clone()];
                side.esn = esn;
            });
            let pair = Pair::established(setup);
            pair.assert_mirrored();
        }
    }
}

#[test]
fn every_kind_of_identity_works() {
    let kinds = [
        Identity::Fqdn("gw.example".into()),
        Identity::UserFqdn("gw@example".into()),
        Identity::KeyId(vec![0, 1, 2, 255]),
    ];
    for identity in kinds {
        let mut setup = Setup::v2();
        setup.a.local_id = identity.clone();
        setup.b.peer_id = identity;
        Pair::established(setup);
    }
}

#[test]
fn another_configured_group_is_tried_when_the_responder_asks_for_it() {
    // a --> IKE_SA_INIT { KE(14) }  <-- N(INVALID_KE_PAYLOAD, 2)
    // a --> IKE_SA_INIT { KE(2) }   <-- b { KE(2) }
    let mut setup = Setup::v2();
    let with = |group| ike(Encryption::Aes128Cbc, Hash::Sha2_256, group);
    setup.a.ike = vec![with(DhGroup::Modp2048), with(DhGroup::Modp1024)];
    setup.b.ike = vec![with(DhGroup::Modp1024)];
    let pair = Pair::established(setup);
    let inits = pair.sent.iter().filter(|(_, _, octets)| octets[18] == 34).count();
    assert_eq!(inits, 4, "{:#?}", pair.a.log);
}

#[test]
fn a_large_proposal_list_is_negotiated_to_what_both_have() {
    let mut setup = Setup::v2();
    setup.a.ike = Encryption::ALL
        .into_iter()
        .flat_map(|encryption| Hash::ALL.map(|hash| ike(encryption, hash, DhGroup::Modp1024)))
        .collect();
    setup.b.ike = vec![ike(Encryption::Aes256Gcm16, Hash::Sha2_512, DhGroup::Modp1024)];
    Pair::established(setup);
}

#[test]
fn either_version_is_answered_and_ikev2_is_initiated_when_any_is_allowed() {
    for (a, b, expected) in [
        (IkeVersion::Any, IkeVersion::V2, IkeVersion::V2),
        (IkeVersion::V2, IkeVersion::Any, IkeVersion::V2),
        (IkeVersion::V1, IkeVersion::Any, IkeVersion::V1),
        (IkeVersion::Any, IkeVersion::Any, IkeVersion::V2),
    ] {
        let mut setup = Setup::v2();
        setup.a.version = a;
        setup.b.version = b;
        let pair = Pair::established(setup);
        let major = pair.sent[0].2[17] >> 4;
        assert_eq!(major, if expected == IkeVersion::V2 { 2 } else { 1 });
    }
}

#[test]
fn any_never_falls_back_to_ikev1_by_itself() {
    let mut setup = Setup::v2();
    setup.a.version = IkeVersion::Any;
    setup.b.version = IkeVersion::V1;
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(Duration::from_secs(120));
    pair.assert_empty();
    assert!(
        pair.sent
            .iter()
            .all(|(_, end, octets)| *end == End::A && octets[17] >> 4 == 2)
    );
}

#[test]
fn behind_a_nat_ike_and_esp_move_to_port_4500() {
    let mut pair = Setup::v2().behind_nat().start();
    pair.initiate(End::A);
    pair.run_for(SECOND);
    pair.assert_up(1);
    for node in [&pair.a, &pair.b] {
        let encapsulated = node.installed.values().all(|installed| {
            installed
                .sa
                .encapsulation
                .is_some_and(|udp| udp.local_port == 4500)
        });
        assert!(encapsulated, "{:#?}", node.log);
    }
    pair.run_for(Duration::from_secs(50));
    assert!(pair.keepalives >= 2);
}

#[test]
fn a_nat_that_changes_its_port_is_followed_once_an_authentic_message_comes_from_there() {
    let setup = Setup::v2()
        .behind_nat()
        .both(|side| side.dpd_delay = Some(10 * SECOND));
    let mut pair = Pair::established(setup);
    pair.nat_shift = 7;
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.b.peer_port, Some(4500 + 30_000 + 7), "{:#?}", pair.b.log);
    assert!(pair.send_esp(End::B, FIRST));
    pair.run_for(SECOND);
    assert_eq!(pair.delivered_esp, 1);
}

#[test]
fn a_nat_that_changes_its_port_is_followed_by_either_version_when_only_esp_comes_from_there() {
    for setup in [Setup::new(), Setup::v2()] {
        let mut pair = Pair::established(setup.behind_nat());
        pair.nat_shift = 9;
        assert!(pair.send_esp(End::A, FIRST));
        pair.run_for(SECOND);
        assert_eq!(pair.b.peer_port, Some(4500 + 30_000 + 9), "{:#?}", pair.b.log);
        assert!(pair.send_esp(End::B, FIRST));
        // IKE goes there too: the peer hears the deletion.
        pair.with(End::B, |endpoint, now| endpoint.terminate(now, TUNNEL));
        pair.run_for(SECOND);
        assert_eq!(pair.delivered_esp, 2);
        assert!(pair.a.installed.is_empty(), "{:#?}", pair.a.log);
    }
}

#[test]
fn udp_encapsulation_can_be_forced() {
    let pair = Pair::established(Setup::v2().both(|side| side.force_udp = true));
    for node in [&pair.a, &pair.b] {
        assert!(
            node.installed
                .values()
                .all(|installed| installed.sa.encapsulation.is_some())
        );
    }
}

#[test]
fn every_pair_gets_a_child_sa_on_one_ike_sa() {
    let mut pair = Setup::v2().both(|side| side.keep_up = true).start();
    pair.run_for(20 * SECOND);
    assert_eq!(
        (pair.a.sealing.len(), pair.b.sealing.len()),
        (2, 2),
        "{:#?}",
        pair.a.log
    );
    pair.assert_mirrored();
}

#[test]
fn both_ends_start_at_once_and_settle() {
    // a --> IKE_SA_INIT   <-- b, at once
    for seed in 0..20 {
        let mut setup = Setup::v2();
        setup.seed = seed;
        let mut pair = setup.start();
        pair.initiate(End::A);
        pair.initiate(End::B);
        pair.run_with_traffic(10 * SECOND, Duration::from_millis(100));
        pair.assert_mirrored();
        assert_eq!(pair.lost_esp, [], "{:#?}", pair.a.log);
    }
}

#[test]
fn the_loss_of_any_one_message_is_made_up_for() {
    for end in [End::A, End::B] {
        for lost in 0..2 {
            let mut pair = Setup::v2().start();
            pair.filter = Some(Box::new(move |from, count, _| {
                if from == end && count == lost {
                    Fate::Lose
                } else {
                    Fate::Deliver
                }
            }));
            pair.initiate(End::A);
            pair.run_for(5 * SECOND);
            pair.assert_up(1);
            assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (1, 1));
        }
    }
}

#[test]
fn the_repetition_of_any_message_changes_nothing() {
    let mut pair = Setup::v2().start();
    pair.filter = Some(Box::new(|_, _, _| Fate::Duplicate));
    pair.initiate(End::A);
    pair.run_for(5 * SECOND);
    pair.assert_up(1);
    assert_eq!((pair.a.ike_sas.len(), pair.b.ike_sas.len()), (1, 1));
}

#[test]
fn messages_that_do_not_fit_are_cut_and_put_together() {
    let long = Identity::KeyId(vec![7; 900]);
    let mut setup = Setup::v2();
    setup.a.local_id = long.clone();
    setup.b.peer_id = long.clone();
    setup.b.local_id = long.clone();
    setup.a.peer_id = long;
    let pair = Pair::established(setup);
    assert!(
        pair.sent.iter().all(|(_, _, octets)| octets.len() <= 1280 - 32),
        "{:?}",
        pair.sent.iter().map(|s| s.2.len()).collect::<Vec<_>>()
    );
    assert!(pair.sent.len() > 4);
}

#[test]
fn a_further_pair_is_added_with_create_child_sa() {
    let mut pair = Pair::established(Setup::v2());
    let before = pair.sent.len();
    pair.with(End::B, |endpoint, now| {
        endpoint.initiate(now, TUNNEL, PairIndex(1))
    });
    pair.run_for(SECOND);
    // b --> CREATE_CHILD_SA { SA, Ni, TSi, TSr }  <-- a { SA, Nr, TSi, TSr }
    assert_eq!(pair.sent.len(), before + 2, "{:#?}", pair.b.log);
    pair.assert_up(2);
    pair.assert_mirrored();
}

#[test]
fn one_child_sa_serves_every_pair_that_the_peer_asks_for_whole() {
    let mut setup = Setup::v2();
    // A has one wide pair, B the two halves of A's side.
    setup.a.selectors = vec![gateway_ike::config::SelectorPair {
        local: "10.1.0.0/23".parse().unwrap(),
        peer: "10.2.0.0/24".parse().unwrap(),
    }];
    setup.b.selectors = vec![
        gateway_ike::config::SelectorPair {
            local: "10.2.0.0/24".parse().unwrap(),
            peer: "10.1.0.0/24".parse().unwrap(),
        },
        gateway_ike::config::SelectorPair {
            local: "10.2.0.0/24".parse().unwrap(),
            peer: "10.1.1.0/24".parse().unwrap(),
        },
    ];
    let mut pair = setup.start();
    pair.initiate(End::A);
    pair.run_for(SECOND);
    assert_eq!(pair.b.installed.len(), 1, "{:#?}", pair.b.log);
    let child = pair.b.installed.values().next().unwrap();
    assert_eq!(child.sa.serves.len(), 2);
    assert_eq!(pair.b.sealing.len(), 2);
}

#[test]
fn an_additional_key_exchange_goes_over_ike_intermediate() {
    let Some(additional) = DhGroup::from_number(36) else {
        return;
    };
    let proposal = IkeProposal {
        additional: Some(additional),
        ..ike(Encryption::Aes256Gcm16, Hash::Sha2_256, DhGroup::Modp2048)
    };
    let setup = Setup::v2().both(|side| side.ike = vec![proposal.clone()]);
    let pair = Pair::established(setup);
    let exchanges: Vec<_> = pair
        .sent
        .iter()
        .filter(|(_, end, _)| *end == End::A)
        .map(|(_, _, octets)| octets[18])
        .collect();
    assert_eq!(exchanges.first(), Some(&34));
    assert!(exchanges.contains(&43), "{exchanges:?}");
    assert!(exchanges.ends_with(&[43, 35, 37]), "{exchanges:?}");
}

#[test]
fn a_packet_that_meets_a_child_sa_before_it_seals_asks_for_no_other() {
    let mut pair = Setup::v2().start();
    pair.initiate(End::B);
    while pair.a.installed.is_empty() {
        pair.run_for(Duration::from_millis(5));
    }
    assert!(pair.a.sealing.is_empty(), "{:#?}", pair.a.log);
    pair.initiate(End::A);
    pair.run_for(5 * SECOND);
    pair.assert_up(1);
    assert_eq!(pair.a.installed.len(), 1, "{:#?}", pair.a.log);
}
