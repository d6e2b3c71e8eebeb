use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrayvec::ArrayVec;
use thiserror::Error;

use crate::crypto::{BATCH, Batch, Esp, Opener};
use crate::ip::{Ipv4Header, MIN_HEADER_LEN, checksum, protocol, set_tos};
use crate::selector::{Selectors, is_martian};
use crate::sequence::high_half;
use crate::wire::{self, ESP_HEADER_LEN};
use crate::{KeyError, Keys, Packet, ReplayWindow, Selector, Spi, Transform, ecn};

/// The replay window of an SA for which nothing else was asked: wide enough for several workers and queues that reorder.
pub const DEFAULT_REPLAY_WINDOW: u32 = 4096;

/// Why a packet was not opened. The discriminant is the counter index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(usize)]
pub enum OpenError {
    /// Too short, or not whole blocks.
    #[error("malformed ESP packet")]
    Malformed,
    /// The SPI is not the one of the SA.
    #[error("another SA's SPI")]
    Spi,
    /// The sequence number is 0, was seen before, or is left of the replay window.
    #[error("replayed sequence number")]
    Replay,
    /// The packet was not made with our keys.
    #[error("integrity check failed")]
    Icv,
    /// An authentic packet with a broken trailer.
    #[error("bad padding")]
    Padding,
    /// A dummy packet of RFC 4303 section 2.6. No fault: it was meant to be thrown away.
    #[error("dummy packet")]
    Dummy,
    /// An authentic packet that does not carry IPv4 in tunnel mode.
    #[error("unexpected next header")]
    NextHeader,
    /// The inner packet is not well-formed IPv4, or comes from or goes to an address that is never routed.
    #[error("bad inner header")]
    InnerHeader,
    /// The inner addresses are outside of the SA's selectors, RFC 4301 section 5.2.
    #[error("inner addresses outside of the selectors")]
    Selector,
    /// Congestion was marked on the way and the inner transport cannot be told, RFC 6040 section 4.2.
    #[error("congestion mark on a packet without ECN")]
    Ecn,
}

impl OpenError {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
    /// All reasons, in the order of their index.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Spi,
        Self::Replay,
        Self::Icv,
        Self::Padding,
        Self::Dummy,
        Self::NextHeader,
        Self::InnerHeader,
        Self::Selector,
        Self::Ecn,
    ];

    /// The position of the reason's counter.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason as a metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Spi => "spi",
            Self::Replay => "replay",
            Self::Icv => "icv",
            Self::Padding => "padding",
            Self::Dummy => "dummy",
            Self::NextHeader => "next_header",
            Self::InnerHeader => "inner_header",
            Self::Selector => "selector",
            Self::Ecn => "ecn",
        }
    }
}

/// An ESP SA in the direction from the peer.
///
/// Shared by workers: the replay window is under a lock that is held only to look and to record.
pub struct InboundSa {
    spi: Spi,
    transform: Transform,
    opener: Opener,
    selectors: Selectors,
    replay: Mutex<ReplayWindow>,
}

impl InboundSa {
    /// Makes an SA that has accepted nothing yet. `replay_window` is in packets, [`DEFAULT_REPLAY_WINDOW`] as a rule.
    ///
    /// # Errors
    /// Refuses keys of the wrong length and a window outside of 64 to 65,536 packets.
    pub fn new(
        spi: Spi,
        transform: Transform,
        keys: &Keys,
        selectors: Vec<Selector>,
        replay_window: u32,
    ) -> Result<Self, KeyError> {
        let window = ReplayWindow::new(replay_window).ok_or(KeyError::ReplayWindow(replay_window))?;
        Ok(Self {
            spi,
            transform,
            opener: Opener::new(transform, keys)?,
            selectors: Selectors::new(&selectors),
            replay: Mutex::new(window),
        })
    }

    /// Opens an ESP packet in place. On entry `packet` starts with the SPI and `outer_tos` is the type of service octet of the outer
    /// header; on success it spans the inner IPv4 packet.
    ///
    /// # Errors
    /// The first check that failed, in the order of RFC 4303 section 3.4: length, SPI, replay, ICV, replay again, padding, next header;
    /// then the inner header, the selectors (RFC 4301 section 5.2) and ECN. The octets of the packet are unspecified then; only an
    /// authentic packet changes the replay window.
    pub fn open(&self, packet: &mut Packet<'_>, outer_tos: u8) -> Result<(), OpenError> {
        let low = self.read_header(packet.bytes())?;
        let number = self.number(&self.window(), low)?;
        let mut esp = self.esp(packet, number);
        self.opener.open(&mut esp).ok().ok_or(OpenError::Icv)?;
        self.window().accept(number).ok().ok_or(OpenError::Replay)?;
        self.unwrap_inner(packet, outer_tos)
    }

