//! The real [`Fabric`]: the XDP program with its maps, and the workers.

mod shields;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use gateway_common::Spi;
use gateway_common::abi::{
    IFACE_ROLE_NONE, IFACE_ROLE_PUBLIC, IFACE_ROLE_VPC, IfaceValue, LimiterConfig, PathKey, SaKey, SaValue,
    Verdict, v4_mapped,
};

use super::fabric::{Fabric, SpaceNumbers};
use super::slots::Slot;
use zeroize::Zeroizing;

use crate::config::{Config, Id, Role};
use crate::dataplane::{
    Capacity, Counters, Dataplane, DataplaneConfig, DataplaneError, EventSink, Injected, InjectedEsp,
    InjectedInner, InterfaceConfig, Message, SaCounters, TunnelCounters,
};
use crate::ike_io::EspPacket;
use crate::net::{Link, NetSnapshot, RouteTable, SLOW_PATH_DATAPLANE};
use crate::status::DefenseStatus;
use crate::xdp::{AttachedMode, SpdSpace, XdpError, XdpMode, XdpProgram};

use shields::Shields;

/// Slots of `XSKS` for each interface: as many RX queues can be served.
const QUEUES_PER_INTERFACE: u32 = 64;

/// Program, maps and workers.
pub(super) struct Kernel {
    xdp: XdpProgram,
    mode: XdpMode,
    dataplane: Option<Dataplane>,
    /// By name. Those that are missing at the moment included: their slots keep their counters.
    interfaces: BTreeMap<String, Interface>,
    spaces: SpaceNumbers,
    shields: Shields,
    default_deny: bool,
    /// The workers are not what the interfaces need, or one has ended.
    failed: bool,
    /// Inbound SAs as they are in the map: packets that come to the sockets are looked up here.
    sas: HashMap<SaKey, (u32, u32)>,
    /// Seed of the seeds of every start of the workers.
    seed: Zeroizing<[u8; 32]>,
    starts: u64,
}

/// An interface that packets come in on.
#[derive(Debug)]
struct Interface {
    facing: Facing,
    slot: u32,
    /// As the data plane uses it; `None` while it is missing.
    link: Option<Link>,
    attached: Option<AttachedMode>,
}

/// What an interface faces, with what it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Facing {
    Public,
    Vpc(Option<Id>),
    SlowPath,
    /// The configuration does not name it: everything passes.
    Nothing,
}

/// An interface for status.
#[derive(Debug)]
pub(super) struct InterfaceReport {
    pub(super) name: String,
    pub(super) role: &'static str,
    pub(super) attached: Option<AttachedMode>,
    pub(super) present: bool,
    pub(super) verdicts: [u64; Verdict::COUNT as usize],
}

/// What the data plane needs beside the interfaces.
#[derive(Clone)]
pub(super) struct DataplaneSettings {
    pub(super) umem_frames: u32,
    pub(super) frame_size: u32,
    pub(super) capacity: Capacity,
    pub(super) events: Arc<EventSink>,
}

/// Why a packet of a socket did not reach a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotInjected {
    UnknownSpi,
    Overflow,
}

/// Why the interfaces could not be brought into the data plane.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    #[error(transparent)]
    Xdp(#[from] XdpError),
}

impl Kernel {
    /// `seed` is uniformly random and used once.
    pub(super) fn new(xdp: XdpProgram, mode: XdpMode, seed: [u8; 32]) -> Self {
        let slow_path = Interface {
            facing: Facing::SlowPath,
            slot: 0,
            link: None,
            attached: None,
        };
        Self {
            xdp,
            mode,
            dataplane: None,
            interfaces: BTreeMap::from([(SLOW_PATH_DATAPLANE.to_owned(), slow_path)]),
            spaces: SpaceNumbers::default(),
            shields: Shields::default(),
            default_deny: false,
            failed: false,
            sas: HashMap::new(),
            seed: Zeroizing::new(seed),
            starts: 0,
        }
    }

