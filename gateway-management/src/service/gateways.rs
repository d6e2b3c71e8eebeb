//! VPN gateways: bought for a period, renamed, resized, renewed, removed at the end.

use super::{Actor, Listing, Management, audit, gateway, new_id};
use crate::error::{Error, Kind};
use crate::objects::{Lease, Role, Status, VpnGateway};
use crate::price::{check_bandwidth, check_period};
use crate::store::{Page, Rows};
use crate::time::Timestamp;
use crate::values;

/// A gateway to make.
#[derive(Clone, Debug)]
pub struct NewGateway {
    /// What people will call it.
    pub name: String,
    /// Id of its VPC.
    pub vpc: String,
    /// Bandwidth setting in Mbit/s.
    pub bandwidth: u32,
    /// Purchase period in months.
    pub months: u32,
    /// Whether the period is prolonged at its end.
    pub auto_renew: bool,
}

/// What changes of a gateway; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct GatewayChange {
    /// Name.
    pub name: Option<String>,
    /// Bandwidth setting in Mbit/s; takes effect at once and negotiates nothing.
    pub bandwidth: Option<u32>,
    /// Whether the period is prolonged at its end.
    pub auto_renew: Option<bool>,
}

/// Which gateways a list has.
#[derive(Clone, Debug, Default)]
pub struct GatewayFilter {
    /// Id of the VPC.
    pub vpc: Option<String>,
    /// Id of the gateway.
    pub id: Option<String>,
    /// Part of the name.
    pub name: Option<String>,
}

impl Management {
    /// Price of a purchase period in hundredths of the price book's currency; in the site's region unless another is asked for.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a wrong bandwidth or period.
    pub fn price(&self, region: Option<&str>, bandwidth: u32, months: u32) -> Result<u64, Error> {
        let site = self.site();
        let region = region.unwrap_or(&site.region);
        site.prices.period_cents(region, bandwidth, months)
    }

    /// Makes a gateway with a public address of the pool.
    ///
    /// # Errors
    /// [`Error`]: name, VPC, bandwidth, period, quota, no address left.
    pub fn create_gateway(
        &self,
        now: Timestamp,
        actor: &Actor,
        wanted: &NewGateway,
    ) -> Result<VpnGateway, Error> {
        actor.require(Role::Operate)?;
        let site = self.site();
        let name = values::name(Kind::Gateway, &wanted.name)?;
        let vpc = site.vpc(&wanted.vpc)?;
        check_bandwidth(wanted.bandwidth)?;
        check_period(wanted.months)?;
        let made = self.store.write(|rows| {
            let present = rows.gateways()?;
            refuse_taken_name(&present, &name, None)?;
            let limit = site.quotas.gateways_per_vpc;
            if present.iter().filter(|gateway| gateway.vpc == vpc.id).count() >= limit {
                return Err(Error::Quota {
                    what: "VPN gateways per VPC",
                    limit,
                    kind: Kind::Gateway,
                });
            }
            let mut pool = site.public_addresses.iter().copied();
            let address = pool
                .find(|address| present.iter().all(|gateway| gateway.address != *address))
                .ok_or(Error::NoAddressLeft)?;
            let mut made = VpnGateway {
                number: 0,
                id: new_id("vpngw")?,
                name,
                vpc: vpc.id.clone(),
                address,
                bandwidth: wanted.bandwidth,
                auto_renew: wanted.auto_renew,
                created: now,
                expires: now.plus_months(wanted.months),
            };
            made.number = rows.insert_gateway(&made)?;
            rows.next_revision()?;
            let detail = format!(
                "{} {} Mbit/s, {} months",
                made.address, made.bandwidth, wanted.months
            );
            audit(rows, now, actor, "create gateway", &made.id, detail)?;
            Ok::<_, Error>(made)
        })?;
        self.agent.changed();
        Ok(made)
    }

    /// Renames a gateway, changes its bandwidth or its renewal.
    ///
    /// # Errors
    /// [`Error`]: no such gateway, name, bandwidth, isolated.
    pub fn modify_gateway(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        change: &GatewayChange,
    ) -> Result<VpnGateway, Error> {
        actor.require(Role::Operate)?;
        let changed = self.store.write(|rows| {
            let old = gateway(rows, id)?;
            let mut new = old.clone();
            if let Some(name) = &change.name {
                new.name = values::name(Kind::Gateway, name)?;
                refuse_taken_name(&rows.gateways()?, &new.name, Some(old.number))?;
            }
            if let Some(bandwidth) = change.bandwidth {
                refuse_isolated(&old, now)?;
                check_bandwidth(bandwidth)?;
                new.bandwidth = bandwidth;
            }
            new.auto_renew = change.auto_renew.unwrap_or(old.auto_renew);
            if new == old {
                return Ok(new);
            }
            rows.update_gateway(&new)?;
            rows.next_revision()?;
            let detail = format!(
                "name {:?} -> {:?}, bandwidth {} -> {}, auto-renew {} -> {}",
                old.name, new.name, old.bandwidth, new.bandwidth, old.auto_renew, new.auto_renew
            );
            audit(rows, now, actor, "modify gateway", &new.id, detail)?;
            Ok::<_, Error>(new)
        })?;
        self.agent.changed();
        Ok(changed)
    }

