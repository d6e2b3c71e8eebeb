//! An IKEv2 initiator that follows the RFC as far as a test lets it.

use gateway_common::Spi;
use gateway_ike::config::IkeVersion;
use gateway_ike::crypto::{KeyExchangeJob, SeededRandom};
use gateway_ike::v2::Role;
use gateway_ike::v2::auth::SignedOctets;
use gateway_ike::v2::keys::{Contributions, IkeKeys};
use gateway_ike::v2::proposal::{EspTerms, offer_ike};
use gateway_ike::v2::selectors::to_payloads;
use gateway_ike::v2::sk::{Opened, SkAlgorithms, SkKeys};
use gateway_ike::wire::v2::{
    AuthPayload, IdPayload, KePayload, Message, MessageBuilder, NotifyType, Payload,
};
use gateway_ike::wire::{ExchangeType, Flags, Header, IkeSpi, PayloadType};

use crate::victim::{PSK, VICTIM, Victim, Who, config, ike_proposal};

const NONCE_I: [u8; 32] = [0x11; 32];

/// A peer whose IKE_SA_INIT was answered.
pub(crate) struct Peer {
    pub(crate) who: Who,
    pub(crate) spis: (IkeSpi, IkeSpi),
    keys: IkeKeys,
    seal: SkKeys,
    open: SkKeys,
    request: Vec<u8>,
    nonce_r: Vec<u8>,
    /// Of the next request.
    pub(crate) message_id: u32,
    random: SeededRandom,
}

/// A message of the victim, opened.
pub(crate) struct Answer {
    content: Opened,
}

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse_decrypted(self.content.first, &self.content.chain).unwrap()
    }

    /// Types of its notifications.
    pub(crate) fn notifies(&self) -> Vec<NotifyType> {
        self.message()
            .notifies()
            .map(|notify| notify.notify_type)
            .collect()
    }

    /// Whether it grants a Child SA.
    pub(crate) fn grants(&self) -> bool {
        self.message().sa().is_some()
    }
}

