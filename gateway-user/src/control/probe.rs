//! The probe of one tunnel: ICMP echoes at an interval, their answers, and what both say about the tunnel's health.
//!
//! Time is an argument; the control loop sends what [`Probe::due`] wants sent and reports answers.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use gateway_esp::ip;
use gateway_management::Health;

use crate::config::ProbeConfig;
use crate::status::{Durations, ProbeStatus};

/// Octets behind the ICMP header, as `ping` sends them.
const PAYLOAD: usize = 56;
const IP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// State of a probe.
#[derive(Debug)]
pub(super) struct Probe {
    config: ProbeConfig,
    identifier: u16,
    sequence: u16,
    next: Instant,
    /// Probes without an answer so far, oldest first: at most as many as fit a timeout.
    waiting: VecDeque<(u16, Instant)>,
    answered_in_row: u32,
    lost_in_row: u32,
    health: Health,
    since: Instant,
    counts: ProbeCounts,
    last_rtt: Option<Duration>,
    durations: Durations,
}

/// What was counted since the probe began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProbeCounts {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) answered: u64,
    /// What the answers took together.
    pub(super) micros: u64,
}

impl Probe {
    /// A probe whose first echo is due at once.
    pub(super) fn new(now: Instant, config: ProbeConfig, identifier: u16) -> Self {
        Self {
            config,
            identifier,
            sequence: 0,
            next: now,
            waiting: VecDeque::new(),
            answered_in_row: 0,
            lost_in_row: 0,
            health: Health::Unknown,
            since: now,
            counts: ProbeCounts::default(),
            last_rtt: None,
            durations: Durations::default(),
        }
    }

    pub(super) const fn config(&self) -> &ProbeConfig {
        &self.config
    }

    pub(super) const fn health(&self) -> Health {
        self.health
    }

    pub(super) const fn counts(&self) -> ProbeCounts {
        self.counts
    }

    /// Destination and identifier of the answers.
    pub(super) const fn answers(&self) -> (Ipv4Addr, u16) {
        (self.config.local, self.identifier)
    }

