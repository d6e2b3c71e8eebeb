//! A stream of numbered UDP datagrams from one host to the other: every loss, repetition and pause is seen.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{Lab, Side, wait};

/// Octets of an IPv4 and a UDP header.
const HEADERS: u64 = 28;
/// Port of the receiver.
const PORT: u16 = 9;
/// How long the receiver listens after the last datagram was sent.
const DRAIN: Duration = Duration::from_millis(500);
/// How long anything a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What arrived.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamReport {
    /// Datagrams sent.
    pub sent: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Datagrams received more than once.
    pub repeated: u64,
    /// The longest time without a datagram, from the first one on.
    pub longest_pause: Duration,
    /// Octets of the IP packets received, repetitions left out.
    pub bytes: u64,
}

impl StreamReport {
    /// Datagrams that never came.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

/// A stream that runs until it is finished.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    received_bytes: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<StreamReport>,
}

impl Stream {
    /// Starts sending `per_second` datagrams with `payload` octets (at least 8) from the host of a side to the far host.
    pub fn start(lab: &Lab, from: Side, per_second: u32, payload: usize) -> Result<Self> {
        let to = from.other();
        let receiving = lab
            .host(to)
            .enter(|| UdpSocket::bind((to.host(), PORT)))?
            .context("bind the receiver")?;
        receiving.set_read_timeout(Some(Duration::from_millis(50)))?;
        let sending = lab
            .host(from)
            .enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?
            .context("bind")?;
        sending
            .connect(SocketAddr::from((to.host(), PORT)))
            .context("connect the sender")?;

        let stop = Arc::new(AtomicBool::new(false));
        let received_bytes = Arc::new(AtomicU64::new(0));
        let sent = Arc::new(AtomicU64::new(0));
        let sender = thread::spawn({
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            move || send(&sending, &stop, &sent, per_second, payload.max(8))
        });
        let receiver = thread::spawn({
            let (stop, bytes) = (Arc::clone(&stop), Arc::clone(&received_bytes));
            move || receive(&receiving, &stop, &bytes)
        });
        Ok(Self {
            stop,
            received_bytes,
            sent,
            sender,
            receiver,
        })
    }

    /// Waits until something arrived.
    pub fn wait_arrival(&self) -> Result<()> {
        wait::until("a datagram to arrive", PATIENCE, || {
            (self.received_bytes.load(Ordering::Relaxed) > 0).then_some(())
        })
    }

    /// Waits until so many more datagrams were sent.
    pub fn wait_sent(&self, count: u64) -> Result<()> {
        let goal = self.sent.load(Ordering::Relaxed) + count;
        wait::until("datagrams to be sent", PATIENCE, || {
            (self.sent.load(Ordering::Relaxed) >= goal).then_some(())
        })
    }

    /// Mean rate at which IP packets arrive over the next `time`, their headers included, in Mbit/s.
    pub fn measure_mbps(&self, time: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.received_bytes.load(Ordering::Relaxed));
        thread::sleep(time);
        let bits = (self.received_bytes.load(Ordering::Relaxed) - before) * 8;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bits")]
        let bits = bits as f64;
        bits / start.elapsed().as_secs_f64() / 1e6
    }

    /// Stops sending, waits for stragglers and counts.
    pub fn finish(self) -> StreamReport {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender does not panic");
        let report = self.receiver.join().expect("the receiver does not panic");
        StreamReport { sent, ..report }
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool, count: &AtomicU64, per_second: u32, payload: usize) -> u64 {
    let start = Instant::now();
    let mut datagram = vec![0; payload];
    let mut sent = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        // Catches up after a pause of the scheduler, so that the mean rate holds.
        let due = start.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
        while u128::from(sent) < due {
            datagram[..8].copy_from_slice(&sent.to_be_bytes());
            if socket.send(&datagram).is_err() {
                // The socket's queue is full, or an ICMP error is reported: try the same number again.
                break;
            }
            sent += 1;
        }
        count.store(sent, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(200));
    }
    sent
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, bytes: &AtomicU64) -> StreamReport {
    let mut report = StreamReport::default();
    let mut seen: Vec<u64> = Vec::new();
    let mut buffer = [0; 2048];
    let mut last: Option<Instant> = None;
    let mut drain_until: Option<Instant> = None;
    loop {
        if let Ok(length) = socket.recv(&mut buffer)
            && let Some(number) = buffer
                .first_chunk::<8>()
                .map(|octets| u64::from_be_bytes(*octets))
        {
            let now = Instant::now();
            report.longest_pause = last.map_or(Duration::ZERO, |last| report.longest_pause.max(now - last));
            last = Some(now);
            if mark(&mut seen, number) {
                report.received += 1;
                report.bytes += length as u64 + HEADERS;
                bytes.fetch_add(length as u64 + HEADERS, Ordering::Relaxed);
            } else {
                report.repeated += 1;
            }
        }
        if drain_until.is_none() && stop.load(Ordering::Relaxed) {
            drain_until = Some(Instant::now() + DRAIN);
        }
        if drain_until.is_some_and(|until| Instant::now() > until) {
            return report;
        }
    }
}

/// Sets the bit of `number`; true when it was clear.
fn mark(seen: &mut Vec<u64>, number: u64) -> bool {
    // Numbers are our own and dense; one far outside did not come from the sender and counts as a repetition.
    let Ok(word) = usize::try_from(number / 64) else {
        return false;
    };
    if word > seen.len() + 1_000_000 {
        return false;
    }
    if word >= seen.len() {
        seen.resize(word + 1, 0);
    }
    let bit = 1 << (number % 64);
    let new = seen[word] & bit == 0;
    seen[word] |= bit;
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_once() {
        let mut seen = Vec::new();
        assert!(mark(&mut seen, 70));
        assert!(mark(&mut seen, 3));
        assert!(!mark(&mut seen, 70));
        assert!(!mark(&mut seen, u64::MAX));
    }
}
