//! Takes the objects of a file into the store: all of them or none, by the rules of the other operations.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::tunnels::{Effect, differences};
use super::{Actor, Management, audit, customer_gateways, defense, gateways, health, leases};
use crate::declaration::{
    Declaration, DeclaredCustomerGateway, DeclaredDefense, DeclaredGateway, DeclaredTunnel,
};
use crate::defense::{DefensePackage, Limits};
use crate::desired;
use crate::error::{Error, Kind};
use crate::lease::Lease;
use crate::objects::{CustomerGateway, Role, Status, Tunnel, VpnGateway};
use crate::price::check_bandwidth;
use crate::site::Site;
use crate::store::{Rows, StoreError};
use crate::time::Timestamp;
use crate::values;

/// What became of an object of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The store did not have it.
    Made,
    /// The store had it with other values.
    Changed {
        /// Which values, and what the change disturbs.
        what: String,
    },
    /// The store has it as it is.
    Left,
}

/// An object of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// What it is.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// What became of it.
    pub fate: Fate,
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The objects in the order in which they were taken.
    pub objects: Vec<Imported>,
}

impl Import {
    /// How many were made, changed and left.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Fate) -> bool| {
            let fates = self.objects.iter().map(|object| &object.fate);
            fates.filter(|fate| wanted(fate)).count()
        };
        (
            count(|fate| matches!(fate, Fate::Made)),
            count(|fate| matches!(fate, Fate::Changed { .. })),
            count(|fate| matches!(fate, Fate::Left)),
        )
    }

    fn changes(&self) -> bool {
        self.objects.iter().any(|object| object.fate != Fate::Left)
    }
}