    /// Counts what has waited too long, and gives the echo that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        while let Some(&(_, sent)) = self.waiting.front()
            && now.saturating_duration_since(sent) >= self.config.timeout
        {
            self.waiting.pop_front();
            self.lose(now);
        }
        if now < self.next {
            return None;
        }
        // After a pause of the whole process there is one echo and not one for each interval.
        self.next = (self.next + self.config.interval).max(now + self.config.interval / 2);
        self.sequence = self.sequence.wrapping_add(1);
        self.waiting.push_back((self.sequence, now));
        self.counts.sent += 1;
        Some(self.echo())
    }

    /// When [`Self::due`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        let timeout = self.waiting.front().map(|&(_, sent)| sent + self.config.timeout);
        timeout.map_or(self.next, |timeout| timeout.min(self.next))
    }

    /// An answer that came at `at`. Another one's, a late and a repeated one change nothing.
    pub(super) fn answered(&mut self, at: Instant, from: Ipv4Addr, sequence: u16) {
        if from != self.config.remote {
            return;
        }
        let Some(place) = self.waiting.iter().position(|&(waiting, _)| waiting == sequence) else {
            return;
        };
        let Some((_, sent)) = self.waiting.remove(place) else {
            return;
        };
        let took = at.saturating_duration_since(sent);
        if took >= self.config.timeout {
            return self.lose(at);
        }
        self.counts.answered += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts.micros = self.counts.micros.saturating_add(micros);
        self.durations.observe(took);
        self.last_rtt = Some(took);
        self.lost_in_row = 0;
        self.answered_in_row = self.answered_in_row.saturating_add(1);
        // What never answered is healthy with its first answer; what failed has to prove itself.
        if self.health == Health::Unknown || self.answered_in_row >= self.config.threshold {
            self.turn(at, Health::Healthy);
        }
    }

    fn lose(&mut self, now: Instant) {
        self.counts.lost += 1;
        self.answered_in_row = 0;
        self.lost_in_row = self.lost_in_row.saturating_add(1);
        if self.lost_in_row >= self.config.threshold {
            self.turn(now, Health::Unhealthy);
        }
    }

    fn turn(&mut self, now: Instant, health: Health) {
        if self.health != health {
            self.health = health;
            self.since = now;
        }
    }

    pub(super) fn status(&self, now: Instant) -> ProbeStatus {
        ProbeStatus {
            local: Some(self.config.local),
            remote: Some(self.config.remote),
            health: self.health,
            health_seconds: now.saturating_duration_since(self.since).as_secs(),
            sent: self.counts.sent,
            lost: self.counts.lost,
            answered: self.counts.answered,
            last_rtt_microseconds: self
                .last_rtt
                .map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            rtt: self.durations.clone(),
        }
    }

    /// An ICMP echo in an IPv4 packet (RFC 792), as it stands before the tunnel: sealing takes one from its TTL.
    fn echo(&self) -> Vec<u8> {
        const LEN: usize = IP_HEADER + ICMP_HEADER + PAYLOAD;
        const TTL: u8 = 65;
        const ECHO: u8 = 8;
        let mut packet = [0; LEN];
        let (header, message) = packet.split_at_mut(IP_HEADER);
        header[0] = 0x45;
        header[2..4].copy_from_slice(&u16::try_from(LEN).unwrap_or(u16::MAX).to_be_bytes());
        header[4..6].copy_from_slice(&self.sequence.to_be_bytes());
        header[8] = TTL;
        header[9] = ip::protocol::ICMP;
        header[12..16].copy_from_slice(&self.config.local.octets());
        header[16..20].copy_from_slice(&self.config.remote.octets());
        let checksum = ip::checksum(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        message[0] = ECHO;
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        let checksum = ip::checksum(message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        packet.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

    fn config() -> ProbeConfig {
        ProbeConfig {
            local: LOCAL,
            remote: REMOTE,
            interval: Duration::from_secs(1),
            threshold: 3,
            timeout: Duration::from_millis(500),
        }
    }

    /// Sends an echo per second; each is answered after the milliseconds of the script, or never.
    fn run(script: &[Option<u64>]) -> Probe {
        let start = Instant::now();
        let mut probe = Probe::new(start, config(), 7);
        for (second, answer) in (0..).zip(script) {
            let now = start + Duration::from_secs(second);
            assert!(probe.due(now).is_some(), "second {second}");
            assert!(probe.due(now).is_none(), "one echo per interval");
            if let Some(millis) = answer {
                let at = now + Duration::from_millis(*millis);
                probe.answered(at, REMOTE, u16::try_from(second).unwrap() + 1);
            }
            let over = now + Duration::from_millis(999);
            assert!(probe.due(over).is_none());
            assert!(probe.deadline() > over);
        }
        probe
    }

    #[test]
    fn health_changes_when_the_threshold_is_reached_in_a_row() {
        let (yes, no) = (Some(10), None);
        for (script, expected) in [
            (&[][..], Health::Unknown),
            (&[yes], Health::Healthy),
            (&[no, no], Health::Unknown),
            (&[no, no, no], Health::Unhealthy),
            (&[yes, no, no, yes, no, no], Health::Healthy),
            (&[yes, no, no, no], Health::Unhealthy),
            (&[no, no, no, yes, yes], Health::Unhealthy),
            (&[no, no, no, yes, yes, yes], Health::Healthy),
            // Too late is lost.
            (&[Some(500), Some(900), Some(700)], Health::Unhealthy),
        ] {
            assert_eq!(run(script).health(), expected, "{script:?}");
        }
    }

    #[test]
    fn every_echo_is_answered_or_lost_once_and_delay_is_that_of_the_answers() {
        let probe = run(&[Some(10), None, Some(30), Some(600)]);
        let expected = ProbeCounts {
            sent: 4,
            lost: 2,
            answered: 2,
            micros: 40_000,
        };
        assert_eq!(probe.counts(), expected);
    }

    #[test]
    fn foreign_late_and_repeated_answers_change_nothing() {
        let start = Instant::now();
        let mut probe = Probe::new(start, config(), 7);
        probe.due(start).unwrap();
        probe.answered(start, LOCAL, 1);
        probe.answered(start, REMOTE, 2);
        assert_eq!(probe.counts().answered, 0);
        probe.answered(start, REMOTE, 1);
        probe.answered(start, REMOTE, 1);
        assert_eq!(probe.counts().answered, 1);
    }

    #[test]
    fn an_echo_has_correct_checksums() {
        let start = Instant::now();
        let echo = Probe::new(start, config(), 7).due(start).unwrap();
        let header = ip::Ipv4Header::parse(&echo).unwrap();
        assert_eq!((header.source, header.destination), (LOCAL, REMOTE));
        assert_eq!((header.total_len, echo.len()), (84, 84));
        assert_eq!((ip::checksum(&echo[..20]), ip::checksum(&echo[20..])), (0, 0));
    }
}
