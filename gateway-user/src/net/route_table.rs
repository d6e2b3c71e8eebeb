//! Next hops for the workers: an immutable copy of the kernel's IPv4 routes and neighbours.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Where a frame goes and what its Ethernet header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// Outgoing interface.
    pub ifindex: u32,
    /// Its address: source of the frame.
    pub source: [u8; 6],
    /// The next hop's address: destination of the frame.
    pub destination: [u8; 6],
    /// MTU of the interface in octets.
    pub mtu: u32,
}

/// Answer to "where does a packet for this address go".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// Straight onto a wire.
    Direct(Adjacency),
    /// To the kernel: neighbour unresolved, one of the host's own addresses, or something only the kernel can do.
    SlowPath,
    /// No route, or one that forbids.
    Unreachable,
}

/// A route as the mirror read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub prefix: Ipv4Net,
    /// What to do.
    pub target: RouteTarget,
    /// Lower wins among routes to the same prefix.
    pub metric: u32,
}

/// What a route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Out of an interface, to a gateway or, without one, to the destination itself.
    Interface {
        /// Outgoing interface.
        ifindex: u32,
        /// Next hop.
        gateway: Option<Ipv4Addr>,
    },
    /// The host itself, or something only the kernel can do.
    Kernel,
    /// Blackhole, unreachable, prohibit.
    Forbidden,
}

/// A resolved neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Interface behind which it is.
    pub ifindex: u32,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// An interface over which frames may leave directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Interface.
    pub ifindex: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its MTU in octets.
    pub mtu: u32,
}

/// All prefixes of one length.
#[derive(Debug)]
struct Level {
    mask: u32,
    /// Sorted by network.
    routes: Vec<(u32, RouteTarget)>,
}

/// An immutable table; a new one replaces it when the kernel's changes.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// The host's own addresses and broadcasts: first of all, as the kernel consults its local table first.
    local: Vec<Level>,
    /// Longest prefixes first.
    levels: Vec<Level>,
    /// Sorted by interface and address.
    neighbours: Vec<((u32, u32), [u8; 6])>,
    egress: Vec<Egress>,
    slow_path: Option<Adjacency>,
    /// First address of each interface.
    addresses: Vec<(u32, Ipv4Addr)>,
}

impl RouteTable {
    /// Builds a table. `local` are the prefixes of the kernel's local table, `slow_path` how a frame reaches the kernel.
    pub fn new(
        local: &[Ipv4Net],
        routes: &[Route],
        neighbours: &[Neighbour],
        egress: Vec<Egress>,
        slow_path: Option<Adjacency>,
    ) -> Self {
        let local: Vec<Route> = local
            .iter()
            .map(|&prefix| Route {
                prefix,
                target: RouteTarget::Kernel,
                metric: 0,
            })
            .collect();
        let mut neighbours: Vec<_> = neighbours
            .iter()
            .map(|n| ((n.ifindex, n.addr.to_bits()), n.mac))
            .collect();
        neighbours.sort_unstable();
        Self {
            local: levels(&local),
            levels: levels(routes),
            neighbours,
            egress,
            slow_path,
            addresses: Vec::new(),
        }
    }

    /// Adds the host's addresses, for packets that the gateway originates: interface and address, the primary one first.
    #[must_use]
    pub fn with_addresses(self, addresses: Vec<(u32, Ipv4Addr)>) -> Self {
        Self { addresses, ..self }
    }

    /// Where a packet for `destination` goes.
    pub fn next_hop(&self, destination: Ipv4Addr) -> NextHop {
        if longest_match(&self.local, destination).is_some() {
            return NextHop::SlowPath;
        }
        match longest_match(&self.levels, destination) {
            None | Some(RouteTarget::Forbidden) => NextHop::Unreachable,
            Some(RouteTarget::Kernel) => NextHop::SlowPath,
            Some(RouteTarget::Interface { ifindex, gateway }) => self
                .adjacency(ifindex, gateway.unwrap_or(destination))
                .map_or(NextHop::SlowPath, NextHop::Direct),
        }
    }

    /// How a frame reaches the kernel through the helper veth; `None` when there is no slow path.
    pub fn slow_path_adjacency(&self) -> Option<Adjacency> {
        self.slow_path
    }

    /// Whether the address is one of the host's own, loopback and broadcasts included.
    pub fn is_own(&self, addr: Ipv4Addr) -> bool {
        longest_match(&self.local, addr).is_some()
    }

    /// The address by which the host is known on an interface.
    pub fn address_of(&self, ifindex: u32) -> Option<Ipv4Addr> {
        self.addresses
            .iter()
            .find(|entry| entry.0 == ifindex)
            .map(|entry| entry.1)
    }

    fn adjacency(&self, ifindex: u32, hop: Ipv4Addr) -> Option<Adjacency> {
        let egress = self.egress.iter().find(|egress| egress.ifindex == ifindex)?;
        let found = self
            .neighbours
            .binary_search_by_key(&(ifindex, hop.to_bits()), |entry| entry.0)
            .ok()?;
        let (_, destination) = *self.neighbours.get(found)?;
        Some(Adjacency {
            ifindex,
            source: egress.mac,
            destination,
            mtu: egress.mtu,
        })
    }
}

