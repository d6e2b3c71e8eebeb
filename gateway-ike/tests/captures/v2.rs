//! Follows an IKEv2 recording message by message, as a third party that knows the pre-shared key and the shared secrets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gateway_ike::crypto::SharedSecret;
use gateway_ike::v2::Role;
use gateway_ike::v2::auth::SignedOctets;
use gateway_ike::v2::keys::{Contributions, IkeKeys};
use gateway_ike::v2::nat_detection;
use gateway_ike::v2::sk::SkAlgorithms;
use gateway_ike::wire::v2::{Message, MessageBuilder, NotifyType};
use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType, ProtocolId};

use crate::pcap::{Datagram, ike_messages};
use crate::recorded::Recorded;

const PSK: &[u8] = b"testpsk";

/// What a recording contained.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) messages: usize,
    pub(crate) ike_sas: usize,
    pub(crate) children: usize,
}

pub(crate) fn replay(pcap: &[u8], keys: &str, algorithms: SkAlgorithms) -> Replayed {
    let mut replay = Replay {
        recorded: Recorded::read(keys),
        algorithms,
        sas: BTreeMap::new(),
        init: Vec::new(),
        exchange: None,
        replayed: Replayed::default(),
    };
    for datagram in ike_messages(pcap) {
        replay.datagram(&datagram);
    }
    for name in [
        "SKEYSEED",
        "Sk_d secret",
        "encryption initiator key",
        "AUTH = prf(prf(secret, keypad), octets)",
    ] {
        assert!(!replay.recorded.has(name), "a recorded {name} was never computed");
    }
    replay.replayed.ike_sas = replay.sas.len();
    replay.replayed
}

struct Replay {
    recorded: Recorded,
    algorithms: SkAlgorithms,
    sas: BTreeMap<IkeSpi, IkeKeys>,
    /// Nonces and datagrams of IKE_SA_INIT, request first.
    init: Vec<(Vec<u8>, Vec<u8>)>,
    /// The request that was not answered yet.
    exchange: Option<Request>,
    replayed: Replayed,
}

/// What the answer of an exchange is read with.
struct Request {
    nonce: Option<Vec<u8>>,
    spi: Vec<u8>,
}

impl Replay {
    fn datagram(&mut self, datagram: &Datagram) {
        self.replayed.messages += 1;
        let (header, body) = Header::parse(&datagram.payload).unwrap();
        let outer = Message::parse(header.next_payload, body).unwrap();
        let Some(encrypted) = &outer.encrypted else {
            check_rebuilt(&header, &outer, &datagram.payload);
            check_nat_detection(datagram, &header, &outer);
            self.ike_sa_init(datagram, &header, &outer);
            return;
        };
        let sender = if header.flags.contains(Flags::INITIATOR) {
            Role::Initiator
        } else {
            Role::Responder
        };
        let keys = &self.sas[&header.initiator_spi];
        let opened = keys
            .message_keys(sender)
            .unwrap()
            .open(&datagram.payload, encrypted)
            .unwrap();
        assert!(
            keys.message_keys(sender.other())
                .unwrap()
                .open(&datagram.payload, encrypted)
                .is_err()
        );
        let inner = Message::parse_decrypted(opened.first, &opened.chain).unwrap();
        let rebuilt = rebuild(&header, &inner).into_parts();
        assert_eq!(
            (rebuilt.0.next_payload, rebuilt.1),
            (opened.first, opened.chain.clone())
        );
        match header.exchange_type {
            ExchangeType::IKE_AUTH => self.ike_auth(&header, &inner),
            ExchangeType::CREATE_CHILD_SA => self.create_child_sa(&header, &inner),
            ExchangeType::INFORMATIONAL => {}
            other => panic!("unexpected {other}"),
        }
    }

    fn ike_sa_init(&mut self, datagram: &Datagram, header: &Header, message: &Message<'_>) {
        let nonce = message.nonce().unwrap().clone();
        self.init.push((nonce, datagram.payload.clone()));
        if self.init.len() < 2 {
            return;
        }
        let shared = self.next_shared();
        if let [(nonce_i, _), (nonce_r, _)] = &*self.init {
            let contributions = Contributions {
                nonce_i,
                nonce_r,
                spi_i: header.initiator_spi,
                spi_r: header.responder_spi,
            };
            let skeyseed = gateway_ike::v2::keys::skeyseed(self.algorithms.prf(), &contributions, &shared);
            assert_eq!(skeyseed.expose(), self.recorded.next("SKEYSEED"));
            let keys = IkeKeys::initial(self.algorithms, &contributions, &shared);
            self.established(header.initiator_spi, keys);
        }
    }

    /// The name of the secret depends on the version of strongSwan.
    fn next_shared(&mut self) -> SharedSecret {
        let secret = self
            .recorded
            .try_next("shared Diffie Hellman secret")
            .unwrap_or_else(|| self.recorded.next("key exchange secret"));
        SharedSecret::new(secret)
    }

