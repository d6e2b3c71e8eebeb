//! Authentication with a pre-shared key (RFC 7296 section 2.15), over IKE_INTERMEDIATE too (RFC 9242 section 3.3.2).

use super::Role;
use super::sk::Opened;
use crate::crypto::{Hash, Prf, Secret, ct_eq};
use crate::wire::v2::{AuthMethod, AuthPayload, GENERIC_HEADER_LEN};
use crate::wire::{Header, PayloadType, Writer};

/// What the AUTH payload of one end covers. Holds the pre-shared key, so it has no `Debug`.
///
/// ```text
/// AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), SignedOctets )
/// InitiatorSignedOctets = RealMessage1 | NonceRData | prf(SK_pi, RestOfInitIDPayload) [ | IntAuth ]
/// ResponderSignedOctets = RealMessage2 | NonceIData | prf(SK_pr, RestOfRespIDPayload) [ | IntAuth ]
/// ```
#[derive(Clone, Copy)]
pub struct SignedOctets<'a> {
    /// The negotiated PRF.
    pub prf: Hash,
    /// The octets of the pre-shared key.
    pub pre_shared_key: &'a [u8],
    /// SK_pi or SK_pr, of the end that proves itself. The latest, if keys changed in IKE_INTERMEDIATE.
    pub sk_p: &'a Secret,
    /// That end's IKE_SA_INIT message from header to end: the one that was answered, cookie included.
    pub message: &'a [u8],
    /// The nonce of the other end.
    pub nonce: &'a [u8],
    /// The body of that end's identification payload, as it travels.
    pub id: &'a [u8],
    /// [`IntAuth::octets`], or nothing.
    pub int_auth: &'a [u8],
}

/// Why an AUTH payload does not prove its sender's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Another method than a shared key, signatures for instance.
    #[error("authentication by {0}")]
    Method(AuthMethod),
    /// The proof is wrong: the pre-shared keys differ.
    #[error("wrong proof")]
    NotAuthentic,
}

impl SignedOctets<'_> {
    /// The payload that proves our identity.
    pub fn prove(&self) -> AuthPayload {
        AuthPayload {
            method: AuthMethod::SHARED_KEY_MIC,
            data: self.mic(),
        }
    }

    /// Whether the peer's payload proves its identity. Compares in constant time and wants the exact length.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn verify(&self, auth: &AuthPayload) -> Result<(), AuthError> {
        if auth.method != AuthMethod::SHARED_KEY_MIC {
            return Err(AuthError::Method(auth.method));
        }
        if ct_eq(&self.mic(), &auth.data) {
            Ok(())
        } else {
            Err(AuthError::NotAuthentic)
        }
    }

    fn mic(&self) -> Vec<u8> {
        let key = Prf::new(self.prf, self.pre_shared_key).derive(&[b"Key Pad for IKEv2"]);
        let maced_id = Prf::new(self.prf, self.sk_p.expose()).compute(&[self.id]);
        Prf::new(self.prf, key.expose()).compute(&[self.message, self.nonce, &maced_id, self.int_auth])
    }
}

/// What IKE_INTERMEDIATE messages add to the signed octets: a chain of MACs for each direction.
///
/// ```text
/// IntAuth_iN = prf(SK_piN, IntAuth_i(N-1) | IntAuth_iNA | IntAuth_iNP)
/// IntAuth = IntAuth_iN | IntAuth_rN | IKE_AUTH_MID
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntAuth {
    initiator: Vec<u8>,
    responder: Vec<u8>,
}

impl IntAuth {
    /// Adds a message of `sender`, sent or received: its header (with any next payload and length) and its decrypted content.
    /// `sk_p` is SK_pi or SK_pr of the keys that protected the message.
    pub fn add(&mut self, prf: Hash, sk_p: &Secret, sender: Role, header: &Header, content: &Opened) {
        let chain = match sender {
            Role::Initiator => &mut self.initiator,
            Role::Responder => &mut self.responder,
        };
        *chain = Prf::new(prf, sk_p.expose()).compute(&[
            chain,
            &associated(header, content.first, content.chain.len()),
            &content.chain,
        ]);
    }

