//! Keys and hashes of IKEv1 with a pre-shared key (RFC 2409 section 5, appendix B; RFC 3947 section 3.2).

mod chain;

use std::net::SocketAddr;

pub use chain::{Iv, Phase1Cipher, SealError};

use crate::crypto::{CbcError, CbcKey, Encryption, Hash, Prf, Secret, SharedSecret};
use crate::wire::{IkeSpi, ProtocolId};

/// What both ends of phase 1 know when SKEYID can be computed. Holds the pre-shared key, so it has no `Debug`.
#[derive(Clone, Copy)]
pub struct Phase1Inputs<'a> {
    /// The negotiated hash; its HMAC is the PRF.
    pub hash: Hash,
    /// The octets of the pre-shared key.
    pub pre_shared_key: &'a [u8],
    /// CKY-I.
    pub initiator_spi: IkeSpi,
    /// CKY-R.
    pub responder_spi: IkeSpi,
    /// Ni_b, the body of the initiator's nonce payload.
    pub nonce_i: &'a [u8],
    /// Nr_b, the body of the responder's nonce payload.
    pub nonce_r: &'a [u8],
    /// g^xy.
    pub shared: &'a SharedSecret,
}

/// SKEYID and what is derived from it.
///
/// ```text
/// SKEYID   = prf(pre-shared-key, Ni_b | Nr_b)
/// SKEYID_d = prf(SKEYID, g^xy | CKY-I | CKY-R | 0)
/// SKEYID_a = prf(SKEYID, SKEYID_d | g^xy | CKY-I | CKY-R | 1)
/// SKEYID_e = prf(SKEYID, SKEYID_a | g^xy | CKY-I | CKY-R | 2)
/// ```
#[derive(Debug)]
pub struct Skeyid {
    hash: Hash,
    skeyid: Secret,
    d: Secret,
    a: Secret,
    e: Secret,
}

/// The exchanged octets that HASH_I and HASH_R cover, apart from the identity.
#[derive(Debug, Clone, Copy)]
pub struct Phase1Transcript<'a> {
    /// g^xi, the body of the initiator's key exchange payload.
    pub public_i: &'a [u8],
    /// g^xr, the body of the responder's key exchange payload.
    pub public_r: &'a [u8],
    /// CKY-I.
    pub initiator_spi: IkeSpi,
    /// CKY-R.
    pub responder_spi: IkeSpi,
    /// SAi_b, the body of the initiator's SA payload as it was sent.
    pub sa_i: &'a [u8],
}

/// What decides the keys of one IPsec SA (one direction, one protocol).
#[derive(Debug, Clone, Copy)]
pub struct Phase2Inputs<'a> {
    /// g(qm)^xy, the shared secret of Quick Mode's own key exchange, with PFS.
    pub shared: Option<&'a SharedSecret>,
    /// The protocol of the SA.
    pub protocol: ProtocolId,
    /// The SPI of the SA, chosen by the receiver of its packets.
    pub spi: [u8; 4],
    /// Ni_b of the Quick Mode.
    pub nonce_i: &'a [u8],
    /// Nr_b of the Quick Mode.
    pub nonce_r: &'a [u8],
}

impl Skeyid {
    /// Derives the set for authentication with a pre-shared key.
    pub fn from_pre_shared_key(inputs: &Phase1Inputs<'_>) -> Self {
        let skeyid = Prf::new(inputs.hash, inputs.pre_shared_key).derive(&[inputs.nonce_i, inputs.nonce_r]);
        let root = Prf::new(inputs.hash, skeyid.expose());
        let step = |previous: &[u8], number: u8| {
            let (spi_i, spi_r) = (inputs.initiator_spi.0, inputs.responder_spi.0);
            root.derive(&[previous, inputs.shared.expose(), &spi_i, &spi_r, &[number]])
        };
        let d = step(&[], 0);
        let a = step(d.expose(), 1);
        let e = step(a.expose(), 2);
        Self {
            hash: inputs.hash,
            skeyid,
            d,
            a,
            e,
        }
    }

    /// The negotiated hash.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// SKEYID, the key of HASH_I and HASH_R.
    pub const fn skeyid(&self) -> &Secret {
        &self.skeyid
    }

    /// SKEYID_d, the key of KEYMAT.
    pub const fn skeyid_d(&self) -> &Secret {
        &self.d
    }

    /// SKEYID_a, the key of the hashes of phase 2.
    pub const fn skeyid_a(&self) -> &Secret {
        &self.a
    }

    /// SKEYID_e, the source of the encryption key.
    pub const fn skeyid_e(&self) -> &Secret {
        &self.e
    }

