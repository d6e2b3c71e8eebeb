//! Health checks of tunnels.

use std::net::Ipv4Addr;

use super::{Management, gateway};
use crate::error::Error;
use crate::health::{self, HealthCheck, HealthPatch};
use crate::objects::{Tunnel, VpnGateway};
use crate::store::{Rows, StoreError, random};

/// How many pairs of addresses are tried before none is called free.
const TRIES: u32 = 1000;

impl Management {
    /// Addresses for the health check of a tunnel of this gateway, local and remote, which no tunnel of its VPC has.
    ///
    /// # Errors
    /// [`Error`]: no such gateway, no such addresses left.
    pub fn free_health_addresses(&self, id: &str) -> Result<(Ipv4Addr, Ipv4Addr), Error> {
        self.store.read(|rows| free(rows, &gateway(rows, id)?))
    }
}

/// The health check of a tunnel after a change. Addresses that nobody said give way to another tunnel's.
pub(super) fn changed(
    rows: &Rows<'_>,
    gateway: &VpnGateway,
    (id, number): (&str, i64),
    patch: &HealthPatch,
    old: Option<HealthCheck>,
) -> Result<Option<HealthCheck>, Error> {
    let mut check = patch.apply(id, old)?;
    if old.is_none()
        && patch.addresses.is_none()
        && let Some(check) = &mut check
        && owner(rows, gateway, check.addresses(), number)?.is_some()
    {
        (check.local, check.remote) = free(rows, gateway)?;
    }
    Ok(check)
}

fn free(rows: &Rows<'_>, gateway: &VpnGateway) -> Result<(Ipv4Addr, Ipv4Addr), Error> {
    free_from(rows, gateway, u32::from_ne_bytes(random()?))
}

/// The first pair from this number on of which no tunnel of the VPC has either address, at either end of its check.
pub(super) fn free_from(
    rows: &Rows<'_>,
    gateway: &VpnGateway,
    first: u32,
) -> Result<(Ipv4Addr, Ipv4Addr), Error> {
    let probed = rows.probed_addresses(&gateway.vpc)?;
    for number in (0..TRIES).map(|step| first.wrapping_add(step)) {
        let (local, remote) = health::neighbours(number);
        let taken = probed.contains(&local)
            || probed.contains(&remote)
            || owner(rows, gateway, (local, remote), 0)?.is_some();
        if !taken {
            return Ok((local, remote));
        }
    }
    Err(Error::NoAddressLeft)
}

/// The rules of a tunnel's health check, alone and beside what else is there.
pub(super) fn check(rows: &Rows<'_>, gateway: &VpnGateway, tunnel: &Tunnel) -> Result<(), Error> {
    let Some(check) = &tunnel.health else {
        return Ok(());
    };
    check.check()?;
    if rows.end_within(check.remote.into())?.is_some() {
        let rule = "is the public address of an end of a tunnel";
        return Err(Error::invalid(
            "health check remote address",
            check.remote.to_string(),
            rule,
        ));
    }
    match owner(rows, gateway, check.addresses(), tunnel.number)? {
        None => Ok(()),
        Some(owner) => Err(Error::HealthCheckConflict {
            local: check.local,
            remote: check.remote,
            owner,
        }),
    }
}

/// Another tunnel of the VPC that has these addresses, as its health check's or as a rule's.
fn owner(
    rows: &Rows<'_>,
    gateway: &VpnGateway,
    addresses: (Ipv4Addr, Ipv4Addr),
    tunnel: i64,
) -> Result<Option<String>, StoreError> {
    let probing = rows.tunnel_probing(&gateway.vpc, addresses, tunnel)?;
    match probing {
        Some(_) => Ok(probing),
        None => rows.tunnel_with_pair(&gateway.vpc, (addresses.0.into(), addresses.1.into()), tunnel),
    }
}
