//! Offering algorithms, choosing among what the peer offers, and saying what differs when nothing fits.
//!
//! A transform is read strictly: an attribute that we do not enforce makes it unusable. What is agreed on is exactly what the
//! keys and the data plane implement.

mod esp;
mod ike;

pub(crate) use esp::{EspChoice, EspTerms, chosen_esp, offer_esp, select_esp};
pub(crate) use ike::{
    IkeChoice, aggressive_group, chosen_ike, offer_ike, refused_by_peer as ike_refused_by_peer, select_ike,
};

use std::time::Duration;

use crate::wire::v1::{Attribute, Lifetimes};

/// Shortest lifetime that we let a peer talk us into. Below, the two ends would do nothing but negotiate.
const MIN_LIFETIME: Duration = Duration::from_secs(5);

/// The smaller of our lifetime and the peer's. A peer that names none, or zero, gets ours.
pub(crate) fn smaller_lifetime(ours: Duration, theirs: Lifetimes) -> Duration {
    match theirs.seconds {
        None | Some(0) => ours,
        Some(seconds) => ours.min(Duration::from_secs(seconds).max(MIN_LIFETIME)),
    }
}

/// The smaller of two limits of kilobytes. Naming none, or zero, is no limit.
pub(crate) fn smaller_kilobytes(ours: Option<u64>, theirs: Lifetimes) -> Option<u64> {
    let theirs = theirs.kilobytes.filter(|&kilobytes| kilobytes > 0);
    [ours, theirs].into_iter().flatten().min()
}

/// Whether an offer has a limit of kilobytes above this one, or none.
fn offers_more(offered: Lifetimes, kilobytes: u64) -> bool {
    offered
        .kilobytes
        .is_none_or(|theirs| theirs == 0 || kilobytes < theirs)
}

/// Whether each attribute is of a kind that `known` accepts, and none but the life attributes stands twice.
fn only_known(attributes: &[Attribute], life: [u16; 2], known: impl Fn(u16) -> bool) -> bool {
    attributes.iter().enumerate().all(|(index, attribute)| {
        let kind = attribute.kind();
        life.contains(&kind)
            || (known(kind) && !attributes[..index].iter().any(|earlier| earlier.kind() == kind))
    })
}
