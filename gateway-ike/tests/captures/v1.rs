//! Follows a recording message by message, as a third party that knows the pre-shared key and the Diffie-Hellman secrets.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use gateway_ike::crypto::{DhGroup, Encryption, Hash, SharedSecret};
use gateway_ike::v1::keys::{
    Iv, Phase1Cipher, Phase1Inputs, Phase1Transcript, Phase2Inputs, Skeyid, nat_d_hash,
};
use gateway_ike::wire::v1::{
    IkeAttribute, IkeEncryption, IkeHash, Message, MessageBuilder, ParsedPayload, Payload, Protection,
    SaPayload,
};
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

pub(crate) fn replay(pcap: &[u8], keys: &str) -> Replayed {
    let mut recorded = Recorded::read(keys);
    let mut sas: BTreeMap<IkeSpi, IkeSa> = BTreeMap::new();
    let mut replayed = Replayed::default();
    for datagram in ike_messages(pcap) {
        replayed.messages += 1;
        let (header, body) = Header::parse(&datagram.payload).unwrap();
        let sa = sas.entry(header.initiator_spi).or_default();
        match header.exchange_type {
            ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE => {
                sa.phase_1(&datagram, &header, body, &mut recorded);
            }
            ExchangeType::QUICK_MODE => {
                replayed.children += usize::from(sa.quick_mode(&datagram, &header, body, &mut recorded));
            }
            ExchangeType::INFORMATIONAL_V1 => sa.informational(&datagram, &header, body, &mut recorded),
            other => panic!("unexpected {other}"),
        }
    }
    replayed.ike_sas = sas.len();
    for name in [
        "SKEYID",
        "HASH_I",
        "HASH_R",
        "Hash(1)",
        "Hash(2)",
        "Hash(3)",
        "Hash",
        "encryption initiator key",
    ] {
        assert!(!recorded.has(name), "a recorded {name} was never computed");
    }
    assert_eq!(recorded.unused_ivs(), 0, "recorded IVs that were never computed");
    replayed
}

/// One ISAKMP SA as its messages reveal it.
#[derive(Default)]
struct IkeSa {
    bodies: HashMap<&'static str, Vec<u8>>,
    established: Option<Established>,
    quick_modes: HashMap<u32, QuickMode>,
}

struct Established {
    skeyid: Skeyid,
    cipher: Phase1Cipher,
}

/// A Quick Mode in progress.
struct QuickMode {
    next_iv: Iv,
    step: u8,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    spi_i: [u8; 4],
}

impl IkeSa {
    fn phase_1(&mut self, datagram: &Datagram, header: &Header, body: &[u8], recorded: &mut Recorded) {
        let from_initiator = datagram.from.ip().octets()[3] == 1;
        let plain;
        let message = if header.flags.contains(Flags::ENCRYPTION) {
            let established = self.established.as_mut().expect("keys before encryption");
            let iv = established.cipher.phase_1_iv().clone();
            let opened = established.cipher.decrypt(&iv, body).unwrap();
            plain = opened.0;
            let message = Message::parse(header.next_payload, &plain, Protection::Decrypted).unwrap();
            check_rebuilt(&established.cipher, &iv, header, &message, datagram);
            assert!(recorded.take_iv(opened.1.as_bytes()), "phase 1 IV");
            established.cipher.commit(opened.1);
            message
        } else {
            let message = Message::parse(header.next_payload, body, Protection::Clear).unwrap();
            assert_eq!(rebuild(header, &message).clear().unwrap(), datagram.payload);
            message
        };
        for parsed in &message.payloads {
            let name = match (&parsed.payload, from_initiator) {
                (Payload::Sa(_), true) => "SA_i",
                (Payload::Sa(_), false) => "SA_r",
                (Payload::Ke(_), true) => "KE_i",
                (Payload::Ke(_), false) => "KE_r",
                (Payload::Nonce(_), true) => "N_i",
                (Payload::Nonce(_), false) => "N_r",
                (Payload::Id(_), true) => "ID_i",
                (Payload::Id(_), false) => "ID_r",
                _ => continue,
            };
            self.bodies.insert(name, parsed.raw.to_vec());
        }
        if self.established.is_none() && self.bodies.contains_key("KE_r") {
            self.establish(header, recorded);
        }
        if let Some(hash) = message.of_type(PayloadType::HASH).next() {
            self.check_phase_1_hash(header, from_initiator, hash.raw, recorded);
        }
        self.check_nat_discovery(datagram, header, &message, recorded);
    }

