//! The helper veth pair: what a worker sends on one end comes out on the other, where the kernel routes it.

use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteProtocol, RouteScope};
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{NetError, ethtool};

/// The kernel's end: packets from the workers arrive here, the host's own traffic to peer ranges leaves here.
pub const SLOW_PATH_KERNEL: &str = "gwslow0";
/// The workers' end: an interface of the data plane like any other.
pub const SLOW_PATH_DATAPLANE: &str = "gwslow1";
/// Prefix length of an address alone.
const HOST_PREFIX: u8 = 32;
/// Marks the routes that the gateway made (`ip route show proto 87`), so that leftovers can be found.
const ROUTE_PROTOCOL: u8 = 87;

/// The helper veth pair and the routes through it.
#[derive(Debug, Clone)]
pub struct SlowPath {
    handle: Handle,
    kernel_ifindex: u32,
}

impl SlowPath {
    /// Makes the pair with `queues` queues, or takes over the one of a former process, and removes leftover routes.
    ///
    /// # Errors
    /// The kernel's refusal, usually a missing CAP_NET_ADMIN.
    pub async fn create(handle: Handle, queues: u32) -> Result<Self, NetError> {
        let (kernel_ifindex, dataplane_ifindex) = match pair(&handle).await {
            Some(existing) => existing,
            None => {
                make_pair(&handle, queues).await?;
                pair(&handle)
                    .await
                    .ok_or_else(|| NetError::Missing(SLOW_PATH_KERNEL.to_owned()))?
            }
        };
        // Without ARP: a route through the pair needs no neighbour, and the far end takes every frame.
        for (ifindex, name) in [
            (kernel_ifindex, SLOW_PATH_KERNEL),
            (dataplane_ifindex, SLOW_PATH_DATAPLANE),
        ] {
            let up = LinkUnspec::new_with_index(ifindex).arp(false).up().build();
            handle
                .link()
                .set(up)
                .execute()
                .await
                .map_err(|source| NetError::Netlink {
                    what: format!("cannot set {name} up"),
                    source,
                })?;
            ethtool::disable_tx_checksum(name).map_err(|source| NetError::Offload {
                interface: name.to_owned(),
                source,
            })?;
        }
        // Packets from the workers come with the gateway's own address (ESP) or with a peer's inner address as their source.
        for (key, value) in [
            ("forwarding", "1"),
            ("rp_filter", "0"),
            ("accept_local", "1"),
            ("send_redirects", "0"),
        ] {
            set_sysctl(key, value)?;
        }
        let slow_path = Self {
            handle,
            kernel_ifindex,
        };
        slow_path.remove_leftover_routes().await?;
        slow_path.remove_addresses(None).await?;
        Ok(slow_path)
    }

    /// Removes the pair, and with it the routes through it. Tells whether there was one.
    ///
    /// # Errors
    /// The kernel's refusal, usually a missing CAP_NET_ADMIN.
    pub async fn remove(handle: &Handle) -> Result<bool, NetError> {
        let Some(kernel_ifindex) = ifindex(handle, SLOW_PATH_KERNEL).await else {
            return Ok(false);
        };
        let removed = handle.link().del(kernel_ifindex).execute().await;
        removed.map(|()| true).map_err(|source| NetError::Netlink {
            what: format!("cannot remove {SLOW_PATH_KERNEL}"),
            source,
        })
    }

    /// Index of the kernel's end.
    pub const fn kernel_ifindex(&self) -> u32 {
        self.kernel_ifindex
    }

