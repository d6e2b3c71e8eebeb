//! Quick Mode messages as an authenticated peer could send them.

use std::time::Duration;

use super::*;
use crate::config::{
    ChildLifetime, ConnectionId, Esn, EspCipher, EspIntegrity, EspProposal, Identity, IkeVersion, Phase1Mode,
    Psk,
};
use crate::crypto::{Encryption, Hash};
use crate::ike_sa::Spis;
use crate::v1::keys::{Phase1Inputs, Phase1Transcript};
use crate::v1::proposal::{EspTerms, offer_esp};
use crate::v1::sa::SaKeys;
use crate::wire::v1::{NatNumbering, SaPayload};
use crate::wire::{ExchangeType, Header, IdType, IkeSpi};

const MESSAGE_ID: u32 = 0x1234_5678;

fn keys() -> SaKeys {
    let shared = SharedSecret::new(vec![5; 128]);
    let spis = Spis {
        initiator: IkeSpi([1; 8]),
        responder: IkeSpi([2; 8]),
    };
    let skeyid = Skeyid::from_pre_shared_key(&Phase1Inputs {
        hash: Hash::Sha1,
        pre_shared_key: b"key",
        initiator_spi: spis.initiator,
        responder_spi: spis.responder,
        nonce_i: &[3; 16],
        nonce_r: &[4; 16],
        shared: &shared,
    });
    let transcript = Phase1Transcript {
        public_i: &[6; 128],
        public_r: &[7; 128],
        initiator_spi: spis.initiator,
        responder_spi: spis.responder,
        sa_i: &[8; 20],
    };
    let cipher = skeyid.cipher(Encryption::Aes128Cbc, &transcript).unwrap();
    SaKeys { spis, skeyid, cipher }
}

/// The responder's view: 10.2.0.0/16 here, 10.1.0.0/16 there.
fn config() -> ConnectionConfig {
    ConnectionConfig {
        id: ConnectionId(1),
        local: "198.51.100.2".parse().unwrap(),
        peer: "192.0.2.1".parse().unwrap(),
        local_id: Identity::Fqdn("b".into()),
        peer_id: Identity::Fqdn("a".into()),
        psk: Psk::new(b"key".to_vec()),
        version: IkeVersion::V1,
        mode: Phase1Mode::Main,
        ike_proposals: Vec::new(),
        ike_lifetime: Duration::from_secs(1),
        ike_kilobytes: None,
        esp_proposals: vec![EspProposal {
            cipher: EspCipher::Aes128Cbc,
            integrity: Some(EspIntegrity::HmacSha1),
        }],
        pfs: None,
        child_lifetime: ChildLifetime {
            time: Duration::from_secs(3600),
            kilobytes: None,
        },
        selectors: vec![SelectorPair {
            local: "10.2.0.0/16".parse().unwrap(),
            peer: "10.1.0.0/16".parse().unwrap(),
        }],
        may_initiate: true,
        keep_up: false,
        force_udp_encapsulation: false,
        dpd: None,
        esn: Esn::Off,
        reauthentication: None,
        fragmentation: false,
    }
}

fn spi(raw: u32) -> Spi {
    Spi::new(raw).unwrap()
}

fn subnet(net: &str) -> Payload {
    Payload::Id(IdPayload::from_subnet(net.parse().unwrap()))
}

fn offer(udp: Option<NatNumbering>) -> SaPayload {
    offer_esp(
        EspTerms {
            config: &config(),
            udp,
        },
        spi(1000),
    )
}

/// Message 1 with these payloads behind the hash.
fn sealed(keys: &SaKeys, payloads: &[Payload]) -> Vec<u8> {
    let message = keys
        .spis
        .message(ExchangeType::QUICK_MODE, MESSAGE_ID)
        .payloads(payloads)
        .and_then(|message| message.hashed(|after| keys.skeyid.hash_1(MESSAGE_ID, after)))
        .unwrap();
    let iv = keys.cipher.phase_2_iv(MESSAGE_ID).unwrap();
    keys.cipher.seal(&iv, message).unwrap().0
}

/// What the responder makes of it: the selectors, or the notification.
fn judge(payloads: &[Payload], udp: Option<NatNumbering>) -> Result<SelectorPair, Option<NotifyType>> {
    let keys = keys();
    let datagram = sealed(&keys, payloads);
    let Ok((header, body)) = Header::parse(&datagram) else {
        panic!("our own message does not parse")
    };
    let config = config();
    let terms = EspTerms { config: &config, udp };
    match responder::judge(&keys, terms, &header, body, spi(2000)) {
        Ok(request) => Ok(request.want.selectors),
        Err(Refusal::End(_, notify)) => Err(notify),
        Err(Refusal::Drop(why)) => panic!("dropped: {why}"),
        Err(Refusal::Report(diagnosis, _)) => panic!("not proven: {diagnosis}"),
    }
}

fn judge_ids(ids: &[Payload]) -> Result<SelectorPair, Option<NotifyType>> {
    let mut payloads = vec![Payload::Sa(offer(None)), Payload::Nonce(vec![9; 16])];
    payloads.extend_from_slice(ids);
    judge(&payloads, None)
}

