//! Algorithms of the IKE SA.

use super::describe::describe_offer;
use super::{is_definite, numbers, pick};
use crate::config::IkeProposal;
use crate::diagnosis::{Code, Diagnosis, describe_all};
use crate::wire::ProtocolId;
use crate::wire::v2::{Proposal, SaPayload, Transform};

/// What both ends agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeChoice {
    /// One of our proposals.
    pub proposal: IkeProposal,
    /// The peer's SPI of the new IKE SA, when an IKE SA is rekeyed; empty in IKE_SA_INIT.
    pub peer_spi: Vec<u8>,
}

/// Our SA payload: what the tunnel allows in order, proposals that differ in the group alone as one. `spi` is our SPI of the new IKE SA when
/// one is rekeyed, empty in IKE_SA_INIT.
pub fn offer_ike(allowed: &[IkeProposal], spi: &[u8]) -> SaPayload {
    let same = |a: &IkeProposal, b: &IkeProposal| {
        (a.encryption, a.hash, a.additional) == (b.encryption, b.hash, b.additional)
    };
    let proposals = (1..=u8::MAX)
        .zip(allowed.chunk_by(same))
        .map(|(number, alike)| {
            let mut transforms: Vec<Transform> = Vec::new();
            for wanted in alike.iter().flat_map(numbers::of_ike) {
                let transform = wanted.to_transform();
                if !transforms.contains(&transform) {
                    transforms.push(transform);
                }
            }
            Proposal {
                number,
                protocol: ProtocolId::IKE,
                spi: spi.to_vec(),
                transforms,
            }
        })
        .collect();
    SaPayload { proposals }
}

/// As responder: our best proposal that the peer offers, and the SA payload that says so with our `spi` (see [`offer_ike`]).
///
/// The group may be another than that of the peer's KE payload; then INVALID_KE_PAYLOAD asks for it.
///
/// # Errors
/// What differs, if nothing fits.
pub fn select_ike(
    allowed: &[IkeProposal],
    offer: &SaPayload,
    spi: &[u8],
) -> Result<(IkeChoice, SaPayload), Diagnosis> {
    for ours in allowed {
        let wanted = numbers::of_ike(ours);
        for theirs in usable(offer, spi.len()) {
            if let Some(transforms) = pick(theirs, &wanted) {
                let answer = Proposal {
                    spi: spi.to_vec(),
                    transforms,
                    ..*theirs
                };
                let choice = IkeChoice {
                    proposal: ours.clone(),
                    peer_spi: theirs.spi.clone(),
                };
                return Ok((
                    choice,
                    SaPayload {
                        proposals: vec![answer],
                    },
                ));
            }
        }
    }
    Err(mismatch(
        allowed,
        format!("peer offers {}", describe_offer(offer)),
    ))
}

/// As initiator: what the peer chose, which must be one of our proposals under the number that we gave it, with an SPI of
/// `spi_len` octets (8 when an IKE SA is rekeyed, else 0).
///
/// # Errors
/// The peer chose something else.
pub fn chosen_ike(
    allowed: &[IkeProposal],
    answer: &SaPayload,
    spi_len: usize,
) -> Result<IkeChoice, Diagnosis> {
    let offered = offer_ike(allowed, &[]);
    if let [theirs] = &*answer.proposals
        && usable(answer, spi_len).next().is_some()
        && is_definite(theirs)
        && let Some(under_number) = offered.proposals.iter().find(|ours| ours.number == theirs.number)
    {
        for ours in allowed {
            let wanted = numbers::of_ike(ours);
            if pick(theirs, &wanted).is_some() && pick(under_number, &wanted).is_some() {
                return Ok(IkeChoice {
                    proposal: ours.clone(),
                    peer_spi: theirs.spi.clone(),
                });
            }
        }
    }
    Err(mismatch(
        allowed,
        format!(
            "peer answers with {}, which was not offered",
            describe_offer(answer)
        ),
    ))
}

/// The peer refused all we have, without saying what it wants.
pub fn ike_refused_by_peer(allowed: &[IkeProposal]) -> Diagnosis {
    mismatch(allowed, "peer refuses every ike proposal".to_owned())
}

fn usable(sa: &SaPayload, spi_len: usize) -> impl Iterator<Item = &Proposal> {
    sa.proposals
        .iter()
        .filter(move |proposal| proposal.protocol == ProtocolId::IKE && proposal.spi.len() == spi_len)
}

fn mismatch(allowed: &[IkeProposal], peer: String) -> Diagnosis {
    let ours = describe_all(allowed.iter().map(ToString::to_string));
    Diagnosis::new(
        Code::IkeProposalMismatch,
        format!("tunnel allows {ours}"),
        peer,
        "make ike.encryption, ike.authentication and ike.dh_group the same on both sides",
    )
}
