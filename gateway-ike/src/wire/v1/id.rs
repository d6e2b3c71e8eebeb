//! The Identification payload (RFC 2407 section 4.6.2): peers in phase 1, traffic selectors in phase 2.

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
/// !   ID Type     !  Protocol ID  !             Port              !
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                     Identification Data                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPayload {
    /// What the data is.
    pub id_type: IdType,
    /// IP protocol that the identity is restricted to, 0 for any.
    pub protocol: u8,
    /// Port that the identity is restricted to, 0 for any. In phase 1 only 0 and 500 (or 4500) are meaningful.
    pub port: u16,
    /// The identity. Its length fits the type: parsing refuses an address of 3 octets.
    pub data: Vec<u8>,
}

impl IdPayload {
    /// An address for every protocol and port.
    pub fn from_address(address: IpAddr) -> Self {
        let (id_type, data) = match address {
            IpAddr::V4(v4) => (IdType::IPV4_ADDR, v4.octets().to_vec()),
            IpAddr::V6(v6) => (IdType::IPV6_ADDR, v6.octets().to_vec()),
        };
        Self {
            id_type,
            protocol: 0,
            port: 0,
            data,
        }
    }

    /// A subnet (address and mask) for every protocol and port.
    pub fn from_subnet(subnet: ipnet::IpNet) -> Self {
        let (id_type, data) = match subnet {
            ipnet::IpNet::V4(v4) => (
                IdType::IPV4_ADDR_SUBNET,
                [v4.network().octets(), v4.netmask().octets()].concat(),
            ),
            ipnet::IpNet::V6(v6) => (
                IdType::IPV6_ADDR_SUBNET,
                [v6.network().octets(), v6.netmask().octets()].concat(),
            ),
        };
        Self {
            id_type,
            protocol: 0,
            port: 0,
            data,
        }
    }

    /// A domain name, without a trailing dot and without checks.
    pub fn from_fqdn(name: &str) -> Self {
        Self {
            id_type: IdType::FQDN,
            protocol: 0,
            port: 0,
            data: name.as_bytes().to_vec(),
        }
    }

    /// The address of an ID_IPV4_ADDR or ID_IPV6_ADDR.
    pub fn address(&self) -> Option<IpAddr> {
        match self.id_type {
            IdType::IPV4_ADDR => ipv4(&self.data),
            IdType::IPV6_ADDR => ipv6(&self.data),
            _ => None,
        }
    }

    /// The subnet of an address or subnet identity; a lone address is a subnet of one, and bits behind
    /// the mask are cleared. `None` if the mask has holes or the
    /// identity is something else.
    pub fn subnet(&self) -> Option<ipnet::IpNet> {
        if let Some(address) = self.address() {
            return Some(ipnet::IpNet::from(address));
        }
        let (network, mask) = self.address_pair(IdType::IPV4_ADDR_SUBNET, IdType::IPV6_ADDR_SUBNET)?;
        ipnet::IpNet::with_netmask(network, mask)
            .ok()
            .map(|net| net.trunc())
    }

    /// First and last address of a range identity. `None` if it is something else or the range is empty.
    pub fn range(&self) -> Option<(IpAddr, IpAddr)> {
        let (first, last) = self.address_pair(IdType::IPV4_ADDR_RANGE, IdType::IPV6_ADDR_RANGE)?;
        (first <= last).then_some((first, last))
    }

    /// The name of an ID_FQDN or ID_USER_FQDN, if it consists of printable ASCII without spaces: anything else has no business in
    /// a name, a log line or a command.
    pub fn name(&self) -> Option<&str> {
        match self.id_type {
            IdType::FQDN | IdType::USER_FQDN if self.data.iter().all(u8::is_ascii_graphic) => {
                std::str::from_utf8(&self.data).ok()
            }
            _ => None,
        }
    }

    fn address_pair(&self, v4: IdType, v6: IdType) -> Option<(IpAddr, IpAddr)> {
        let (first, second) = self.data.split_at_checked(self.data.len() / 2)?;
        if self.id_type == v4 {
            Some((ipv4(first)?, ipv4(second)?))
        } else if self.id_type == v6 {
            Some((ipv6(first)?, ipv6(second)?))
        } else {
            None
        }
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let id_type = IdType(r.u8("id type")?);
        let protocol = r.u8("id protocol")?;
        let port = r.u16("id port")?;
        let data = r.take_rest();
        let fits = match id_type {
            IdType::IPV4_ADDR => data.len() == 4,
            IdType::IPV6_ADDR => data.len() == 16,
            IdType::IPV4_ADDR_SUBNET | IdType::IPV4_ADDR_RANGE => data.len() == 8,
            IdType::IPV6_ADDR_SUBNET | IdType::IPV6_ADDR_RANGE => data.len() == 32,
            _ => (1..=MAX_NAME_LEN).contains(&data.len()),
        };
        if !fits {
            return Err(WireError::BadLength {
                what: "identity",
                got: data.len(),
            });
        }
        Ok(Self {
            id_type,
            protocol,
            port,
            data: data.to_vec(),
        })
    }

    /// Writes the payload body (what HASH_I and HASH_R cover as IDii_b and IDir_b).
    pub fn emit(&self, w: &mut Writer) {
        w.u8(self.id_type.0);
        w.u8(self.protocol);
        w.u16(self.port);
        w.bytes(&self.data);
    }

    /// The payload body as octets.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.emit(&mut w);
        w.into_vec()
    }
}

fn ipv4(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .ok()
        .map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn ipv6(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(octets)
        .ok()
        .map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}
