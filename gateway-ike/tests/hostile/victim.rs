//! The engine under attack, with its driver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use gateway_ike::config::{
    ChildLifetime, ConnectionConfig, ConnectionId, Esn, EspCipher, EspIntegrity, EspProposal, Identity,
    IkeProposal, IkeVersion, PairIndex, Phase1Mode, Psk, SelectorPair,
};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};
use gateway_ike::event::{ChildId, ChildSa};
use gateway_ike::{Code, Endpoint, EndpointConfig, Event};

pub(crate) const PSK: &[u8] = b"a key that both ends know";
/// Address of the engine.
pub(crate) const VICTIM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// A tunnel of the victim, by its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Hostile,
    Neighbour,
}

impl Who {
    pub(crate) const fn tunnel(self) -> ConnectionId {
        match self {
            Self::Hostile => ConnectionId(1),
            Self::Neighbour => ConnectionId(2),
        }
    }

    pub(crate) const fn address(self) -> Ipv4Addr {
        match self {
            Self::Hostile => Ipv4Addr::new(192, 0, 2, 1),
            Self::Neighbour => Ipv4Addr::new(192, 0, 2, 2),
        }
    }

    /// The ranges of the tunnel, as the victim has them.
    pub(crate) fn selectors(self) -> SelectorPair {
        let [.., last] = self.address().octets();
        SelectorPair {
            local: "10.2.0.0/16".parse().unwrap(),
            peer: format!("10.{}.0.0/16", 100 + u16::from(last)).parse().unwrap(),
        }
    }
}

/// The proposal of every IKE SA here.
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

pub(crate) fn config(who: Who, version: IkeVersion) -> ConnectionConfig {
    ConnectionConfig {
        id: who.tunnel(),
        local: VICTIM,
        peer: who.address(),
        local_id: Identity::Ipv4(VICTIM),
        peer_id: Identity::Ipv4(who.address()),
        psk: Psk::new(PSK.to_vec()),
        version,
        mode: Phase1Mode::Main,
        ike_proposals: vec![ike_proposal(version)],
        ike_lifetime: Duration::from_secs(86_400),
        ike_kilobytes: None,
        esp_proposals: vec![EspProposal {
            cipher: EspCipher::Aes128Cbc,
            integrity: Some(EspIntegrity::HmacSha1),
        }],
        pfs: None,
        child_lifetime: ChildLifetime {
            time: Duration::from_secs(36_000),
            kilobytes: None,
        },
        selectors: vec![who.selectors()],
        may_initiate: false,
        keep_up: false,
        force_udp_encapsulation: false,
        dpd: None,
        esn: Esn::Off,
        reauthentication: None,
        fragmentation: true,
    }
}

pub(crate) struct Victim {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    pub(crate) children: BTreeMap<ChildId, ChildSa>,
    /// What seals for each selector pair of each tunnel.
    pub(crate) sealing: BTreeMap<(ConnectionId, PairIndex), ChildId>,
    ike_sas: BTreeSet<(ConnectionId, String)>,
    pub(crate) failures: Vec<Code>,
    /// Jumps of sequence numbers.
    pub(crate) raised: Vec<(ChildId, u64)>,
}

impl Victim {
    pub(crate) fn new(version: IkeVersion) -> Self {
        Self::with(version, |_| {})
    }

    /// Both tunnels changed in the same way.
    pub(crate) fn with(version: IkeVersion, change: impl Fn(&mut ConnectionConfig)) -> Self {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(EndpointConfig::new([7; 32]));
        for who in [Who::Hostile, Who::Neighbour] {
            let mut config = config(who, version);
            change(&mut config);
            endpoint.put_connection(now, config);
        }
        Self {
            endpoint,
            now,
            children: BTreeMap::new(),
            sealing: BTreeMap::new(),
            ike_sas: BTreeSet::new(),
            failures: Vec::new(),
            raised: Vec::new(),
        }
    }

    /// A packet comes in on each Child SA.
    pub(crate) fn first_packets(&mut self) {
        for &child in self.children.keys() {
            self.endpoint.child_inbound_used(self.now, child);
        }
        self.drain();
    }

    /// Hands over a datagram from port 500 of a peer's address, and returns what is sent for it.
    pub(crate) fn deliver(&mut self, from: Ipv4Addr, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.deliver_from(SocketAddrV4::new(from, 500), datagram)
    }

    pub(crate) fn deliver_from(&mut self, from: SocketAddrV4, datagram: &[u8]) -> Vec<Vec<u8>> {
        let local = SocketAddrV4::new(VICTIM, 500);
        self.endpoint.handle_datagram(self.now, local, from, datagram);
        self.drain()
    }

    /// What a driver does after every call.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                self.on_event(event);
            }
            while let Some(transmit) = self.endpoint.poll_transmit() {
                sent.push(transmit.payload);
            }
            let Some((id, job)) = self.endpoint.poll_job() else {
                return sent;
            };
            self.endpoint.handle_job(self.now, id, job.run());
        }
    }

    /// Lets time pass with all its deadlines, and returns what is sent meanwhile.
    pub(crate) fn pass(&mut self, span: Duration) -> Vec<Vec<u8>> {
        let until = self.now + span;
        let mut sent = Vec::new();
        while let Some(due) = self.endpoint.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            sent.extend(self.drain());
        }
        self.now = until;
        sent
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::IkeUp { connection, spis, .. } => {
                assert!(self.ike_sas.insert((connection, format!("{spis:?}"))));
            }
            Event::IkeDown { connection, spis, .. } => {
                assert!(self.ike_sas.remove(&(connection, format!("{spis:?}"))));
            }
            Event::InstallChild { child, .. } => {
                assert!(self.children.insert(child.id, *child).is_none());
            }
            Event::UseOutbound { child } => {
                let sa = &self.children[&child];
                for served in &sa.serves {
                    self.sealing.insert((sa.connection, served.pair), child);
                }
            }
            Event::RaiseSequence { child, by } => self.raised.push((child, by)),
            Event::RemoveChild { child } => {
                assert!(self.children.remove(&child).is_some());
                self.sealing.retain(|_, sealing| *sealing != child);
            }
            Event::Failed { diagnosis, .. } => self.failures.push(diagnosis.code),
            Event::ExpectInbound { .. }
            | Event::ForgetInbound { .. }
            | Event::PeerPortChanged { .. }
            | Event::Note { .. } => {}
        }
    }

    /// Child SAs of a tunnel.
    pub(crate) fn children_of(&self, who: Who) -> Vec<&ChildSa> {
        let of = |child: &&ChildSa| child.connection == who.tunnel();
        self.children.values().filter(of).collect()
    }

    /// IKE SAs and Child SAs of a tunnel.
    pub(crate) fn counts(&self, who: Who) -> (usize, usize) {
        let ike = self
            .ike_sas
            .iter()
            .filter(|(connection, _)| *connection == who.tunnel());
        (ike.count(), self.children_of(who).len())
    }
}
