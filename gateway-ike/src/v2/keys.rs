//! Key derivation of IKEv2 (RFC 7296 sections 2.13, 2.14, 2.17 and 2.18; RFC 9370 for additional key exchanges).

use super::Role;
use super::sk::{SkAlgorithms, SkError, SkKeys};
use crate::crypto::{Hash, Prf, Secret, SharedSecret};
use crate::wire::IkeSpi;

/// `prf+(K, S)`, cut to `len` octets (section 2.13). At most 255 blocks exist; no key set comes near.
///
/// ```text
/// prf+ (K,S) = T1 | T2 | T3 | T4 | ...
/// T1 = prf (K, S | 0x01)
/// Tn = prf (K, Tn-1 | S | n)
/// ```
pub fn prf_plus(prf: &Prf, seed: &[&[u8]], len: usize) -> Secret {
    let mut stream = Secret::with_capacity(len.next_multiple_of(prf.hash().output_len()));
    let mut block = Secret::new(Vec::new());
    for number in 1..=u8::MAX {
        if stream.len() >= len {
            break;
        }
        let number = [number];
        let mut input = Vec::with_capacity(2 + seed.len());
        input.push(block.expose());
        input.extend_from_slice(seed);
        input.push(&number);
        block = prf.derive(&input);
        stream.append(block.expose());
    }
    stream.truncate(len);
    stream
}

/// What both ends contributed to an IKE SA, shared secrets apart.
#[derive(Clone, Copy, Debug)]
pub struct Contributions<'a> {
    /// Ni, without payload header.
    pub nonce_i: &'a [u8],
    /// Nr, without payload header.
    pub nonce_r: &'a [u8],
    /// SPIi of the IKE SA whose keys are derived.
    pub spi_i: IkeSpi,
    /// SPIr of the IKE SA whose keys are derived.
    pub spi_r: IkeSpi,
}

/// The seven keys of an IKE SA.
///
/// ```text
/// {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr)
/// ```
#[derive(Debug)]
pub struct IkeKeys {
    algorithms: SkAlgorithms,
    d: Secret,
    a: [Secret; 2],
    e: [Secret; 2],
    p: [Secret; 2],
}

impl IkeKeys {
    /// After IKE_SA_INIT: `SKEYSEED = prf(Ni | Nr, g^ir)`.
    pub fn initial(
        algorithms: SkAlgorithms,
        contributions: &Contributions<'_>,
        shared: &SharedSecret,
    ) -> Self {
        let skeyseed = skeyseed(algorithms.prf(), contributions, shared);
        Self::from_skeyseed(algorithms, &skeyseed, contributions)
    }

    /// After an additional key exchange in IKE_INTERMEDIATE (RFC 9370 section 2.2.2):
    /// `SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr)`, nonces and SPIs being those of IKE_SA_INIT.
    #[must_use]
    pub fn with_additional(&self, contributions: &Contributions<'_>, shared: &SharedSecret) -> Self {
        let skeyseed = self.rekeyed_skeyseed(contributions, shared, &[]);
        Self::from_skeyseed(self.algorithms, &skeyseed, contributions)
    }

    /// Of the IKE SA that replaces this one (section 2.18): `SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)`, with the PRF of this
    /// one; `algorithms` are those of the new one. `additional` are the shared secrets of IKE_FOLLOWUP_KE in order.
    #[must_use]
    pub fn rekeyed(
        &self,
        algorithms: SkAlgorithms,
        contributions: &Contributions<'_>,
        shared: &SharedSecret,
        additional: &[&SharedSecret],
    ) -> Self {
        let skeyseed = self.rekeyed_skeyseed(contributions, shared, additional);
        Self::from_skeyseed(algorithms, &skeyseed, contributions)
    }

