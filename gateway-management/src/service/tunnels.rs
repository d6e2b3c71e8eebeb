//! VPN tunnels and the tasks that change them.

use std::collections::BTreeSet;

use super::leases::refuse_isolated;
use super::{
    Actor, Listing, LiveTunnel, Management, audit, customer_gateway, gateway, health, new_id, routes, tags,
};
use crate::algorithms::{DpdAction, IkeOptions, IkePatch, IpsecOptions, IpsecPatch, Start};
use crate::error::{Error, Kind};
use crate::health::HealthPatch;
use crate::objects::{Role, Status, Tag, Task, Tunnel, TunnelView, VpnGateway};
use crate::psk::PresharedKey;
use crate::spd::{self, SpdRule};
use crate::store::{Page, Rows, TunnelFilter};
use crate::time::Timestamp;
use crate::values;

/// A tunnel to make.
#[derive(Debug)]
pub struct NewTunnel {
    /// What people will call it.
    pub name: String,
    /// Id of the VPC that the gateway must belong to; `None`: whichever it is.
    pub vpc: Option<String>,
    /// Id of the VPN gateway.
    pub gateway: String,
    /// Id of the customer gateway.
    pub customer_gateway: String,
    /// Pre-shared key.
    pub psk: PresharedKey,
    /// Its rules.
    pub spd: Vec<SpdRule>,
    /// When it is brought up.
    pub start: Start,
    /// Phase 1.
    pub ike: IkeOptions,
    /// Phase 2.
    pub ipsec: IpsecOptions,
    /// Seconds between probes of an idle peer; 0: never.
    pub dpd_seconds: u32,
    /// What follows a dead peer.
    pub dpd_action: DpdAction,
    /// Its health check; what is not said has its default.
    pub health: HealthPatch,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What changes of a tunnel; `None` stays.
#[derive(Debug, Default)]
pub struct TunnelChange {
    /// Name.
    pub name: Option<String>,
    /// Pre-shared key.
    pub psk: Option<PresharedKey>,
    /// All rules.
    pub spd: Option<Vec<SpdRule>>,
    /// When it is brought up.
    pub start: Option<Start>,
    /// Phase 1.
    pub ike: IkePatch,
    /// Phase 2.
    pub ipsec: IpsecPatch,
    /// Seconds between probes of an idle peer.
    pub dpd_seconds: Option<u32>,
    /// What follows a dead peer.
    pub dpd_action: Option<DpdAction>,
    /// Its health check.
    pub health: HealthPatch,
    /// Change nothing and say what the change would disturb.
    pub dry_run: bool,
}

/// What a change disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Child SAs of new pairs of ranges are negotiated; those there are go on.
    NewPairs,
    /// The tunnel is negotiated anew.
    Renegotiation,
}

impl Effect {
    /// Its name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NewPairs => "newPairs",
            Self::Renegotiation => "renegotiation",
        }
    }

    pub(super) fn of(old: &Tunnel, new: &Tunnel, new_psk: bool) -> Self {
        if new_psk || old.ike != new.ike || old.ipsec != new.ipsec {
            return Self::Renegotiation;
        }
        let pairs = |tunnel: &Tunnel| -> BTreeSet<_> { tunnel.pairs().collect() };
        let (before, after) = (pairs(old), pairs(new));
        if before == after {
            Self::Nothing
        } else if before.is_subset(&after) {
            Self::NewPairs
        } else {
            Self::Renegotiation
        }
    }
}

/// A change that the agent will act on.
#[derive(Debug)]
pub struct Changed {
    /// The tunnel as it was stored.
    pub view: TunnelView,
    /// Number of the task; `None` after a dry run.
    pub task: Option<i64>,
    /// What the change disturbs.
    pub effect: Effect,
}

