use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use thiserror::Error;

use crate::crypto::{BATCH, Batch, Esp, Sealer};
use crate::ip::{Ipv4Header, protocol};
use crate::sequence::Counter;
use crate::wire::{self, Copied, ESP_HEADER_LEN, OuterHeader, TRAILER_LEN};
use crate::{
    IvGenerator, KeyError, Keys, NonceSpace, Packet, SequenceBlock, SequenceExhausted, SequenceNumber, Spi,
    Transform,
};

/// The two ends of a tunnel on the public side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelEndpoints {
    /// This gateway.
    pub local: Ipv4Addr,
    /// The peer, or the NAT before it.
    pub peer: Ipv4Addr,
    /// The ports of RFC 3948; `None` for ESP directly over IP.
    pub udp: Option<UdpPorts>,
}

/// The ports of UDP encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPorts {
    /// Ours, 4500 as a rule.
    pub local: u16,
    /// The peer's, whatever the NAT made of it.
    pub peer: u16,
}

/// Why a packet was not sealed. It is still in the clear then and must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(usize)]
pub enum SealError {
    /// The frame has too little room before the packet.
    #[error("not enough headroom")]
    Headroom,
    /// The frame has too little room after the packet.
    #[error("not enough tailroom")]
    Tailroom,
    /// The inner packet is not well-formed IPv4.
    #[error("not an IPv4 packet")]
    NotIpv4,
    /// The outer packet would exceed 65,535 octets.
    #[error("packet too large")]
    TooLarge,
    /// The batch has more packets than the block has sequence numbers.
    #[error("no sequence number left")]
    NoSequenceNumber,
}

impl SealError {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
    /// All reasons, in the order of their index.
    pub const ALL: [Self; 5] = [
        Self::Headroom,
        Self::Tailroom,
        Self::NotIpv4,
        Self::TooLarge,
        Self::NoSequenceNumber,
    ];

    /// The position of the reason's counter.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason as a metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Headroom => "headroom",
            Self::Tailroom => "tailroom",
            Self::NotIpv4 => "not_ipv4",
            Self::TooLarge => "too_large",
            Self::NoSequenceNumber => "no_sequence_number",
        }
    }
}

/// An ESP SA in the direction to the peer.
///
/// Shared by workers: sequence numbers are reserved with one atomic add per batch, everything else is constant.
pub struct OutboundSa {
    spi: Spi,
    transform: Transform,
    endpoints: TunnelEndpoints,
    outer: OuterHeader,
    nonce_base: u64,
    core: Arc<Core>,
}

/// What must exist once per SA, wherever its peer moves: the keys, and the counter that keeps nonces apart.
struct Core {
    sealer: Sealer,
    counter: Counter,
}

/// Where the parts of a sealed packet lie in its frame.
struct Layout {
    /// The first octet of the outer header.
    outer: usize,
    /// The SPI.
    esp: usize,
    /// Behind the ICV.
    end: usize,
}

