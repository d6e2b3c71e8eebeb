//! Health checks of tunnels.

use super::{Management, gateway};
use crate::error::Error;
use crate::health::{self, HealthCheck};
use crate::objects::{Tunnel, VpnGateway};
use crate::store::{Rows, StoreError, random};

/// How many pairs of addresses are tried before none is called free.
const TRIES: u32 = 1000;

impl Management {
    /// Addresses for the health check of a tunnel of this gateway, which no tunnel of its VPC has.
    ///
    /// # Errors
    /// [`Error`]: no such gateway, no such addresses left.
    pub fn free_health_addresses(&self, id: &str) -> Result<HealthCheck, Error> {
        self.store.read(|rows| {
            let gateway = gateway(rows, id)?;
            let first = u32::from_ne_bytes(random()?);
            for number in (0..TRIES).map(|step| first.wrapping_add(step)) {
                let (local, remote) = health::neighbours(number);
                let check = HealthCheck {
                    local,
                    remote,
                    ..HealthCheck::of(id)
                };
                if owner(rows, &gateway, &check, 0)?.is_none() {
                    return Ok(check);
                }
            }
            Err(Error::NoAddressLeft)
        })
    }
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
    match owner(rows, gateway, check, tunnel.number)? {
        None => Ok(()),
        Some(owner) => Err(Error::HealthCheckConflict {
            local: check.local,
            remote: check.remote,
            owner,
        }),
    }
}

/// Another tunnel of the VPC that has the addresses of a check, as its own check's or as a rule's.
fn owner(
    rows: &Rows<'_>,
    gateway: &VpnGateway,
    check: &HealthCheck,
    tunnel: i64,
) -> Result<Option<String>, StoreError> {
    let probing = rows.tunnel_probing(&gateway.vpc, (check.local, check.remote), tunnel)?;
    match probing {
        Some(_) => Ok(probing),
        None => rows.tunnel_with_pair(&gateway.vpc, check.pair(), tunnel),
    }
}
