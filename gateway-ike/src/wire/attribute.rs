//! Data attributes of transforms, the same in both versions (RFC 2408 section 3.3, RFC 7296 section 3.3.5).

use super::{Reader, WireError, Writer};

/// Attributes that we read in one transform. RFC 2409 defines 16, RFC 2407 and its successors 12, RFC 7296 one; life types may
/// repeat.
pub const MAX_ATTRIBUTES: usize = 32;

/// The AF bit: the attribute is a type and a 16-bit value.
const FORMAT_TV: u16 = 0x8000;
/// Octets of the longest number that we read from a variable-length attribute.
const MAX_NUMBER_LEN: usize = 8;

/// One data attribute. The type number has 15 bits; its registry depends on
/// the version and the phase.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// !A!       Attribute Type        !    AF=0  Attribute Length     !
/// !F!                             !    AF=1  Attribute Value      !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// .                   AF=0  Attribute Value                       .
/// .                   AF=1  Not Transmitted                       .
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// Type and value, 16 bits each.
    Tv(u16, u16),
    /// Type, length and value.
    Tlv(u16, Vec<u8>),
}

impl Attribute {
    /// Builds the shortest form of a number: a TV if it fits 16 bits, a 4-octet TLV if it fits 32, else 8 octets.
    pub fn number(kind: u16, value: u64) -> Self {
        if let Ok(short) = u16::try_from(value) {
            Self::Tv(kind, short)
        } else if let Ok(word) = u32::try_from(value) {
            Self::Tlv(kind, word.to_be_bytes().to_vec())
        } else {
            Self::Tlv(kind, value.to_be_bytes().to_vec())
        }
    }

    /// The attribute type, without the format bit.
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Tv(kind, _) | Self::Tlv(kind, _) => *kind,
        }
    }

    /// The value as a number: of a TV, or of a TLV of 1 to 8 octets. `None` if it is none.
    pub fn value(&self) -> Option<u64> {
        match self {
            Self::Tv(_, value) => Some(u64::from(*value)),
            Self::Tlv(_, octets) if (1..=MAX_NUMBER_LEN).contains(&octets.len()) => Some(
                octets
                    .iter()
                    .fold(0, |number, octet| (number << 8) | u64::from(*octet)),
            ),
            Self::Tlv(..) => None,
        }
    }

    pub(in crate::wire) fn number_of(&self, what: &'static str) -> Result<u64, WireError> {
        let len = match self {
            Self::Tv(..) => 2,
            Self::Tlv(_, octets) => octets.len(),
        };
        self.value().ok_or(WireError::BadLength { what, got: len })
    }

    pub(in crate::wire) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let kind = r.u16("attribute type")?;
        if kind & FORMAT_TV != 0 {
            return Ok(Self::Tv(kind & !FORMAT_TV, r.u16("attribute value")?));
        }
        let len = r.u16("attribute length")?;
        Ok(Self::Tlv(
            kind,
            r.take(usize::from(len), "attribute value")?.to_vec(),
        ))
    }

    /// Reads attributes up to the end of a transform.
    pub(in crate::wire) fn parse_all(r: &mut Reader<'_>) -> Result<Vec<Self>, WireError> {
        let mut attributes = Vec::new();
        while !r.is_empty() {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(WireError::TooMany {
                    what: "attributes",
                    limit: MAX_ATTRIBUTES,
                });
            }
            attributes.push(Self::parse(r)?);
        }
        Ok(attributes)
    }

    pub(in crate::wire) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        match self {
            Self::Tv(kind, value) => {
                w.u16(kind | FORMAT_TV);
                w.u16(*value);
            }
            Self::Tlv(kind, octets) => {
                w.u16(kind & !FORMAT_TV);
                let slot = w.length_from(w.len() + 2);
                w.bytes(octets);
                w.patch(slot, "attribute")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_shortest_form_and_read_back() {
        for value in [0, 1, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(Attribute::number(2, value).value(), Some(value));
        }
        assert_eq!(Attribute::number(2, 65_535), Attribute::Tv(2, 65_535));
        assert_eq!(Attribute::number(2, 65_536), Attribute::Tlv(2, vec![0, 1, 0, 0]));
    }
}