/// Which tunnels a list has; what is `None` filters nothing.
#[derive(Clone, Debug, Default)]
pub struct TunnelQuery {
    /// Id of the VPC.
    pub vpc: Option<String>,
    /// Id of the VPN gateway.
    pub gateway: Option<String>,
    /// Id of the customer gateway.
    pub customer_gateway: Option<String>,
    /// Id of the tunnel.
    pub id: Option<String>,
    /// Part of the name.
    pub name: Option<String>,
    /// Whether the pre-shared keys are asked for; needs the role admin.
    pub with_psk: bool,
}

impl Management {
    /// Makes a tunnel.
    ///
    /// # Errors
    /// [`Error`]: any rule of names, ranges, quotas, settings; no such end; the ends are joined already.
    pub fn create_tunnel(&self, now: Timestamp, actor: &Actor, wanted: NewTunnel) -> Result<Changed, Error> {
        actor.require(Role::Operate)?;
        let name = values::name(Kind::Tunnel, &wanted.name)?;
        wanted.ike.check()?;
        wanted.ipsec.check()?;
        tags::check(&wanted.tags)?;
        let changed = self.store.write(|rows| {
            let gateway = self.gateway_of(rows, wanted.vpc.as_deref(), &wanted.gateway)?;
            refuse_isolated(&gateway, now)?;
            let customer_gateway = customer_gateway(rows, &wanted.customer_gateway)?;
            if rows.tunnel_named(&name)?.is_some() {
                return Err(Error::NameInUse {
                    kind: Kind::Tunnel,
                    name,
                });
            }
            self.check_ends(rows, gateway.number, customer_gateway.number)?;
            let id = new_id("vpnx")?;
            let mut tunnel = Tunnel {
                number: 0,
                health: health::changed(rows, &gateway, (&id, 0), &wanted.health, None)?,
                id,
                name,
                gateway: gateway.number,
                customer_gateway: customer_gateway.number,
                status: Status::Creating,
                revision: rows.next_revision()?,
                start: wanted.start,
                spd: wanted.spd,
                ike: wanted.ike,
                ipsec: wanted.ipsec,
                dpd_seconds: wanted.dpd_seconds,
                dpd_action: wanted.dpd_action,
                created: now,
                error: String::new(),
            };
            self.check_spd(rows, &gateway, &tunnel)?;
            health::check(rows, &gateway, &tunnel)?;
            tunnel.number = rows.insert_tunnel(&tunnel, &wanted.psk)?;
            rows.put_tags(&tunnel.id, &wanted.tags)?;
            let task = rows.insert_task(&tunnel.id, now)?;
            audit(
                rows,
                now,
                actor,
                "create tunnel",
                &tunnel.id,
                format!("{} to {}", gateway.id, customer_gateway.id),
            )?;
            Ok(Changed {
                view: TunnelView {
                    tunnel,
                    gateway,
                    customer_gateway,
                    psk: None,
                },
                task: Some(task),
                effect: Effect::Renegotiation,
            })
        })?;
        self.agent.changed();
        Ok(changed)
    }

