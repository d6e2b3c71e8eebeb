//! An IKEv2 initiator: IKE_SA_INIT as it should be, then what the input says, sealed with the right keys.

use gateway_common::Spi;
use gateway_ike::config::{IkeVersion, Phase1Mode, SelectorPair};
use gateway_ike::crypto::{DhPrivate, KeyExchangeJob, SeededRandom};
use gateway_ike::v2::Role;
use gateway_ike::v2::auth::SignedOctets;
use gateway_ike::v2::keys::{Contributions, IkeKeys};
use gateway_ike::v2::proposal::{EspTerms, offer_ike};
use gateway_ike::v2::selectors::to_payloads;
use gateway_ike::v2::sk::{SkAlgorithms, SkKeys};
use gateway_ike::wire::v2::{IdPayload, KePayload, Message, MessageBuilder, Payload};
use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType};

use super::to_engine;
use crate::engine::{A, B, Engine, PSK, connection, ike_proposal, start};
use crate::input::Input;

const SPI_I: IkeSpi = IkeSpi([0xa1; 8]);
const NONCE_I: [u8; 32] = [0x11; 32];
/// Messages of one input.
const MAX_MESSAGES: usize = 6;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut engine = Engine::new(connection(B, IkeVersion::V2, Phase1Mode::Main));
    let Some(mut peer) = Peer::connect(&mut engine) else {
        panic!("IKE_SA_INIT fails");
    };
    let authenticated = input.u8() & 1 == 1;
    if authenticated {
        peer.authenticate(&mut engine);
        assert!(engine.is_up(), "IKE_AUTH fails");
    }
    for _ in 0..MAX_MESSAGES {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        let exchange = match kind & 7 {
            0 | 1 => ExchangeType::CREATE_CHILD_SA,
            2 | 3 => ExchangeType::INFORMATIONAL,
            4 => ExchangeType::IKE_AUTH,
            5 => ExchangeType::IKE_INTERMEDIATE,
            6 => ExchangeType::IKE_SA_INIT,
            _ => ExchangeType(input.u8()),
        };
        let first = PayloadType(input.u8());
        let len = usize::from(input.u16());
        let chain = input.take(len);
        let flags = if kind & 0x80 == 0 {
            Flags::INITIATOR
        } else {
            Flags(input.u8())
        };
        peer.send(&mut engine, exchange, flags, first, chain);
        if kind & 0x40 == 0 {
            peer.message_id += 1;
        }
    }
}

struct Peer {
    spi_r: IkeSpi,
    keys: IkeKeys,
    seal: SkKeys,
    request: Vec<u8>,
    nonce_r: Vec<u8>,
    message_id: u32,
}

impl Peer {
    fn connect(engine: &mut Engine) -> Option<Self> {
        let proposal = ike_proposal(IkeVersion::V2);
        let mut random = SeededRandom::new([0xaa; 32]);
        let (private, public) = KeyExchangeJob::generate(proposal.group, &mut random)
            .run()
            .into_generated()?;
        let request = MessageBuilder::new(
            SPI_I,
            IkeSpi::ZERO,
            ExchangeType::IKE_SA_INIT,
            0,
            Flags::INITIATOR,
        )
        .payloads(&[
            Payload::Sa(offer_ike(std::slice::from_ref(&proposal), &[])),
            Payload::Ke(KePayload {
                group: proposal.group.number(),
                data: public,
            }),
            Payload::Nonce(NONCE_I.to_vec()),
        ])
        .and_then(MessageBuilder::clear)
        .ok()?;
        let answers = engine.deliver(start(), &to_engine(request.clone()));
        let answer = answers.first()?;
        let (header, body) = Header::parse(&answer.payload).ok()?;
        let message = Message::parse(header.next_payload, body).ok()?;
        let shared = agree(private, &message.ke()?.data)?;
        let nonce_r = message.nonce()?.clone();
        let contributions = Contributions {
            nonce_i: &NONCE_I,
            nonce_r: &nonce_r,
            spi_i: SPI_I,
            spi_r: header.responder_spi,
        };
        let keys = IkeKeys::initial(SkAlgorithms::from(&proposal), &contributions, &shared);
        Some(Self {
            spi_r: header.responder_spi,
            seal: keys.message_keys(Role::Initiator).ok()?,
            keys,
            request,
            nonce_r,
            message_id: 1,
        })
    }

    fn authenticate(&mut self, engine: &mut Engine) {
        let id = IdPayload::from_address(A.into());
        let signed = SignedOctets {
            prf: self.keys.algorithms().prf(),
            pre_shared_key: PSK,
            sk_p: self.keys.sk_p(Role::Initiator),
            message: &self.request,
            nonce: &self.nonce_r,
            id: &id.to_bytes(),
            int_auth: &[],
        };
        let config = connection(A, IkeVersion::V2, Phase1Mode::Main);
        let pair: SelectorPair = config.selectors[0];
        let (ts_i, ts_r) = to_payloads(pair, Role::Initiator);
        let spi = Spi::new(0x7000_0001).expect("not reserved");
        let payloads = [
            Payload::IdI(id),
            Payload::Auth(signed.prove()),
            Payload::Sa(EspTerms::in_ike_auth(&config).offer(spi)),
            Payload::TsI(ts_i),
            Payload::TsR(ts_r),
        ];
        let chain = MessageBuilder::new(SPI_I, self.spi_r, ExchangeType::IKE_AUTH, 0, Flags::INITIATOR)
            .payloads(&payloads)
            .expect("small payloads")
            .into_parts();
        let first = chain.0.next_payload;
        self.send(engine, ExchangeType::IKE_AUTH, Flags::INITIATOR, first, &chain.1);
        self.message_id += 1;
    }

    fn send(
        &mut self,
        engine: &mut Engine,
        exchange: ExchangeType,
        flags: Flags,
        first: PayloadType,
        chain: &[u8],
    ) {
        let (header, _) =
            MessageBuilder::new(SPI_I, self.spi_r, exchange, self.message_id, flags).into_parts();
        let header = Header {
            next_payload: first,
            ..header
        };
        let sealed = self
            .seal
            .seal_chain(&header, chain, &mut SeededRandom::new([0xbb; 32]));
        if let Ok(datagram) = sealed {
            engine.deliver(start(), &to_engine(datagram));
        }
    }
}

fn agree(private: DhPrivate, public: &[u8]) -> Option<gateway_ike::crypto::SharedSecret> {
    KeyExchangeJob::agree(private, public).run().into_agreed()?.ok()
}