    fn established(&mut self, spi_i: IkeSpi, keys: IkeKeys) {
        for (name, ours) in [
            ("Sk_d secret", keys.sk_d()),
            ("Sk_ai secret", keys.sk_a(Role::Initiator)),
            ("Sk_ar secret", keys.sk_a(Role::Responder)),
            ("Sk_ei secret", keys.sk_e(Role::Initiator)),
            ("Sk_er secret", keys.sk_e(Role::Responder)),
            ("Sk_pi secret", keys.sk_p(Role::Initiator)),
            ("Sk_pr secret", keys.sk_p(Role::Responder)),
        ] {
            let recorded = self.recorded.try_next(name).unwrap_or_default();
            assert_eq!(ours.expose(), recorded, "{name}");
        }
        self.sas.insert(spi_i, keys);
    }

    fn ike_auth(&mut self, header: &Header, message: &Message<'_>) {
        let keys = &self.sas[&header.initiator_spi];
        let [(nonce_i, request), (nonce_r, response)] = &*self.init else {
            panic!("IKE_AUTH before IKE_SA_INIT")
        };
        let (role, octets, nonce, id) = if header.flags.contains(Flags::RESPONSE) {
            (Role::Responder, response, nonce_i, PayloadType::V2_ID_R)
        } else {
            (Role::Initiator, request, nonce_r, PayloadType::V2_ID_I)
        };
        let signed = SignedOctets {
            prf: self.algorithms.prf(),
            pre_shared_key: PSK,
            sk_p: keys.sk_p(role),
            message: octets,
            nonce,
            id: message.raw(id).unwrap(),
            int_auth: &[],
        };
        let auth = message.auth().unwrap();
        assert_eq!(signed.verify(auth), Ok(()));
        assert_eq!(
            auth.data,
            self.recorded.next("AUTH = prf(prf(secret, keypad), octets)")
        );
        let (nonce_i, nonce_r) = (nonce_i.clone(), nonce_r.clone());
        self.child(header, message, None, &nonce_i, &nonce_r);
    }

    fn create_child_sa(&mut self, header: &Header, message: &Message<'_>) {
        let nonce = message.nonce().unwrap().clone();
        let spi = message.sa().unwrap().proposals[0].spi.clone();
        let Some(request) = self.exchange.take() else {
            self.exchange = Some(Request {
                nonce: Some(nonce),
                spi,
            });
            return;
        };
        let nonce_i = request.nonce.unwrap();
        let shared = self.next_shared();
        if message.sa().unwrap().proposals[0].protocol != ProtocolId::IKE {
            self.child(header, message, Some(&shared), &nonce_i, &nonce);
            return;
        }
        let [spi_i, spi_r] = [request.spi, spi].map(|spi| IkeSpi(spi.try_into().unwrap()));
        let contributions = Contributions {
            nonce_i: &nonce_i,
            nonce_r: &nonce,
            spi_i,
            spi_r,
        };
        let keys = self.sas[&header.initiator_spi].rekeyed(self.algorithms, &contributions, &shared, &[]);
        let _skeyseed = self.recorded.next("SKEYSEED");
        self.established(spi_i, keys);
    }

    /// The keys of a Child SA, once its answer is there: initiator's encryption, integrity, then the responder's.
    fn child(
        &mut self,
        header: &Header,
        message: &Message<'_>,
        shared: Option<&SharedSecret>,
        nonce_i: &[u8],
        nonce_r: &[u8],
    ) {
        if !header.flags.contains(Flags::RESPONSE) {
            return;
        }
        assert_eq!(message.sa().unwrap().proposals[0].spi.len(), 4);
        self.replayed.children += 1;
        let expected = [
            "encryption initiator key",
            "integrity initiator key",
            "encryption responder key",
            "integrity responder key",
        ]
        .map(|name| self.recorded.try_next(name).unwrap_or_default())
        .concat();
        let keymat = self.sas[&header.initiator_spi].keymat(shared, nonce_i, nonce_r, &[], expected.len());
        assert_eq!(keymat.expose(), expected);
    }
}

fn rebuild(header: &Header, message: &Message<'_>) -> MessageBuilder {
    MessageBuilder::new(
        header.initiator_spi,
        header.responder_spi,
        header.exchange_type,
        header.message_id,
        header.flags,
    )
    .payloads(message.payloads.iter().map(|parsed| &parsed.payload))
    .unwrap()
}

fn check_rebuilt(header: &Header, message: &Message<'_>, datagram: &[u8]) {
    assert_eq!(rebuild(header, message).clear().unwrap(), datagram);
}

/// The destination is as sent. The source is not always: strongSwan changes it to make the peer encapsulate.
fn check_nat_detection(datagram: &Datagram, header: &Header, message: &Message<'_>) {
    let (from, to) = (SocketAddr::V4(datagram.from), SocketAddr::V4(datagram.to));
    let nat = nat_detection::detect(message, header.initiator_spi, header.responder_spi, to, from).unwrap();
    assert!(!nat.local);
    assert!(
        message
            .notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)
            .is_some()
    );
}
