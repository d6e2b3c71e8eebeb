//! Customer gateways.

use std::net::Ipv4Addr;

use super::{Actor, Listing, Management, audit, customer_gateway, new_id, tags};
use crate::error::{Error, Kind};
use crate::objects::{CustomerGateway, Role, Tag};
use crate::site::Site;
use crate::store::{Page, Rows, StoreError};
use crate::time::Timestamp;
use crate::values;

/// Which customer gateways a list has; what is `None` filters nothing.
#[derive(Clone, Debug, Default)]
pub struct CustomerGatewayFilter {
    /// Id.
    pub id: Option<String>,
    /// Part of the name.
    pub name: Option<String>,
    /// Public address.
    pub address: Option<String>,
}

impl Management {
    /// Makes a customer gateway.
    ///
    /// # Errors
    /// [`Error`]: name, address, quota.
    pub fn create_customer_gateway(
        &self,
        now: Timestamp,
        actor: &Actor,
        name: &str,
        address: &str,
    ) -> Result<CustomerGateway, Error> {
        self.create_tagged_customer_gateway(now, actor, name, address, &[])
    }

    /// Makes a customer gateway with tags.
    ///
    /// # Errors
    /// [`Error`]: name, address, quota, tags.
    pub fn create_tagged_customer_gateway(
        &self,
        now: Timestamp,
        actor: &Actor,
        name: &str,
        address: &str,
        tags: &[Tag],
    ) -> Result<CustomerGateway, Error> {
        actor.require(Role::Operate)?;
        tags::check(tags)?;
        let name = values::name(Kind::CustomerGateway, name)?;
        let address = values::customer_address(address)?;
        let site = self.site();
        self.store.write(|rows| {
            check_new(rows, &site, &name, address)?;
            let mut made = CustomerGateway {
                number: 0,
                id: new_id("cgw")?,
                name,
                address,
                created: now,
            };
            made.number = rows.insert_customer_gateway(&made)?;
            rows.put_tags(&made.id, tags)?;
            audit(
                rows,
                now,
                actor,
                "create customer gateway",
                &made.id,
                made.address.to_string(),
            )?;
            Ok(made)
        })
    }

    /// Renames a customer gateway; its tunnels are not disturbed.
    ///
    /// # Errors
    /// [`Error`]: no such customer gateway, name.
    pub fn rename_customer_gateway(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        name: &str,
    ) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        let name = values::name(Kind::CustomerGateway, name)?;
        self.store.write(|rows| {
            let gateway = customer_gateway(rows, id)?;
            refuse_taken_name(rows, &name, Some(gateway.number))?;
            rows.rename_customer_gateway(gateway.number, &name)?;
            rows.next_revision()?;
            audit(
                rows,
                now,
                actor,
                "rename customer gateway",
                &gateway.id,
                format!("{:?} -> {name:?}", gateway.name),
            )?;
            Ok::<_, Error>(())
        })?;
        self.agent.changed();
        Ok(())
    }

    /// Removes a customer gateway.
    ///
    /// # Errors
    /// [`Error`]: no such customer gateway, tunnels use it.
    pub fn delete_customer_gateway(&self, now: Timestamp, actor: &Actor, id: &str) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        self.store.write(|rows| {
            let gateway = customer_gateway(rows, id)?;
            match rows.tunnels_of_customer_gateway(gateway.number)? {
                0 => {}
                count => {
                    let users = format!("{count} tunnels");
                    return Err(Error::InUse {
                        kind: Kind::CustomerGateway,
                        id: gateway.id,
                        users,
                    });
                }
            }
            rows.delete_customer_gateway(gateway.number)?;
            audit(
                rows,
                now,
                actor,
                "delete customer gateway",
                &gateway.id,
                String::new(),
            )?;
            Ok(())
        })
    }

    /// A page of the customer gateways that pass a filter.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn find_customer_gateways(
        &self,
        filter: &CustomerGatewayFilter,
        page: &Page,
    ) -> Result<Listing<CustomerGateway>, Error> {
        let mut found = self.store.read(|rows| rows.customer_gateways())?;
        found.retain(|gateway| {
            filter.id.as_ref().is_none_or(|id| *id == gateway.id)
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

    /// The customer gateways with these ids; those that are not there are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn customer_gateways_with_ids(&self, ids: &[String]) -> Result<Vec<CustomerGateway>, StoreError> {
        let find = |rows: &Rows<'_>, id: &String| rows.customer_gateway(id).transpose();
        self.store
            .read(|rows| ids.iter().filter_map(|id| find(rows, id)).collect())
    }

    /// A page of the customer gateways, each with the number of its tunnels.
    ///
    /// # Errors
    /// [`Error`]: no such customer gateway.
    pub fn list_customer_gateways(
        &self,
        id: Option<&str>,
        name: Option<&str>,
        page: &Page,
    ) -> Result<Listing<(CustomerGateway, usize)>, Error> {
        self.store.read(|rows| {
            let mut found = match id {
                Some(id) => vec![customer_gateway(rows, id)?],
                None => rows.customer_gateways()?,
            };
            found.retain(|gateway| name.is_none_or(|part| gateway.name.contains(part)));
            let total = found.len();
            let items = page.cut(
                found,
                |gateway| gateway.name.clone(),
                |gateway| (gateway.created, gateway.number),
            );
            let with_tunnels = items.into_iter().map(|gateway| {
                let tunnels = rows.tunnels_of_customer_gateway(gateway.number)?;
                Ok((gateway, tunnels))
            });
            Ok(Listing {
                total,
                items: with_tunnels.collect::<Result<_, Error>>()?,
            })
        })
    }
}

/// The rules that a new customer gateway and those there are keep together.
pub(super) fn check_new(rows: &Rows<'_>, site: &Site, name: &str, address: Ipv4Addr) -> Result<(), Error> {
    refuse_taken_name(rows, name, None)?;
    if let Some(owner) = rows.customer_gateway_at(address)? {
        return Err(Error::AddressInUse {
            address: address.to_string(),
            owner: owner.id,
        });
    }
    if site.public_addresses.contains(&address) {
        return Err(Error::invalid(
            "address",
            address,
            "is not an address of this gateway itself",
        ));
    }
    let limit = site.quotas.customer_gateways;
    if rows.count_customer_gateways()? >= limit {
        return Err(Error::Quota {
            what: "customer gateways",
            limit,
            kind: Kind::CustomerGateway,
        });
    }
    Ok(())
}

pub(super) fn refuse_taken_name(rows: &Rows<'_>, name: &str, except: Option<i64>) -> Result<(), Error> {
    let owner = rows.customer_gateway_named(name)?;
    if owner.is_some_and(|owner| Some(owner.number) != except) {
        return Err(Error::NameInUse {
            kind: Kind::CustomerGateway,
            name: name.to_owned(),
        });
    }
    Ok(())
}
