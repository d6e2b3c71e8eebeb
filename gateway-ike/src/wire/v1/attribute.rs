//! Data attributes of transforms (RFC 2408 section 3.3), and the lifetimes that they carry.

use super::{IkeAttribute, IpsecAttribute, LifeType, MAX_ATTRIBUTES};
use crate::wire::{Reader, WireError, Writer};

/// The AF bit: the attribute is a type and a 16-bit value.
const FORMAT_TV: u16 = 0x8000;
/// Octets of the longest number that we read from a variable-length attribute.
const MAX_NUMBER_LEN: usize = 8;

/// One data attribute. The type number has 15 bits; its registry depends on the phase ([`IkeAttribute`], [`IpsecAttribute`]).
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

    fn number_of(&self, what: &'static str) -> Result<u64, WireError> {
        let len = match self {
            Self::Tv(..) => 2,
            Self::Tlv(_, octets) => octets.len(),
        };
        self.value().ok_or(WireError::BadLength { what, got: len })
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
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
    pub(super) fn parse_all(r: &mut Reader<'_>) -> Result<Vec<Self>, WireError> {
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

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
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

/// The attribute types by which a phase names its lifetimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeAttributes {
    kind: u16,
    duration: u16,
}

impl LifeAttributes {
    /// Phase 1, the ISAKMP SA.
    pub const IKE: Self = Self {
        kind: IkeAttribute::LIFE_TYPE.0,
        duration: IkeAttribute::LIFE_DURATION.0,
    };
    /// Phase 2, the IPsec SA.
    pub const IPSEC: Self = Self {
        kind: IpsecAttribute::SA_LIFE_TYPE.0,
        duration: IpsecAttribute::SA_LIFE_DURATION.0,
    };
}

/// Lifetimes of an SA as the wire has them: none, one or both, in the order type, duration, type, duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetimes {
    /// Seconds, if the peer named any. Zero and absurd values are the caller's to judge.
    pub seconds: Option<u64>,
    /// Kilobytes (1024 octets), if the peer named any.
    pub kilobytes: Option<u64>,
}

