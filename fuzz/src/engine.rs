//! A live engine with its driver: runs its jobs at once, installs what it says, and checks what must hold at any time.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gateway_common::Spi;
use gateway_ike::config::{
    ChildLifetime, ConnectionConfig, ConnectionId, DpdAction, DpdConfig, Esn, EspCipher, EspIntegrity,
    EspProposal, Identity, IkeProposal, IkeVersion, Phase1Mode, Psk, SelectorPair,
};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};
use gateway_ike::event::ChildId;
use gateway_ike::{Endpoint, EndpointConfig, Event};

pub(crate) const PSK: &[u8] = b"a key that both ends know";
pub(crate) const TUNNEL: ConnectionId = ConnectionId(1);
pub(crate) const PAIRS: u16 = 2;
/// Address of the end that initiates.
pub(crate) const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Address of the end that is fuzzed where one is.
pub(crate) const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Time zero of every story: the same, so that a finding repeats.
pub(crate) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// The proposal of every story: cheap to agree on.
pub(crate) const fn ike_proposal(version: IkeVersion) -> IkeProposal {
    IkeProposal {
        encryption: Encryption::Aes128Cbc,
        hash: Hash::Sha1,
        group: match version {
            IkeVersion::V1 => DhGroup::Modp768,
            IkeVersion::V2 | IkeVersion::Any => DhGroup::X25519,
        },
        additional: None,
    }
}

/// The tunnel as `local` has it, ranges 10.x.n.0/24.
pub(crate) fn connection(local: Ipv4Addr, version: IkeVersion, mode: Phase1Mode) -> ConnectionConfig {
    let peer = if local == A { B } else { A };
    let range = |side: Ipv4Addr, n: u16| {
        let [.., last] = side.octets();
        format!("10.{last}.{n}.0/24").parse().expect("a subnet")
    };
    ConnectionConfig {
        id: TUNNEL,
        local,
        peer,
        local_id: Identity::Ipv4(local),
        peer_id: Identity::Ipv4(peer),
        psk: Psk::new(PSK.to_vec()),
        version,
        mode,
        ike_proposals: vec![ike_proposal(version)],
        ike_lifetime: Duration::from_secs(3600),
        ike_kilobytes: None,
        esp_proposals: vec![EspProposal {
            cipher: EspCipher::Aes128Cbc,
            integrity: Some(EspIntegrity::HmacSha1),
        }],
        pfs: None,
        child_lifetime: ChildLifetime {
            time: Duration::from_secs(600),
            kilobytes: None,
        },
        selectors: (0..PAIRS)
            .map(|n| SelectorPair {
                local: range(local, n),
                peer: range(peer, n),
            })
            .collect(),
        may_initiate: true,
        keep_up: false,
        force_udp_encapsulation: false,
        dpd: Some(DpdConfig {
            delay: Duration::from_secs(20),
            action: DpdAction::Clear,
        }),
        esn: Esn::Allow,
        reauthentication: None,
        fragmentation: true,
    }
}

/// An engine and what its driver knows.
pub(crate) struct Engine {
    pub(crate) endpoint: Endpoint,
    pub(crate) local: Ipv4Addr,
    /// Child SAs that are installed.
    pub(crate) children: BTreeSet<ChildId>,
    ike_sas: BTreeSet<String>,
    /// SPIs that it has asked for.
    expected: BTreeSet<Spi>,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
    pub(crate) payload: Vec<u8>,
}

impl Engine {
    pub(crate) fn new(config: ConnectionConfig) -> Self {
        let local = config.local;
        let [.., seed] = local.octets();
        let mut endpoint = Endpoint::new(EndpointConfig::new([seed; 32]));
        endpoint.put_connection(start(), config);
        let mut engine = Self {
            endpoint,
            local,
            children: BTreeSet::new(),
            ike_sas: BTreeSet::new(),
            expected: BTreeSet::new(),
        };
        engine.drain(start());
        engine
    }

    /// Hands a datagram over and returns what is sent for it.
    pub(crate) fn deliver(&mut self, now: Instant, packet: &Packet) -> Vec<Packet> {
        self.endpoint
            .handle_datagram(now, packet.destination, packet.source, &packet.payload);
        self.drain(now)
    }

    /// What a driver does after every call.
    pub(crate) fn drain(&mut self, now: Instant) -> Vec<Packet> {
        /// More than any single input has reason to cause.
        const MAX_SENT: usize = 256;
        let mut sent = Vec::new();
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                self.event(event);
            }
            while let Some(transmit) = self.endpoint.poll_transmit() {
                sent.push(Packet {
                    source: transmit.local,
                    destination: transmit.peer,
                    payload: transmit.payload,
                });
                assert!(sent.len() < MAX_SENT, "one input causes a flood");
            }
            let Some((id, job)) = self.endpoint.poll_job() else {
                return sent;
            };
            self.endpoint.handle_job(now, id, job.run());
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::IkeUp { spis, .. } => {
                assert!(self.ike_sas.insert(format!("{spis:?}")), "the same IKE SA twice");
            }
            Event::IkeDown { spis, last, .. } => {
                assert!(
                    self.ike_sas.remove(&format!("{spis:?}")),
                    "an IKE SA that was not up"
                );
                assert_eq!(last, self.ike_sas.is_empty());
            }
            Event::InstallChild { child, .. } => {
                assert!(!child.serves.is_empty(), "a Child SA for nothing");
                self.expected.remove(&child.inbound.spi);
                assert!(self.children.insert(child.id), "the same Child SA twice");
            }
            Event::UseOutbound { child } => {
                assert!(self.children.contains(&child), "use of what is not installed")
            }
            Event::RaiseSequence { child, .. } => {
                assert!(self.children.contains(&child), "a jump of what is not installed")
            }
            Event::RemoveChild { child } => {
                assert!(self.children.remove(&child), "removal of what is not installed");
            }
            Event::ExpectInbound { spi, .. } => {
                assert!(self.expected.insert(spi), "the same SPI is expected twice");
            }
            Event::ForgetInbound { spi } => {
                self.expected.remove(&spi);
            }
            Event::PeerPortChanged { .. } | Event::Failed { .. } | Event::Note { .. } => {}
        }
    }

    /// Whether an IKE SA is up.
    pub(crate) fn is_up(&self) -> bool {
        !self.ike_sas.is_empty()
    }

    /// Lets all deadlines of the next `span` come, and returns what is sent.
    pub(crate) fn wait(&mut self, now: Instant, span: Duration) -> Vec<Packet> {
        /// Deadlines in one wait, beyond which the engine would be busy with itself.
        const MAX_TIMEOUTS: usize = 1000;
        let mut sent = Vec::new();
        for _ in 0..MAX_TIMEOUTS {
            match self.endpoint.poll_timeout() {
                Some(due) if due <= now + span => {
                    let due = due.max(now);
                    self.endpoint.handle_timeout(due);
                    sent.extend(self.drain(due));
                }
                _ => return sent,
            }
        }
        panic!("the engine is busy with itself");
    }
}
