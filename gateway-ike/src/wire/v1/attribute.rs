//! Lifetimes as the data attributes of transforms carry them (RFC 2407 section 4.5, RFC 2409 appendix A).

use super::{IkeAttribute, IpsecAttribute, LifeType};
use crate::wire::{Attribute, Reader, WireError, Writer};

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

    /// The data of a notification that says the same.
    ///
    /// Nothing here is longer than its length field can say, so that an error is none that could happen.
    pub fn to_notify_data(&self, numbers: LifeAttributes) -> Vec<u8> {
        let mut w = Writer::new();
        for attribute in self.to_attributes(numbers) {
            if attribute.emit(&mut w).is_err() {
                return Vec::new();
            }
        }
        w.into_vec()
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