impl OutboundSa {
    /// Makes an SA whose first packet has sequence number 1.
    ///
    /// # Errors
    /// Refuses keys of the wrong length and an epoch that does not fit 15 bits.
    pub fn new(
        spi: Spi,
        transform: Transform,
        keys: &Keys,
        endpoints: TunnelEndpoints,
        nonce_space: NonceSpace,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            spi,
            transform,
            endpoints,
            outer: OuterHeader::new(&endpoints),
            nonce_base: nonce_space.base()?,
            core: Arc::new(Core {
                sealer: Sealer::new(transform, keys)?,
                counter: Counter::new(transform.last_sequence()),
            }),
        })
    }

    /// The same SA towards other endpoints: a NAT changed its mapping, or the peer moved (RFC 4555).
    ///
    /// Both share keys and sequence numbers, so that workers may go on with the old one until they see the new one.
    #[must_use]
    pub fn with_endpoints(&self, endpoints: TunnelEndpoints) -> Self {
        Self {
            endpoints,
            outer: OuterHeader::new(&endpoints),
            core: Arc::clone(&self.core),
            ..*self
        }
    }

    /// Takes `count` consecutive sequence numbers with one atomic add.
    ///
    /// # Errors
    /// Once [`Transform::last_sequence`] was reached, every call fails: the counter never wraps. A block that would cross the end is
    /// refused whole.
    pub fn reserve(&self, count: u32) -> Result<SequenceBlock, SequenceExhausted> {
        self.core.counter.reserve(count)
    }

    /// Continues behind `highest`; never goes back. For a node that takes the SA over, with a nonce epoch of its own.
    pub fn skip_to(&self, highest: u64) {
        self.core.counter.skip_to(highest);
    }

    /// Seals the inner IPv4 packet in place; `packet` spans the outer packet afterwards.
    ///
    /// The outer header copies DSCP, ECN (RFC 6040 normal mode) and DF. The inner TTL is the caller's to decrement, octets behind the
    /// inner packet's total length (Ethernet padding) are cut off.
    ///
    /// # Errors
    /// The packet is unchanged, and in the clear.
    pub fn seal(
        &self,
        packet: &mut Packet<'_>,
        number: SequenceNumber,
        ivs: &mut IvGenerator,
    ) -> Result<(), SealError> {
        let iv = self.iv(&number, ivs);
        self.seal_with(packet, &number, &iv)
    }

    /// Seals with a given IV.
    pub(crate) fn seal_with(
        &self,
        packet: &mut Packet<'_>,
        number: &SequenceNumber,
        iv: &[u8; 16],
    ) -> Result<(), SealError> {
        let layout = self.prepare(packet, number, iv)?;
        let octets = &mut packet.frame[layout.esp..layout.end];
        self.core.sealer.seal(&mut Esp {
            octets,
            high: self.transform.esn().then(|| number.high()),
        });
        layout.adopt(packet);
        Ok(())
    }

    /// Seals several packets of this SA, each as [`Self::seal`] does, with their cryptography interleaved.
    ///
    /// `results` gets the outcome of each packet; packets that fail do not affect the others.
    ///
    /// # Panics
    /// If `results` is not as long as `packets`.
    pub fn seal_batch(
        &self,
        packets: &mut [Packet<'_>],
        mut block: SequenceBlock,
        ivs: &mut IvGenerator,
        results: &mut [Result<(), SealError>],
    ) {
        assert_eq!(packets.len(), results.len(), "one result per packet");
        for (packets, results) in packets.chunks_mut(BATCH).zip(results.chunks_mut(BATCH)) {
            let mut batch = Batch::new();
            for (packet, result) in packets.iter_mut().zip(results) {
                *result = block
                    .next()
                    .ok_or(SealError::NoSequenceNumber)
                    .and_then(|number| {
                        let iv = self.iv(&number, ivs);
                        let layout = self.prepare(packet, &number, &iv)?;
                        layout.adopt(packet);
                        batch.push(Esp {
                            octets: &mut packet.frame[layout.esp..layout.end],
                            high: self.transform.esn().then(|| number.high()),
                        });
                        Ok(())
                    });
            }
            self.core.sealer.seal_batch(&mut batch);
        }
    }

    /// The SPI that the peer chose.
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// The algorithms.
    pub const fn transform(&self) -> Transform {
        self.transform
    }

    /// The outer addresses and ports.
    pub const fn endpoints(&self) -> TunnelEndpoints {
        self.endpoints
    }

    /// The highest sequence number taken so far; 0 before the first packet.
    pub fn highest_sequence(&self) -> u64 {
        self.core.counter.highest()
    }

    /// Leaves out the next sequence numbers (RFC 6311 section 5.2). Past the last one the SA is exhausted, as after so many packets.
    pub fn raise_sequence(&self, by: u64) {
        self.core.counter.raise(by);
    }

    /// A unique IV for an AEAD, an unpredictable one otherwise.
    fn iv(&self, number: &SequenceNumber, ivs: &mut IvGenerator) -> [u8; 16] {
        if self.core.sealer.iv_is_nonce() {
            let mut iv = [0; 16];
            iv[..8].copy_from_slice(&(self.nonce_base | number.get()).to_be_bytes());
            iv
        } else {
            ivs.next_iv()
        }
    }

    /// Checks the room and writes everything around the payload: headers, IV, padding and trailer.
    fn prepare(
        &self,
        packet: &mut Packet<'_>,
        number: &SequenceNumber,
        iv: &[u8; 16],
    ) -> Result<Layout, SealError> {
        let inner = Ipv4Header::parse(packet.bytes()).ok_or(SealError::NotIpv4)?;
        let (iv_len, icv_len) = (self.transform.iv_len(), self.transform.icv_len());
        let head = self.outer.len() + ESP_HEADER_LEN + iv_len;
        let tail = wire::padding_len(inner.total_len, self.transform.block_len()) + TRAILER_LEN + icv_len;
        let total = u16::try_from(head + inner.total_len + tail)
            .ok()
            .ok_or(SealError::TooLarge)?;

        let outer = packet.start.checked_sub(head).ok_or(SealError::Headroom)?;
        let sealed = packet
            .frame
            .get_mut(outer..outer + usize::from(total))
            .ok_or(SealError::Tailroom)?;
        let (head_octets, rest) = sealed.split_at_mut(head);
        let (outer_octets, esp_octets) = head_octets.split_at_mut(self.outer.len());
        let copied = Copied {
            tos: inner.tos,
            dont_fragment: inner.dont_fragment,
        };
        // Fragments of the outer packet, where DF allows them, are told apart by what changes with every packet.
        let [_, _, high, low] = number.low().to_be_bytes();
        self.outer
            .write(outer_octets, total, u16::from_be_bytes([high, low]), copied);
        wire::write_esp_header(esp_octets, self.spi, number.low());
        esp_octets[ESP_HEADER_LEN..].copy_from_slice(&iv[..iv_len]);
        let trailer = &mut rest[inner.total_len..];
        let trailer_len = trailer.len() - icv_len;
        wire::write_trailer(&mut trailer[..trailer_len], protocol::IPV4);
        Ok(Layout {
            outer,
            esp: outer + self.outer.len(),
            end: outer + usize::from(total),
        })
    }
}

impl Layout {
    /// Lets the packet span what was sealed.
    const fn adopt(&self, packet: &mut Packet<'_>) {
        packet.start = self.outer;
        packet.len = self.end - self.outer;
    }
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            spi,
            transform,
            endpoints,
            ..
        } = self;
        f.debug_struct("OutboundSa")
            .field("spi", spi)
            .field("transform", transform)
            .field("endpoints", endpoints)
            .field("highest_sequence", &self.highest_sequence())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
