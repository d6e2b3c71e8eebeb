//! VPN gateways: made, renamed, resized, listed, removed. What the end of their period does is in `leases`.

use super::leases::refuse_isolated;
use super::{Actor, Listing, Management, audit, gateway, new_id, tags};
use crate::error::{Error, Kind};
use crate::lease::Lease;
use crate::objects::{Role, Tag, VpnGateway};
use crate::price::{check_bandwidth, check_period};
use crate::site::Site;
use crate::store::{Page, Rows, StoreError};
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
    /// Purchase period in months; `None`: charged by the hour, until it is deleted.
    pub months: Option<u32>,
    /// Whether the period is prolonged at its end.
    pub auto_renew: bool,
    /// Its tags.
    pub tags: Vec<Tag>,
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
    /// Public address.
    pub address: Option<String>,
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
        wanted.months.map(check_period).transpose()?;
        tags::check(&wanted.tags)?;
        let made = self.store.write(|rows| {
            let present = rows.gateways()?;
            check_new(&present, &site, &vpc.id, &name)?;
            let mut pool = site.public_addresses.iter().copied();
            let address = pool
                .find(|address| present.iter().all(|gateway| gateway.address != *address))
                .ok_or(Error::NoAddressLeft)?;
            let expires = wanted
                .months
                .map_or(Timestamp::NEVER, |months| now.plus_months(months));
            let mut made = VpnGateway {
                number: 0,
                id: new_id("vpngw")?,
                name,
                vpc: vpc.id.clone(),
                address,
                bandwidth: wanted.bandwidth,
                auto_renew: wanted.auto_renew,
                created: now,
                expires,
                stage: Lease::of(expires, now),
                reminded: Timestamp::default(),
            };
            made.number = rows.insert_gateway(&made)?;
            rows.put_tags(&made.id, &wanted.tags)?;
            rows.next_revision()?;
            let period = wanted
                .months
                .map_or_else(|| "by the hour".to_owned(), |months| format!("{months} months"));
            let detail = format!("{} {} Mbit/s, {period}", made.address, made.bandwidth);
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
        let mut changed = self.modify_gateways(now, actor, &[id.to_owned()], change)?;
        changed.pop().ok_or_else(|| Error::not_found(Kind::Gateway, id))
    }

    /// The same change of several gateways: all of them or none.
    ///
    /// # Errors
    /// [`Self::modify_gateway`].
    pub fn modify_gateways(
        &self,
        now: Timestamp,
        actor: &Actor,
        ids: &[String],
        change: &GatewayChange,
    ) -> Result<Vec<VpnGateway>, Error> {
        actor.require(Role::Operate)?;
        let modify = |rows: &Rows<'_>, id: &String| {
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
        };
        let changed = self
            .store
            .write(|rows| ids.iter().map(|id| modify(rows, id)).collect::<Result<_, _>>())?;
        self.agent.changed();
        Ok(changed)
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
                && filter
                    .address
                    .as_ref()
                    .is_none_or(|address| *address == gateway.address.to_string())
        });
        let total = found.len();
        let items = page.cut(
            found,
            |gateway| gateway.name.clone(),
            |gateway| (gateway.created, gateway.number),
        );
        Ok(Listing { total, items })
    }

    /// The gateways with these ids; those that are not there are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn gateways_with_ids(&self, ids: &[String]) -> Result<Vec<VpnGateway>, StoreError> {
        let find = |rows: &Rows<'_>, id: &String| rows.gateway(id).transpose();
        self.store
            .read(|rows| ids.iter().filter_map(|id| find(rows, id)).collect())
    }
}

/// The rules that a new gateway and those there are keep together.
pub(super) fn check_new(present: &[VpnGateway], site: &Site, vpc: &str, name: &str) -> Result<(), Error> {
    refuse_taken_name(present, name, None)?;
    let limit = site.quotas.gateways_per_vpc;
    if present.iter().filter(|gateway| gateway.vpc == vpc).count() >= limit {
        return Err(Error::Quota {
            what: "VPN gateways per VPC",
            limit,
            kind: Kind::Gateway,
        });
    }
    Ok(())
}

pub(super) fn refuse_taken_name(
    present: &[VpnGateway],
    name: &str,
    except: Option<i64>,
) -> Result<(), Error> {
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
