//! Algorithms of a Child SA.

use gateway_common::Spi;

use super::describe::describe_offer;
use super::{has, is_definite, numbers, pick};
use crate::config::{self, ConnectionConfig, EspProposal};
use crate::crypto::DhGroup;
use crate::diagnosis::{Code, Diagnosis, describe_all};
use crate::wire::ProtocolId;
use crate::wire::v2::{Esn, Proposal, SaPayload, Transform, TransformType};

/// What a tunnel allows for a Child SA in one exchange.
#[derive(Clone, Copy, Debug)]
pub struct EspTerms<'a> {
    /// Acceptable algorithms, best first.
    pub proposals: &'a [EspProposal],
    /// The group of the key exchange in the same message.
    pub pfs: Option<DhGroup>,
    /// Extended sequence numbers.
    pub esn: config::Esn,
}

/// What both ends agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspChoice {
    /// One of our proposals.
    pub proposal: EspProposal,
    /// The group of the additional key exchange.
    pub group: Option<DhGroup>,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// The peer's inbound SPI, our outbound one.
    pub peer_spi: Spi,
}

impl<'a> EspTerms<'a> {
    /// In IKE_AUTH, which has no key exchange of its own (RFC 7296 section 1.2).
    pub const fn in_ike_auth(config: &'a ConnectionConfig) -> Self {
        Self {
            proposals: config.esp_proposals.as_slice(),
            pfs: None,
            esn: config.esn,
        }
    }

    /// In CREATE_CHILD_SA, with the tunnel's PFS.
    pub const fn in_create_child_sa(config: &'a ConnectionConfig) -> Self {
        Self {
            pfs: config.pfs,
            ..Self::in_ike_auth(config)
        }
    }

    /// Our SA payload. `spi` is our inbound SPI.
    pub fn offer(&self, spi: Spi) -> SaPayload {
        let esn = match self.esn {
            config::Esn::Off => &[Esn::NO_ESN][..],
            config::Esn::Allow => &[Esn::NO_ESN, Esn::ESN],
        };
        let proposals = (1..=u8::MAX)
            .zip(self.proposals)
            .map(|(number, ours)| {
                let mut transforms = Vec::new();
                for wanted in esn.iter().flat_map(|esn| numbers::of_esp(ours, self.pfs, *esn)) {
                    let transform = wanted.to_transform();
                    if !transforms.contains(&transform) {
                        transforms.push(transform);
                    }
                }
                Proposal {
                    number,
                    protocol: ProtocolId::ESP,
                    spi: spi.to_be_bytes().to_vec(),
                    transforms,
                }
            })
            .collect();
        SaPayload { proposals }
    }

    /// As responder: our best proposal that the peer offers, and the SA payload that says so with our inbound `spi`.
    ///
    /// # Errors
    /// What differs, if nothing fits.
    pub fn select(&self, offer: &SaPayload, spi: Spi) -> Result<(EspChoice, SaPayload), Diagnosis> {
        for ours in self.proposals {
            for (theirs, peer_spi) in usable(offer) {
                let Some((esn, transforms)) = self.fit(ours, theirs) else {
                    continue;
                };
                let answer = Proposal {
                    spi: spi.to_be_bytes().to_vec(),
                    transforms,
                    ..*theirs
                };
                return Ok((
                    self.choice(ours, esn, peer_spi),
                    SaPayload {
                        proposals: vec![answer],
                    },
                ));
            }
        }
        Err(self.mismatch("peer offers", offer))
    }

    /// As initiator: what the peer chose, which must be one of our proposals under the number that we gave it.
    ///
    /// # Errors
    /// The peer chose something else.
    pub fn chosen(&self, answer: &SaPayload) -> Result<EspChoice, Diagnosis> {
        if let [theirs] = &*answer.proposals
            && is_definite(theirs)
            && let Some((_, peer_spi)) = usable(answer).next()
            && let Some(index) = usize::from(theirs.number).checked_sub(1)
            && let Some(ours) = self.proposals.get(index)
            && let Some((esn, _)) = self.fit(ours, theirs)
        {
            return Ok(self.choice(ours, esn, peer_spi));
        }
        Err(self.mismatch("peer answers with", answer))
    }

    /// The peer refused all we have, without saying what it wants.
    pub fn refused_by_peer(&self) -> Diagnosis {
        Diagnosis::new(
            Code::EspProposalMismatch,
            self.describe(),
            "peer refuses every ipsec proposal",
            "make ipsec.encryption, ipsec.authentication and ipsec.pfs the same on both sides",
        )
    }

    /// The peer's proposal as ours, with the kind of sequence numbers that it prefers among those that we allow.
    fn fit(&self, ours: &EspProposal, theirs: &Proposal) -> Option<(Esn, Vec<Transform>)> {
        let allowed = |esn: &Esn| match *esn {
            Esn::NO_ESN => true,
            Esn::ESN => self.esn == config::Esn::Allow,
            _ => false,
        };
        let esn = theirs
            .of_type(TransformType::ESN)
            .map(|transform| Esn(transform.id))
            .find(allowed)
            .unwrap_or(Esn::NO_ESN);
        let transforms = pick(theirs, &numbers::of_esp(ours, self.pfs, esn))?;
        Some((esn, transforms))
    }

    fn choice(&self, ours: &EspProposal, esn: Esn, peer_spi: Spi) -> EspChoice {
        EspChoice {
            proposal: ours.clone(),
            group: self.pfs,
            esn: esn == Esn::ESN,
            peer_spi,
        }
    }

    fn mismatch(&self, verb: &str, theirs: &SaPayload) -> Diagnosis {
        let peer = format!("{verb} {}", describe_offer(theirs));
        // The key exchange alone stands in the way if the rest fits.
        let fits_otherwise = theirs.proposals.iter().any(|proposal| {
            let mut rest = proposal.clone();
            rest.transforms
                .retain(|transform| transform.transform_type != TransformType::KE);
            let terms = EspTerms { pfs: None, ..*self };
            self.proposals.iter().any(|ours| terms.fit(ours, &rest).is_some())
        });
        if fits_otherwise {
            let wants_pfs = theirs
                .proposals
                .iter()
                .any(|proposal| has(proposal, TransformType::KE));
            return Diagnosis::new(
                Code::PfsMismatch,
                match self.pfs {
                    Some(group) => format!("tunnel has pfs {group}"),
                    None => "tunnel has no pfs".to_owned(),
                },
                if wants_pfs {
                    peer
                } else {
                    format!("{peer}, without pfs")
                },
                "make ipsec.pfs the same on both sides",
            );
        }
        Diagnosis::new(
            Code::EspProposalMismatch,
            self.describe(),
            peer,
            "make ipsec.encryption, ipsec.authentication and ipsec.pfs the same on both sides",
        )
    }

    fn describe(&self) -> String {
        let ours = describe_all(self.proposals.iter().map(ToString::to_string));
        let pfs = self
            .pfs
            .map_or_else(String::new, |group| format!(" with pfs {group}"));
        format!("tunnel allows {ours}{pfs}")
    }
}

/// Proposals for ESP with an SPI that may be used.
fn usable(sa: &SaPayload) -> impl Iterator<Item = (&Proposal, Spi)> {
    sa.proposals.iter().filter_map(|proposal| {
        let spi = Spi::from_be_bytes((&*proposal.spi).try_into().ok()?)?;
        (proposal.protocol == ProtocolId::ESP).then_some((proposal, spi))
    })
}