    /// Makes `address` one of the host's, on the kernel's end.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn add_address(&self, address: Ipv4Addr) -> Result<(), NetError> {
        let request = self
            .handle
            .address()
            .add(self.kernel_ifindex, address.into(), HOST_PREFIX)
            .replace();
        request.execute().await.map_err(|source| NetError::Netlink {
            what: format!("cannot add {address} to {SLOW_PATH_KERNEL}"),
            source,
        })
    }

    /// Takes the address back.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn remove_address(&self, address: Ipv4Addr) -> Result<(), NetError> {
        self.remove_addresses(Some(address)).await
    }

    /// Removes `address`, or all that a former process left.
    async fn remove_addresses(&self, address: Option<Ipv4Addr>) -> Result<(), NetError> {
        let failed = |source| NetError::Netlink {
            what: format!("cannot remove an address of {SLOW_PATH_KERNEL}"),
            source,
        };
        let request = self
            .handle
            .address()
            .get()
            .set_link_index_filter(self.kernel_ifindex);
        let request = match address {
            Some(address) => request.set_address_filter(address.into()),
            None => request,
        };
        let found: Vec<_> = request.execute().try_collect().await.map_err(failed)?;
        let v4 = |message: &AddressMessage| message.header.family == AddressFamily::Inet;
        for message in found.into_iter().filter(v4) {
            self.handle
                .address()
                .del(message)
                .execute()
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Sends the host's own traffic to `prefix` into the data plane, from `source` where it is given.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn add_route(&self, prefix: Ipv4Net, source: Option<Ipv4Addr>) -> Result<(), NetError> {
        let message = self.route(prefix, source);
        self.handle
            .route()
            .add(message)
            .replace()
            .execute()
            .await
            .map_err(|source| NetError::Netlink {
                what: format!("cannot add the route to {prefix} through {SLOW_PATH_KERNEL}"),
                source,
            })
    }

    /// Takes the route back.
    ///
    /// # Errors
    /// The kernel's refusal; a route that is not there is one.
    pub async fn remove_route(&self, prefix: Ipv4Net) -> Result<(), NetError> {
        let message = self.route(prefix, None);
        self.handle
            .route()
            .del(message)
            .execute()
            .await
            .map_err(|source| NetError::Netlink {
                what: format!("cannot remove the route to {prefix} through {SLOW_PATH_KERNEL}"),
                source,
            })
    }

    fn route(&self, prefix: Ipv4Net, source: Option<Ipv4Addr>) -> netlink_packet_route::route::RouteMessage {
        let builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(prefix.network(), prefix.prefix_len())
            .output_interface(self.kernel_ifindex)
            .scope(RouteScope::Link)
            .protocol(RouteProtocol::from(ROUTE_PROTOCOL));
        match source {
            Some(source) => builder.pref_source(source).build(),
            None => builder.build(),
        }
    }

    async fn remove_leftover_routes(&self) -> Result<(), NetError> {
        let failed = |source| NetError::Netlink {
            what: "cannot read the routes".to_owned(),
            source,
        };
        let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let mut routes = self.handle.route().get(filter).execute();
        let mut leftovers = Vec::new();
        while let Some(route) = routes.try_next().await.map_err(failed)? {
            if u8::from(route.header.protocol) == ROUTE_PROTOCOL {
                leftovers.push(route);
            }
        }
        for route in leftovers {
            self.handle
                .route()
                .del(route)
                .execute()
                .await
                .map_err(|source| NetError::Netlink {
                    what: "cannot remove a leftover route".to_owned(),
                    source,
                })?;
        }
        Ok(())
    }
}

async fn make_pair(handle: &Handle, queues: u32) -> Result<(), NetError> {
    let queues = [
        LinkAttribute::NumRxQueues(queues.max(1)),
        LinkAttribute::NumTxQueues(queues.max(1)),
    ];
    let with_queues = |builder: LinkMessageBuilder<LinkUnspec>| {
        queues
            .iter()
            .cloned()
            .fold(builder, LinkMessageBuilder::append_extra_attribute)
    };
    let far_end = with_queues(LinkUnspec::new_with_name(SLOW_PATH_DATAPLANE)).build();
    let near_end = queues
        .iter()
        .cloned()
        .fold(
            LinkVeth::new(SLOW_PATH_KERNEL, SLOW_PATH_DATAPLANE),
            LinkMessageBuilder::append_extra_attribute,
        )
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)));
    handle
        .link()
        .add(near_end.build())
        .execute()
        .await
        .map_err(|source| NetError::Netlink {
            what: format!("cannot make the veth pair {SLOW_PATH_KERNEL} and {SLOW_PATH_DATAPLANE}"),
            source,
        })
}

/// Interface numbers of the kernel's and the workers' end, when the pair exists.
async fn pair(handle: &Handle) -> Option<(u32, u32)> {
    Some((
        ifindex(handle, SLOW_PATH_KERNEL).await?,
        ifindex(handle, SLOW_PATH_DATAPLANE).await?,
    ))
}

async fn ifindex(handle: &Handle, name: &str) -> Option<u32> {
    let mut links = handle.link().get().match_name(name).execute();
    links
        .try_next()
        .await
        .ok()
        .flatten()
        .map(|link| link.header.index)
}

fn set_sysctl(key: &str, value: &str) -> Result<(), NetError> {
    let path = format!("/proc/sys/net/ipv4/conf/{SLOW_PATH_KERNEL}/{key}");
    std::fs::write(&path, value).map_err(|source| NetError::Sysctl { path, source })
}