    /// The octets that [`SignedOctets::int_auth`] takes: none if there was no IKE_INTERMEDIATE.
    pub fn octets(&self, ike_auth_message_id: u32) -> Vec<u8> {
        if self.initiator.is_empty() && self.responder.is_empty() {
            return Vec::new();
        }
        [
            &self.initiator[..],
            &self.responder,
            &ike_auth_message_id.to_be_bytes(),
        ]
        .concat()
    }
}

/// IntAuth_A: the header and the generic header of the SK payload, with lengths as if IV, padding and ICV were not there and the
/// message had not been fragmented.
fn associated(header: &Header, first: PayloadType, content_len: usize) -> Vec<u8> {
    let payload_len = GENERIC_HEADER_LEN + content_len;
    let mut w = Writer::new();
    Header {
        next_payload: PayloadType::V2_ENCRYPTED,
        length: u32::try_from(Header::LEN + payload_len).unwrap_or(u32::MAX),
        ..*header
    }
    .emit(&mut w);
    w.u8(first.0);
    w.u8(0);
    w.u16(u16::try_from(payload_len).unwrap_or(u16::MAX));
    w.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v2::MessageBuilder;
    use crate::wire::{ExchangeType, Flags, IkeSpi};

    #[test]
    fn every_part_counts_and_only_the_exact_proof_is_accepted() {
        let sk_p = Secret::new(vec![3; 20]);
        let other = Secret::new(vec![4; 20]);
        let signed = SignedOctets {
            prf: Hash::Sha1,
            pre_shared_key: b"psk",
            sk_p: &sk_p,
            message: b"message",
            nonce: b"nonce",
            id: b"identity",
            int_auth: b"",
        };
        let proof = signed.prove();
        assert_eq!(signed.verify(&proof), Ok(()));
        for changed in [
            SignedOctets {
                pre_shared_key: b"pSk",
                ..signed
            },
            SignedOctets {
                sk_p: &other,
                ..signed
            },
            SignedOctets {
                message: b"massage",
                ..signed
            },
            SignedOctets {
                nonce: b"nance",
                ..signed
            },
            SignedOctets {
                id: b"entity",
                ..signed
            },
            SignedOctets {
                int_auth: b"x",
                ..signed
            },
        ] {
            assert_eq!(changed.verify(&proof), Err(AuthError::NotAuthentic));
        }
        for len in [0, 12, 19, 21] {
            let mut wrong = proof.clone();
            wrong.data.resize(len, 0);
            assert_eq!(
                signed.verify(&wrong),
                Err(AuthError::NotAuthentic),
                "{len} octets"
            );
        }
        let signature = AuthPayload {
            method: AuthMethod::RSA_SIGNATURE,
            ..proof
        };
        assert_eq!(
            signed.verify(&signature),
            Err(AuthError::Method(AuthMethod::RSA_SIGNATURE))
        );
    }

    #[test]
    fn intermediate_exchanges_chain_per_direction() {
        let header = |flags| {
            MessageBuilder::new(
                IkeSpi([1; 8]),
                IkeSpi([2; 8]),
                ExchangeType::IKE_INTERMEDIATE,
                1,
                flags,
            )
            .into_parts()
            .0
        };
        let content = Opened {
            first: PayloadType::V2_KE,
            chain: vec![1, 2, 3],
        };
        let key = Secret::new(vec![7; 32]);
        let mut int_auth = IntAuth::default();
        assert!(int_auth.octets(2).is_empty());
        int_auth.add(
            Hash::Sha2_256,
            &key,
            Role::Initiator,
            &header(Flags::INITIATOR),
            &content,
        );
        int_auth.add(
            Hash::Sha2_256,
            &key,
            Role::Responder,
            &header(Flags::RESPONSE),
            &content,
        );
        let once = int_auth.octets(2);
        assert_eq!(once.len(), 32 + 32 + 4);
        assert_ne!(once[..32], once[32..64], "the headers differ in their flags");
        assert_eq!(once[64..], [0, 0, 0, 2]);
        int_auth.add(
            Hash::Sha2_256,
            &key,
            Role::Initiator,
            &header(Flags::INITIATOR),
            &content,
        );
        let twice = int_auth.octets(3);
        assert_ne!(once[..32], twice[..32]);
        assert_eq!(once[32..64], twice[32..64]);
    }
}
