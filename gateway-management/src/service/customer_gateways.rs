//! Customer gateways.

use super::{Actor, Listing, Management, audit, customer_gateway, new_id};
use crate::error::{Error, Kind};
use crate::objects::{CustomerGateway, Role};
use crate::store::Page;
use crate::time::Timestamp;
use crate::values;

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
        actor.require(Role::Operate)?;
        let name = values::name(Kind::CustomerGateway, name)?;
        let address = values::customer_address(address)?;
        let site = self.site();
        self.store.write(|rows| {
            let present = rows.customer_gateways()?;
            refuse_taken_name(&present, &name, None)?;
            if let Some(owner) = present.iter().find(|gateway| gateway.address == address) {
                return Err(Error::AddressInUse {
                    address: address.to_string(),
                    owner: owner.id.clone(),
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
            if present.len() >= limit {
                return Err(Error::Quota {
                    what: "customer gateways",
                    limit,
                    kind: Kind::CustomerGateway,
                });
            }
            let mut made = CustomerGateway {
                number: 0,
                id: new_id("cgw")?,
                name,
                address,
                created: now,
            };
            made.number = rows.insert_customer_gateway(&made)?;
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
            refuse_taken_name(&rows.customer_gateways()?, &name, Some(gateway.number))?;
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

fn refuse_taken_name(present: &[CustomerGateway], name: &str, except: Option<i64>) -> Result<(), Error> {
    if present
        .iter()
        .any(|gateway| gateway.name == name && Some(gateway.number) != except)
    {
        return Err(Error::NameInUse {
            kind: Kind::CustomerGateway,
            name: name.to_owned(),
        });
    }
    Ok(())
}
