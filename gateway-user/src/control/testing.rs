//! Configurations and a recording fabric for the tests of the control loop.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use gateway_common::abi::{LimiterConfig, SaKey, SaValue};

use super::fabric::{Fabric, SpaceNumbers};
use super::slots::Slot;
use crate::config::{self, Config};
use crate::dataplane::{Message, SaCounters, TunnelCounters};
use crate::xdp::{SpdSpace, XdpError};

/// A tunnel by id with its pairs of ranges.
pub(super) type TunnelText<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// A configuration with one VPC, one gateway and these tunnels.
pub(super) fn text(tunnels: &[TunnelText<'_>]) -> String {
    let mut text = String::from(
        "[[interface]]\nname = \"eth0\"\nrole = \"public\"\n[[interface]]\nname = \"eth1\"\nrole = \"vpc\"\n\
         [[vpc]]\nid = \"vpc\"\ncidr = \"10.0.0.0/16\"\ninterface = \"eth1\"\n\
         [[gateway]]\nid = \"gw\"\nvpc = \"vpc\"\naddress = \"203.0.113.1\"\nbandwidth_mbps = 100\n",
    );
    for (number, (id, rules)) in tunnels.iter().enumerate() {
        write!(
            text,
            "[[customer_gateway]]\nid = \"c-{id}\"\naddress = \"198.51.100.{}\"\n\
             [[tunnel]]\nid = \"{id}\"\ngateway = \"gw\"\ncustomer_gateway = \"c-{id}\"\npsk = \"x\"\n",
            number + 1
        )
        .unwrap();
        for (local, peer) in *rules {
            write!(text, "[[tunnel.spd]]\nlocal = \"{local}\"\npeer = [\"{peer}\"]\n").unwrap();
        }
    }
    text
}

#[track_caller]
pub(super) fn parse(text: &str) -> Arc<Config> {
    Arc::new(config::parse(text, Path::new("test.toml")).unwrap_or_else(|refused| panic!("{refused}")))
}

#[track_caller]
pub(super) fn config(tunnels: &[TunnelText<'_>]) -> Arc<Config> {
    parse(&text(tunnels))
}

/// Writes down what it is asked for, in words.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) calls: Vec<String>,
    /// What every SA claims to have carried.
    pub(super) carried: SaCounters,
    /// How many entries a space may have.
    pub(super) space_limit: Option<usize>,
    /// Inner packets with their policies.
    pub(super) inner: std::cell::RefCell<Vec<(u32, Vec<u8>)>>,
}

impl Recorder {
    /// The calls since the last time.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.calls)
    }

    fn record(&mut self, call: String) {
        self.calls.push(call);
    }
}

impl Fabric for Recorder {
    fn message(&mut self, message: Message) {
        self.record(match message {
            Message::InstallPolicy { index, tunnel, .. } => {
                format!("install policy {index} of tunnel {tunnel}")
            }
            Message::RemovePolicy { index } => format!("remove policy {index}"),
            Message::ExpectInbound { index, .. } => format!("expect inbound {index}"),
            Message::InstallInbound { index, .. } => format!("install inbound {index}"),
            Message::RemoveInbound { index } => format!("remove inbound {index}"),
            Message::InstallOutbound { index, .. } => format!("install outbound {index}"),
            Message::MoveOutbound { index, peer_port } => {
                format!("move outbound {index} to port {peer_port}")
            }
            Message::RaiseSequence { index, by } => format!("raise sequence of outbound {index} by {by}"),
            Message::RemoveOutbound { index } => format!("remove outbound {index}"),
            Message::Switch {
                policy,
                outbound: Some(sa),
            } => format!("switch policy {policy} to {sa}"),
            Message::Switch {
                policy,
                outbound: None,
            } => format!("switch policy {policy} off"),
            Message::Probe { tunnel, answers } => {
                format!("answers to probes of tunnel {tunnel}: {answers:?}")
            }
        });
    }

    fn send_inner(&self, policy: Slot, packet: Vec<u8>) -> bool {
        self.inner.borrow_mut().push((policy.index, packet));
        true
    }

    fn sa_counters(&self, _inbound: u32, _outbound: u32) -> (SaCounters, SaCounters) {
        (self.carried, self.carried)
    }

    fn tunnel_counters(&self, _number: u32) -> TunnelCounters {
        TunnelCounters::default()
    }

    fn put_sa(&mut self, key: SaKey, value: SaValue) -> Result<(), XdpError> {
        self.record(format!(
            "map {:08x} to inbound {}",
            u32::from_be_bytes(key.spi),
            value.sa
        ));
        Ok(())
    }

    fn remove_sa(&mut self, key: &SaKey) -> Result<(), XdpError> {
        self.record(format!("unmap {:08x}", u32::from_be_bytes(key.spi)));
        Ok(())
    }

    fn change_space(&mut self, from: &SpdSpace, to: &SpdSpace) -> Result<(), XdpError> {
        if self.space_limit.is_some_and(|limit| to.pairs.len() > limit) {
            return Err(XdpError::MapFull { map: "POLICIES" });
        }
        let (from, to) = (from.pairs.len(), to);
        self.record(format!("space {} from {from} to {} pairs", to.id, to.pairs.len()));
        Ok(())
    }

    fn use_spaces(&mut self, spaces: SpaceNumbers) -> Result<(), XdpError> {
        let vpcs: Vec<_> = spaces.vpcs.values().collect();
        self.record(format!("use spaces {vpcs:?} and {}", spaces.union));
        Ok(())
    }

    fn put_local_addr(&mut self, address: Ipv4Addr, _gateway: u32) -> Result<(), XdpError> {
        self.record(format!("own address {address}"));
        Ok(())
    }

    fn remove_local_addr(&mut self, address: Ipv4Addr) -> Result<(), XdpError> {
        self.record(format!("disown address {address}"));
        Ok(())
    }

    fn set_limiter(&mut self, number: u32, config: LimiterConfig) -> Result<(), XdpError> {
        self.record(format!("limit {number} to {}", config.rate));
        Ok(())
    }
}
