//! What the agent says about itself: one type for the control socket, the table of `gateway status` and /metrics.
//!
//! A snapshot, made in the control loop and read by everybody else. The JSON is a contract: fields are added, never renamed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use gateway_management::Health;
pub use gateway_management::defense::DefenseState;
use serde::{Deserialize, Serialize};

/// The whole agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// The XDP program.
    pub xdp: XdpStatus,
    /// VPN gateways.
    pub gateways: Vec<GatewayStatus>,
    /// Every configured tunnel, whatever its state.
    pub tunnels: Vec<TunnelStatus>,
    /// Workers of the data plane.
    pub workers: Vec<WorkerStatus>,
    /// Octets of packet memory over all workers.
    pub umem_bytes: u64,
    /// The IKE engine.
    pub ike: IkeStatus,
    /// The configuration.
    pub config: ConfigStatus,
    /// What keeps the gateway from serving, in sentences; empty when it is healthy.
    pub problems: Vec<String>,
    /// Who was refused because no tunnel is configured for it, the last one first; a bounded list.
    #[serde(default)]
    pub strangers: Vec<StrangerStatus>,
    /// Alarms; absent without a store.
    #[serde(default)]
    pub alarms: Option<AlarmStatus>,
    /// Changes of timelines that the store does not have: its queue was full, or it failed; absent without a store.
    #[serde(default)]
    pub lost_events: Option<u64>,
}

/// What alarms do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmStatus {
    /// Alarms that last, as of the last evaluation.
    pub lasting: u64,
    /// Notices in the outbox, as of the last evaluation.
    pub waiting_notices: u64,
    /// What came of notices since the agent's start, by result.
    pub notices: BTreeMap<String, u64>,
}

/// A peer without a tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangerStatus {
    /// Its address.
    pub peer: Ipv4Addr,
    /// Its last failure.
    pub failure: FailureStatus,
}

/// The XDP program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpStatus {
    /// `native` when it is so on every interface that is there, else `generic`; `none` when there is no interface.
    pub mode: String,
    /// Every configured interface.
    pub interfaces: Vec<InterfaceStatus>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// `public`, `vpc` or `slow_path`.
    pub role: String,
    /// `native` or `generic`; empty while it is missing.
    pub mode: String,
    /// Whether it exists.
    pub present: bool,
    /// Packets by verdict of the XDP program.
    pub verdicts: BTreeMap<String, u64>,
}

/// A VPN gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its VPC.
    pub vpc: String,
    /// Its public address.
    pub address: Option<Ipv4Addr>,
    /// Bandwidth setting in octets per second and direction; absent without a limit.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// Packets above the bandwidth setting by direction.
    pub limited_packets: BTreeMap<String, u64>,
    /// Its high defense package.
    #[serde(default)]
    pub defense: Option<DefenseStatus>,
    /// Its purchase period; absent for a gateway of the file.
    #[serde(default)]
    pub lease: Option<LeaseStatus>,
}

/// The purchase period of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// `unlimited`, `running`, `expiring`, `isolated` or `over`.
    pub state: String,
    /// When it ends, in seconds since 1970; absent when it does not.
    pub expires: Option<u64>,
}

/// The high defense package of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefenseStatus {
    /// Its id.
    pub id: String,
    /// Whether the gateway is attacked.
    pub state: DefenseState,
    /// Packets that the shield dropped, by verdict; zeros are left out.
    pub dropped_packets: BTreeMap<String, u64>,
}

/// State of a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelState {
    /// At least one pair of SAs carries traffic.
    Up,
    /// A negotiation runs.
    Negotiating,
    /// Nothing is negotiated, and traffic (or the peer) may start it.
    #[default]
    Down,
    /// The operator took it down.
    Disabled,
}

impl TunnelState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Up, Self::Negotiating, Self::Down, Self::Disabled];

    /// The name in JSON, metrics and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Negotiating => "negotiating",
            Self::Down => "down",
            Self::Disabled => "disabled",
        }
    }
}