    fn prf(&self, key: &Secret) -> Prf {
        Prf::new(self.hash, key.expose())
    }

    /// The encryption key Ka: the head of SKEYID_e, stretched where the cipher wants more (appendix B).
    ///
    /// DES keys that are weak or semi-weak would have to be skipped; the chance of one is 2^-52 and no other implementation looks.
    pub fn encryption_key(&self, encryption: Encryption) -> Secret {
        let len = encryption.key_len();
        match self.e.expose().get(..len) {
            Some(head) => Secret::new(head.to_vec()),
            None => self.prf(&self.e).feedback(&[&[0]], &[], len),
        }
    }

    /// The cipher of this ISAKMP SA at the start of phase 1, its first IV being `hash(g^xi | g^xr)`.
    ///
    /// # Errors
    /// None that a negotiated algorithm can cause: key and IV have the cipher's lengths.
    pub fn cipher(
        &self,
        encryption: Encryption,
        transcript: &Phase1Transcript<'_>,
    ) -> Result<Phase1Cipher, CbcError> {
        let key = CbcKey::new(encryption, self.encryption_key(encryption).expose())?;
        let iv = self.hash.digest(&[transcript.public_i, transcript.public_r]);
        Phase1Cipher::new(key, self.hash, &iv)
    }

    /// `HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b)`.
    pub fn hash_i(&self, transcript: &Phase1Transcript<'_>, id_i: &[u8]) -> Vec<u8> {
        let t = transcript;
        self.prf(&self.skeyid).compute(&[
            t.public_i,
            t.public_r,
            &t.initiator_spi.0,
            &t.responder_spi.0,
            t.sa_i,
            id_i,
        ])
    }

    /// `HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b)`.
    pub fn hash_r(&self, transcript: &Phase1Transcript<'_>, id_r: &[u8]) -> Vec<u8> {
        let t = transcript;
        self.prf(&self.skeyid).compute(&[
            t.public_r,
            t.public_i,
            &t.responder_spi.0,
            &t.initiator_spi.0,
            t.sa_i,
            id_r,
        ])
    }

    /// `HASH(1) = prf(SKEYID_a, M-ID | SA | Ni [ | KE ] [ | IDci | IDcr ])`: over all of the message behind the hash payload.
    pub fn hash_1(&self, message_id: u32, after_hash: &[u8]) -> Vec<u8> {
        self.prf(&self.a)
            .compute(&[&message_id.to_be_bytes(), after_hash])
    }

    /// `HASH(2) = prf(SKEYID_a, M-ID | Ni_b | SA | Nr [ | KE ] [ | IDci | IDcr ])`.
    pub fn hash_2(&self, message_id: u32, nonce_i: &[u8], after_hash: &[u8]) -> Vec<u8> {
        self.prf(&self.a)
            .compute(&[&message_id.to_be_bytes(), nonce_i, after_hash])
    }

    /// `HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b)`.
    pub fn hash_3(&self, message_id: u32, nonce_i: &[u8], nonce_r: &[u8]) -> Vec<u8> {
        self.prf(&self.a)
            .compute(&[&[0], &message_id.to_be_bytes(), nonce_i, nonce_r])
    }

    /// The hash of an Informational exchange: `prf(SKEYID_a, M-ID | N/D)`.
    pub fn hash_informational(&self, message_id: u32, after_hash: &[u8]) -> Vec<u8> {
        self.hash_1(message_id, after_hash)
    }

    /// `KEYMAT = prf(SKEYID_d, [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)`, stretched to `len` octets (section 5.5).
    pub fn keymat(&self, inputs: &Phase2Inputs<'_>, len: usize) -> Secret {
        let shared = inputs.shared.map_or(&[][..], SharedSecret::expose);
        let protocol = [inputs.protocol.0];
        let seed = [shared, &protocol[..], &inputs.spi, inputs.nonce_i, inputs.nonce_r];
        self.prf(&self.d).feedback(&seed, &seed, len)
    }
}

/// The NAT discovery hash: `HASH(CKY-I | CKY-R | IP | Port)` (RFC 3947 section 3.2), with the negotiated hash.
pub fn nat_d_hash(hash: Hash, initiator_spi: IkeSpi, responder_spi: IkeSpi, address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => hash.digest(&[&initiator_spi.0, &responder_spi.0, &v4.ip().octets(), &port]),
        SocketAddr::V6(v6) => hash.digest(&[&initiator_spi.0, &responder_spi.0, &v6.ip().octets(), &port]),
    }
}
