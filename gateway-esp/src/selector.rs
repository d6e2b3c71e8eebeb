use std::net::Ipv4Addr;

/// One pair of traffic selectors that an SA carries: addresses behind us and addresses behind the peer, as prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Network and prefix length behind this gateway. Bits behind the prefix length do not matter.
    pub local: (Ipv4Addr, u8),
    /// Network and prefix length behind the peer.
    pub peer: (Ipv4Addr, u8),
}

/// The selectors of an SA, ready to compare.
#[derive(Debug)]
pub(crate) struct Selectors(Box<[(Network, Network)]>);

/// A prefix as value and mask in host order.
#[derive(Clone, Copy, Debug)]
struct Network {
    value: u32,
    mask: u32,
}

impl Selectors {
    pub(crate) fn new(selectors: &[Selector]) -> Self {
        Self(
            selectors
                .iter()
                .map(|pair| (Network::new(pair.local), Network::new(pair.peer)))
                .collect(),
        )
    }

    /// Whether the peer may send from `source` to `destination`, RFC 4301 section 5.2 step 4.
    pub(crate) fn admit_inbound(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        self.0
            .iter()
            .any(|(local, peer)| peer.contains(source) && local.contains(destination))
    }
}

impl Network {
    fn new((address, length): (Ipv4Addr, u8)) -> Self {
        // A length above 32 means the single address, so that a mistake narrows and never widens.
        let host_bits = 32u32.saturating_sub(length.into());
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        Self {
            value: address.to_bits() & mask,
            mask,
        }
    }

    const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.value
    }
}

/// Whether no packet of this pair may ever be forwarded, whatever the selectors say (RFC 1812 sections 5.3.7 and 4.2.2.11).
pub(crate) const fn is_martian(source: Ipv4Addr, destination: Ipv4Addr) -> bool {
    const fn never_routed(address: Ipv4Addr) -> bool {
        matches!(address.octets()[0], 0 | 127)
    }
    let source_is_a_group = source.octets()[0] >= 224;
    never_routed(source) || never_routed(destination) || source_is_a_group
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ip(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
        Ipv4Addr::new(a, b, c, d)
    }

    #[test]
    fn both_addresses_must_lie_in_the_same_pair() {
        let selectors = Selectors::new(&[
            Selector {
                local: (ip(10, 0, 0, 0), 24),
                peer: (ip(192, 168, 0, 0), 16),
            },
            Selector {
                local: (ip(10, 0, 1, 7), 32),
                peer: (ip(172, 16, 0, 99), 12),
            },
        ]);
        let cases = [
            (ip(192, 168, 3, 4), ip(10, 0, 0, 1), true),
            (ip(172, 31, 255, 255), ip(10, 0, 1, 7), true),
            (ip(172, 32, 0, 0), ip(10, 0, 1, 7), false),
            (ip(192, 168, 3, 4), ip(10, 0, 1, 7), false),
            (ip(172, 16, 0, 1), ip(10, 0, 0, 1), false),
            (ip(10, 0, 0, 1), ip(192, 168, 3, 4), false),
            (ip(192, 168, 3, 4), ip(10, 0, 1, 8), false),
        ];
        for (source, destination, expected) in cases {
            let admitted = selectors.admit_inbound(source, destination);
            assert_eq!(admitted, expected, "{source} to {destination}");
        }
    }

    #[test]
    fn a_zero_prefix_contains_everything_and_no_selector_nothing() {
        let all = (ip(0, 0, 0, 0), 0);
        let any = Selectors::new(&[Selector {
            local: all,
            peer: all,
        }]);
        assert!(any.admit_inbound(ip(255, 255, 255, 255), ip(1, 2, 3, 4)));
        assert!(!Selectors::new(&[]).admit_inbound(ip(1, 2, 3, 4), ip(1, 2, 3, 4)));
    }

    #[test]
    fn an_impossible_prefix_length_means_one_address() {
        let one = Selectors::new(&[Selector {
            local: (ip(10, 0, 0, 1), 99),
            peer: (ip(10, 0, 0, 2), 33),
        }]);
        assert!(one.admit_inbound(ip(10, 0, 0, 2), ip(10, 0, 0, 1)));
        assert!(!one.admit_inbound(ip(10, 0, 0, 3), ip(10, 0, 0, 1)));
    }

    #[test]
    fn martians_are_never_forwarded() {
        let good = ip(192, 168, 1, 1);
        assert!(!is_martian(good, good));
        assert!(
            !is_martian(good, ip(224, 0, 0, 5)),
            "routing protocols inside the tunnel use multicast"
        );
        for bad in [ip(0, 0, 0, 0), ip(127, 0, 0, 1), ip(0, 1, 2, 3)] {
            assert!(is_martian(bad, good) && is_martian(good, bad), "{bad}");
        }
        for bad in [ip(224, 0, 0, 1), ip(240, 0, 0, 1), ip(255, 255, 255, 255)] {
            assert!(is_martian(bad, good), "{bad}");
        }
    }
}
