//! High defense packages: made, changed, bound to a gateway, moved to another, removed. A change reaches the shield at once and disturbs
//! no tunnel.

use super::{Actor, Management, audit, gateway, new_id};
use crate::defense::{DefensePackage, DefenseState, LimitsPatch, MOST_PACKAGES};
use crate::error::{Error, Kind};
use crate::objects::Role;
use crate::store::{Rows, StoreError};
use crate::time::Timestamp;
use crate::values;

impl Management {
    /// Makes a package; what `limits` leaves out has the default of the machine's file.
    ///
    /// # Errors
    /// [`Error`]: name, limits, quota, no such gateway, another package protects it.
    pub fn create_defense_package(
        &self,
        now: Timestamp,
        actor: &Actor,
        name: &str,
        gateway: Option<&str>,
        limits: &LimitsPatch,
    ) -> Result<DefensePackage, Error> {
        actor.require(Role::Operate)?;
        let name = values::name(Kind::DefensePackage, name)?;
        let made = self.store.write(|rows| {
            let mut made = DefensePackage {
                number: 0,
                id: new_id("dfp")?,
                name,
                gateway: gateway.map(|id| gateway_id(rows, id)).transpose()?,
                limits: limits.apply(&crate::defense::Limits::default()),
                created: now,
            };
            check(&rows.defense_packages()?, &made)?;
            made.number = rows.insert_defense_package(&made)?;
            rows.next_revision()?;
            let detail = format!("{:?}, {}", made.name, bound(&made));
            audit(rows, now, actor, "create defense package", &made.id, detail)?;
            Ok::<_, Error>(made)
        })?;
        self.agent.changed();
        Ok(made)
    }

    /// Renames a package or changes its limits; `None` stays.
    ///
    /// # Errors
    /// [`Error`]: no such package, name, limits.
    pub fn modify_defense_package(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        name: Option<&str>,
        limits: &LimitsPatch,
    ) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        let name = name
            .map(|name| values::name(Kind::DefensePackage, name))
            .transpose()?;
        self.change_defense_package(now, actor, id, "modify defense package", |_rows, new| {
            new.name = name.unwrap_or_else(|| new.name.clone());
            new.limits = limits.apply(&new.limits);
            Ok(format!("{:?} {:?}", new.name, new.limits))
        })
    }

    /// Binds a package to a gateway, wherever it was bound before; with `None` it is kept for later and protects nothing.
    ///
    /// # Errors
    /// [`Error`]: no such package or gateway, another package protects the gateway.
    pub fn bind_defense_package(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        gateway: Option<&str>,
    ) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        self.change_defense_package(now, actor, id, "bind defense package", |rows, new| {
            let before = bound(new);
            new.gateway = gateway.map(|id| gateway_id(rows, id)).transpose()?;
            Ok(format!("{before} -> {}", bound(new)))
        })
    }

    fn change_defense_package(
        &self,
        now: Timestamp,
        actor: &Actor,
        id: &str,
        operation: &str,
        change: impl FnOnce(&Rows<'_>, &mut DefensePackage) -> Result<String, Error>,
    ) -> Result<(), Error> {
        self.store.write(|rows| {
            let present = rows.defense_packages()?;
            let old = find(&present, id)?;
            let mut new = old.clone();
            let detail = change(rows, &mut new)?;
            if new == *old {
                return Ok(());
            }
            check(&present, &new)?;
            rows.update_defense_package(&new)?;
            rows.next_revision()?;
            Ok::<_, Error>(audit(rows, now, actor, operation, &new.id, detail)?)
        })?;
        self.agent.changed();
        Ok(())
    }

    /// Removes a package that protects nothing.
    ///
    /// # Errors
    /// [`Error`]: no such package, it is bound.
    pub fn delete_defense_package(&self, now: Timestamp, actor: &Actor, id: &str) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        self.store.write(|rows| {
            let present = rows.defense_packages()?;
            let package = find(&present, id)?;
            if let Some(gateway) = &package.gateway {
                return Err(Error::InUse {
                    kind: Kind::DefensePackage,
                    id: package.id.clone(),
                    users: format!("the VPN gateway {gateway}: unbind it first"),
                });
            }
            rows.delete_defense_package(package.number)?;
            let name = package.name.clone();
            Ok(audit(
                rows,
                now,
                actor,
                "delete defense package",
                &package.id,
                name,
            )?)
        })
    }

    /// All packages.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn defense_packages(&self) -> Result<Vec<DefensePackage>, StoreError> {
        self.store.read(|rows| rows.defense_packages())
    }

    /// What the shield of a gateway does; `None` without a shield.
    pub fn defense_state(&self, gateway: &str) -> Option<DefenseState> {
        self.agent.defense(gateway)
    }
}

/// The rules that a package and those there are keep together.
pub(super) fn check(present: &[DefensePackage], package: &DefensePackage) -> Result<(), Error> {
    package.limits.check()?;
    let mut others = present.iter().filter(|other| other.number != package.number);
    if package.number == 0 && present.len() >= MOST_PACKAGES {
        return Err(Error::Quota {
            what: "high defense packages",
            limit: MOST_PACKAGES,
            kind: Kind::DefensePackage,
        });
    }
    if others.clone().any(|other| other.name == package.name) {
        return Err(Error::NameInUse {
            kind: Kind::DefensePackage,
            name: package.name.clone(),
        });
    }
    if let Some(gateway) = &package.gateway
        && let Some(other) = others.find(|other| other.gateway.as_ref() == Some(gateway))
    {
        return Err(Error::InUse {
            kind: Kind::Gateway,
            id: gateway.clone(),
            users: format!("the high defense package {}: a gateway has one at most", other.id),
        });
    }
    Ok(())
}

fn find<'a>(present: &'a [DefensePackage], id: &str) -> Result<&'a DefensePackage, Error> {
    let found = present.iter().find(|package| package.id == id);
    found.ok_or_else(|| Error::not_found(Kind::DefensePackage, id))
}

/// The unified form of a gateway's id.
fn gateway_id(rows: &Rows<'_>, id: &str) -> Result<String, Error> {
    Ok(gateway(rows, id)?.id)
}

fn bound(package: &DefensePackage) -> String {
    match &package.gateway {
        Some(gateway) => format!("bound to {gateway}"),
        None => "bound to none".to_owned(),
    }
}
