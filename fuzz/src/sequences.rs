//! Two live engines and a network that the input rules: it loses, repeats, reorders, changes and delays datagrams, and gives the
//! commands.

use std::time::Duration;

use gateway_ike::config::{IkeVersion, PairIndex, Phase1Mode};

use crate::engine::{A, B, Engine, PAIRS, Packet, TUNNEL, connection, start};
use crate::input::Input;

/// Steps of one story.
const MAX_STEPS: usize = 60;
/// Datagrams that are remembered, to be delivered again at any time.
const MAX_HISTORY: usize = 64;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let version = input.pick(&[IkeVersion::V2, IkeVersion::V1]);
    let mode = input.pick(&[Phase1Mode::Main, Phase1Mode::Aggressive]);
    let mut story = Story {
        engines: [A, B].map(|local| Engine::new(connection(local, version, mode))),
        now: start(),
        air: Vec::new(),
        history: Vec::new(),
    };
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        story.step(&mut input);
    }
    // Whatever happened, the engines come to rest: all that has a deadline ends.
    story.pass(Duration::from_secs(10));
    for engine in &mut story.engines {
        engine.endpoint.remove_connection(story.now, TUNNEL);
        engine.drain(story.now);
        assert!(
            engine.children.is_empty() && !engine.is_up(),
            "a tunnel is gone and its SAs are not"
        );
    }
}

struct Story {
    engines: [Engine; 2],
    now: std::time::Instant,
    air: Vec<Packet>,
    history: Vec<Packet>,
}

impl Story {
    fn step(&mut self, input: &mut Input<'_>) {
        let action = input.u8();
        let end = usize::from(action >> 7);
        match action & 0x0f {
            0 => {
                self.engines[end].endpoint.initiate(
                    self.now,
                    TUNNEL,
                    PairIndex(u16::from(input.u8()) % PAIRS),
                );
                self.drain(end);
            }
            // Delivering in order is the commonest step, so that stories come far.
            1..=5 => self.deliver(0),
            6 => self.deliver(usize::from(input.u8())),
            7 => {
                let at = usize::from(input.u8());
                if at < self.air.len() {
                    self.air.remove(at);
                }
            }
            8 => {
                let at = usize::from(input.u8());
                if let Some(packet) = self.history.get(at).cloned() {
                    self.air.push(packet);
                }
            }
            9 => self.change(input),
            10 => {
                let seconds = [1, 5, 30, 300, 1200];
                self.pass(Duration::from_secs(input.pick(&seconds)));
            }
            11 => {
                self.engines[end].endpoint.terminate(self.now, TUNNEL);
                self.drain(end);
            }
            12 => {
                let nth = usize::from(input.u8());
                let child = self.engines[end].children.iter().nth(nth).copied();
                if let Some(child) = child {
                    self.engines[end].endpoint.rekey_child(self.now, child);
                    self.drain(end);
                }
            }
            13 => {
                let newest = self.engines[end].children.last().copied();
                if let Some(child) = newest {
                    self.engines[end].endpoint.child_inbound_used(self.now, child);
                    self.drain(end);
                }
            }
            14 => {
                // One end forgets everything.
                let local = self.engines[end].local;
                let version = input.pick(&[IkeVersion::V2, IkeVersion::V1, IkeVersion::Any]);
                self.engines[end] = Engine::new(connection(local, version, Phase1Mode::Main));
            }
            _ => {
                // A datagram of the input's own.
                let len = usize::from(input.u8());
                let payload = input.take(len).to_vec();
                let (source, destination) = self.ports(end, input.u8() & 1 == 1);
                self.air.push(Packet {
                    source,
                    destination,
                    payload,
                });
            }
        }
    }

    /// From the other end to `end`.
    fn ports(&self, end: usize, nat_t: bool) -> (std::net::SocketAddrV4, std::net::SocketAddrV4) {
        let port = if nat_t { 4500 } else { 500 };
        let at = |end: usize| std::net::SocketAddrV4::new(self.engines[end].local, port);
        (at(1 - end), at(end))
    }

    fn deliver(&mut self, at: usize) {
        if at >= self.air.len() {
            return;
        }
        let packet = self.air.remove(at);
        let Some(end) = self
            .engines
            .iter()
            .position(|engine| engine.local == *packet.destination.ip())
        else {
            return;
        };
        let sent = self.engines[end].deliver(self.now, &packet);
        self.sent(sent);
    }

    /// Changes an octet of a datagram in the air, or cuts it.
    fn change(&mut self, input: &mut Input<'_>) {
        let (at, offset, value) = (usize::from(input.u8()), usize::from(input.u16()), input.u8());
        let Some(packet) = self.air.get_mut(at) else {
            return;
        };
        match packet.payload.get_mut(offset) {
            Some(octet) => *octet = value,
            None => packet.payload.truncate(offset % 64),
        }
    }

    fn pass(&mut self, span: Duration) {
        for end in 0..2 {
            let sent = self.engines[end].wait(self.now, span);
            self.sent(sent);
        }
        self.now += span;
    }

    fn drain(&mut self, end: usize) {
        let sent = self.engines[end].drain(self.now);
        self.sent(sent);
    }

    fn sent(&mut self, packets: Vec<Packet>) {
        for packet in packets {
            if self.history.len() < MAX_HISTORY {
                self.history.push(packet.clone());
            }
            self.air.push(packet);
        }
        // An endless answer to an answer would fill the air; what is left out was lost.
        self.air.truncate(256);
    }
}
