//! The Identification payloads IDi and IDr (RFC 7296 section 3.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{IdType, Reader, WireError, Writer};

/// Octets of the longest name that we read. A DNS name has at most 255, a distinguished name rarely more.
const MAX_NAME_LEN: usize = 1024;

/// An identity as the wire has it.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   ID Type     |                 RESERVED                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                   Identification Data                         ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPayload {
    /// What the data is.
    pub id_type: IdType,
    /// The identity. Its length fits the type: parsing refuses an address of 3 octets.
    pub data: Vec<u8>,
}

impl IdPayload {
    /// The identity of an address.
    pub fn from_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::new(IdType::IPV4_ADDR, &v4.octets()),
            IpAddr::V6(v6) => Self::new(IdType::IPV6_ADDR, &v6.octets()),
        }
    }

    /// An identity of any type, without checks.
    pub fn new(id_type: IdType, data: &[u8]) -> Self {
        Self {
            id_type,
            data: data.to_vec(),
        }
    }

    /// The address of an ID_IPV4_ADDR or ID_IPV6_ADDR.
    pub fn address(&self) -> Option<IpAddr> {
        match self.id_type {
            IdType::IPV4_ADDR => <[u8; 4]>::try_from(&*self.data)
                .ok()
                .map(|octets| Ipv4Addr::from(octets).into()),
            IdType::IPV6_ADDR => <[u8; 16]>::try_from(&*self.data)
                .ok()
                .map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    /// The name of an ID_FQDN or ID_RFC822_ADDR, if it consists of printable ASCII without spaces: anything else has no business
    /// in a name, a log line or a command.
    pub fn name(&self) -> Option<&str> {
        match self.id_type {
            IdType::FQDN | IdType::USER_FQDN if self.data.iter().all(u8::is_ascii_graphic) => {
                std::str::from_utf8(&self.data).ok()
            }
            _ => None,
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let id_type = IdType(r.u8("id type")?);
        r.array::<3>("id reserved")?;
        let data = r.take_rest();
        let fits = match id_type {
            IdType::IPV4_ADDR => data.len() == 4,
            IdType::IPV6_ADDR => data.len() == 16,
            _ => (1..=MAX_NAME_LEN).contains(&data.len()),
        };
        if fits {
            Ok(Self::new(id_type, data))
        } else {
            Err(WireError::BadLength {
                what: "identity",
                got: data.len(),
            })
        }
    }

    pub(super) fn emit(&self, w: &mut Writer) {
        w.u8(self.id_type.0);
        w.bytes(&[0; 3]);
        w.bytes(&self.data);
    }

    /// The payload body: RestOfInitIDPayload and RestOfRespIDPayload of RFC 7296 section 2.15. For a received identity take the
    /// octets that came ([`super::ParsedPayload::raw`]), reserved ones included.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.emit(&mut w);
        w.into_vec()
    }
}
