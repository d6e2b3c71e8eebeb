//! A live copy of the kernel's links, addresses, routes and neighbours.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_connection, new_multicast_connection};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::route_table::{Adjacency, Egress, Neighbour, Route, RouteTable, RouteTarget};
use super::slow_path::{SLOW_PATH_DATAPLANE, SLOW_PATH_KERNEL};
use super::{NetError, ethtool};

/// Changes come in bursts; the copy is read again once after each burst, and no more often than this.
const SETTLE: Duration = Duration::from_millis(50);
/// The fast path uses neighbours without the kernel noticing, so the kernel is asked to probe stale ones this often.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// RT_TABLE_LOCAL of linux/rtnetlink.h.
const TABLE_LOCAL: u32 = 255;
/// RT_TABLE_MAIN.
const TABLE_MAIN: u32 = 254;
/// RT_TABLE_DEFAULT.
const TABLE_DEFAULT: u32 = 253;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; zeros for interfaces without one.
    pub mac: [u8; 6],
    /// Its MTU in octets.
    pub mtu: u32,
    /// RX queues in use.
    pub queues: u32,
    /// Administratively up.
    pub up: bool,
}

/// An IPv4 address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface that has it.
    pub ifindex: u32,
    /// The address.
    pub addr: Ipv4Addr,
}

/// One consistent reading.
#[derive(Debug, Default)]
pub struct NetSnapshot {
    /// All interfaces.
    pub links: Vec<Link>,
    /// All IPv4 addresses.
    pub addresses: Vec<Address>,
    /// Next hops.
    pub routes: Arc<RouteTable>,
}

impl NetSnapshot {
    /// The interface of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

/// Keeps the copy up to date until it is dropped.
#[derive(Debug)]
pub struct NetMirror {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl NetMirror {
    /// Reads everything once and follows the kernel's notifications from then on.
    ///
    /// # Errors
    /// When netlink cannot be opened or the first reading fails.
    pub async fn start() -> Result<(Self, watch::Receiver<Arc<NetSnapshot>>), NetError> {
        let (notifications, _, mut messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Neigh,
        ])
        .map_err(NetError::Socket)?;
        tokio::spawn(notifications);
        // The kernel does not notify the socket that asked for a change, so requests have one of their own.
        let (requests, handle, _) = new_connection().map_err(NetError::Socket)?;
        tokio::spawn(requests);
        let (sender, receiver) = watch::channel(Arc::new(read(&handle).await?));
        let mirror = handle.clone();
        let task = tokio::spawn(async move {
            let mut probe = interval(PROBE_EVERY);
            probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    message = messages.next() => if message.is_none() { return },
                    _ = probe.tick() => {
                        probe_stale(&mirror).await;
                        continue;
                    }
                }
                settle(&mut messages).await;
                match read(&mirror).await {
                    Ok(snapshot) => drop(sender.send_replace(Arc::new(snapshot))),
                    Err(error) => tracing::warn!(error = %error, "cannot read the network configuration"),
                }
            }
        });
        Ok((Self { handle, task }, receiver))
    }

    /// The netlink handle, for the slow path.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for NetMirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes what else arrives within [`SETTLE`] off the queue.
async fn settle<T>(messages: &mut (impl futures_util::Stream<Item = T> + Unpin)) {
    let until = Instant::now() + SETTLE;
    loop {
        tokio::select! {
            () = sleep_until(until) => return,
            message = messages.next() => if message.is_none() { return },
        }
    }
}

async fn read(handle: &Handle) -> Result<NetSnapshot, NetError> {
    let links = read_links(handle).await?;
    let addresses = read_addresses(handle).await?;
    let neighbours = read_neighbours(handle, false).await?;
    let (local, routes) = read_routes(handle, &links).await?;
    let egress = links
        .iter()
        .filter(|link| link.up && link.name != SLOW_PATH_KERNEL && link.name != SLOW_PATH_DATAPLANE)
        .map(|link| Egress {
            ifindex: link.ifindex,
            mac: link.mac,
            mtu: link.mtu,
        })
        .collect();
    let slow_path = slow_path_adjacency(&links);
    let table = RouteTable::new(&local, &routes, &neighbours, egress, slow_path);
    let by_interface = addresses
        .iter()
        .map(|address| (address.ifindex, address.addr))
        .collect();
    let routes = Arc::new(table.with_addresses(by_interface));
    Ok(NetSnapshot {
        links,
        addresses,
        routes,
    })
}

fn slow_path_adjacency(links: &[Link]) -> Option<Adjacency> {
    let end = |name| links.iter().find(|link| link.name == name && link.up);
    let (near, far) = (end(SLOW_PATH_DATAPLANE)?, end(SLOW_PATH_KERNEL)?);
    Some(Adjacency {
        ifindex: near.ifindex,
        source: near.mac,
        destination: far.mac,
        mtu: near.mtu,
    })
}

async fn read_links(handle: &Handle) -> Result<Vec<Link>, NetError> {
    let mut links = Vec::new();
    let mut stream = handle.link().get().execute();
    while let Some(message) = stream.try_next().await.map_err(failed("the interfaces"))? {
        let mut link = Link {
            ifindex: message.header.index,
            name: String::new(),
            mac: [0; 6],
            mtu: 0,
            queues: 1,
            up: message.header.flags.contains(LinkFlags::Up),
        };
        for attribute in message.attributes {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "three of a hundred attributes matter"
            )]
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(octets) => link.mac = octets.try_into().unwrap_or_default(),
                LinkAttribute::NumRxQueues(queues) => link.queues = queues,
                _ => {}
            }
        }
        link.queues = ethtool::rx_queues(&link.name).unwrap_or(link.queues);
        links.push(link);
    }
    Ok(links)
}