/// A tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelStatus {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Our end.
    pub gateway: String,
    /// The peer's end.
    pub customer_gateway: String,
    /// State of the whole.
    pub state: TunnelState,
    /// Seconds since the state changed.
    pub state_seconds: u64,
    /// `traffic`, `always` or `answer`.
    pub start: String,
    /// Our address.
    pub local: Option<Ipv4Addr>,
    /// The peer's address.
    pub peer: Option<Ipv4Addr>,
    /// `ikev1`, `ikev2` or `any`, as configured.
    pub version: String,
    /// Phase 1 exchange of IKEv1, as configured: `main` or `aggressive`.
    pub mode: String,
    /// Dead peer detection; absent when it is off.
    pub dpd: Option<DpdStatus>,
    /// Whether ESP travels in UDP.
    pub nat: bool,
    /// The IKE SA, if there is one.
    pub ike: Option<IkeSaStatus>,
    /// Pairs of SAs.
    pub children: Vec<ChildStatus>,
    /// How many pairs of ranges the tunnel has: as many Child SAs when all are up.
    pub pairs: usize,
    /// Packets opened, over all SAs that the tunnel ever had.
    pub packets_in: u64,
    /// Octets of these packets, inner headers included.
    pub bytes_in: u64,
    /// Packets sealed.
    pub packets_out: u64,
    /// Octets of these packets, inner headers included.
    pub bytes_out: u64,
    /// Dropped packets by reason, both directions together.
    pub dropped: BTreeMap<String, u64>,
    /// The share of `dropped` that came from the VPC.
    pub dropped_out: BTreeMap<String, u64>,
    /// Why each weak choice of the configuration is weak.
    pub weak: Vec<String>,
    /// How many choices are weak, by reason.
    pub weak_reasons: BTreeMap<String, u64>,
    /// Last failure.
    pub last_failure: Option<FailureStatus>,
    /// How often negotiations failed, by code.
    pub failures: BTreeMap<String, u64>,
    /// The last failure of each code, the last one first.
    pub diagnoses: Vec<FailureStatus>,
    /// TCP SYNs whose MSS was lowered to what the tunnel carries.
    pub mss_clamped: u64,
    /// ICMP "fragmentation needed" sent to the VPC.
    pub icmp_too_big_sent: u64,
    /// ICMP "time exceeded" sent to the VPC.
    pub icmp_time_exceeded_sent: u64,
    /// Packets fragmented before sealing.
    pub fragmented: u64,
    /// Octets of the longest inner packet, as last sealed; `None` before the first.
    pub mtu: Option<u32>,
    /// The probe; absent when the tunnel is not probed.
    pub probe: Option<ProbeStatus>,
    /// Finished negotiations by exchange (`ike`, `child`) and whether they were rekeys.
    pub negotiations: NegotiationCounts,
    /// The timeline, oldest first. Only in the status of one tunnel; empty in that of all.
    pub events: Vec<EventStatus>,
}

/// The probe of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeStatus {
    /// Where echoes come from.
    pub local: Option<Ipv4Addr>,
    /// Who answers.
    pub remote: Option<Ipv4Addr>,
    /// What the last ones say.
    pub health: Health,
    /// Seconds since that changed.
    pub health_seconds: u64,
    /// Echoes sent.
    pub sent: u64,
    /// Echoes that were not answered in time.
    pub lost: u64,
    /// Echoes that were.
    pub answered: u64,
    /// What the last answer took.
    pub last_rtt_microseconds: Option<u64>,
    /// What answers took.
    pub rtt: Durations,
}

/// Successful negotiations since the start of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegotiationCounts {
    /// IKE SAs, first ones and rekeys.
    pub ike: u64,
    /// Those of `ike` that replaced another.
    pub ike_rekeys: u64,
    /// Child SAs, first ones and rekeys.
    pub child: u64,
    /// Those of `child` that replaced another.
    pub child_rekeys: u64,
}

/// Dead peer detection of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DpdStatus {
    /// Idle time before the peer is probed.
    pub interval_seconds: u64,
    /// `clear`, `restart` or `hold`.
    pub action: String,
}

