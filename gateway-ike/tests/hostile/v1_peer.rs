//! An IKEv1 initiator that follows the RFCs as far as a test lets it.

use gateway_ike::config::IkeVersion;
use gateway_ike::crypto::{Hash, KeyExchangeJob, SeededRandom};
use gateway_ike::v1::keys::{Phase1Cipher, Phase1Inputs, Phase1Transcript, Skeyid};
use gateway_ike::wire::v1::{
    Attribute, AuthAlgorithm, AuthMethod, EncapsulationMode, EspTransform, IdPayload, IkeAttribute,
    IkeEncryption, IkeHash, IkeTransform, IpsecAttribute, Message, MessageBuilder, Payload, Proposal,
    Protection, SaPayload, Transform,
};
use gateway_ike::wire::{ExchangeType, Header, IkeSpi, PayloadType, ProtocolId, vendor};

use crate::victim::{PSK, Victim, Who, ike_proposal};

const NONCE_I: [u8; 32] = [0x11; 32];
/// Nonce of every Quick Mode.
pub(crate) const QUICK_NONCE: [u8; 16] = [0x33; 16];

/// A peer with an ISAKMP SA.
pub(crate) struct Peer {
    who: Who,
    spis: (IkeSpi, IkeSpi),
    skeyid: Skeyid,
    cipher: Phase1Cipher,
}

impl Peer {
    /// Main Mode, all six messages.
    pub(crate) fn established(victim: &mut Victim, who: Who, number: u8) -> Self {
        let proposal = ike_proposal(IkeVersion::V1);
        let spi_i = IkeSpi([number; 8]);
        let tv = |kind: IkeAttribute, value| Attribute::Tv(kind.0, value);
        let sa = Payload::Sa(SaPayload::new(vec![Proposal {
            number: 1,
            protocol: ProtocolId::IKE,
            spi: Vec::new(),
            transforms: vec![Transform {
                number: 1,
                id: IkeTransform::KEY_IKE.0,
                attributes: vec![
                    tv(IkeAttribute::ENCRYPTION_ALGORITHM, IkeEncryption::AES_CBC.0),
                    tv(IkeAttribute::KEY_LENGTH, 128),
                    tv(IkeAttribute::HASH_ALGORITHM, IkeHash::SHA.0),
                    tv(IkeAttribute::GROUP_DESCRIPTION, proposal.group.number()),
                    tv(IkeAttribute::AUTHENTICATION_METHOD, AuthMethod::PRE_SHARED_KEY.0),
                ],
            }],
        }]));
        let sa_i = sa.to_bytes().unwrap();
        let clear = |victim: &mut Victim, spi_r, payloads: &[Payload]| {
            let datagram = MessageBuilder::new(spi_i, spi_r, ExchangeType::IDENTITY_PROTECTION, 0)
                .payloads(payloads)
                .and_then(MessageBuilder::clear)
                .unwrap();
            victim.deliver(who.address(), &datagram).remove(0)
        };
        let second = clear(
            victim,
            IkeSpi::ZERO,
            &[sa, Payload::VendorId(vendor::DPD.to_vec())],
        );
        let spi_r = Header::parse(&second).unwrap().0.responder_spi;
        let mut random = SeededRandom::new([number; 32]);
        let (private, public_i) = KeyExchangeJob::generate(proposal.group, &mut random)
            .run()
            .into_generated()
            .unwrap();
        let payloads = [Payload::Ke(public_i.clone()), Payload::Nonce(NONCE_I.to_vec())];
        let fourth = clear(victim, spi_r, &payloads);
        let (header, body) = Header::parse(&fourth).unwrap();
        let message = Message::parse(header.next_payload, body, Protection::Clear).unwrap();
        let public_r = message.of_type(PayloadType::KE).next().unwrap().raw.to_vec();
        let nonce_r = message.of_type(PayloadType::NONCE).next().unwrap().raw.to_vec();
        let shared = KeyExchangeJob::agree(private, &public_r)
            .run()
            .into_agreed()
            .unwrap()
            .unwrap();
        let skeyid = Skeyid::from_pre_shared_key(&Phase1Inputs {
            hash: Hash::Sha1,
            pre_shared_key: PSK,
            initiator_spi: spi_i,
            responder_spi: spi_r,
            nonce_i: &NONCE_I,
            nonce_r: &nonce_r,
            shared: &shared,
        });
        let transcript = Phase1Transcript {
            public_i: &public_i,
            public_r: &public_r,
            initiator_spi: spi_i,
            responder_spi: spi_r,
            sa_i: &sa_i,
        };
        let mut cipher = skeyid.cipher(proposal.encryption, &transcript).unwrap();
        let id = IdPayload::from_address(who.address().into());
        let hash = skeyid.hash_i(&transcript, &id.to_bytes());
        let fifth = MessageBuilder::new(spi_i, spi_r, ExchangeType::IDENTITY_PROTECTION, 0)
            .payloads(&[Payload::Id(id), Payload::Hash(hash)])
            .unwrap();
        let iv = cipher.phase_1_iv().clone();
        let (datagram, next) = cipher.seal(&iv, fifth).unwrap();
        let answers = victim.deliver(who.address(), &datagram);
        let sixth = answers
            .iter()
            .find(|answer| answer[18] == ExchangeType::IDENTITY_PROTECTION.0);
        let (_, body) = Header::parse(sixth.expect("message 6")).unwrap();
        let (_, after) = cipher.decrypt(&next, body).unwrap();
        cipher.commit(after);
        assert_eq!(victim.counts(who).0, 1);
        Self {
            who,
            spis: (spi_i, spi_r),
            skeyid,
            cipher,
        }
    }