/// Groups routes by prefix length, longest first; the lowest metric wins among equal prefixes.
fn levels(routes: &[Route]) -> Vec<Level> {
    let mut sorted: Vec<&Route> = routes.iter().collect();
    sorted.sort_by_key(|route| {
        (
            std::cmp::Reverse(route.prefix.prefix_len()),
            route.prefix.network(),
            route.metric,
        )
    });
    let mut levels: Vec<Level> = Vec::new();
    for route in sorted {
        let mask = route.prefix.netmask().to_bits();
        let entry = (route.prefix.network().to_bits(), route.target);
        match levels.last_mut() {
            Some(level) if level.mask == mask => {
                if level.routes.last().is_none_or(|last| last.0 != entry.0) {
                    level.routes.push(entry);
                }
            }
            Some(_) | None => levels.push(Level {
                mask,
                routes: vec![entry],
            }),
        }
    }
    levels
}

fn longest_match(levels: &[Level], addr: Ipv4Addr) -> Option<RouteTarget> {
    let addr = addr.to_bits();
    levels.iter().find_map(|level| {
        let found = level
            .routes
            .binary_search_by_key(&(addr & level.mask), |route| route.0)
            .ok()?;
        level.routes.get(found).map(|route| route.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAN: u32 = 2;
    const LAN: u32 = 3;
    const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn via(prefix: &str, ifindex: u32, gateway: Option<&str>, metric: u32) -> Route {
        let gateway = gateway.map(|text| text.parse().unwrap());
        Route {
            prefix: net(prefix),
            target: RouteTarget::Interface { ifindex, gateway },
            metric,
        }
    }

    fn table() -> RouteTable {
        RouteTable::new(
            &[net("10.77.1.1/32"), net("127.0.0.0/8")],
            &[
                via("0.0.0.0/0", WAN, Some("192.0.2.254"), 0),
                via("10.77.1.0/24", LAN, None, 0),
                via("10.0.0.0/8", WAN, Some("192.0.2.253"), 200),
                via("10.0.0.0/8", WAN, Some("192.0.2.254"), 100),
                Route {
                    prefix: net("10.99.0.0/16"),
                    target: RouteTarget::Forbidden,
                    metric: 0,
                },
                via("10.88.0.0/16", 77, None, 0),
            ],
            &[
                Neighbour {
                    ifindex: WAN,
                    addr: "192.0.2.254".parse().unwrap(),
                    mac: ROUTER_MAC,
                },
                Neighbour {
                    ifindex: LAN,
                    addr: "10.77.1.2".parse().unwrap(),
                    mac: HOST_MAC,
                },
            ],
            vec![
                Egress {
                    ifindex: WAN,
                    mac: WAN_MAC,
                    mtu: 1500,
                },
                Egress {
                    ifindex: LAN,
                    mac: [2, 0, 0, 0, 0, 3],
                    mtu: 9000,
                },
            ],
            None,
        )
    }

    #[track_caller]
    fn check(destination: &str, expected: NextHop) {
        assert_eq!(
            table().next_hop(destination.parse().unwrap()),
            expected,
            "{destination}"
        );
    }

    #[test]
    fn the_longest_prefix_and_the_lowest_metric_win() {
        let router = NextHop::Direct(Adjacency {
            ifindex: WAN,
            source: WAN_MAC,
            destination: ROUTER_MAC,
            mtu: 1500,
        });
        check("198.51.100.1", router);
        check("10.1.2.3", router);
        check(
            "10.77.1.2",
            NextHop::Direct(Adjacency {
                ifindex: LAN,
                source: [2, 0, 0, 0, 0, 3],
                destination: HOST_MAC,
                mtu: 9000,
            }),
        );
        check("10.99.1.1", NextHop::Unreachable);
    }

    #[test]
    fn what_the_workers_cannot_do_goes_to_the_kernel() {
        check("10.77.1.1", NextHop::SlowPath);
        check("127.0.0.1", NextHop::SlowPath);
        check("10.77.1.3", NextHop::SlowPath);
        check("10.88.0.1", NextHop::SlowPath);
    }

    #[test]
    fn own_addresses_are_known_by_interface() {
        let address = Ipv4Addr::new(10, 77, 1, 1);
        let table = table().with_addresses(vec![(LAN, address), (LAN, Ipv4Addr::new(10, 77, 1, 9))]);
        assert_eq!(
            (table.address_of(LAN), table.address_of(WAN)),
            (Some(address), None)
        );
        assert!(table.is_own(address) && table.is_own(Ipv4Addr::LOCALHOST));
        assert!(!table.is_own(Ipv4Addr::new(10, 77, 1, 2)));
    }

    #[test]
    fn without_a_route_an_address_is_unreachable() {
        assert_eq!(
            RouteTable::default().next_hop(Ipv4Addr::new(192, 0, 2, 1)),
            NextHop::Unreachable
        );
    }
}