    fn transcript(&self, header: &Header) -> Phase1Transcript<'_> {
        Phase1Transcript {
            public_i: &self.bodies["KE_i"],
            public_r: &self.bodies["KE_r"],
            initiator_spi: header.initiator_spi,
            responder_spi: header.responder_spi,
            sa_i: &self.bodies["SA_i"],
        }
    }

    fn establish(&mut self, header: &Header, recorded: &mut Recorded) {
        let (hash, encryption, group) = self.negotiated();
        let shared = SharedSecret::new(recorded.next("shared Diffie Hellman secret"));
        assert_eq!(shared.expose().len(), group.shared_len());
        assert_eq!(self.bodies["KE_i"].len(), group.public_len());
        let skeyid = Skeyid::from_pre_shared_key(&Phase1Inputs {
            hash,
            pre_shared_key: PSK,
            initiator_spi: header.initiator_spi,
            responder_spi: header.responder_spi,
            nonce_i: &self.bodies["N_i"],
            nonce_r: &self.bodies["N_r"],
            shared: &shared,
        });
        for (name, ours) in [
            ("SKEYID", skeyid.skeyid()),
            ("SKEYID_d", skeyid.skeyid_d()),
            ("SKEYID_a", skeyid.skeyid_a()),
            ("SKEYID_e", skeyid.skeyid_e()),
            ("encryption key Ka", &skeyid.encryption_key(encryption)),
        ] {
            assert_eq!(ours.expose(), recorded.next(name), "{name}");
        }
        let cipher = skeyid.cipher(encryption, &self.transcript(header)).unwrap();
        assert_eq!(cipher.phase_1_iv().as_bytes(), recorded.next("initial IV"));
        self.established = Some(Established { skeyid, cipher });
    }

    /// The algorithms that the responder chose.
    fn negotiated(&self) -> (Hash, Encryption, DhGroup) {
        let sa = sa_payload(&self.bodies["SA_r"]);
        let transform = &sa.proposals[0].transforms[0];
        let attribute = |kind: IkeAttribute| transform.attribute(kind.0);
        let number = |kind| u16::try_from(attribute(kind).unwrap()).unwrap();
        let hash = match IkeHash(number(IkeAttribute::HASH_ALGORITHM)) {
            IkeHash::MD5 => Hash::Md5,
            IkeHash::SHA => Hash::Sha1,
            IkeHash::SHA2_256 => Hash::Sha2_256,
            IkeHash::SHA2_384 => Hash::Sha2_384,
            IkeHash::SHA2_512 => Hash::Sha2_512,
            other => panic!("{other}"),
        };
        let key_length = attribute(IkeAttribute::KEY_LENGTH);
        let encryption = match (
            IkeEncryption(number(IkeAttribute::ENCRYPTION_ALGORITHM)),
            key_length,
        ) {
            (IkeEncryption::DES_CBC, None) => Encryption::Des,
            (IkeEncryption::TRIPLE_DES_CBC, None) => Encryption::TripleDes,
            (IkeEncryption::AES_CBC, Some(128)) => Encryption::Aes128Cbc,
            (IkeEncryption::AES_CBC, Some(192)) => Encryption::Aes192Cbc,
            (IkeEncryption::AES_CBC, Some(256)) => Encryption::Aes256Cbc,
            other => panic!("{other:?}"),
        };
        let group = attribute(IkeAttribute::GROUP_DESCRIPTION)
            .and_then(DhGroup::from_number)
            .unwrap();
        (hash, encryption, group)
    }

    fn check_phase_1_hash(
        &self,
        header: &Header,
        from_initiator: bool,
        sent: &[u8],
        recorded: &mut Recorded,
    ) {
        let skeyid = &self.established.as_ref().unwrap().skeyid;
        let transcript = self.transcript(header);
        let (name, ours) = if from_initiator {
            ("HASH_I", skeyid.hash_i(&transcript, &self.bodies["ID_i"]))
        } else {
            ("HASH_R", skeyid.hash_r(&transcript, &self.bodies["ID_r"]))
        };
        assert_eq!(ours, sent, "{name}");
        assert_eq!(ours, recorded.next(name), "{name}");
    }

    /// The first NAT-D is the destination's and true; a source NAT-D that does not match is a peer that wants UDP encapsulation.
    fn check_nat_discovery(
        &self,
        datagram: &Datagram,
        header: &Header,
        message: &Message<'_>,
        recorded: &Recorded,
    ) {
        let mut nat_d = message.of_type(PayloadType::NAT_D);
        let (Some(destination), Some(source)) = (nat_d.next(), nat_d.next()) else {
            return;
        };
        assert!(nat_d.next().is_none());
        // Main Mode 3 carries NAT-D before the keys exist; the algorithms are known from message 2.
        let hash = self.negotiated().0;
        let of = |address| {
            nat_d_hash(
                hash,
                header.initiator_spi,
                header.responder_spi,
                SocketAddr::V4(address),
            )
        };
        // A floated initiator (aggressive mode, message 3) may hash the ports of before or after the change.
        let at_500 = |address: std::net::SocketAddrV4| of(std::net::SocketAddrV4::new(*address.ip(), 500));
        assert!(
            [of(datagram.to), at_500(datagram.to)]
                .iter()
                .any(|ours| ours == destination.raw)
        );
        let source_is_true = [of(datagram.from), at_500(datagram.from)]
            .iter()
            .any(|ours| ours == source.raw);
        assert_eq!(source_is_true, recorded.any("natd_hash", source.raw));
    }

    /// Returns whether the exchange is complete.
    fn quick_mode(
        &mut self,
        datagram: &Datagram,
        header: &Header,
        body: &[u8],
        recorded: &mut Recorded,
    ) -> bool {
        let Established { skeyid, cipher } = self.established.as_ref().expect("phase 1 before phase 2");
        let id = header.message_id;
        let exchange = self.quick_modes.entry(id).or_insert_with(|| {
            let next_iv = cipher.phase_2_iv(id).unwrap();
            assert!(recorded.take_iv(next_iv.as_bytes()), "first IV of a Quick Mode");
            QuickMode {
                next_iv,
                step: 1,
                nonce_i: Vec::new(),
                nonce_r: Vec::new(),
                spi_i: [0; 4],
            }
        });
        let (plain, next_iv) = cipher.decrypt(&exchange.next_iv, body).unwrap();
        let message = Message::parse(header.next_payload, &plain, Protection::Decrypted).unwrap();
        check_rebuilt(cipher, &exchange.next_iv, header, &message, datagram);
        assert!(recorded.take_iv(next_iv.as_bytes()), "next IV of a Quick Mode");
        exchange.next_iv = next_iv;

        let nonce = message
            .of_type(PayloadType::NONCE)
            .next()
            .map(|nonce| nonce.raw.to_vec());
        let spi = message
            .of_type(PayloadType::SA)
            .next()
            .map(|sa| -> [u8; 4] { sa_payload(sa.raw).proposals[0].spi.as_slice().try_into().unwrap() });
        let (name, hash) = match exchange.step {
            1 => {
                exchange.nonce_i = nonce.unwrap();
                exchange.spi_i = spi.unwrap();
                ("Hash(1)", skeyid.hash_1(id, message.after_first()))
            }
            2 => {
                exchange.nonce_r = nonce.unwrap();
                check_keymat(skeyid, exchange, spi.unwrap(), recorded);
                (
                    "Hash(2)",
                    skeyid.hash_2(id, &exchange.nonce_i, message.after_first()),
                )
            }
            3 => ("Hash(3)", skeyid.hash_3(id, &exchange.nonce_i, &exchange.nonce_r)),
            step => panic!("message {step} of a Quick Mode"),
        };
        assert_eq!(message.leading_hash().unwrap(), hash, "{name}");
        assert_eq!(hash, recorded.next(name), "{name}");
        exchange.step += 1;
        exchange.step == 4
    }

    fn informational(&self, datagram: &Datagram, header: &Header, body: &[u8], recorded: &mut Recorded) {
        let Established { skeyid, cipher } = self.established.as_ref().expect("phase 1 before informational");
        let iv = cipher.phase_2_iv(header.message_id).unwrap();
        let (plain, _) = cipher.decrypt(&iv, body).unwrap();
        let message = Message::parse(header.next_payload, &plain, Protection::Decrypted).unwrap();
        check_rebuilt(cipher, &iv, header, &message, datagram);
        assert!(recorded.take_iv(iv.as_bytes()), "IV of an Informational");
        let hash = skeyid.hash_informational(header.message_id, message.after_first());
        assert_eq!(message.leading_hash().unwrap(), hash);
        assert_eq!(hash, recorded.next("Hash"));
        assert!(matches!(&message.payloads[1].payload, Payload::Delete(delete) if delete.spis.len() == 1));
    }
}