    /// Prolongs the period of a gateway. An expired one starts again from now.
    ///
    /// # Errors
    /// [`Error`]: no such gateway, period.
    pub fn renew_gateway(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        months: u32,
    ) -> Result<VpnGateway, Error> {
        actor.require(Role::Operate)?;
        check_period(months)?;
        self.store.write(|rows| {
            let mut gateway = gateway(rows, id)?;
            gateway.expires = gateway.expires.max(now).plus_months(months);
            rows.update_gateway(&gateway)?;
            let detail = format!("{months} months, until {}", gateway.expires.utc());
            audit(rows, now, actor, "renew gateway", &gateway.id, detail)?;
            Ok(gateway)
        })
    }

    /// Removes a gateway and gives its address back.
    ///
    /// # Errors
    /// [`Error`]: no such gateway, tunnels use it.
    pub fn delete_gateway(&self, now: Timestamp, actor: &Actor, id: &str) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        self.store.write(|rows| {
            let gateway = gateway(rows, id)?;
            match rows.tunnels_of_gateway(gateway.number)? {
                0 => {}
                count => {
                    return Err(Error::InUse {
                        kind: Kind::Gateway,
                        id: gateway.id,
                        users: format!("{count} tunnels"),
                    });
                }
            }
            rows.delete_gateway(gateway.number)?;
            rows.next_revision()?;
            audit(rows, now, actor, "delete gateway", &gateway.id, String::new())?;
            Ok(())
        })?;
        self.agent.changed();
        Ok(())
    }

    /// A page of the gateways.
    ///
    /// # Errors
    /// [`Error`]: no such VPC or gateway.
    pub fn list_gateways(&self, filter: &GatewayFilter, page: &Page) -> Result<Listing<VpnGateway>, Error> {
        if let Some(vpc) = &filter.vpc {
            self.site().vpc(vpc)?;
        }
        let all = self.store.read(|rows| match &filter.id {
            Some(id) => Ok(vec![gateway(rows, id)?]),
            None => Ok::<_, Error>(rows.gateways()?),
        })?;
        let mut found = all;
        found.retain(|gateway| {
            filter.vpc.as_ref().is_none_or(|vpc| *vpc == gateway.vpc)
                && filter
                    .name
                    .as_ref()
                    .is_none_or(|part| gateway.name.contains(part.as_str()))
        });
        let total = found.len();
        let items = page.cut(
            found,
            |gateway| gateway.name.clone(),
            |gateway| (gateway.created, gateway.number),
        );
        Ok(Listing { total, items })
    }

    /// Ends of periods: prolongs what renews itself and removes what has been over for long. To be called from time to time.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn expire_gateways(&self, now: Timestamp) -> Result<(), Error> {
        let agent = Actor {
            name: "agent".to_owned(),
            role: Role::Admin,
        };
        let changed = self.store.write(|rows| {
            let mut changed = false;
            for mut gateway in rows.gateways()? {
                match gateway.lease(now) {
                    Lease::Running => {}
                    Lease::Isolated | Lease::Over if gateway.auto_renew => {
                        while gateway.expires <= now {
                            gateway.expires = gateway.expires.plus_months(1);
                        }
                        rows.update_gateway(&gateway)?;
                        audit(
                            rows,
                            now,
                            &agent,
                            "renew gateway",
                            &gateway.id,
                            format!("until {}", gateway.expires.utc()),
                        )?;
                    }
                    Lease::Isolated => {}
                    Lease::Over => {
                        changed = true;
                        remove_expired(rows, now, &agent, &gateway)?;
                    }
                }
            }
            Ok::<_, Error>(changed)
        })?;
        if changed {
            self.agent.changed();
        }
        Ok(())
    }
}

/// Removes the tunnels first; the gateway goes with a later call, when the agent has taken them down.
fn remove_expired(rows: &Rows<'_>, now: Timestamp, agent: &Actor, gateway: &VpnGateway) -> Result<(), Error> {
    let tunnels = rows.tunnels()?;
    let mut tunnels = tunnels
        .into_iter()
        .filter(|tunnel| tunnel.gateway == gateway.number)
        .peekable();
    if tunnels.peek().is_none() {
        rows.delete_gateway(gateway.number)?;
        rows.next_revision()?;
        audit(
            rows,
            now,
            agent,
            "delete gateway",
            &gateway.id,
            "its period is over".to_owned(),
        )?;
        return Ok(());
    }
    let revision = rows.next_revision()?;
    for mut tunnel in tunnels.filter(|tunnel| tunnel.status != Status::Deleting) {
        tunnel.status = Status::Deleting;
        tunnel.revision = revision;
        rows.update_tunnel(&tunnel, None)?;
        audit(
            rows,
            now,
            agent,
            "delete tunnel",
            &tunnel.id,
            "the period of its gateway is over".to_owned(),
        )?;
    }
    Ok(())
}

/// An expired gateway keeps its tunnels running and takes no change.
pub(super) fn refuse_isolated(gateway: &VpnGateway, now: Timestamp) -> Result<(), Error> {
    match gateway.lease(now) {
        Lease::Running => Ok(()),
        Lease::Isolated | Lease::Over => Err(Error::State {
            kind: Kind::Gateway,
            id: gateway.id.clone(),
            state: "isolated".into(),
            rule: format!("its period ended on {}; renew it first", gateway.expires.utc()).into(),
        }),
    }
}

fn refuse_taken_name(present: &[VpnGateway], name: &str, except: Option<i64>) -> Result<(), Error> {
    if present
        .iter()
        .any(|gateway| gateway.name == name && Some(gateway.number) != except)
    {
        return Err(Error::NameInUse {
            kind: Kind::Gateway,
            name: name.to_owned(),
        });
    }
    Ok(())
}