/// Why nothing of a file was taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An object of the file breaks a rule.
    #[error("line {line}: {kind} {id}")]
    Refused {
        /// Line of its section.
        line: usize,
        /// What it is.
        kind: Kind,
        /// Its id.
        id: String,
        /// The rule.
        source: Error,
    },
    /// The role of the caller is too low.
    #[error(transparent)]
    NotAllowed(Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the transaction of an import does not commit.
enum Stop {
    Refused(ImportError),
    /// It was to be tried only.
    Tried(Import),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl Management {
    /// All objects as one document, pre-shared keys included.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] or [`Error::Store`].
    pub fn export(&self, actor: &Actor) -> Result<zeroize::Zeroizing<String>, Error> {
        actor.require(Role::Admin)?;
        Ok(self.store.read(desired::export)?)
    }

    /// Takes the objects of a file into the store. An object is the one of the store that has its id; what the file does not name stays.
    ///
    /// With `dry_run` everything is checked and nothing is kept.
    ///
    /// # Errors
    /// [`ImportError`]; nothing was changed.
    pub fn import(
        &self,
        now: Timestamp,
        actor: &Actor,
        wanted: &Declaration,
        dry_run: bool,
    ) -> Result<Import, ImportError> {
        actor.require(Role::Admin).map_err(ImportError::NotAllowed)?;
        let site = self.site();
        let outcome = self.store.write(|rows| {
            let run = Run {
                management: self,
                rows,
                site: &site,
                now,
                actor,
            };
            let import = run.all(wanted).map_err(Stop::Refused)?;
            if dry_run {
                return Err(Stop::Tried(import));
            }
            if import.changes() {
                rows.next_revision()?;
            }
            Ok(import)
        });
        match outcome {
            Ok(import) => {
                if import.changes() {
                    self.agent.changed();
                }
                Ok(import)
            }
            Err(Stop::Tried(import)) => Ok(import),
            Err(Stop::Refused(error)) => Err(error),
        }
    }
}

/// One import within its transaction.
struct Run<'a> {
    management: &'a Management,
    rows: &'a Rows<'a>,
    site: &'a Site,
    now: Timestamp,
    actor: &'a Actor,
}

/// What an object of a file is called in messages.
trait Declared {
    const KIND: Kind;
    /// The word of the file's section.
    const SECTION: &'static str;
    fn line(&self) -> usize;
    fn id(&self) -> &str;
}

macro_rules! declared {
    ($type:ident, $kind:ident, $section:literal) => {
        impl Declared for $type {
            const KIND: Kind = Kind::$kind;
            const SECTION: &'static str = $section;
            fn line(&self) -> usize {
                self.line
            }
            fn id(&self) -> &str {
                &self.id
            }
        }
    };
}
declared!(DeclaredGateway, Gateway, "gateway");
declared!(DeclaredCustomerGateway, CustomerGateway, "customer_gateway");
declared!(DeclaredDefense, DefensePackage, "defense");
declared!(DeclaredTunnel, Tunnel, "tunnel");

impl Run<'_> {
    fn all(&self, wanted: &Declaration) -> Result<Import, ImportError> {
        let mut import = Import::default();
        self.each(&wanted.gateways, |one| self.gateway(one), &mut import)?;
        self.each(
            &wanted.customer_gateways,
            |one| self.customer_gateway(one),
            &mut import,
        )?;
        self.each(&wanted.defenses, |one| self.defense(one), &mut import)?;
        self.each(&wanted.tunnels, |one| self.tunnel(one), &mut import)?;
        Ok(import)
    }

    /// Takes objects of one kind. One that is refused is tried again when another was taken: a range or a name that moves from one
    /// object to another may be free only then.
    fn each<T: Declared>(
        &self,
        wanted: &[T],
        take: impl Fn(&T) -> Result<Fate, Error>,
        import: &mut Import,
    ) -> Result<(), ImportError> {
        let mut ids = HashSet::new();
        for one in wanted {
            if !ids.insert(one.id()) {
                let rule = "stands in the file twice";
                return Err(refused(one, Error::invalid("id", one.id(), rule)));
            }
        }
        let mut waiting: Vec<&T> = wanted.iter().collect();
        loop {
            let (before, mut first) = (waiting.len(), None);
            let mut left = Vec::new();
            for one in waiting {
                match take(one) {
                    Ok(fate) => import.objects.push(Imported {
                        kind: T::SECTION,
                        id: one.id().to_owned(),
                        fate,
                    }),
                    Err(Error::Store(error)) => return Err(error.into()),
                    Err(error) => {
                        first.get_or_insert((one, error));
                        left.push(one);
                    }
                }
            }
            waiting = left;
            match first {
                None => return Ok(()),
                Some((one, error)) if waiting.len() == before => return Err(refused(one, error)),
                Some(_) => {}
            }
        }
    }

    fn gateway(&self, wanted: &DeclaredGateway) -> Result<Fate, Error> {
        let (rows, site) = (self.rows, self.site);
        let name = values::name(Kind::Gateway, &wanted.name)?;
        check_bandwidth(wanted.bandwidth)?;
        let present = rows.gateways()?;
        let old = present.iter().find(|gateway| gateway.id == wanted.id);
        // A gateway whose period is long over is removed with its tunnels: a file may say so only where it is so.
        if let Some(end) = wanted.expires
            && end <= self.now
            && old.is_none_or(|old| old.expires != end)
        {
            return Err(Error::invalid("expires", end.utc(), "lies ahead"));
        }
        let Some(old) = old else {
            let vpc = site.vpc(&wanted.vpc)?;
            gateways::check_new(&present, site, &vpc.id, &name)?;
            if !site.public_addresses.contains(&wanted.address) {
                let rule = "is an address of [api] public_addresses, and of no gateway of the machine's file";
                return Err(Error::invalid("address", wanted.address, rule));
            }
            if let Some(owner) = present.iter().find(|gateway| gateway.address == wanted.address) {
                let rule = format!("belongs to the VPN gateway {}", owner.id);
                return Err(Error::invalid("address", wanted.address, rule));
            }
            let expires = wanted.expires.unwrap_or(Timestamp::NEVER);
            rows.insert_gateway(&VpnGateway {
                number: 0,
                id: wanted.id.clone(),
                name,
                vpc: vpc.id.clone(),
                address: wanted.address,
                bandwidth: wanted.bandwidth,
                auto_renew: wanted.auto_renew.unwrap_or(false),
                created: self.now,
                expires,
                stage: Lease::of(expires, self.now),
                reminded: Timestamp::default(),
            })?;
            return self.made("create gateway", &wanted.id, wanted.address);
        };
        unchangeable("vpc", &old.vpc, &wanted.vpc)?;
        unchangeable("address", &old.address, &wanted.address)?;
        gateways::refuse_taken_name(&present, &name, Some(old.number))?;
        let new = VpnGateway {
            name,
            bandwidth: wanted.bandwidth,
            auto_renew: wanted.auto_renew.unwrap_or(old.auto_renew),
            expires: wanted.expires.unwrap_or(old.expires),
            ..old.clone()
        };
        if new.bandwidth != old.bandwidth {
            leases::refuse_isolated(&new, self.now)?;
        }
        let what = listed([
            ("name", old.name != new.name),
            ("bandwidth", old.bandwidth != new.bandwidth),
            ("auto_renew", old.auto_renew != new.auto_renew),
            ("expires", old.expires != new.expires),
        ]);
        if new == *old {
            return Ok(Fate::Left);
        }
        rows.update_gateway(&new)?;
        self.changed("modify gateway", &new.id, what)
    }

    fn customer_gateway(&self, wanted: &DeclaredCustomerGateway) -> Result<Fate, Error> {
        let rows = self.rows;
        let name = values::name(Kind::CustomerGateway, &wanted.name)?;
        let present = rows.customer_gateway(&wanted.id)?;
        let Some(old) = present.filter(|gateway| gateway.id == wanted.id) else {
            customer_gateways::check_new(rows, self.site, &name, wanted.address)?;
            rows.insert_customer_gateway(&CustomerGateway {
                number: 0,
                id: wanted.id.clone(),
                name,
                address: wanted.address,
                created: self.now,
            })?;
            return self.made("create customer gateway", &wanted.id, wanted.address);
        };
        unchangeable("address", &old.address, &wanted.address)?;
        customer_gateways::refuse_taken_name(rows, &name, Some(old.number))?;
        if old.name == name {
            return Ok(Fate::Left);
        }
        rows.rename_customer_gateway(old.number, &name)?;
        self.changed("rename customer gateway", &old.id, "name".to_owned())
    }

    fn defense(&self, wanted: &DeclaredDefense) -> Result<Fate, Error> {
        let rows = self.rows;
        let present = rows.defense_packages()?;
        let old = present.iter().find(|package| package.id == wanted.id);
        let new = DefensePackage {
            number: old.map_or(0, |old| old.number),
            id: wanted.id.clone(),
            name: values::name(Kind::DefensePackage, &wanted.name)?,
            gateway: match &wanted.gateway {
                Some(id) => Some(super::gateway(rows, id)?.id),
                None => None,
            },
            limits: wanted.limits.apply(&Limits::default()),
            created: old.map_or(self.now, |old| old.created),
        };
        if Some(&new) == old {
            return Ok(Fate::Left);
        }
        defense::check(&present, &new)?;
        let Some(old) = old else {
            rows.insert_defense_package(&new)?;
            return self.made("create defense package", &new.id, &new.name);
        };
        rows.update_defense_package(&new)?;
        let what = listed([
            ("name", old.name != new.name),
            ("gateway", old.gateway != new.gateway),
            ("limits", old.limits != new.limits),
        ]);
        self.changed("modify defense package", &new.id, what)
    }

    fn tunnel(&self, wanted: &DeclaredTunnel) -> Result<Fate, Error> {
        let (rows, now) = (self.rows, self.now);
        let name = values::name(Kind::Tunnel, &wanted.name)?;
        wanted.ike.check()?;
        wanted.ipsec.check()?;
        let gateway = super::gateway(rows, &wanted.gateway)?;
        let customer_gateway = super::customer_gateway(rows, &wanted.customer_gateway)?;
        let old = rows.tunnel(&wanted.id)?.filter(|tunnel| tunnel.id == wanted.id);
        let number = old.as_ref().map(|tunnel| tunnel.number);
        if rows
            .tunnel_named(&name)?
            .is_some_and(|owner| Some(owner) != number)
        {
            return Err(Error::NameInUse {
                kind: Kind::Tunnel,
                name,
            });
        }
        let mut new = Tunnel {
            number: number.unwrap_or_default(),
            id: wanted.id.clone(),
            name,
            gateway: gateway.number,
            customer_gateway: customer_gateway.number,
            status: Status::Creating,
            revision: rows.revision()?.saturating_add(1),
            start: wanted.start,
            spd: wanted.spd.clone(),
            ike: wanted.ike.clone(),
            ipsec: wanted.ipsec.clone(),
            dpd_seconds: wanted.dpd_seconds,
            dpd_action: wanted.dpd_action,
            health: wanted.health,
            created: now,
            error: String::new(),
        };
        let Some(old) = old else {
            leases::refuse_isolated(&gateway, now)?;
            self.management
                .check_ends(rows, gateway.number, customer_gateway.number)?;
            self.management.check_spd(rows, &gateway, &new)?;
            health::check(rows, &gateway, &new)?;
            let routes = self
                .management
                .plan_routes(rows, &new, wanted.routes.as_deref())?;
            new.number = rows.insert_tunnel(&new, &wanted.psk)?;
            routes.apply(rows, now, &new)?;
            rows.insert_task(&new.id, now)?;
            let ends = format!("{} to {}", gateway.id, customer_gateway.id);
            return self.made("create tunnel", &new.id, ends);
        };
        let ends_of = |tunnel: &Tunnel| {
            let gateway = super::gateway(rows, &tunnel.gateway.to_string())?;
            Ok::<_, Error>((
                gateway.id,
                super::customer_gateway(rows, &tunnel.customer_gateway.to_string())?.id,
            ))
        };
        let (old_gateway, old_customer) = ends_of(&old)?;
        unchangeable("gateway", &old_gateway, &gateway.id)?;
        unchangeable("customer_gateway", &old_customer, &customer_gateway.id)?;
        // What means nothing to the version or the cipher is not written down, and stays.
        if new.ike.version == crate::algorithms::IkeVersion::V2 {
            new.ike.mode = old.ike.mode;
        }
        if new.ipsec.encryption.is_aead() {
            new.ipsec.integrity = old.ipsec.integrity;
        }
        let new_psk = rows.psk(&old)?.expose() != wanted.psk.expose();
        let routes = self
            .management
            .plan_routes(rows, &new, wanted.routes.as_deref())?;
        let mut what = differences(&old, &new, new_psk);
        if !routes.is_empty() {
            what.push_str(if what.is_empty() { "routes" } else { ", routes" });
        }
        if what.is_empty() {
            return Ok(Fate::Left);
        }
        if old.status == Status::Deleting {
            return Err(Error::State {
                kind: Kind::Tunnel,
                id: old.id,
                state: old.status.to_string().into(),
                rule: "wait until it is gone".into(),
            });
        }
        leases::refuse_isolated(&gateway, now)?;
        self.management.check_spd(rows, &gateway, &new)?;
        health::check(rows, &gateway, &new)?;
        // The agent has not seen one that is being created: it is still that.
        if old.status != Status::Creating {
            new.status = Status::Modifying;
        }
        new.created = old.created;
        let effect = Effect::of(&old, &new, new_psk).name();
        rows.update_tunnel(&new, new_psk.then_some(&wanted.psk))?;
        routes.apply(rows, now, &new)?;
        rows.insert_task(&new.id, now)?;
        self.changed("modify tunnel", &new.id, format!("{what}; disturbs: {effect}"))
    }

    fn made(&self, operation: &str, id: &str, detail: impl fmt::Display) -> Result<Fate, Error> {
        let detail = format!("imported: {detail}");
        audit(self.rows, self.now, self.actor, operation, id, detail)?;
        Ok(Fate::Made)
    }

    fn changed(&self, operation: &str, id: &str, what: String) -> Result<Fate, Error> {
        let detail = format!("imported: {what}");
        audit(self.rows, self.now, self.actor, operation, id, detail)?;
        Ok(Fate::Changed { what })
    }
}

fn refused<T: Declared>(one: &T, source: Error) -> ImportError {
    ImportError::Refused {
        line: one.line(),
        kind: T::KIND,
        id: one.id().to_owned(),
        source,
    }
}

fn unchangeable<T: PartialEq + fmt::Display>(field: &'static str, old: &T, new: &T) -> Result<(), Error> {
    if old == new {
        return Ok(());
    }
    let rule = format!("is {old} in the store and cannot be changed: delete the object and make it anew");
    Err(Error::invalid(field, new, rule))
}

fn listed<const N: usize>(fields: [(&str, bool); N]) -> String {
    let changed = fields.into_iter().filter(|&(_, changed)| changed);
    changed.map(|(field, _)| field).collect::<Vec<_>>().join(", ")
}
