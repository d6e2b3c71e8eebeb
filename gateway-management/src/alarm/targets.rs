//! Where alarms may be sent to.
//!
//! Whoever may make receivers chooses where the gateway connects to. Names are resolved once, the address is checked, and the connection
//! goes to that address: a name that means another address the next time leads nowhere else.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::delivery::DeliveryError;

/// Addresses that alarms may be sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets(Option<Vec<IpNet>>);

impl Targets {
    /// Only addresses of these networks.
    pub const fn only(networks: Vec<IpNet>) -> Self {
        Self(Some(networks))
    }

    /// Whether an address may be connected to. Where nobody said which ones: all but the machine itself, its links (where clouds keep the
    /// credentials of machines) and what is no host.
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match &self.0 {
            Some(networks) => networks.iter().any(|network| network.contains(&address)),
            None => is_elsewhere(address),
        }
    }

    /// The first address of a host that may be connected to.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<SocketAddr, DeliveryError> {
        let mut found = tokio::net::lookup_host((host, port))
            .await
            .map_err(DeliveryError::Connect)?
            .peekable();
        let first = found.peek().map(SocketAddr::ip);
        found.find(|address| self.allow(address.ip())).ok_or_else(|| {
            first.map_or_else(
                || DeliveryError::Connect(std::io::ErrorKind::NotFound.into()),
                DeliveryError::Forbidden,
            )
        })
    }
}

const fn is_elsewhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // "This network", 0.0.0.0/8, is the machine itself (RFC 1122 3.2.1.3).
            let own = address.is_loopback() || address.octets()[0] == 0;
            !(own || address.is_link_local() || address.is_multicast() || address.is_broadcast())
        }
        IpAddr::V6(address) => {
            let own = address.is_loopback() || address.is_unspecified();
            !(own || address.is_unicast_link_local() || address.is_multicast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unless_told_otherwise_alarms_leave_the_machine_and_its_links() {
        for (address, expected) in [
            ("192.0.2.1", true),
            ("10.1.2.3", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:192.0.2.1", true),
        ] {
            let allowed = Targets::default().allow(address.parse().unwrap());
            assert_eq!(allowed, expected, "{address}");
        }
    }

    #[test]
    fn named_networks_are_the_only_ones() {
        let targets = Targets::only(vec![
            "127.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ]);
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("2001:db8::1", true),
            ("192.0.2.1", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(targets.allow(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_not_allowed_is_not_connected_to() {
        let refused = Targets::default().resolve("127.0.0.1", 25).await;
        assert!(matches!(refused, Err(DeliveryError::Forbidden(_))), "{refused:?}");
    }
}
