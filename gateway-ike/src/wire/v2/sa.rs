//! The Security Association payload with its proposals and transforms (RFC 7296 section 3.3).

use super::{EncryptionId, GENERIC_HEADER_LEN, MAX_PROPOSALS, MAX_TRANSFORMS, TransformType};
use crate::wire::{Attribute, ProtocolId, Reader, WireError, Writer};

/// "Last Substruc" of a proposal that another one follows.
const MORE_PROPOSALS: u8 = 2;
/// "Last Substruc" of a transform that another one follows.
const MORE_TRANSFORMS: u8 = 3;
/// The only attribute type in use: the key length in bits.
const KEY_LENGTH: u16 = 14;

/// What is offered, best first, or the one proposal that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaPayload {
    /// At least one.
    pub proposals: Vec<Proposal>,
}

/// One protocol, and for each type of transform the alternatives that its sender would accept.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Last Substruc |   RESERVED    |         Proposal Length       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                        SPI (variable)                         ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                        <Transforms>                           ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Proposal number, from 1. The answer repeats the number of what it accepts.
    pub number: u8,
    /// The protocol to protect with.
    pub protocol: ProtocolId,
    /// The sender's inbound SPI: four octets for ESP, eight when an IKE SA is rekeyed, none in IKE_SA_INIT.
    pub spi: Vec<u8>,
    /// Alternatives of one type are in order of preference. May be empty.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Last Substruc |   RESERVED    |        Transform Length       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Transform Type |   RESERVED    |          Transform ID         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                      Transform Attributes                     ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transform {
    /// What kind of algorithm.
    pub transform_type: TransformType,
    /// Which one; the registry depends on the type.
    pub id: u16,
    /// The attributes in the order of the wire.
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// An algorithm without attributes.
    pub const fn new(transform_type: TransformType, id: u16) -> Self {
        Self {
            transform_type,
            id,
            attributes: Vec::new(),
        }
    }

    /// An encryption algorithm, with the key length in bits where its key length is variable.
    pub fn encryption(id: EncryptionId, key_bits: Option<u16>) -> Self {
        Self {
            transform_type: TransformType::ENCR,
            id: id.0,
            attributes: key_bits
                .map(|bits| Attribute::Tv(KEY_LENGTH, bits))
                .into_iter()
                .collect(),
        }
    }

    /// The key length in bits.
    ///
    /// `Ok(None)` if the transform has no attribute at all. What else it may carry makes it unacceptable (RFC 7296 section 3.3.6:
    /// a transform with an attribute that is not understood must not be chosen), which `Err` says.
    pub fn key_bits(&self) -> Result<Option<u16>, UnknownAttribute> {
        match &*self.attributes {
            [] => Ok(None),
            [Attribute::Tv(KEY_LENGTH, bits)] => Ok(Some(*bits)),
            _ => Err(UnknownAttribute),
        }
    }

    fn parse(mut r: Reader<'_>) -> Result<Self, WireError> {
        let transform_type = TransformType(r.u8("transform type")?);
        r.u8("transform reserved")?;
        let id = r.u16("transform id")?;
        Ok(Self {
            transform_type,
            id,
            attributes: Attribute::parse_all(&mut r)?,
        })
    }

    fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        w.u8(self.transform_type.0);
        w.u8(0);
        w.u16(self.id);
        self.attributes.iter().try_for_each(|attribute| attribute.emit(w))
    }
}

/// A transform carries an attribute that we do not know, or the key length twice or in a wrong form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("transform with an unknown attribute")]
pub struct UnknownAttribute;

impl Proposal {
    /// The transforms of one type, in order.
    pub fn of_type(&self, transform_type: TransformType) -> impl Iterator<Item = &Transform> {
        self.transforms
            .iter()
            .filter(move |transform| transform.transform_type == transform_type)
    }

    fn parse(mut r: Reader<'_>, budget: &mut usize) -> Result<Self, WireError> {
        let number = r.u8("proposal number")?;
        let protocol = ProtocolId(r.u8("proposal protocol")?);
        let spi_len = usize::from(r.u8("proposal spi size")?);
        let announced = usize::from(r.u8("number of transforms")?);
        if !matches!(spi_len, 0 | 2 | 4 | 8) {
            return Err(WireError::BadLength {
                what: "proposal spi size",
                got: spi_len,
            });
        }
        let spi = r.take(spi_len, "proposal spi")?.to_vec();
        let mut transforms = Vec::new();
        if announced > 0 {
            parse_chain(&mut r, MORE_TRANSFORMS, |body| {
                *budget = budget.checked_sub(1).ok_or(WireError::TooMany {
                    what: "transforms",
                    limit: MAX_TRANSFORMS,
                })?;
                transforms.push(Transform::parse(body)?);
                Ok(())
            })?;
        }
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
        let too_many = |what| move |_| WireError::TooMany { what, limit: 255 };
        w.u8(self.number);
        w.u8(self.protocol.0);
        w.u8(u8::try_from(self.spi.len()).map_err(too_many("octets in a proposal spi"))?);
        w.u8(u8::try_from(self.transforms.len()).map_err(too_many("transforms"))?);
        w.bytes(&self.spi);
        emit_chain(w, MORE_TRANSFORMS, &self.transforms, Transform::emit)
    }
}

impl SaPayload {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let mut proposals = Vec::new();
        let mut budget = MAX_TRANSFORMS;
        parse_chain(&mut r, MORE_PROPOSALS, |body| {
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
        Ok(Self { proposals })
    }

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        emit_chain(w, MORE_PROPOSALS, &self.proposals, Proposal::emit)
    }
}

/// Walks substructures of one kind: each says whether another of its kind follows (`more`) or none (0). Stops at the last, so that
/// the caller can refuse what stands behind it. There is at least one.
fn parse_chain<'a>(
    r: &mut Reader<'a>,
    more: u8,
    mut element: impl FnMut(Reader<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    loop {
        let last = r.u8("last substructure")?;
        if last != more && last != 0 {
            return Err(WireError::Unexpected {
                what: "last substructure",
                got: u32::from(last),
            });
        }
        r.u8("substructure reserved")?;
        let len = usize::from(r.u16("substructure length")?);
        let body_len = len.checked_sub(GENERIC_HEADER_LEN).ok_or(WireError::BadLength {
            what: "substructure length",
            got: len,
        })?;
        element(Reader::new(r.take(body_len, "substructure")?))?;
        if last == 0 {
            return Ok(());
        }
    }
}

fn emit_chain<T>(
    w: &mut Writer,
    more: u8,
    elements: &[T],
    emit: impl Fn(&T, &mut Writer) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for (index, element) in elements.iter().enumerate() {
        let last = index + 1 == elements.len();
        let start = w.len();
        w.u8(if last { 0 } else { more });
        w.u8(0);
        let slot = w.length_from(start);
        emit(element, w)?;
        w.patch(slot, "substructure")?;
    }
    Ok(())
}