#[test]
fn ranges_inside_a_pair_are_accepted_as_asked_for() {
    for (peer, local) in [
        ("10.1.0.0/16", "10.2.0.0/16"),
        ("10.1.7.0/24", "10.2.0.0/16"),
        ("10.1.7.9/32", "10.2.3.4/32"),
    ] {
        let selectors = SelectorPair {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
        };
        assert_eq!(judge_ids(&[subnet(peer), subnet(local)]), Ok(selectors));
    }
    // A lone address is a range of one.
    let host = |address: &str| Payload::Id(IdPayload::from_address(address.parse().unwrap()));
    let selectors = SelectorPair {
        local: "10.2.3.4/32".parse().unwrap(),
        peer: "10.1.2.3/32".parse().unwrap(),
    };
    assert_eq!(judge_ids(&[host("10.1.2.3"), host("10.2.3.4")]), Ok(selectors));
}

#[test]
fn v8_client_identities_that_no_rule_has_are_refused() {
    let (peer, local) = (subnet("10.1.0.0/16"), subnet("10.2.0.0/16"));
    let id = |id_type, protocol, port, data: &[u8]| {
        Payload::Id(IdPayload {
            id_type,
            protocol,
            port,
            data: data.to_vec(),
        })
    };
    let selectors = Some(NotifyType::INVALID_ID_INFORMATION);
    let malformed = Some(NotifyType::PAYLOAD_MALFORMED);
    let rows: [(&str, Vec<Payload>, Option<NotifyType>); 10] = [
        ("missing", vec![], selectors),
        ("one only", vec![peer.clone()], malformed),
        (
            "three",
            vec![peer.clone(), local.clone(), local.clone()],
            malformed,
        ),
        ("swapped", vec![local, peer.clone()], selectors),
        (
            "larger than the rule",
            vec![subnet("10.0.0.0/15"), subnet("10.2.0.0/16")],
            selectors,
        ),
        (
            "a name",
            vec![peer.clone(), id(IdType::FQDN, 0, 0, b"b.example")],
            selectors,
        ),
        (
            "one protocol",
            vec![peer.clone(), id(IdType::IPV4_ADDR, 17, 0, &[10, 2, 0, 1])],
            selectors,
        ),
        (
            "one port",
            vec![peer.clone(), id(IdType::IPV4_ADDR, 17, 1701, &[10, 2, 0, 1])],
            selectors,
        ),
        (
            "a mask with holes",
            vec![
                peer.clone(),
                id(IdType::IPV4_ADDR_SUBNET, 0, 0, &[10, 2, 0, 0, 255, 0, 255, 0]),
            ],
            selectors,
        ),
        ("ipv6", vec![peer, subnet("2001:db8::/64")], selectors),
    ];
    for (what, ids, expected) in rows {
        assert_eq!(judge_ids(&ids), Err(expected), "{what}");
    }
}

#[test]
fn messages_that_lack_or_repeat_a_payload_are_refused() {
    let ids = [subnet("10.1.0.0/16"), subnet("10.2.0.0/16")];
    let (sa, nonce) = (Payload::Sa(offer(None)), Payload::Nonce(vec![9; 16]));
    let with = |payloads: &[&Payload]| {
        let mut all: Vec<_> = payloads.iter().map(|&payload| payload.clone()).collect();
        all.extend_from_slice(&ids);
        judge(&all, None)
    };
    assert!(with(&[&sa, &nonce]).is_ok());
    let malformed = Err(Some(NotifyType::PAYLOAD_MALFORMED));
    assert_eq!(with(&[&sa]), malformed);
    assert_eq!(with(&[&nonce]), malformed);
    assert_eq!(with(&[&sa, &sa, &nonce]), malformed);
    assert_eq!(with(&[&sa, &nonce, &nonce]), malformed);
    assert_eq!(with(&[&sa, &nonce, &Payload::Ke(vec![1; 128])]), malformed);
}

#[test]
fn the_mode_must_fit_the_nat_in_either_numbering() {
    let (rfc, draft) = (Some(NatNumbering::Rfc3947), Some(NatNumbering::Draft));
    let no_proposal = Err(Some(NotifyType::NO_PROPOSAL_CHOSEN));
    for (offered, ours, fits) in [
        (None, None, true),
        (rfc, rfc, true),
        (draft, rfc, true),
        (rfc, draft, true),
        (draft, draft, true),
        (rfc, None, false),
        (draft, None, false),
        (None, rfc, false),
    ] {
        let payloads = [
            Payload::Sa(offer(offered)),
            Payload::Nonce(vec![9; 16]),
            subnet("10.1.0.0/16"),
            subnet("10.2.0.0/16"),
        ];
        let judged = judge(&payloads, ours);
        assert_eq!(judged.is_ok(), fits, "{offered:?} {ours:?}");
        assert!(fits || judged == no_proposal);
    }
}

#[test]
fn a_responder_lifetime_only_shortens() {
    let mut choice = EspChoice {
        proposal: config().esp_proposals[0].clone(),
        spi: spi(300),
        lifetime: Duration::from_secs(3600),
        kilobytes: Some(1000),
        announce: None,
    };
    shorten(
        &mut choice,
        Lifetimes {
            seconds: Some(7200),
            kilobytes: Some(2000),
        },
    );
    assert_eq!((choice.lifetime.as_secs(), choice.kilobytes), (3600, Some(1000)));
    shorten(
        &mut choice,
        Lifetimes {
            seconds: Some(600),
            kilobytes: Some(0),
        },
    );
    assert_eq!((choice.lifetime.as_secs(), choice.kilobytes), (600, Some(1000)));
    shorten(
        &mut choice,
        Lifetimes {
            seconds: Some(0),
            kilobytes: Some(1),
        },
    );
    assert_eq!((choice.lifetime.as_secs(), choice.kilobytes), (600, Some(1)));
}