impl Peer {
    /// IKE_SA_INIT. `number` makes the SPI and the keys of one peer differ from those of another.
    pub(crate) fn start(victim: &mut Victim, who: Who, number: u8) -> Self {
        let proposal = ike_proposal(IkeVersion::V2);
        let mut random = SeededRandom::new([number; 32]);
        let (private, public) = KeyExchangeJob::generate(proposal.group, &mut random)
            .run()
            .into_generated()
            .unwrap();
        let spi_i = IkeSpi([number; 8]);
        let request = MessageBuilder::new(
            spi_i,
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
        .unwrap();
        let answers = victim.deliver(who.address(), &request);
        let (header, body) = Header::parse(answers.first().expect("an answer to IKE_SA_INIT")).unwrap();
        let message = Message::parse(header.next_payload, body).unwrap();
        let shared = KeyExchangeJob::agree(private, &message.ke().unwrap().data)
            .run()
            .into_agreed()
            .unwrap()
            .unwrap();
        let nonce_r = message.nonce().unwrap().clone();
        let contributions = Contributions {
            nonce_i: &NONCE_I,
            nonce_r: &nonce_r,
            spi_i,
            spi_r: header.responder_spi,
        };
        let keys = IkeKeys::initial(SkAlgorithms::from(&proposal), &contributions, &shared);
        Self {
            who,
            spis: (spi_i, header.responder_spi),
            seal: keys.message_keys(Role::Initiator).unwrap(),
            open: keys.message_keys(Role::Responder).unwrap(),
            keys,
            request,
            nonce_r,
            message_id: 1,
            random,
        }
    }

    /// With an IKE SA and one Child SA.
    pub(crate) fn established(victim: &mut Victim, who: Who, number: u8) -> Self {
        let mut peer = Self::start(victim, who, number);
        let payloads = peer.ike_auth(
            IdPayload::from_address(who.address().into()),
            u32::from(number) << 16,
        );
        let answer = peer.ask(victim, ExchangeType::IKE_AUTH, &payloads).unwrap();
        assert!(answer.grants(), "{:?}", answer.notifies());
        // Its first packet proves that it has the answer. It would be asked otherwise.
        victim.first_packets();
        peer
    }

    /// The right proof for an identity.
    pub(crate) fn proof(&self, id: &IdPayload) -> AuthPayload {
        SignedOctets {
            prf: self.keys.algorithms().prf(),
            pre_shared_key: PSK,
            sk_p: self.keys.sk_p(Role::Initiator),
            message: &self.request,
            nonce: &self.nonce_r,
            id: &id.to_bytes(),
            int_auth: &[],
        }
        .prove()
    }

    /// Everything that IKE_AUTH has.
    pub(crate) fn ike_auth(&self, id: IdPayload, spi: u32) -> Vec<Payload> {
        let auth = Payload::Auth(self.proof(&id));
        [vec![Payload::IdI(id), auth], self.child(spi)].concat()
    }

    /// SA, TSi and TSr of a Child SA with this inbound SPI of ours.
    pub(crate) fn child(&self, spi: u32) -> Vec<Payload> {
        let config = config(self.who, IkeVersion::V2);
        // The victim's pair, seen from here.
        let (ts_r, ts_i) = to_payloads(self.who.selectors(), Role::Initiator);
        vec![
            Payload::Sa(EspTerms::in_ike_auth(&config).offer(Spi::new(spi).unwrap())),
            Payload::TsI(ts_i),
            Payload::TsR(ts_r),
        ]
    }

    /// What CREATE_CHILD_SA has for a Child SA.
    pub(crate) fn another_child(&self, spi: u32) -> Vec<Payload> {
        [self.child(spi), vec![Payload::Nonce(vec![0x22; 32])]].concat()
    }

    /// A sealed message under a Message ID.
    pub(crate) fn sealed(&mut self, name: (ExchangeType, u32, Flags), payloads: &[Payload]) -> Vec<u8> {
        let (exchange, message_id, flags) = name;
        let message = MessageBuilder::new(self.spis.0, self.spis.1, exchange, message_id, flags)
            .payloads(payloads)
            .unwrap();
        self.seal.seal(message, &mut self.random).unwrap()
    }

    /// The same with a chain of octets for payloads.
    pub(crate) fn sealed_chain(
        &mut self,
        exchange: ExchangeType,
        first: PayloadType,
        chain: &[u8],
    ) -> Vec<u8> {
        let (header, _) = MessageBuilder::new(
            self.spis.0,
            self.spis.1,
            exchange,
            self.message_id,
            Flags::INITIATOR,
        )
        .into_parts();
        let header = Header {
            next_payload: first,
            ..header
        };
        self.seal.seal_chain(&header, chain, &mut self.random).unwrap()
    }

    /// The next request, and its answer if there is one.
    pub(crate) fn ask(
        &mut self,
        victim: &mut Victim,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Option<Answer> {
        let datagram = self.sealed((exchange, self.message_id, Flags::INITIATOR), payloads);
        let sent = victim.deliver(self.who.address(), &datagram);
        self.message_id += 1;
        assert!(sent.len() <= 1, "one answer at most");
        Some(self.opened(sent.first()?))
    }

    /// Opens a message of the victim.
    pub(crate) fn opened(&self, datagram: &[u8]) -> Answer {
        let (header, body) = Header::parse(datagram).unwrap();
        let outer = Message::parse(header.next_payload, body).unwrap();
        let encrypted = outer.encrypted.expect("protected");
        Answer {
            content: self.open.open(datagram, &encrypted).expect("authentic"),
        }
    }

    /// Whether the IKE SA is alive: an empty request gets its answer.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self, victim: &mut Victim) {
        let answer = self.ask(victim, ExchangeType::INFORMATIONAL, &[]);
        assert!(answer.is_some(), "the ike sa with {VICTIM} is dead");
    }
}
