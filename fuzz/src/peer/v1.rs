//! An IKEv1 initiator: Main Mode as it should be, then what the input says, encrypted with the right key.

use gateway_ike::config::{IkeVersion, Phase1Mode};
use gateway_ike::crypto::{Hash, KeyExchangeJob, SeededRandom};
use gateway_ike::v1::keys::{Phase1Cipher, Phase1Inputs, Phase1Transcript, Skeyid};
use gateway_ike::wire::v1::{
    Attribute, AuthMethod, IdPayload, IkeAttribute, IkeEncryption, IkeHash, IkeTransform, Message,
    MessageBuilder, Payload, Proposal, Protection, SaPayload, Transform,
};
use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType, ProtocolId, Version, Writer};

use super::to_engine;
use crate::engine::{A, B, Engine, PSK, connection, ike_proposal, start};
use crate::input::Input;

const SPI_I: IkeSpi = IkeSpi([0xa1; 8]);
const NONCE_I: [u8; 32] = [0x11; 32];
/// Messages of one input.
const MAX_MESSAGES: usize = 6;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut engine = Engine::new(connection(B, IkeVersion::V1, Phase1Mode::Main));
    let Some(mut peer) = Peer::connect(&mut engine) else {
        panic!("Main Mode fails");
    };
    if input.u8() & 1 == 1 {
        peer.authenticate(&mut engine);
        assert!(engine.is_up(), "message 5 fails");
    } else {
        let first = PayloadType(input.u8());
        peer.message_5(&mut engine, first, input.rest());
        return;
    }
    for _ in 0..MAX_MESSAGES {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        let exchange = match kind & 7 {
            0..=3 => ExchangeType::QUICK_MODE,
            4 | 5 => ExchangeType::INFORMATIONAL_V1,
            6 => ExchangeType::TRANSACTION,
            _ => ExchangeType(input.u8()),
        };
        let first = PayloadType(input.u8());
        let len = usize::from(input.u16());
        let after_hash = input.take(len);
        let message_id = u32::from(kind >> 5) + 1;
        peer.send(
            &mut engine,
            exchange,
            message_id,
            first,
            after_hash,
            kind & 0x10 == 0,
        );
    }
}

struct Peer {
    spi_r: IkeSpi,
    skeyid: Skeyid,
    cipher: Phase1Cipher,
    sa_i: Vec<u8>,
    public_i: Vec<u8>,
    public_r: Vec<u8>,
}

impl Peer {
    fn connect(engine: &mut Engine) -> Option<Self> {
        let proposal = ike_proposal(IkeVersion::V1);
        let attribute = |kind: IkeAttribute, value| Attribute::Tv(kind.0, value);
        let sa = Payload::Sa(SaPayload::new(vec![Proposal {
            number: 1,
            protocol: ProtocolId::IKE,
            spi: Vec::new(),
            transforms: vec![Transform {
                number: 1,
                id: IkeTransform::KEY_IKE.0,
                attributes: vec![
                    attribute(IkeAttribute::ENCRYPTION_ALGORITHM, IkeEncryption::AES_CBC.0),
                    attribute(IkeAttribute::KEY_LENGTH, 128),
                    attribute(IkeAttribute::HASH_ALGORITHM, IkeHash::SHA.0),
                    attribute(IkeAttribute::GROUP_DESCRIPTION, proposal.group.number()),
                    attribute(IkeAttribute::AUTHENTICATION_METHOD, AuthMethod::PRE_SHARED_KEY.0),
                ],
            }],
        }]));
        let sa_i = sa.to_bytes().ok()?;
        let (header, _) = exchange(engine, IkeSpi::ZERO, &[sa])?;
        let spi_r = header.responder_spi;
        let mut random = SeededRandom::new([0xaa; 32]);
        let (private, public_i) = KeyExchangeJob::generate(proposal.group, &mut random)
            .run()
            .into_generated()?;
        let payloads = [Payload::Ke(public_i.clone()), Payload::Nonce(NONCE_I.to_vec())];
        let (header, body) = exchange(engine, spi_r, &payloads)?;
        let message = Message::parse(header.next_payload, &body, Protection::Clear).ok()?;
        let public_r = message.of_type(PayloadType::KE).next()?.raw.to_vec();
        let nonce_r = message.of_type(PayloadType::NONCE).next()?.raw.to_vec();
        let shared = KeyExchangeJob::agree(private, &public_r)
            .run()
            .into_agreed()?
            .ok()?;
        let skeyid = Skeyid::from_pre_shared_key(&Phase1Inputs {
            hash: Hash::Sha1,
            pre_shared_key: PSK,
            initiator_spi: SPI_I,
            responder_spi: spi_r,
            nonce_i: &NONCE_I,
            nonce_r: &nonce_r,
            shared: &shared,
        });
        let transcript = Phase1Transcript {
            public_i: &public_i,
            public_r: &public_r,
            initiator_spi: SPI_I,
            responder_spi: spi_r,
            sa_i: &sa_i,
        };
        let cipher = skeyid.cipher(proposal.encryption, &transcript).ok()?;
        Some(Self {
            spi_r,
            cipher,
            skeyid,
            sa_i,
            public_i,
            public_r,
        })
    }

