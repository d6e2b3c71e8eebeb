//! Which policy or SA a packet belongs to.

use gateway_common::{
    Spi,
    abi::{IfaceValue, PolicyValue, SaValue, Verdict},
};

use crate::{
    flow,
    parse::{Esp, Ipv4},
    tables::Tables,
};

/// `IfaceValue::space` of an interface that has no policy at all.
const NO_SPACE: u32 = 0;

/// The inbound SA of an ESP packet to one of our addresses.
#[inline(always)]
pub(crate) fn inbound(ip: &Ipv4, esp: &Esp, tables: &impl Tables) -> Option<SaValue> {
    Spi::from_be_bytes(esp.spi.octets())?;
    tables.sa(ip.dst, esp.spi)
}

/// The policy of a packet from a VPC.
#[inline(always)]
pub(crate) fn outbound(ip: &Ipv4, iface: &IfaceValue, tables: &impl Tables) -> Result<PolicyValue, Verdict> {
    if iface.space == NO_SPACE || tables.local_addr(ip.dst).is_some() {
        return Err(Verdict::Bypass);
    }
    match flow::lookup(iface.space, ip.src, ip.dst, tables) {
        Some(policy) => Ok(policy),
        None if iface.default_deny != 0 => Err(Verdict::NoPolicy),
        None => Err(Verdict::Bypass),
    }
}

/// The verdict of a packet on the public side that is neither ESP nor IKE: RFC 4301 section 5.2 wants it dropped when a policy
/// would have protected it.
#[inline(always)]
pub(crate) fn cleartext(ip: &Ipv4, iface: &IfaceValue, tables: &impl Tables) -> Verdict {
    if iface.space != NO_SPACE && flow::lookup(iface.space, ip.dst, ip.src, tables).is_some() {
        Verdict::CleartextInbound
    } else {
        Verdict::Bypass
    }
}