    /// Takes the interfaces and switches of a configuration. [`Self::follow`] then acts on them.
    pub(super) fn configure(&mut self, config: &Config) -> Result<(), XdpError> {
        self.default_deny = config.dataplane.default_deny;
        let rate = u64::from(config.dataplane.ike_rate_per_source);
        self.xdp.set_ike_limit(LimiterConfig { rate, burst: rate })?;
        for (_, interface) in self
            .interfaces
            .iter_mut()
            .filter(|(name, _)| *name != SLOW_PATH_DATAPLANE)
        {
            interface.facing = Facing::Nothing;
        }
        for (interface, vpc) in config.interface_vpcs() {
            let facing = match interface.role {
                Role::Public => Facing::Public,
                Role::Vpc => Facing::Vpc(vpc.map(|vpc| vpc.id.clone())),
            };
            let next = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
            let fresh = || Interface {
                facing: facing.clone(),
                slot: next,
                link: None,
                attached: None,
            };
            self.interfaces
                .entry(interface.name.clone())
                .or_insert_with(fresh)
                .facing = facing.clone();
        }
        self.write_ifaces()?;
        self.shields.configure(&mut self.xdp, config)
    }

    /// Whether the machine's interfaces differ from those in use.
    pub(super) fn is_outdated(&self, net: &NetSnapshot) -> bool {
        self.interfaces.iter().any(|(name, interface)| {
            let there = usable(net, name);
            let key = |link: &Link| (link.ifindex, link.mac, link.mtu, link.queues);
            there.map(key) != interface.link.as_ref().map(key)
        })
    }

    /// Starts workers with sockets on the interfaces that are there. The program is not attached yet.
    pub(super) fn prepare(
        &mut self,
        net: &NetSnapshot,
        settings: &DataplaneSettings,
    ) -> Result<(), DataplaneError> {
        self.start_workers(net, settings)
    }