async fn read_addresses(handle: &Handle) -> Result<Vec<Address>, NetError> {
    let mut addresses = Vec::new();
    let mut stream = handle.address().get().execute();
    while let Some(message) = stream.try_next().await.map_err(failed("the addresses"))? {
        let local = message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Local(IpAddr::V4(addr)) = attribute {
                Some(*addr)
            } else {
                None
            }
        });
        addresses.extend(local.map(|addr| Address {
            ifindex: message.header.index,
            addr,
        }));
    }
    Ok(addresses)
}

/// Neighbours whose Ethernet address may be used, or, with `stale`, only those that the kernel should probe.
async fn read_neighbours(handle: &Handle, stale: bool) -> Result<Vec<Neighbour>, NetError> {
    let mut neighbours = Vec::new();
    let mut stream = handle
        .neighbours()
        .get()
        .set_address_family(AddressFamily::Inet)
        .execute();
    while let Some(message) = stream.try_next().await.map_err(failed("the neighbours"))? {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "every other state has no usable address"
        )]
        let wanted = match message.header.state {
            NeighbourState::Stale => true,
            NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent => !stale,
            _ => false,
        };
        let mut addr = None;
        let mut mac = None;
        for attribute in message.attributes {
            #[expect(clippy::wildcard_enum_match_arm, reason = "two of a dozen attributes matter")]
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(destination)) => {
                    addr = Some(destination)
                }
                NeighbourAttribute::LinkLayerAddress(octets) => mac = octets.try_into().ok(),
                _ => {}
            }
        }
        if let (true, Some(addr), Some(mac)) = (wanted, addr, mac) {
            neighbours.push(Neighbour {
                ifindex: message.header.ifindex,
                addr,
                mac,
            });
        }
    }
    Ok(neighbours)
}

/// Asks the kernel to verify stale neighbours: the workers use them, and nothing else would notice a changed address.
async fn probe_stale(handle: &Handle) {
    let Ok(stale) = read_neighbours(handle, true).await else {
        return;
    };
    for neighbour in stale {
        let request = handle
            .neighbours()
            .add(neighbour.ifindex, IpAddr::V4(neighbour.addr))
            .link_layer_address(&neighbour.mac)
            .state(NeighbourState::Probe)
            .replace();
        if let Err(error) = request.execute().await {
            tracing::debug!(addr = %neighbour.addr, error = %error, "cannot probe a neighbour");
        }
    }
}

/// Prefixes of the local table, and the routes of the main and default tables.
async fn read_routes(handle: &Handle, links: &[Link]) -> Result<(Vec<Ipv4Net>, Vec<Route>), NetError> {
    let down = |ifindex| links.iter().any(|link| link.ifindex == ifindex && !link.up);
    let mut local = Vec::new();
    let mut routes = Vec::new();
    let filter = RouteMessageBuilder::<Ipv4Addr>::new().table_id(0).build();
    let mut stream = handle.route().get(filter).execute();
    while let Some(message) = stream.try_next().await.map_err(failed("the routes"))? {
        let Some((table, route)) = parse_route(&message) else {
            continue;
        };
        match (table, route.target) {
            (TABLE_LOCAL, _) => local.push(route.prefix),
            (TABLE_MAIN | TABLE_DEFAULT, RouteTarget::Interface { ifindex, .. }) if down(ifindex) => {}
            (TABLE_MAIN | TABLE_DEFAULT, _) => routes.push(route),
            _ => {}
        }
    }
    Ok((local, routes))
}

fn parse_route(message: &RouteMessage) -> Option<(u32, Route)> {
    if message.header.address_family != AddressFamily::Inet {
        return None;
    }
    let mut table = u32::from(message.header.table);
    let mut network = Ipv4Addr::UNSPECIFIED;
    let mut interface = None;
    let mut gateway = None;
    let mut metric = 0;
    let mut simple = true;
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the other attributes do not change the next hop"
        )]
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(addr)) => network = *addr,
            RouteAttribute::Oif(ifindex) => interface = Some(*ifindex),
            RouteAttribute::Gateway(RouteAddress::Inet(addr)) => gateway = Some(*addr),
            RouteAttribute::Priority(priority) => metric = *priority,
            // Several next hops, an IPv6 next hop, an encapsulation: the kernel knows how.
            RouteAttribute::MultiPath(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::NhId(_) => {
                simple = false;
            }
            _ => {}
        }
    }
    let prefix = Ipv4Net::new(network, message.header.destination_prefix_length).ok()?;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is neither a route nor a refusal is the kernel's"
    )]
    let target = match message.header.kind {
        RouteType::Unicast => match interface {
            Some(ifindex) if simple => RouteTarget::Interface { ifindex, gateway },
            Some(_) | None => RouteTarget::Kernel,
        },
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => RouteTarget::Forbidden,
        _ => RouteTarget::Kernel,
    };
    Some((
        table,
        Route {
            prefix,
            target,
            metric,
        },
    ))
}

fn failed(what: &'static str) -> impl Fn(rtnetlink::Error) -> NetError {
    move |source| NetError::Netlink {
        what: format!("cannot read {what}"),
        source,
    }
}