    /// Opens several packets of this SA, each as [`Self::open`] does, with their cryptography interleaved and the lock taken twice per
    /// 32 packets. `results` gets the outcome of each.
    ///
    /// # Panics
    /// If `outer_tos` or `results` is not as long as `packets`.
    pub fn open_batch(
        &self,
        packets: &mut [Packet<'_>],
        outer_tos: &[u8],
        results: &mut [Result<(), OpenError>],
    ) {
        assert_eq!(packets.len(), results.len(), "one result per packet");
        assert_eq!(
            packets.len(),
            outer_tos.len(),
            "one outer type of service per packet"
        );
        let chunks = packets
            .chunks_mut(BATCH)
            .zip(outer_tos.chunks(BATCH))
            .zip(results.chunks_mut(BATCH));
        for ((packets, outer_tos), results) in chunks {
            self.open_chunk(packets, outer_tos, results);
        }
    }

    /// At most [`BATCH`] packets.
    fn open_chunk(
        &self,
        packets: &mut [Packet<'_>],
        outer_tos: &[u8],
        results: &mut [Result<(), OpenError>],
    ) {
        let mut numbers = ArrayVec::<u64, BATCH>::new();
        {
            let window = self.window();
            for (packet, result) in packets.iter().zip(&mut *results) {
                *result = self.read_header(packet.bytes()).and_then(|low| {
                    numbers.push(self.number(&window, low)?);
                    Ok(())
                });
            }
        }

        let opened = {
            let candidates = packets.iter_mut().zip(&*results);
            let candidates = candidates.filter_map(|(packet, result)| result.is_ok().then_some(packet));
            let mut batch: Batch<'_> = candidates
                .zip(&numbers)
                .map(|(packet, number)| self.esp(packet, *number))
                .collect();
            self.opener.open_batch(&mut batch)
        };
        {
            let mut window = self.window();
            let candidates = results.iter_mut().filter(|result| result.is_ok());
            for ((result, number), opened) in candidates.zip(numbers).zip(opened) {
                *result = opened
                    .ok()
                    .ok_or(OpenError::Icv)
                    .and_then(|()| window.accept(number).ok().ok_or(OpenError::Replay));
            }
        }

        for ((packet, outer_tos), result) in packets.iter_mut().zip(outer_tos).zip(results) {
            if result.is_ok() {
                *result = self.unwrap_inner(packet, *outer_tos);
            }
        }
    }

    /// The SPI that we chose.
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// The algorithms.
    pub const fn transform(&self) -> Transform {
        self.transform
    }

    /// The highest sequence number accepted; 0 before the first packet.
    pub fn highest_sequence(&self) -> u64 {
        self.window().highest()
    }

    /// Counts everything up to `highest` as seen; never goes back. For a node that takes the SA over.
    pub fn skip_to(&self, highest: u64) {
        self.window().skip_to(highest);
    }

    /// Checks length and SPI and reads the 32 bits of the sequence number that travel.
    fn read_header(&self, esp: &[u8]) -> Result<u32, OpenError> {
        let around = ESP_HEADER_LEN + self.transform.iv_len() + self.transform.icv_len();
        let ciphertext = esp.len().checked_sub(around).ok_or(OpenError::Malformed)?;
        if ciphertext == 0 || ciphertext % self.transform.block_len() != 0 {
            return Err(OpenError::Malformed);
        }
        let (spi, sequence) = wire::read_esp_header(esp).ok_or(OpenError::Malformed)?;
        if spi != self.spi.get() {
            return Err(OpenError::Spi);
        }
        Ok(sequence)
    }

    /// The whole sequence number, if the window would accept it.
    fn number(&self, window: &ReplayWindow, low: u32) -> Result<u64, OpenError> {
        let number = if self.transform.esn() {
            window.infer(low).ok_or(OpenError::Replay)?
        } else {
            low.into()
        };
        window.check(number).ok().ok_or(OpenError::Replay)?;
        Ok(number)
    }

    fn esp<'p>(&self, packet: &'p mut Packet<'_>, number: u64) -> Esp<'p> {
        Esp {
            octets: packet.bytes_mut(),
            high: self.transform.esn().then(|| high_half(number)),
        }
    }

    /// From the decrypted ESP packet to the inner packet.
    fn unwrap_inner(&self, packet: &mut Packet<'_>, outer_tos: u8) -> Result<(), OpenError> {
        let head = ESP_HEADER_LEN + self.transform.iv_len();
        let esp = packet.bytes_mut();
        let payload_end = esp
            .len()
            .checked_sub(self.transform.icv_len())
            .ok_or(OpenError::Malformed)?;
        let plaintext = esp.get_mut(head..payload_end).ok_or(OpenError::Malformed)?;
        let trailer = wire::read_trailer(plaintext).ok_or(OpenError::Padding)?;
        match trailer.next_header {
            protocol::IPV4 => {}
            protocol::NONE => return Err(OpenError::Dummy),
            _ => return Err(OpenError::NextHeader),
        }

        // What is left behind the inner packet is traffic flow confidentiality padding, RFC 4303 section 2.7.
        let inner = &mut plaintext[..trailer.payload_len];
        let ip = Ipv4Header::parse(inner).ok_or(OpenError::InnerHeader)?;
        if checksum(&inner[..ip.header_len]) != 0 || is_martian(ip.source, ip.destination) {
            return Err(OpenError::InnerHeader);
        }
        if !self.selectors.admit_inbound(ip.source, ip.destination) {
            return Err(OpenError::Selector);
        }
        let tos = ecn::decapsulate(ip.tos, outer_tos).ok_or(OpenError::Ecn)?;
        if tos != ip.tos {
            let header = inner
                .first_chunk_mut::<MIN_HEADER_LEN>()
                .ok_or(OpenError::InnerHeader)?;
            set_tos(header, tos);
        }
        packet.start += head;
        packet.len = ip.total_len;
        Ok(())
    }

    /// A worker that panicked cannot have left the window half changed in a way that accepts a packet twice.
    fn window(&self) -> MutexGuard<'_, ReplayWindow> {
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            spi,
            transform,
            selectors,
            ..
        } = self;
        f.debug_struct("InboundSa")
            .field("spi", spi)
            .field("transform", transform)
            .field("selectors", selectors)
            .field("highest_sequence", &self.highest_sequence())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
