//! Every packet has exactly one verdict.

/// What the XDP program decided about a packet. The number is the index of its counter.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Not IPv4 (ARP, IPv6, ...): to the kernel.
    NotIp = 0,
    /// No rule covers it: to the kernel.
    Bypass = 1,
    /// IKE for one of our addresses: to the sockets.
    Ike = 2,
    /// An IP fragment of ESP for one of our addresses: the kernel reassembles it.
    Fragment = 3,
    /// To be sealed by a worker.
    Outbound = 4,
    /// To be opened by a worker.
    Inbound = 5,
    /// Headers that contradict themselves or the length of the packet.
    Malformed = 6,
    /// ESP for one of our addresses with an SPI that no SA has.
    UnknownSpi = 7,
    /// The source sent more IKE packets than it may.
    IkeRate = 8,
    /// Above the bandwidth setting of the VPN gateway.
    GatewayBandwidth = 9,
    /// Above the bandwidth setting of the tunnel.
    TunnelBandwidth = 10,
    /// A packet that a rule protects came in the clear on the public side (RFC 4301 section 5.2).
    CleartextInbound = 11,
    /// No rule covers it and the operator chose to drop such packets.
    NoPolicy = 12,
    /// A NAT keepalive (RFC 3948 section 2.3): nothing to do.
    NatKeepalive = 13,
    /// The RX queue has no worker.
    NoWorker = 14,
    /// A map or helper failed in a way that correct loading excludes.
    Internal = 15,
    /// The source is in a blocked prefix of the gateway's shield, or a stranger while the shield is closed.
    Blocked = 16,
    /// The source sent more packets that belong to no SA than the gateway's shield allows.
    SourceRate = 17,
    /// All strangers together sent more IKE packets than the gateway's shield allows.
    IkeTotal = 18,
    /// The source sent more ESP of unknown SPIs than the gateway's shield allows.
    UnknownSpiRate = 19,
}

/// What happens to a packet with a [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the kernel's network stack.
    Pass,
    /// Dropped.
    Drop,
    /// To the worker of the RX queue; dropped when there is none.
    Redirect,
}

impl Verdict {
    /// How many verdicts there are.
    pub const COUNT: u32 = 20;

    /// All verdicts, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::NotIp,
        Self::Bypass,
        Self::Ike,
        Self::Fragment,
        Self::Outbound,
        Self::Inbound,
        Self::Malformed,
        Self::UnknownSpi,
        Self::IkeRate,
        Self::GatewayBandwidth,
        Self::TunnelBandwidth,
        Self::CleartextInbound,
        Self::NoPolicy,
        Self::NatKeepalive,
        Self::NoWorker,
        Self::Internal,
        Self::Blocked,
        Self::SourceRate,
        Self::IkeTotal,
        Self::UnknownSpiRate,
    ];

    /// What the program returns.
    pub const fn action(self) -> Action {
        match self {
            Self::NotIp | Self::Bypass | Self::Ike | Self::Fragment => Action::Pass,
            Self::Outbound | Self::Inbound => Action::Redirect,
            Self::Malformed
            | Self::UnknownSpi
            | Self::IkeRate
            | Self::GatewayBandwidth
            | Self::TunnelBandwidth
            | Self::CleartextInbound
            | Self::NoPolicy
            | Self::NatKeepalive
            | Self::NoWorker
            | Self::Internal
            | Self::Blocked
            | Self::SourceRate
            | Self::IkeTotal
            | Self::UnknownSpiRate => Action::Drop,
        }
    }

    /// The name in metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::Bypass => "bypass",
            Self::Ike => "ike",
            Self::Fragment => "fragment",
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Malformed => "malformed",
            Self::UnknownSpi => "unknown_spi",
            Self::IkeRate => "ike_rate",
            Self::GatewayBandwidth => "gateway_bandwidth",
            Self::TunnelBandwidth => "tunnel_bandwidth",
            Self::CleartextInbound => "cleartext_inbound",
            Self::NoPolicy => "no_policy",
            Self::NatKeepalive => "nat_keepalive",
            Self::NoWorker => "no_worker",
            Self::Internal => "internal",
            Self::Blocked => "blocked",
            Self::SourceRate => "source_rate",
            Self::IkeTotal => "ike_total",
            Self::UnknownSpiRate => "unknown_spi_rate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_verdict_is_its_place_in_the_list() {
        for (place, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, place, "{verdict:?}");
        }
    }
}