/// The SPI of the responder decides the keys of what the initiator sends, and the other way round.
fn check_keymat(skeyid: &Skeyid, exchange: &QuickMode, spi_r: [u8; 4], recorded: &mut Recorded) {
    let shared = recorded.try_next("DH secret").map(SharedSecret::new);
    for (sender, spi) in [("initiator", spi_r), ("responder", exchange.spi_i)] {
        // NULL encryption has no first part, GCM no second.
        let mut expected = recorded
            .try_next(&format!("encryption {sender} key"))
            .unwrap_or_default();
        expected.extend(
            recorded
                .try_next(&format!("integrity {sender} key"))
                .unwrap_or_default(),
        );
        assert!(!expected.is_empty());
        let inputs = Phase2Inputs {
            shared: shared.as_ref(),
            protocol: ProtocolId::ESP,
            spi,
            nonce_i: &exchange.nonce_i,
            nonce_r: &exchange.nonce_r,
        };
        assert_eq!(
            skeyid.keymat(&inputs, expected.len()).expose(),
            expected,
            "KEYMAT of the {sender}"
        );
    }
}

fn sa_payload(raw: &[u8]) -> SaPayload {
    let Payload::Sa(sa) = Payload::parse(PayloadType::SA, raw).unwrap() else {
        panic!("an SA payload parses as something else");
    };
    sa
}

