//! What the control loop writes to: the maps of the XDP program and the tables of the workers, behind one trait.
//!
//! The trait is the seam at which tests watch the order of installation (ARCHITECTURE.md, invariant 5).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use gateway_common::abi::{LimiterConfig, SaKey, SaValue};

use super::slots::Slot;
use crate::config::Id;
use crate::dataplane::{Message, SaCounters, TunnelCounters};
use crate::xdp::{SpdSpace, XdpError};

/// Maps and tables. Only the control loop has one.
pub(super) trait Fabric {
    /// Hands a message to the workers.
    fn message(&mut self, message: Message);
    /// Hands a worker an inner packet of our own, for the policy that covers it. `false`: nobody took it.
    fn send_inner(&self, policy: Slot, packet: Vec<u8>) -> bool;
    /// What an inbound and an outbound SA carried.
    fn sa_counters(&self, inbound: u32, outbound: u32) -> (SaCounters, SaCounters);
    /// What happened to packets of a tunnel, and of former tunnels with its number.
    fn tunnel_counters(&self, number: u32) -> TunnelCounters;
    /// Adds an inbound SA to the map.
    fn put_sa(&mut self, key: SaKey, value: SaValue) -> Result<(), XdpError>;
    /// Removes an inbound SA from the map.
    fn remove_sa(&mut self, key: &SaKey) -> Result<(), XdpError>;
    /// Makes `to` of `from` in the slot of both, which nothing uses; after an error nothing is in the slot.
    fn change_space(&mut self, from: &SpdSpace, to: &SpdSpace) -> Result<(), XdpError>;
    /// Makes the interfaces use these spaces.
    fn use_spaces(&mut self, spaces: SpaceNumbers) -> Result<(), XdpError>;
    /// Makes an address one of ours.
    fn put_local_addr(&mut self, address: Ipv4Addr, gateway: u32) -> Result<(), XdpError>;
    /// Takes an address back.
    fn remove_local_addr(&mut self, address: Ipv4Addr) -> Result<(), XdpError>;
    /// Sets a limiter.
    fn set_limiter(&mut self, number: u32, config: LimiterConfig) -> Result<(), XdpError>;
}

/// The spaces in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SpaceNumbers {
    /// Of each VPC, for its interface. A VPC without tunnels has none.
    pub(super) vpcs: BTreeMap<Id, u32>,
    /// Of all VPCs together, for the public interfaces and the slow path; 0: no policy at all.
    pub(super) union: u32,
}
