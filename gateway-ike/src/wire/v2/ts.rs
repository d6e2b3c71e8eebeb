//! The Traffic Selector payloads TSi and TSr (RFC 7296 section 3.13).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::TsType;
use crate::wire::{Reader, WireError, Writer};

/// Octets in front of a selector's addresses.
const FIXED_LEN: usize = 8;

/// What one side of a Child SA carries.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Number of TSs |                 RESERVED                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       <Traffic Selectors>                     ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsPayload {
    /// The selectors in the order of the wire, at most 255. None is malformed by the RFC and matches nothing.
    pub selectors: Vec<TrafficSelector>,
}

/// One traffic selector.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   TS Type     |IP Protocol ID |       Selector Length         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           Start Port          |           End Port            |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                         Starting Address                      ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                         Ending Address                        ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// Fields are as received: a range may be empty (start behind end), and ports 65535 to 0 mean OPAQUE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrafficSelector {
    /// TS_IPV4_ADDR_RANGE.
    Ipv4 {
        /// IP protocol, 0 for any.
        protocol: u8,
        /// First and last port.
        ports: (u16, u16),
        /// First and last address.
        addresses: (Ipv4Addr, Ipv4Addr),
    },
    /// TS_IPV6_ADDR_RANGE.
    Ipv6 {
        /// IP protocol, 0 for any.
        protocol: u8,
        /// First and last port.
        ports: (u16, u16),
        /// First and last address.
        addresses: (Ipv6Addr, Ipv6Addr),
    },
    /// A type that we do not know. A responder leaves it out when it narrows.
    Other {
        /// Its type.
        ts_type: TsType,
        /// The octet behind the type.
        protocol: u8,
        /// What follows the length.
        body: Vec<u8>,
    },
}

impl TrafficSelector {
    /// All protocols and ports of a subnet.
    pub fn from_subnet(subnet: ipnet::Ipv4Net) -> Self {
        Self::Ipv4 {
            protocol: 0,
            ports: (0, u16::MAX),
            addresses: (subnet.network(), subnet.broadcast()),
        }
    }

    /// First and last address of a range.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self {
            Self::Ipv4 {
                addresses: (a, b), ..
            } => Some(((*a).into(), (*b).into())),
            Self::Ipv6 {
                addresses: (a, b), ..
            } => Some(((*a).into(), (*b).into())),
            Self::Other { .. } => None,
        }
    }

    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let ts_type = TsType(r.u8("ts type")?);
        let protocol = r.u8("ts protocol")?;
        let len = usize::from(r.u16("selector length")?);
        let bad_length = WireError::BadLength {
            what: "selector length",
            got: len,
        };
        let mut r = Reader::new(r.take(len.checked_sub(4).ok_or(bad_length)?, "selector")?);
        let expected = match ts_type {
            TsType::IPV4_ADDR_RANGE => FIXED_LEN + 8,
            TsType::IPV6_ADDR_RANGE => FIXED_LEN + 32,
            _ => {
                return Ok(Self::Other {
                    ts_type,
                    protocol,
                    body: r.take_rest().to_vec(),
                });
            }
        };
        if len != expected {
            return Err(bad_length);
        }
        let ports = (r.u16("start port")?, r.u16("end port")?);
        Ok(if ts_type == TsType::IPV4_ADDR_RANGE {
            Self::Ipv4 {
                protocol,
                ports,
                addresses: (
                    r.array::<4>("starting address")?.into(),
                    r.array::<4>("ending address")?.into(),
                ),
            }
        } else {
            Self::Ipv6 {
                protocol,
                ports,
                addresses: (
                    r.array::<16>("starting address")?.into(),
                    r.array::<16>("ending address")?.into(),
                ),
            }
        })
    }

    fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        let start = w.len();
        let (ts_type, protocol) = match self {
            Self::Ipv4 { protocol, .. } => (TsType::IPV4_ADDR_RANGE, *protocol),
            Self::Ipv6 { protocol, .. } => (TsType::IPV6_ADDR_RANGE, *protocol),
            Self::Other {
                ts_type, protocol, ..
            } => (*ts_type, *protocol),
        };
        w.u8(ts_type.0);
        w.u8(protocol);
        let slot = w.length_from(start);
        match self {
            Self::Ipv4 { ports, addresses, .. } => {
                w.u16(ports.0);
                w.u16(ports.1);
                w.bytes(&addresses.0.octets());
                w.bytes(&addresses.1.octets());
            }
            Self::Ipv6 { ports, addresses, .. } => {
                w.u16(ports.0);
                w.u16(ports.1);
                w.bytes(&addresses.0.octets());
                w.bytes(&addresses.1.octets());
            }
            Self::Other { body, .. } => w.bytes(body),
        }
        w.patch(slot, "selector")
    }
}

impl std::fmt::Display for TrafficSelector {
    /// "10.0.0.0-10.0.0.255", with protocol and ports if they are restricted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (protocol, ports) = match self {
            Self::Ipv4 {
                protocol,
                ports,
                addresses: (first, last),
            } => {
                write!(f, "{first}-{last}")?;
                (*protocol, *ports)
            }
            Self::Ipv6 {
                protocol,
                ports,
                addresses: (first, last),
            } => {
                write!(f, "{first}-{last}")?;
                (*protocol, *ports)
            }
            Self::Other { ts_type, .. } => return write!(f, "{ts_type}"),
        };
        if protocol != 0 {
            write!(f, "/protocol {protocol}")?;
        }
        if ports != (0, u16::MAX) {
            write!(f, "/ports {}-{}", ports.0, ports.1)?;
        }
        Ok(())
    }
}

impl TsPayload {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let count = r.u8("number of selectors")?;
        r.array::<3>("ts reserved")?;
        let selectors = (0..count)
            .map(|_| TrafficSelector::parse(&mut r))
            .collect::<Result<_, _>>()?;
        r.finish("octets after the last selector")?;
        Ok(Self { selectors })
    }

    pub(super) fn emit(&self, w: &mut Writer) -> Result<(), WireError> {
        let count = u8::try_from(self.selectors.len()).map_err(|_too_many| WireError::TooMany {
            what: "traffic selectors",
            limit: 255,
        })?;
        w.u8(count);
        w.bytes(&[0; 3]);
        self.selectors.iter().try_for_each(|selector| selector.emit(w))
    }
}