    /// Changes a tunnel. Names disturb nothing, a further rule adds a Child SA, the rest is negotiated anew.
    ///
    /// # Errors
    /// [`Error`]: no such tunnel, the agent still acts on the last change, any rule.
    pub fn modify_tunnel(
        &self,
        now: Timestamp,
        actor: &Actor,
        query: &TunnelQuery,
        change: TunnelChange,
    ) -> Result<Changed, Error> {
        actor.require(Role::Operate)?;
        let dry_run = change.dry_run;
        let changed = self.store.write(|rows| {
            let old = self.find(rows, query)?;
            refuse_pending(&old.tunnel)?;
            refuse_isolated(&old.gateway, now)?;
            let mut new = old.tunnel.clone();
            if let Some(name) = &change.name {
                new.name = values::name(Kind::Tunnel, name)?;
                if rows
                    .tunnel_named(&new.name)?
                    .is_some_and(|number| number != new.number)
                {
                    return Err(Error::NameInUse {
                        kind: Kind::Tunnel,
                        name: new.name,
                    });
                }
            }
            new.spd = change.spd.unwrap_or(new.spd);
            new.start = change.start.unwrap_or(new.start);
            new.ike = change.ike.apply(new.ike);
            new.ipsec = change.ipsec.apply(new.ipsec);
            new.dpd_seconds = change.dpd_seconds.unwrap_or(new.dpd_seconds);
            new.dpd_action = change.dpd_action.unwrap_or(new.dpd_action);
            new.health = health::changed(
                rows,
                &old.gateway,
                (&new.id, new.number),
                &change.health,
                new.health,
            )?;
            new.ike.check()?;
            new.ipsec.check()?;
            self.check_spd(rows, &old.gateway, &new)?;
            health::check(rows, &old.gateway, &new)?;
            routes::check_kept(rows, &new)?;
            let effect = Effect::of(&old.tunnel, &new, change.psk.is_some());
            let mut task = None;
            if !dry_run {
                new.status = Status::Modifying;
                new.revision = rows.next_revision()?;
                rows.update_tunnel(&new, change.psk.as_ref())?;
                task = Some(rows.insert_task(&new.id, now)?);
                audit(
                    rows,
                    now,
                    actor,
                    "modify tunnel",
                    &new.id,
                    differences(&old.tunnel, &new, change.psk.is_some()),
                )?;
            }
            Ok(Changed {
                view: TunnelView { tunnel: new, ..old },
                task,
                effect,
            })
        })?;
        if !dry_run {
            self.agent.changed();
        }
        Ok(changed)
    }

    /// Removes a tunnel.
    ///
    /// # Errors
    /// [`Error`]: no such tunnel, the agent still acts on the last change.
    pub fn delete_tunnel(
        &self,
        now: Timestamp,
        actor: &Actor,
        query: &TunnelQuery,
    ) -> Result<Changed, Error> {
        actor.require(Role::Operate)?;
        let changed = self.store.write(|rows| {
            let mut view = self.find(rows, query)?;
            refuse_pending(&view.tunnel)?;
            view.tunnel.status = Status::Deleting;
            view.tunnel.revision = rows.next_revision()?;
            rows.update_tunnel(&view.tunnel, None)?;
            let task = rows.insert_task(&view.tunnel.id, now)?;
            audit(rows, now, actor, "delete tunnel", &view.tunnel.id, String::new())?;
            Ok::<_, Error>(Changed {
                view,
                task: Some(task),
                effect: Effect::Renegotiation,
            })
        })?;
        self.agent.changed();
        Ok(changed)
    }

    /// Ends the SAs of a tunnel, so that new ones are negotiated.
    ///
    /// # Errors
    /// [`Error`]: no such tunnel, its gateway is isolated.
    pub fn reset_tunnel(&self, now: Timestamp, actor: &Actor, query: &TunnelQuery) -> Result<(), Error> {
        actor.require(Role::Operate)?;
        let id = self.store.write(|rows| {
            let view = self.find(rows, query)?;
            refuse_isolated(&view.gateway, now)?;
            audit(rows, now, actor, "reset tunnel", &view.tunnel.id, String::new())?;
            Ok::<_, Error>(view.tunnel.id)
        })?;
        self.agent.reset(&id);
        Ok(())
    }

    /// One tunnel with its ends, and with its key when that is asked for.
    ///
    /// # Errors
    /// [`Error`]: no such object, or the caller may not see keys.
    pub fn tunnel(&self, actor: &Actor, query: &TunnelQuery) -> Result<TunnelView, Error> {
        self.store.read(|rows| {
            let mut view = self.find(rows, query)?;
            if query.with_psk {
                actor.require(Role::Admin)?;
                view.psk = Some(rows.psk(&view.tunnel)?);
            }
            Ok(view)
        })
    }

