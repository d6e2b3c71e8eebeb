//! The objects of the store.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::algorithms::{DpdAction, IkeOptions, IpsecOptions, Start};
use crate::health::HealthCheck;
use crate::lease::Lease;
use crate::psk::PresharedKey;
use crate::spd::{self, SpdRule};
use crate::time::Timestamp;

/// A VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpnGateway {
    /// Number in the store; the API's old form of the id.
    pub number: i64,
    /// `vpngw-dystbrkv`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Id of its VPC.
    pub vpc: String,
    /// Its public address.
    pub address: Ipv4Addr,
    /// Bandwidth setting in Mbit/s, per direction.
    pub bandwidth: u32,
    /// Whether its period is prolonged at its end.
    pub auto_renew: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When its period ends; [`Timestamp::NEVER`] when it is charged by the hour.
    pub expires: Timestamp,
    /// The stage of its life that is in force: what the agent runs follows this one.
    pub stage: Lease,
    /// The end that its owner was reminded of last; 0 before the first time.
    pub reminded: Timestamp,
}

impl VpnGateway {
    /// Where it stands in its life at `now`.
    pub const fn lease(&self, now: Timestamp) -> Lease {
        match self.stage {
            // A removal that began is finished.
            Lease::Over => Lease::Over,
            Lease::Unlimited | Lease::Running | Lease::Expiring | Lease::Isolated => {
                Lease::of(self.expires, now)
            }
        }
    }
}

/// A customer gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerGateway {
    /// Number in the store.
    pub number: i64,
    /// `cgw-e098slul`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its public address.
    pub address: Ipv4Addr,
    /// When it was made.
    pub created: Timestamp,
}

/// A tunnel. Its key stays in the store until it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Number in the store.
    pub number: i64,
    /// `vpnx-ol6bcqp0`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Number of the VPN gateway.
    pub gateway: i64,
    /// Number of the customer gateway.
    pub customer_gateway: i64,
    /// Where it stands between store and data plane.
    pub status: Status,
    /// Revision of the store that changed it last.
    pub revision: i64,
    /// When it is brought up.
    pub start: Start,
    /// Its rules.
    pub spd: Vec<SpdRule>,
    /// Phase 1.
    pub ike: IkeOptions,
    /// Phase 2.
    pub ipsec: IpsecOptions,
    /// Seconds between probes of an idle peer; 0: never.
    pub dpd_seconds: u32,
    /// What follows a dead peer.
    pub dpd_action: DpdAction,
    /// Its health check; `None`: it has none.
    pub health: Option<HealthCheck>,
    /// When it was made.
    pub created: Timestamp,
    /// Why it is in an error state; empty otherwise.
    pub error: String,
}

impl Tunnel {
    /// Pairs of ranges that are negotiated: those of the rules, and that of the health check when no rule covers it.
    pub fn pairs(&self) -> impl Iterator<Item = (Ipv4Net, Ipv4Net)> {
        let covers = |check: &HealthCheck| {
            let contains = |(local, peer): (Ipv4Net, Ipv4Net)| {
                local.contains(&check.local) && peer.contains(&check.remote)
            };
            spd::pairs(&self.spd).any(contains)
        };
        let check = self.health.as_ref().filter(|check| !covers(check));
        spd::pairs(&self.spd).chain(check.map(HealthCheck::pair))
    }
}

/// An entry of the VPC's route table: packets to the destination take the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `vpnr-k3x5m7p9`.
    pub id: String,
    /// Id of the tunnel.
    pub tunnel: String,
    /// Where its packets go.
    pub destination: Ipv4Net,
    /// 0 or 100, as its owner wrote it.
    pub priority: u32,
    /// Whether it is in force.
    pub enabled: bool,
    /// What its owner wrote about it.
    pub description: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

/// Where a tunnel stands between the store and the data plane. The numbers are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Status {
    /// Stored, not yet in the data plane.
    Creating = 0,
    /// The agent refused it.
    CreateError = 1,
    /// A change is stored, not yet in the data plane.
    Modifying = 2,
    /// The agent refused the change; the settings before are in force.
    ModifyError = 3,
    /// To be removed from the data plane.
    Deleting = 4,
    /// In force.
    Running = 6,
}

impl Status {
    /// From the number in the store.
    pub const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::Creating,
            1 => Self::CreateError,
            2 => Self::Modifying,
            3 => Self::ModifyError,
            4 => Self::Deleting,
            6 => Self::Running,
            _ => return None,
        })
    }

    /// The number of the API and the store.
    pub const fn number(self) -> i64 {
        match self {
            Self::Creating => 0,
            Self::CreateError => 1,
            Self::Modifying => 2,
            Self::ModifyError => 3,
            Self::Deleting => 4,
            Self::Running => 6,
        }
    }

    /// Whether the agent still has to act, so that the object takes no other change.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Creating | Self::Modifying | Self::Deleting)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "being created",
            Self::CreateError => "refused by the agent",
            Self::Modifying => "being modified",
            Self::ModifyError => "running without its last change",
            Self::Deleting => "being deleted",
            Self::Running => "running",
        })
    }
}

/// What a key may do. Each role may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Read,
    /// Change objects.
    Operate,
    /// Also see pre-shared keys.
    Admin,
}

impl Role {
    /// All roles, the lowest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key of the API.
pub struct ApiKey {
    /// `AKID...`, public.
    pub id: String,
    /// The HMAC key.
    pub secret: Zeroizing<String>,
    /// What it may do.
    pub role: Role,
    /// What the operator wrote about it.
    pub note: String,
    /// When it was made.
    pub created: Timestamp,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, {})", self.id, self.role)
    }
}

/// What became of an asynchronous change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number, the API's taskId.
    pub number: i64,
    /// Id of the tunnel.
    pub tunnel: String,
    /// Whether it is over, and how.
    pub state: TaskState,
    /// Why it failed; empty otherwise.
    pub error: String,
}

/// State of a task. The numbers are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Done.
    Done,
    /// Refused by the agent.
    Failed,
    /// The agent has not acted yet.
    Running,
}

impl TaskState {
    /// The number of the API and the store.
    pub const fn number(self) -> i64 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Running => 2,
        }
    }

    /// From the number in the store.
    pub const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::Done,
            1 => Self::Failed,
            2 => Self::Running,
            _ => return None,
        })
    }
}

/// A tunnel with the two ends it joins, and its key where it was asked for.
#[derive(Debug)]
pub struct TunnelView {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Our end.
    pub gateway: VpnGateway,
    /// The customer's end.
    pub customer_gateway: CustomerGateway,
    /// The key; `None` where the caller may not see it.
    pub psk: Option<PresharedKey>,
}

/// A word about an object, for its owner's own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Unique for its object.
    pub key: String,
    /// May be empty.
    pub value: String,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub time: Timestamp,
    /// Who: id of the API key, or `local`.
    pub actor: String,
    /// What: name of the operation.
    pub operation: String,
    /// On which object.
    pub object: String,
    /// What changed, without secrets.
    pub detail: String,
}