    /// Uses the interfaces that are there: workers with sockets on them, maps that know them, and the program attached, in this
    /// order. Traffic stops for a moment when interfaces changed; SAs stay.
    pub(super) fn follow(
        &mut self,
        net: &NetSnapshot,
        settings: &DataplaneSettings,
    ) -> Result<(), AttachError> {
        if self.is_outdated(net) || self.failed {
            self.start_workers(net, settings)?;
        }
        for (slot, socket) in self.dataplane.iter().flat_map(Dataplane::xsks) {
            self.xdp.set_xsk(slot, socket)?;
        }
        self.set_routes(&net.routes);
        self.write_ifaces()?;
        let mut first_error = None;
        for (name, interface) in &mut self.interfaces {
            let Some(link) = &interface.link else { continue };
            match self.xdp.attach(name, link.ifindex, self.mode) {
                Ok(mode) => interface.attached = Some(mode),
                Err(error) => {
                    interface.attached = None;
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    fn start_workers(
        &mut self,
        net: &NetSnapshot,
        settings: &DataplaneSettings,
    ) -> Result<(), DataplaneError> {
        for (name, interface) in &mut self.interfaces {
            interface.link = usable(net, name).cloned();
            interface.attached = interface.attached.filter(|_| interface.link.is_some());
        }
        self.failed = true;
        let config = |(name, interface): (&String, &Interface)| {
            let link = interface.link.as_ref()?;
            Some(InterfaceConfig {
                name: name.clone(),
                ifindex: link.ifindex,
                mac: link.mac,
                mtu: link.mtu,
                queues: link.queues.min(QUEUES_PER_INTERFACE),
                slot: interface.slot,
                xsk_base: interface.slot * QUEUES_PER_INTERFACE,
            })
        };
        let interfaces: Vec<_> = self.interfaces.iter().filter_map(config).collect();
        let slow_path = interfaces
            .iter()
            .position(|interface| interface.name == SLOW_PATH_DATAPLANE);
        let config = DataplaneConfig {
            interfaces,
            umem_frames: settings.umem_frames,
            frame_size: settings.frame_size,
            slow_path,
            seed: self.seed(),
            capacity: settings.capacity,
            events: Arc::clone(&settings.events),
        };
        match &mut self.dataplane {
            // Kept even when it fails: the tables and the SAs in them serve the next attempt.
            Some(dataplane) => dataplane.restart(&config)?,
            none => *none = Some(Dataplane::start(config)?),
        }
        self.failed = false;
        Ok(())
    }

    /// A seed that no start of the workers had before.
    fn seed(&mut self) -> [u8; 32] {
        self.starts += 1;
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &*self.seed);
        let tag = ring::hmac::sign(&key, &self.starts.to_be_bytes());
        let mut seed = [0; 32];
        seed.copy_from_slice(tag.as_ref());
        seed
    }

    /// A worker ended: the next [`Self::follow`] starts all of them again.
    pub(super) const fn worker_failed(&mut self) {
        self.failed = true;
    }

    /// Tells the program what every present interface is.
    fn write_ifaces(&mut self) -> Result<(), XdpError> {
        for interface in self.interfaces.values() {
            let Some(link) = &interface.link else { continue };
            let (role, space, default_deny) = match &interface.facing {
                Facing::Public => (IFACE_ROLE_PUBLIC, self.spaces.union, false),
                Facing::Vpc(vpc) => {
                    let space = vpc.as_ref().and_then(|vpc| self.spaces.vpcs.get(vpc)).copied();
                    (IFACE_ROLE_VPC, space.unwrap_or(0), self.default_deny)
                }
                Facing::Nothing => (IFACE_ROLE_NONE, 0, false),
                // What the kernel routes into the slow path and no rule covers would come back and go round for ever.
                Facing::SlowPath => (IFACE_ROLE_VPC, self.spaces.union, true),
            };
            let value = IfaceValue {
                role,
                space,
                xsk_base: interface.slot * QUEUES_PER_INTERFACE,
                slot: interface.slot,
                default_deny: u32::from(default_deny),
                queues: link.queues.min(QUEUES_PER_INTERFACE),
            };
            self.xdp.set_iface(link.ifindex, value)?;
        }
        Ok(())
    }

    pub(super) fn set_routes(&self, routes: &Arc<RouteTable>) {
        if let Some(dataplane) = &self.dataplane {
            dataplane.set_routes(Arc::clone(routes));
        }
    }

    /// Hands the workers an ESP packet that came to a socket.
    pub(super) fn inject(&self, packet: EspPacket) -> Result<(), NotInjected> {
        let key = SaKey {
            addr: v4_mapped(packet.local.octets()),
            spi: packet.spi.to_be_bytes(),
        };
        let &(index, generation) = self.sas.get(&key).ok_or(NotInjected::UnknownSpi)?;
        let injected = Injected::Esp(InjectedEsp {
            index,
            generation,
            peer: packet.peer,
            local: packet.local,
            tos: packet.tos,
            esp: packet.octets,
        });
        let taken = self
            .dataplane
            .as_ref()
            .is_some_and(|dataplane| dataplane.inject(injected));
        if taken { Ok(()) } else { Err(NotInjected::Overflow) }
    }

    pub(super) fn drain_logs(&mut self) {
        self.xdp.drain_logs();
    }

    pub(super) fn counters(&self) -> Counters {
        self.dataplane
            .as_ref()
            .map(Dataplane::counters)
            .unwrap_or_default()
    }

    pub(super) fn limiter_drops(&self, limiter: u32) -> u64 {
        self.xdp.limiter_drops(limiter)
    }

    /// Looks at what the shields dropped since the last look.
    pub(super) fn watch_shields(&mut self, now: Instant) {
        self.shields.watch(&mut self.xdp, now);
    }

    /// Paths, local address first, and SPIs of ESP that no SA opens, since the last time.
    pub(super) fn take_unknown_spis(&mut self) -> Vec<(Ipv4Addr, Ipv4Addr, Spi)> {
        let noted = self.xdp.take_unknown_spis().unwrap_or_else(|error| {
            tracing::debug!(%error, "unknown spis are not looked at");
            Vec::new()
        });
        let read = |(path, spi): (PathKey, [u8; 4])| {
            Some((path.local.into(), path.peer.into(), Spi::from_be_bytes(spi)?))
        };
        noted.into_iter().filter_map(read).collect()
    }

    /// The defense of a gateway; `None` without a package.
    pub(super) fn defense(&self, gateway: &str) -> Option<DefenseStatus> {
        self.shields.status(&self.xdp, gateway)
    }

    pub(super) fn interfaces(&self) -> Vec<InterfaceReport> {
        let report = |(name, interface): (&String, &Interface)| InterfaceReport {
            name: name.clone(),
            role: match interface.facing {
                Facing::Public => "public",
                Facing::Vpc(_) => "vpc",
                Facing::SlowPath => "slow_path",
                Facing::Nothing => "none",
            },
            attached: interface.attached,
            present: interface.link.is_some(),
            verdicts: self.xdp.counters(interface.slot),
        };
        self.interfaces.iter().map(report).collect()
    }
}

fn usable<'a>(net: &'a NetSnapshot, name: &str) -> Option<&'a Link> {
    net.link(name).filter(|link| link.up)
}

impl Fabric for Kernel {
    fn message(&mut self, message: Message) {
        match &self.dataplane {
            Some(dataplane) => dataplane.handle(message),
            None => tracing::warn!("no interface is up: a message to the data plane is lost"),
        }
    }