    /// A page of the tunnels.
    ///
    /// # Errors
    /// [`Error`]: no such VPC, gateway or tunnel, or the caller may not see keys.
    pub fn list_tunnels(
        &self,
        actor: &Actor,
        query: &TunnelQuery,
        page: &Page,
    ) -> Result<Listing<TunnelView>, Error> {
        if query.with_psk {
            actor.require(Role::Admin)?;
        }
        if let Some(vpc) = &query.vpc {
            self.site().vpc(vpc)?;
        }
        self.store.read(|rows| {
            let number = |id: &String| {
                rows.tunnel(id)?
                    .map(|tunnel| tunnel.number)
                    .ok_or_else(|| Error::not_found(Kind::Tunnel, id))
            };
            let filter = TunnelFilter {
                vpc: query.vpc.clone(),
                gateway: query
                    .gateway
                    .as_ref()
                    .map(|id| gateway(rows, id).map(|gateway| gateway.number))
                    .transpose()?,
                customer_gateway: query
                    .customer_gateway
                    .as_ref()
                    .map(|id| customer_gateway(rows, id).map(|gateway| gateway.number))
                    .transpose()?,
                name: query.name.clone(),
                number: query.id.as_ref().map(number).transpose()?,
            };
            let (total, tunnels) = rows.list_tunnels(&filter, page)?;
            let views = tunnels.into_iter().map(|tunnel| {
                let mut view = with_ends(rows, tunnel)?;
                if query.with_psk {
                    view.psk = Some(rows.psk(&view.tunnel)?);
                }
                Ok(view)
            });
            Ok(Listing {
                total,
                items: views.collect::<Result<_, Error>>()?,
            })
        })
    }

    /// The tunnels with these ids; those that are not there are left out.
    ///
    /// # Errors
    /// [`Error`]: the caller may not see keys.
    pub fn tunnels_with_ids(
        &self,
        actor: &Actor,
        ids: &[String],
        with_psk: bool,
    ) -> Result<Vec<TunnelView>, Error> {
        if with_psk {
            actor.require(Role::Admin)?;
        }
        self.store.read(|rows| {
            let mut found = Vec::new();
            for id in ids {
                if let Some(tunnel) = rows.tunnel(id)? {
                    let mut view = with_ends(rows, tunnel)?;
                    if with_psk {
                        view.psk = Some(rows.psk(&view.tunnel)?);
                    }
                    found.push(view);
                }
            }
            Ok(found)
        })
    }

    /// What the agent knows of a tunnel.
    pub fn live(&self, id: &str) -> Option<LiveTunnel> {
        self.agent.live(id)
    }

