//! The Security Association payload with its proposals and transforms (RFC 2408 sections 3.4 to 3.6, RFC 2407 section 4.6.1).

use super::{Attribute, Doi, MAX_PROPOSALS, MAX_SPI_LEN, MAX_TRANSFORMS, Situation};
use crate::wire::{PayloadType, ProtocolId, Reader, WireError, Writer};

/// Octets of the generic payload header, which proposals and transforms have too.
const GENERIC_HEADER_LEN: usize = 4;

/// What is offered or chosen: SA payload of the IPsec DOI.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !              Domain of Interpretation  (DOI)                  !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !                           Situation                           !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                           Proposals                           ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaPayload {
    /// Always [`Doi::IPSEC`] in what we read and write.
    pub doi: Doi,
    /// Always [`Situation::IDENTITY_ONLY`]: labelled situations are refused.
    pub situation: Situation,
    /// At least one. Proposals of the same number are to be applied together (ESP and IPCOMP).
    pub proposals: Vec<Proposal>,
}

/// One protocol and the transforms that its sender would accept for it, in order of preference.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ! Next Payload  !   RESERVED    !         Payload Length        !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !  Proposal #   !  Protocol-Id  !    SPI Size   !# of Transforms!
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !                        SPI (variable)                         !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Proposal number.
    pub number: u8,
    /// The protocol to protect with.
    pub protocol: ProtocolId,
    /// The sender's inbound SPI; empty (or ignored) in phase 1.
    pub spi: Vec<u8>,
    /// At least one.
    pub transforms: Vec<Transform>,
}

/// One combination of algorithms and parameters.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ! Next Payload  !   RESERVED    !         Payload Length        !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !  Transform #  !  Transform-Id !           RESERVED2           !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                        SA Attributes                          ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transform {
    /// Transform number.
    pub number: u8,
    /// [`super::IkeTransform`] or [`super::EspTransform`], by the protocol of the proposal.
    pub id: u8,
    /// The attributes in the order of the wire.
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// The first attribute of type `kind` as a number. `None` if it is missing or is no number.
    pub fn attribute(&self, kind: u16) -> Option<u64> {
        self.attributes
            .iter()
            .find(|attribute| attribute.kind() == kind)
            .and_then(Attribute::value)
    }
}

impl SaPayload {
    /// An SA payload of the IPsec DOI without labels.
    pub const fn new(proposals: Vec<Proposal>) -> Self {
        Self {
            doi: Doi::IPSEC,
            situation: Situation::IDENTITY_ONLY,
            proposals,
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let doi = Doi(r.u32("doi")?);
        if doi != Doi::IPSEC {
            return Err(WireError::Unsupported {
                what: "doi",
                got: doi.0,
            });
        }
        let situation = Situation(r.u32("situation")?);
        if situation != Situation::IDENTITY_ONLY {
            return Err(WireError::Unsupported {
                what: "situation",
                got: situation.0,
            });
        }
        let mut proposals = Vec::new();
        let mut budget = MAX_TRANSFORMS;
        parse_chain(&mut r, PayloadType::PROPOSAL, |body| {
            if proposals.len() == MAX_PROPOSALS {
                return Err(WireError::TooMany {
                    what: "proposals",
                    limit: MAX_PROPOSALS,
                });
            }
            proposals.push(Proposal::parse(body, &mut budget)?);
            Ok(())
        })?;
        r.finish("octets after the last proposal")?;
        Ok(Self {
            doi,
            situation,
            proposals,
        })
    }

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        w.u32(self.doi.0);
        w.u32(self.situation.0);
        emit_chain(w, PayloadType::PROPOSAL, &self.proposals, Proposal::emit)
    }
}

impl Proposal {
    fn parse(mut r: Reader<'_>, budget: &mut usize) -> Result<Self, WireError> {
        let number = r.u8("proposal number")?;
        let protocol = ProtocolId(r.u8("proposal protocol")?);
        let spi_len = usize::from(r.u8("proposal spi size")?);
        if spi_len > MAX_SPI_LEN {
            return Err(WireError::BadLength {
                what: "proposal spi size",
                got: spi_len,
            });
        }
        let announced = usize::from(r.u8("number of transforms")?);
        let spi = r.take(spi_len, "proposal spi")?.to_vec();
        let mut transforms = Vec::new();
        parse_chain(&mut r, PayloadType::TRANSFORM, |body| {
            *budget = budget.checked_sub(1).ok_or(WireError::TooMany {
                what: "transforms",
                limit: MAX_TRANSFORMS,
            })?;
            transforms.push(Transform::parse(body)?);
            Ok(())
        })?;
        r.finish("octets after the last transform")?;
        if transforms.len() != announced {
            return Err(WireError::BadLength {
                what: "number of transforms",
                got: announced,
            });
        }
        Ok(Self {
            number,
            protocol,
            spi,
            transforms,
        })
    }

    fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        let too_many = |what, limit| move |_| WireError::TooMany { what, limit };
        w.u8(self.number);
        w.u8(self.protocol.0);
        w.u8(u8::try_from(self.spi.len()).map_err(too_many("octets in a proposal spi", 255))?);
        w.u8(u8::try_from(self.transforms.len()).map_err(too_many("transforms", MAX_TRANSFORMS))?);
        w.bytes(&self.spi);
        emit_chain(w, PayloadType::TRANSFORM, &self.transforms, Transform::emit)
    }
}

impl Transform {
    fn parse(mut r: Reader<'_>) -> Result<Self, WireError> {
        let number = r.u8("transform number")?;
        let id = r.u8("transform id")?;
        r.u16("transform reserved")?;
        Ok(Self {
            number,
            id,
            attributes: Attribute::parse_all(&mut r)?,
        })
    }

    fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        w.u8(self.number);
        w.u8(self.id);
        w.u16(0);
        self.attributes.iter().try_for_each(|attribute| attribute.emit(w))
    }
}

/// Walks a chain of nested payloads of one kind: each says whether another of its kind follows (`kind`) or none (0). Stops at the
/// last, so that the caller can refuse what stands behind it. There is at least one.
fn parse_chain<'a>(
    r: &mut Reader<'a>,
    kind: PayloadType,
    mut element: impl FnMut(Reader<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    loop {
        let next = PayloadType(r.u8("nested next payload")?);
        if next != kind && next != PayloadType::NONE {
            return Err(WireError::Unexpected {
                what: "nested payload type",
                got: u32::from(next.0),
            });
        }
        r.u8("nested reserved")?;
        let len = usize::from(r.u16("nested payload length")?);
        let body_len = len.checked_sub(GENERIC_HEADER_LEN).ok_or(WireError::BadLength {
            what: "nested payload length",
            got: len,
        })?;
        element(Reader::new(r.take(body_len, "nested payload")?))?;
        if next == PayloadType::NONE {
            return Ok(());
        }
    }
}

fn emit_chain<T>(
    w: &mut Writer,
    kind: PayloadType,
    elements: &[T],
    emit: impl Fn(&T, &mut Writer) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for (index, element) in elements.iter().enumerate() {
        let last = index + 1 == elements.len();
        let start = w.len();
        w.u8(if last { PayloadType::NONE.0 } else { kind.0 });
        w.u8(0);
        let slot = w.length_from(start);
        emit(element, w)?;
        w.patch(slot, "nested payload")?;
    }
    Ok(())
}