    /// Both SPIs, as probes of the peer's liveness name them.
    pub(crate) fn spis(&self) -> Vec<u8> {
        [self.spis.0.0, self.spis.1.0].concat()
    }

    /// SA, Ni and the identities of message 1 of Quick Mode, in this order.
    pub(crate) fn quick_payloads(&self, spi: u32) -> Vec<Payload> {
        let tv = |kind: IpsecAttribute, value| Attribute::Tv(kind.0, value);
        let sa = SaPayload::new(vec![Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: spi.to_be_bytes().to_vec(),
            transforms: vec![Transform {
                number: 1,
                id: EspTransform::AES_CBC.0,
                attributes: vec![
                    tv(IpsecAttribute::KEY_LENGTH, 128),
                    tv(
                        IpsecAttribute::AUTHENTICATION_ALGORITHM,
                        AuthAlgorithm::HMAC_SHA.0,
                    ),
                    tv(IpsecAttribute::ENCAPSULATION_MODE, EncapsulationMode::TUNNEL.0),
                ],
            }],
        }]);
        let pair = self.who.selectors();
        vec![
            Payload::Sa(sa),
            Payload::Nonce(QUICK_NONCE.to_vec()),
            Payload::Id(IdPayload::from_subnet(pair.peer.into())),
            Payload::Id(IdPayload::from_subnet(pair.local.into())),
        ]
    }

    /// A message whose hash is HASH(1), which those of the Informational exchange have too.
    pub(crate) fn sealed(&self, exchange: ExchangeType, message_id: u32, payloads: &[Payload]) -> Vec<u8> {
        let message = MessageBuilder::new(self.spis.0, self.spis.1, exchange, message_id)
            .payloads(payloads)
            .and_then(|message| message.hashed(|after| self.skeyid.hash_1(message_id, after)))
            .unwrap();
        let iv = self.cipher.phase_2_iv(message_id).unwrap();
        self.cipher.seal(&iv, message).unwrap().0
    }

    /// Sends a message of phase 2 and returns what comes back.
    pub(crate) fn send(
        &self,
        victim: &mut Victim,
        exchange: ExchangeType,
        message_id: u32,
        payloads: &[Payload],
    ) -> Vec<Vec<u8>> {
        let datagram = self.sealed(exchange, message_id, payloads);
        victim.deliver(self.who.address(), &datagram)
    }

    /// Message 3 of Quick Mode for an answer to message 1.
    pub(crate) fn third(&self, message_id: u32, first: &[u8], second: &[u8]) -> Vec<u8> {
        let (header, body) = Header::parse(second).unwrap();
        let iv_2 = self.after(message_id, first);
        let (clear, iv_3) = self.cipher.decrypt(&iv_2, body).unwrap();
        let message = Message::parse(header.next_payload, &clear, Protection::Decrypted).unwrap();
        let nonce_r = message.of_type(PayloadType::NONCE).next().unwrap().raw.to_vec();
        let hash = self.skeyid.hash_3(message_id, &QUICK_NONCE, &nonce_r);
        let message = MessageBuilder::new(self.spis.0, self.spis.1, ExchangeType::QUICK_MODE, message_id)
            .payload(&Payload::Hash(hash))
            .unwrap();
        self.cipher.seal(&iv_3, message).unwrap().0
    }

    /// A whole Quick Mode; returns its messages 1 and 3.
    pub(crate) fn quick_mode(&self, victim: &mut Victim, message_id: u32, spi: u32) -> [Vec<u8>; 2] {
        let first = self.sealed(ExchangeType::QUICK_MODE, message_id, &self.quick_payloads(spi));
        let second = victim.deliver(self.who.address(), &first).remove(0);
        let third = self.third(message_id, &first, &second);
        victim.deliver(self.who.address(), &third);
        [first, third]
    }

    /// The IV that follows message 1.
    fn after(&self, message_id: u32, first: &[u8]) -> gateway_ike::v1::keys::Iv {
        let iv = self.cipher.phase_2_iv(message_id).unwrap();
        let (_, body) = Header::parse(first).unwrap();
        self.cipher.decrypt(&iv, body).unwrap().1
    }
}
