//! What a peer offers, in words: from the numbers alone, so that it names what we do not know too.

use super::numbers;
use crate::crypto::{Encryption, Hash};
use crate::diagnosis::describe_all;
use crate::wire::v2::{EncryptionId, Esn, IntegrityId, PrfId, Proposal, SaPayload, Transform, TransformType};

/// Alternatives of one type that are named.
const MAX_ALTERNATIVES: usize = 8;

/// "3des/md5/group2, aes-128|aes-256/sha1/group14".
pub(super) fn describe_offer(sa: &SaPayload) -> String {
    describe_all(sa.proposals.iter().map(describe))
}

/// The alternatives of each type, types separated by slashes. The PRF is named only where it is not the integrity algorithm's.
fn describe(proposal: &Proposal) -> String {
    let ciphers = alternatives(proposal, TransformType::ENCR, encryption);
    let macs = alternatives(proposal, TransformType::INTEG, |transform| {
        integrity(transform.id)
    });
    let prfs = alternatives(proposal, TransformType::PRF, |transform| prf(transform.id));
    let mut parts = vec![ciphers.unwrap_or_else(|| "no cipher".to_owned())];
    match (macs, prfs) {
        (Some(macs), Some(prfs)) if macs != prfs => parts.push(format!("{macs}/prf {prfs}")),
        (Some(macs), _) => parts.push(macs),
        (None, Some(prfs)) => parts.push(prfs),
        (None, None) => {}
    }
    parts.extend(alternatives(proposal, TransformType::KE, |transform| {
        format!("group{}", transform.id)
    }));
    let mut text = parts.join("/");
    for kind in (TransformType::ADDKE1.0..=TransformType::ADDKE7.0).map(TransformType) {
        if let Some(additional) = alternatives(proposal, kind, |transform| format!("group{}", transform.id)) {
            text.push('+');
            text.push_str(&additional);
        }
    }
    if proposal
        .of_type(TransformType::ESN)
        .all(|transform| transform.id == Esn::ESN.0)
        && proposal.of_type(TransformType::ESN).next().is_some()
    {
        text.push_str("/esn");
    }
    text
}

/// The names of the transforms of a type, "none" left out.
fn alternatives(
    proposal: &Proposal,
    kind: TransformType,
    name: impl Fn(&Transform) -> String,
) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for transform in proposal.of_type(kind) {
        let none = transform.id == 0 && kind != TransformType::ENCR;
        let name = name(transform);
        if !none && names.len() < MAX_ALTERNATIVES && !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join("|"))
}

fn encryption(transform: &Transform) -> String {
    let id = EncryptionId(transform.id);
    let key_bits = transform.key_bits();
    let known = Encryption::ALL.into_iter().find(|cipher| {
        (numbers::ike_cipher(*cipher).0, Ok(numbers::ike_cipher(*cipher).1)) == (id, key_bits)
    });
    match (known, key_bits) {
        (Some(cipher), _) => cipher.to_string(),
        (None, Ok(None)) => format!("{id:?}").to_lowercase(),
        (None, Ok(Some(bits))) => format!("{id:?}-{bits}").to_lowercase(),
        (None, Err(_unknown)) => format!("{id:?} with unknown attributes").to_lowercase(),
    }
}

fn integrity(id: u16) -> String {
    match Hash::ALL
        .into_iter()
        .find(|hash| numbers::integrity(*hash).0 == id)
    {
        Some(hash) => hash.to_string(),
        None => format!("{:?}", IntegrityId(id)).to_lowercase(),
    }
}

fn prf(id: u16) -> String {
    match Hash::ALL.into_iter().find(|hash| numbers::prf(*hash).0 == id) {
        Some(hash) => hash.to_string(),
        None => format!("{:?}", PrfId(id)).to_lowercase(),
    }
}
