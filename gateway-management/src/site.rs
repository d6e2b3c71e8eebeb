//! What the machine's file says about the place that is managed.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::{Error, Kind};
use crate::price::PriceBook;

/// Everything that objects are made from and that is no object of the store.
#[derive(Clone, Debug)]
pub struct Site {
    /// Region in the API's words: `gz` or `ap-guangzhou`.
    pub region: String,
    /// VPCs.
    pub vpcs: Vec<Vpc>,
    /// Pool of public addresses for VPN gateways.
    pub public_addresses: Vec<Ipv4Addr>,
    /// How many of each there may be.
    pub quotas: Quotas,
    /// Prices.
    pub prices: PriceBook,
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its range.
    pub cidr: Ipv4Net,
}

/// How many of each there may be (PRODUCT.md C3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// VPN gateways per VPC.
    pub gateways_per_vpc: usize,
    /// Customer gateways.
    pub customer_gateways: usize,
    /// Tunnels per customer gateway.
    pub tunnels_per_customer_gateway: usize,
    /// Tunnels per VPN gateway.
    pub tunnels_per_gateway: usize,
    /// SPD rules per tunnel.
    pub rules_per_tunnel: usize,
    /// Peer ranges per SPD rule.
    pub peer_ranges_per_rule: usize,
    /// Routes per VPN gateway.
    pub routes_per_gateway: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            gateways_per_vpc: 10,
            customer_gateways: 20,
            tunnels_per_customer_gateway: 10,
            tunnels_per_gateway: 20,
            rules_per_tunnel: 10,
            peer_ranges_per_rule: 50,
            routes_per_gateway: 100,
        }
    }
}

impl Site {
    /// The VPC with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn vpc(&self, id: &str) -> Result<&Vpc, Error> {
        let found = self.vpcs.iter().find(|vpc| vpc.id == id);
        found.ok_or_else(|| Error::not_found(Kind::Vpc, id))
    }
}