    fn send_inner(&self, policy: Slot, packet: Vec<u8>) -> bool {
        let inner = InjectedInner {
            policy: policy.index,
            generation: policy.generation,
            packet,
        };
        let taken = |dataplane: &Dataplane| dataplane.inject(Injected::Inner(inner));
        self.dataplane.as_ref().is_some_and(taken)
    }

    fn sa_counters(&self, inbound: u32, outbound: u32) -> (SaCounters, SaCounters) {
        let read = |dataplane: &Dataplane| dataplane.sa_counters(inbound, outbound);
        self.dataplane.as_ref().map(read).unwrap_or_default()
    }

    fn tunnel_counters(&self, number: u32) -> TunnelCounters {
        let read = |dataplane: &Dataplane| dataplane.tunnel_counters(number);
        self.dataplane.as_ref().map(read).unwrap_or_default()
    }

    fn put_sa(&mut self, key: SaKey, value: SaValue) -> Result<(), XdpError> {
        self.sas.insert(key, (value.sa, value.generation));
        self.xdp.put_sa(key, value)
    }

    fn remove_sa(&mut self, key: &SaKey) -> Result<(), XdpError> {
        self.sas.remove(key);
        self.xdp.remove_sa(key)
    }

    fn change_space(&mut self, from: &SpdSpace, to: &SpdSpace) -> Result<(), XdpError> {
        self.xdp.change_space(from, to)
    }

    fn use_spaces(&mut self, spaces: SpaceNumbers) -> Result<(), XdpError> {
        self.spaces = spaces;
        self.write_ifaces()
    }

    fn put_local_addr(&mut self, address: Ipv4Addr, gateway: u32) -> Result<(), XdpError> {
        self.shields.put_address(&mut self.xdp, address, gateway)
    }

    fn remove_local_addr(&mut self, address: Ipv4Addr) -> Result<(), XdpError> {
        self.shields.remove_address(&mut self.xdp, address)
    }

    fn set_limiter(&mut self, number: u32, config: LimiterConfig) -> Result<(), XdpError> {
        self.xdp.set_limiter(number, config)
    }
}