/// An IKE SA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IkeSaStatus {
    /// `ikev1` or `ikev2`.
    pub version: String,
    /// Whether there is a NAT in between, or ESP shall travel in UDP anyway.
    pub nat: bool,
    /// Seconds since the peer last proved to be there.
    pub idle_seconds: u64,
    /// Whether we initiated it.
    pub initiator: bool,
    /// `aes-128/sha1/group14`.
    pub algorithms: String,
    /// The initiator's and the responder's SPI.
    pub spis: (String, String),
    /// Seconds since it was established.
    pub established_seconds: u64,
    /// Seconds until it is rekeyed.
    pub rekey_in_seconds: u64,
    /// Seconds until its lifetime ends.
    pub expires_in_seconds: u64,
    /// IKEv1: octets of IKE messages so far, where there is a limit of them.
    pub octets: Option<u64>,
    /// That limit.
    pub octet_limit: Option<u64>,
}

/// A pair of SAs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildStatus {
    /// Range on our side.
    pub local: String,
    /// Range on the peer's side.
    pub peer: String,
    /// SPI of packets from the peer.
    pub spi_in: String,
    /// SPI of packets to the peer.
    pub spi_out: String,
    /// `aes-128/sha1`.
    pub algorithms: String,
    /// `esp` or `udp`.
    pub encapsulation: String,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// Whether packets to the peer use it; an older one only receives.
    pub current: bool,
    /// How many pairs of ranges use it for packets to the peer.
    pub serves: usize,
    /// Seconds until it is rekeyed.
    pub rekey_in_seconds: u64,
    /// Seconds until its lifetime ends.
    pub expires_in_seconds: u64,
    /// Packets opened.
    pub packets_in: u64,
    /// Octets of these packets.
    pub bytes_in: u64,
    /// Packets sealed.
    pub packets_out: u64,
    /// Octets of these packets.
    pub bytes_out: u64,
}

/// A failure with its diagnosis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureStatus {
    /// Stable code.
    pub code: String,
    /// What we have.
    pub local: String,
    /// What the peer sent.
    pub peer: String,
    /// What to change.
    pub advice: String,
    /// When.
    pub seconds_ago: u64,
    /// When it was first seen.
    pub first_seconds_ago: u64,
    /// How often.
    pub count: u64,
}

/// A line of a tunnel's timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStatus {
    /// When.
    pub seconds_ago: u64,
    /// What.
    pub text: String,
    /// How often in a row.
    #[serde(default = "once")]
    pub times: u32,
}

const fn once() -> u32 {
    1
}

/// A worker of the data plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its RX queue.
    pub queue: u32,
    /// Whether its thread runs.
    pub alive: bool,
    /// Numbers of the worker by name.
    pub counters: BTreeMap<String, u64>,
}

/// Bounds of the buckets of [`Durations`] in milliseconds.
pub const DURATION_BOUNDS: [u64; 12] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 15_000, 60_000];

/// How long something took, in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// How many took at most the bound of the bucket and more than the one before.
    pub buckets: [u64; DURATION_BOUNDS.len()],
    /// How many there were in all.
    pub count: u64,
    /// What they took together.
    pub sum_milliseconds: u64,
}

impl Durations {
    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS.partition_point(|&bound| bound < milliseconds);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum_milliseconds = self.sum_milliseconds.saturating_add(milliseconds);
    }
}

/// The IKE engine and its sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IkeStatus {
    /// Negotiations of an IKE SA that are not finished.
    pub half_open: u64,
    /// Messages sent again.
    pub retransmits: u64,
    /// Datagrams that did not parse or belonged to nothing.
    pub dropped_datagrams: u64,
    /// Unprotected messages that name an SA in use as unknown to the peer.
    pub invalid_spi_hints: u64,
    /// Failures with peers for which no tunnel is configured.
    pub unknown_peers: u64,
    /// Datagrams that the kernel did not take.
    pub send_errors: u64,
    /// Key exchanges that wait for a thread.
    pub queued_jobs: u64,
    /// Failures of all tunnels and strangers, by code. All codes are there.
    pub failures: BTreeMap<String, u64>,
    /// From the first message of an IKE SA until it was established, of those that replaced none.
    pub ike_durations: Durations,
    /// The same of those that replaced another.
    pub ike_rekey_durations: Durations,
    /// From the first sign of a negotiation until a tunnel carried traffic.
    pub setup_durations: Durations,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Counts configurations put into effect, the one at the start included.
    pub generation: u64,
    /// Reloads that were put into effect.
    pub reloads: u64,
    /// Reloads that were refused.
    pub refused_reloads: u64,
    /// What was wrong with the last refused reload; empty after a good one.
    pub last_refusal: String,
}