    /// KEYMAT of a Child SA (section 2.17): `prf+(SK_d, [ g^ir (new) | ] Ni | Nr)`, with the nonces of the exchange that makes it.
    pub fn keymat(
        &self,
        shared: Option<&SharedSecret>,
        nonce_i: &[u8],
        nonce_r: &[u8],
        additional: &[&SharedSecret],
        len: usize,
    ) -> Secret {
        let mut seed = vec![shared.map_or(&[][..], SharedSecret::expose), nonce_i, nonce_r];
        seed.extend(additional.iter().map(|shared| shared.expose()));
        prf_plus(&self.prf(&self.d), &seed, len)
    }

    /// The keys that protect messages of one end.
    ///
    /// # Errors
    /// None that a negotiated algorithm can cause: the keys have the lengths of the algorithms.
    pub fn message_keys(&self, sender: Role) -> Result<SkKeys, SkError> {
        SkKeys::new(
            self.algorithms,
            self.sk_e(sender).expose(),
            self.sk_a(sender).expose(),
        )
    }

    /// The negotiated algorithms.
    pub const fn algorithms(&self) -> SkAlgorithms {
        self.algorithms
    }

    /// SK_d, the key of Child SAs and of the next IKE SA.
    pub const fn sk_d(&self) -> &Secret {
        &self.d
    }

    /// SK_ai or SK_ar. Empty with an AEAD.
    pub const fn sk_a(&self, role: Role) -> &Secret {
        of(&self.a, role)
    }

    /// SK_ei or SK_er, an AEAD's salt at the end.
    pub const fn sk_e(&self, role: Role) -> &Secret {
        of(&self.e, role)
    }

    /// SK_pi or SK_pr, the key of AUTH.
    pub const fn sk_p(&self, role: Role) -> &Secret {
        of(&self.p, role)
    }

    fn prf(&self, key: &Secret) -> Prf {
        Prf::new(self.algorithms.prf(), key.expose())
    }

    fn rekeyed_skeyseed(
        &self,
        contributions: &Contributions<'_>,
        shared: &SharedSecret,
        additional: &[&SharedSecret],
    ) -> Secret {
        let mut input = vec![shared.expose(), contributions.nonce_i, contributions.nonce_r];
        input.extend(additional.iter().map(|shared| shared.expose()));
        self.prf(&self.d).derive(&input)
    }

    /// The last step of all derivations, for whoever has SKEYSEED already.
    pub fn from_skeyseed(
        algorithms: SkAlgorithms,
        skeyseed: &Secret,
        contributions: &Contributions<'_>,
    ) -> Self {
        let prf_len = algorithms.prf().output_len();
        let (a_len, e_len) = (algorithms.integrity_key_len(), algorithms.encryption_key_len());
        let seed = [
            contributions.nonce_i,
            contributions.nonce_r,
            &contributions.spi_i.0,
            &contributions.spi_r.0,
        ];
        let prf = Prf::new(algorithms.prf(), skeyseed.expose());
        let mut rest = prf_plus(&prf, &seed, 3 * prf_len + 2 * a_len + 2 * e_len);
        let mut next = |len| {
            let (head, tail) = std::mem::replace(&mut rest, Secret::new(Vec::new())).split(len);
            rest = tail;
            head
        };
        Self {
            algorithms,
            d: next(prf_len),
            a: [next(a_len), next(a_len)],
            e: [next(e_len), next(e_len)],
            p: [next(prf_len), next(prf_len)],
        }
    }
}

/// `SKEYSEED = prf(Ni | Nr, g^ir)`.
pub fn skeyseed(prf: Hash, contributions: &Contributions<'_>, shared: &SharedSecret) -> Secret {
    let key = [contributions.nonce_i, contributions.nonce_r].concat();
    Prf::new(prf, &key).derive(&[shared.expose()])
}

const fn of(pair: &[Secret; 2], role: Role) -> &Secret {
    let [initiator, responder] = pair;
    match role {
        Role::Initiator => initiator,
        Role::Responder => responder,
    }
}