/// Our writer and cipher give the same datagram, except that strongSwan adds a block of padding where none is needed.
fn check_rebuilt(
    cipher: &Phase1Cipher,
    iv: &Iv,
    header: &Header,
    message: &Message<'_>,
    datagram: &Datagram,
) {
    let (ours, _) = cipher.seal(iv, rebuild(header, message)).unwrap();
    let theirs = &datagram.payload;
    let missing = theirs.len() - ours.len();
    assert!(
        missing == 0 || missing == cipher.block_len(),
        "{missing} octets of padding"
    );
    const LENGTH: std::ops::Range<usize> = 24..28;
    assert_eq!(ours[..LENGTH.start], theirs[..LENGTH.start]);
    assert_eq!(ours[LENGTH.end..], theirs[LENGTH.end..ours.len()]);
}

/// The same message through our writer. Every body must come out as it came in.
fn rebuild(header: &Header, message: &Message<'_>) -> MessageBuilder {
    for ParsedPayload { raw, payload } in &message.payloads {
        assert_eq!(payload.to_bytes().unwrap(), *raw, "{payload:?}");
    }
    let Header {
        initiator_spi,
        responder_spi,
        exchange_type,
        message_id,
        ..
    } = *header;
    let builder = MessageBuilder::new(initiator_spi, responder_spi, exchange_type, message_id);
    let payloads = message.payloads.iter().map(|parsed| &parsed.payload);
    if message.leading_hash().is_none() {
        return builder.payloads(payloads).unwrap();
    }
    // Phase 2 (and the last message of Aggressive Mode): the way in which the engine prepends a hash.
    let builder = builder.payloads(payloads.skip(1)).unwrap();
    builder
        .hashed(|after| {
            assert_eq!(after, message.after_first());
            message.leading_hash().unwrap().to_vec()
        })
        .unwrap()
}