    /// A task.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn task(&self, number: i64) -> Result<Task, Error> {
        let task = self.store.read(|rows| rows.task(number))?;
        task.ok_or_else(|| Error::not_found(Kind::Task, number))
    }

    /// The gateway, which must belong to the VPC when one is named.
    fn gateway_of(&self, rows: &Rows<'_>, vpc: Option<&str>, id: &str) -> Result<VpnGateway, Error> {
        let gateway = gateway(rows, id)?;
        if let Some(vpc) = vpc
            && self.site().vpc(vpc)?.id != gateway.vpc
        {
            return Err(Error::not_found(Kind::Gateway, id));
        }
        Ok(gateway)
    }

    /// The tunnel that a query names by its id; the gateway and the VPC must be its own when they are named.
    fn find(&self, rows: &Rows<'_>, query: &TunnelQuery) -> Result<TunnelView, Error> {
        let id = query.id.as_deref().unwrap_or_default();
        if let Some(vpc) = &query.vpc {
            self.site().vpc(vpc)?;
        }
        let expected = query
            .gateway
            .as_ref()
            .map(|gateway| self.gateway_of(rows, query.vpc.as_deref(), gateway))
            .transpose()?;
        let tunnel = rows
            .tunnel(id)?
            .ok_or_else(|| Error::not_found(Kind::Tunnel, id))?;
        if expected.is_some_and(|gateway| gateway.number != tunnel.gateway) {
            return Err(Error::not_found(Kind::Tunnel, id));
        }
        with_ends(rows, tunnel)
    }

    pub(super) fn check_ends(
        &self,
        rows: &Rows<'_>,
        gateway: i64,
        customer_gateway: i64,
    ) -> Result<(), Error> {
        let quotas = self.site().quotas;
        for (count, limit, what) in [
            (
                usize::from(rows.are_joined(gateway, customer_gateway)?),
                1,
                "tunnel between a VPN gateway and a customer gateway",
            ),
            (
                rows.tunnels_of_gateway(gateway)?,
                quotas.tunnels_per_gateway,
                "tunnels per VPN gateway",
            ),
            (
                rows.tunnels_of_customer_gateway(customer_gateway)?,
                quotas.tunnels_per_customer_gateway,
                "tunnels per customer gateway",
            ),
        ] {
            if count >= limit {
                return Err(Error::Quota {
                    what,
                    limit,
                    kind: Kind::Tunnel,
                });
            }
        }
        Ok(())
    }

    /// The rules of the tunnel alone, and those between the tunnels of a VPC: a pair of ranges has one tunnel.
    pub(super) fn check_spd(
        &self,
        rows: &Rows<'_>,
        gateway: &VpnGateway,
        tunnel: &Tunnel,
    ) -> Result<(), Error> {
        let site = self.site();
        let vpc = site.vpc(&gateway.vpc)?;
        spd::check(&tunnel.spd, vpc, &site.quotas)?;
        for (_, peer) in spd::pairs(&tunnel.spd) {
            if let Some(end) = rows.end_within(peer)? {
                let rule = format!("contains {end}, the public address of an end of a tunnel");
                return Err(Error::RangeConflict {
                    field: "SPD peer range",
                    value: peer.to_string(),
                    rule: rule.into(),
                });
            }
        }
        for pair in spd::pairs(&tunnel.spd) {
            let hosts = [pair.0, pair.1].map(|range| (range.prefix_len() == 32).then(|| range.addr()));
            let probing = match hosts {
                [Some(local), Some(peer)] => {
                    rows.tunnel_probing(&gateway.vpc, (local, peer), tunnel.number)?
                }
                _ => None,
            };
            let other = match probing {
                Some(_) => probing,
                None => rows.tunnel_with_pair(&gateway.vpc, pair, tunnel.number)?,
            };
            if let Some(other) = other {
                let rule = format!("the pair with {} belongs to the tunnel {other} already", pair.0);
                return Err(Error::RangeConflict {
                    field: "SPD peer range",
                    value: pair.1.to_string(),
                    rule: rule.into(),
                });
            }
        }
        Ok(())
    }
}

fn with_ends(rows: &Rows<'_>, tunnel: Tunnel) -> Result<TunnelView, Error> {
    Ok(TunnelView {
        gateway: gateway(rows, &tunnel.gateway.to_string())?,
        customer_gateway: customer_gateway(rows, &tunnel.customer_gateway.to_string())?,
        tunnel,
        psk: None,
    })
}

fn refuse_pending(tunnel: &Tunnel) -> Result<(), Error> {
    if tunnel.status.is_pending() {
        return Err(Error::State {
            kind: Kind::Tunnel,
            id: tunnel.id.clone(),
            state: tunnel.status.to_string().into(),
            rule: "wait for its task to end".into(),
        });
    }
    Ok(())
}

/// What changed, by field, for the audit log. Keys are named, not shown.
pub(super) fn differences(old: &Tunnel, new: &Tunnel, psk: bool) -> String {
    [
        ("name", old.name != new.name),
        ("pre-shared key", psk),
        ("SPD", old.spd != new.spd),
        ("start", old.start != new.start),
        ("IKE", old.ike != new.ike),
        ("IPsec", old.ipsec != new.ipsec),
        (
            "DPD",
            (old.dpd_seconds, old.dpd_action) != (new.dpd_seconds, new.dpd_action),
        ),
        ("health check", old.health != new.health),
    ]
    .into_iter()
    .filter(|&(_, changed)| changed)
    .map(|(field, _)| field)
    .collect::<Vec<_>>()
    .join(", ")
}