impl Lifetimes {
    /// Reads every pair of life type and duration of a transform, or of a RESPONDER-LIFETIME notification.
    ///
    /// A second pair of the same type replaces the first, and pairs of an unknown type are skipped.
    ///
    /// # Errors
    /// A duration without the type that must precede it (RFC 2407 section 4.5), a type without a duration, or a duration that
    /// is empty or longer than 8 octets.
    pub fn read(attributes: &[Attribute], numbers: LifeAttributes) -> Result<Self, WireError> {
        let mut lifetimes = Self::default();
        let mut announced: Option<u64> = None;
        for attribute in attributes {
            if attribute.kind() == numbers.kind {
                if announced.is_some() {
                    return Err(WireError::Unexpected {
                        what: "life type",
                        got: u32::from(numbers.kind),
                    });
                }
                announced = Some(attribute.number_of("life type")?);
            } else if attribute.kind() == numbers.duration {
                let life_type = announced.take().ok_or_else(|| WireError::Unexpected {
                    what: "life duration",
                    got: u32::from(numbers.duration),
                })?;
                let duration = attribute.number_of("life duration")?;
                match u16::try_from(life_type).map(LifeType) {
                    Ok(LifeType::SECONDS) => lifetimes.seconds = Some(duration),
                    Ok(LifeType::KILOBYTES) => lifetimes.kilobytes = Some(duration),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        match announced {
            None => Ok(lifetimes),
            Some(_) => Err(WireError::Unexpected {
                what: "life type",
                got: u32::from(numbers.kind),
            }),
        }
    }

    /// Reads the attributes in the data of a notification (RFC 2407 section 4.6.3.1).
    ///
    /// # Errors
    /// As [`Lifetimes::read`], and attributes that do not parse.
    pub fn from_notify_data(data: &[u8], numbers: LifeAttributes) -> Result<Self, WireError> {
        Self::read(&Attribute::parse_all(&mut Reader::new(data))?, numbers)
    }

    /// The attributes that say the same.
    pub fn to_attributes(&self, numbers: LifeAttributes) -> Vec<Attribute> {
        [
            (LifeType::SECONDS, self.seconds),
            (LifeType::KILOBYTES, self.kilobytes),
        ]
        .into_iter()
        .filter_map(|(life_type, duration)| duration.map(|duration| (life_type, duration)))
        .flat_map(|(life_type, duration)| {
            [
                Attribute::Tv(numbers.kind, life_type.0),
                Attribute::number(numbers.duration, duration),
            ]
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attributes: &[Attribute], expected: Result<(Option<u64>, Option<u64>), WireError>) {
        let read = Lifetimes::read(attributes, LifeAttributes::IPSEC).map(|l| (l.seconds, l.kilobytes));
        assert_eq!(read, expected);
    }

    #[test]
    fn lifetimes_come_as_short_and_long_numbers_and_in_two_units() {
        let (tv, tlv) = (Attribute::Tv, |kind, octets: &[u8]| {
            Attribute::Tlv(kind, octets.to_vec())
        });
        check(&[], Ok((None, None)));
        check(&[tv(1, 1), tv(2, 3600)], Ok((Some(3600), None)));
        check(&[tv(1, 1), tlv(2, &[0, 1, 0x51, 0x80])], Ok((Some(86400), None)));
        check(&[tv(1, 1), tlv(2, &[7])], Ok((Some(7), None)));
        check(&[tv(1, 1), tlv(2, &[0xff; 8])], Ok((Some(u64::MAX), None)));
        check(
            &[tv(1, 2), tv(2, 9), tv(5, 2), tv(1, 1), tv(2, 8)],
            Ok((Some(8), Some(9))),
        );
        check(&[tv(1, 77), tv(2, 9), tv(1, 1), tv(2, 8)], Ok((Some(8), None)));
    }

    #[test]
    fn lifetimes_without_their_other_half_or_out_of_range_are_refused() {
        let (tv, tlv) = (Attribute::Tv, |kind, octets: &[u8]| {
            Attribute::Tlv(kind, octets.to_vec())
        });
        check(
            &[tv(2, 9)],
            Err(WireError::Unexpected {
                what: "life duration",
                got: 2,
            }),
        );
        check(
            &[tv(1, 1)],
            Err(WireError::Unexpected {
                what: "life type",
                got: 1,
            }),
        );
        check(
            &[tv(1, 1), tv(1, 2), tv(2, 5)],
            Err(WireError::Unexpected {
                what: "life type",
                got: 1,
            }),
        );
        check(
            &[tv(1, 1), tlv(2, &[])],
            Err(WireError::BadLength {
                what: "life duration",
                got: 0,
            }),
        );
        check(
            &[tv(1, 1), tlv(2, &[0; 9])],
            Err(WireError::BadLength {
                what: "life duration",
                got: 9,
            }),
        );
    }

    #[test]
    fn numbers_take_the_shortest_form_and_read_back() {
        for value in [0, 1, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(Attribute::number(2, value).value(), Some(value));
        }
        assert_eq!(Attribute::number(2, 65_535), Attribute::Tv(2, 65_535));
        assert_eq!(Attribute::number(2, 65_536), Attribute::Tlv(2, vec![0, 1, 0, 0]));
    }

    #[test]
    fn lifetimes_read_back_from_their_attributes() {
        for lifetimes in [
            Lifetimes::default(),
            Lifetimes {
                seconds: Some(3600),
                kilobytes: None,
            },
            Lifetimes {
                seconds: Some(86_400),
                kilobytes: Some(4_608_000),
            },
        ] {
            let attributes = lifetimes.to_attributes(LifeAttributes::IKE);
            assert_eq!(Lifetimes::read(&attributes, LifeAttributes::IKE), Ok(lifetimes));
        }
    }
}
