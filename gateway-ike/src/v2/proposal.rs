//! Offering algorithms, choosing among what the peer offers, and saying what differs when nothing fits (RFC 7296 sections 2.7 and
//! 3.3).
//!
//! Selection goes by our order. A proposal of the peer fits one of ours if it has each of our transforms among its alternatives, and
//! of every other type "none" at most: a type or an attribute that we do not know, or would not enforce, makes it unusable.

mod describe;
mod esp;
mod ike;
mod numbers;
#[cfg(test)]
mod tests;

pub use esp::{EspChoice, EspTerms};
pub use ike::{IkeChoice, chosen_ike, ike_refused_by_peer, offer_ike, select_ike};

use numbers::Wanted;

use crate::wire::v2::{Proposal, Transform, TransformType};

/// The transforms of `proposal` that make up `wanted`, one of each type that it has. `None` if it cannot be used so.
fn pick(proposal: &Proposal, wanted: &[Wanted]) -> Option<Vec<Transform>> {
    let missing = wanted
        .iter()
        .any(|want| !want.implied && proposal.of_type(want.transform_type).next().is_none());
    if missing {
        return None;
    }
    let mut picked: Vec<Transform> = Vec::new();
    for transform in &proposal.transforms {
        let kind = transform.transform_type;
        if picked.iter().any(|earlier| earlier.transform_type == kind) {
            continue;
        }
        let want = wanted
            .iter()
            .find(|want| want.transform_type == kind)
            .copied()
            .or_else(|| Wanted::none_of(kind))?;
        picked.push(proposal.of_type(kind).find(|offered| want.is(offered))?.clone());
    }
    Some(picked)
}

/// Whether an answer has one transform of each type.
fn is_definite(answer: &Proposal) -> bool {
    answer.transforms.iter().enumerate().all(|(index, transform)| {
        !answer
            .transforms
            .iter()
            .take(index)
            .any(|earlier| earlier.transform_type == transform.transform_type)
    })
}

/// Whether `proposal` has transforms of the type `kind` other than "none".
fn has(proposal: &Proposal, kind: TransformType) -> bool {
    proposal.of_type(kind).any(|transform| transform.id != 0)
}