    /// Message 5 as it should be, and the IV that follows message 6.
    fn authenticate(&mut self, engine: &mut Engine) {
        let id = IdPayload::from_address(A.into());
        let transcript = Phase1Transcript {
            public_i: &self.public_i,
            public_r: &self.public_r,
            initiator_spi: SPI_I,
            responder_spi: self.spi_r,
            sa_i: &self.sa_i,
        };
        let hash = self.skeyid.hash_i(&transcript, &id.to_bytes());
        let message = builder(self.spi_r, ExchangeType::IDENTITY_PROTECTION, 0)
            .payloads(&[Payload::Id(id), Payload::Hash(hash)])
            .expect("small payloads");
        let iv = self.cipher.phase_1_iv().clone();
        let (datagram, next) = self.cipher.seal(&iv, message).expect("a message with payloads");
        let answers = engine.deliver(start(), &to_engine(datagram));
        let last = answers
            .last()
            .and_then(|packet| Header::parse(&packet.payload).ok());
        let (_, body) = last.expect("message 6");
        let (_, after) = self.cipher.decrypt(&next, body).expect("whole blocks");
        self.cipher.commit(after);
    }

    /// The input in the place of message 5.
    fn message_5(&self, engine: &mut Engine, first: PayloadType, chain: &[u8]) {
        let iv = self.cipher.phase_1_iv().clone();
        self.encrypt(
            engine,
            ExchangeType::IDENTITY_PROTECTION,
            0,
            &iv,
            first,
            chain.to_vec(),
        );
    }

    /// The input behind a right (or a wrong) hash.
    fn send(
        &self,
        engine: &mut Engine,
        exchange: ExchangeType,
        message_id: u32,
        first: PayloadType,
        after_hash: &[u8],
        right: bool,
    ) {
        let Ok(iv) = self.cipher.phase_2_iv(message_id) else {
            return;
        };
        let mut hash = self.skeyid.hash_1(message_id, after_hash);
        if !right {
            hash.reverse();
        }
        let mut w = Writer::new();
        w.u8(first.0);
        w.u8(0);
        w.u16(u16::try_from(4 + hash.len()).unwrap_or(0));
        w.bytes(&hash);
        w.bytes(after_hash);
        self.encrypt(engine, exchange, message_id, &iv, PayloadType::HASH, w.into_vec());
    }

    fn encrypt(
        &self,
        engine: &mut Engine,
        exchange: ExchangeType,
        message_id: u32,
        iv: &gateway_ike::v1::keys::Iv,
        first: PayloadType,
        mut body: Vec<u8>,
    ) {
        body.resize(body.len().max(1).next_multiple_of(self.cipher.block_len()), 0);
        if self.cipher.encrypt(iv, &mut body).is_err() {
            return;
        }
        let mut w = Writer::new();
        Header {
            initiator_spi: SPI_I,
            responder_spi: self.spi_r,
            next_payload: first,
            version: Version::V1,
            exchange_type: exchange,
            flags: Flags::ENCRYPTION,
            message_id,
            length: u32::try_from(Header::LEN + body.len()).unwrap_or(0),
        }
        .emit(&mut w);
        w.bytes(&body);
        engine.deliver(start(), &to_engine(w.into_vec()));
    }
}

const fn builder(spi_r: IkeSpi, exchange: ExchangeType, message_id: u32) -> MessageBuilder {
    MessageBuilder::new(SPI_I, spi_r, exchange, message_id)
}

/// One Main Mode message in the clear, and the header and body of the answer.
fn exchange(engine: &mut Engine, spi_r: IkeSpi, payloads: &[Payload]) -> Option<(Header, Vec<u8>)> {
    let datagram = builder(spi_r, ExchangeType::IDENTITY_PROTECTION, 0)
        .payloads(payloads)
        .and_then(MessageBuilder::clear)
        .ok()?;
    let answers = engine.deliver(start(), &to_engine(datagram));
    let (header, body) = Header::parse(&answers.first()?.payload).ok()?;
    Some((header, body.to_vec()))
}
