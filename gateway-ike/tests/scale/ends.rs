//! Two engines that talk to each other, one of them with many addresses, and the time that each of them takes. The benchmark of the
//! engine uses them, too.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use gateway_ike::config::{
    ChildLifetime, ConnectionConfig, ConnectionId, Esn, EspCipher, EspIntegrity, EspProposal, Identity,
    IkeProposal, IkeVersion, PairIndex, Phase1Mode, Psk, SelectorPair,
};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};
use gateway_ike::event::ChildId;
use gateway_ike::{Endpoint, EndpointConfig, Event, Transmit};

/// Port of IKE.
const PORT: u16 = 500;
/// The measured end.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// How tunnels are negotiated.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) version: IkeVersion,
    pub(crate) mode: Phase1Mode,
    pub(crate) group: DhGroup,
    pub(crate) additional: Option<DhGroup>,
}

/// An engine with the time that its calls and its jobs took.
pub(crate) struct End {
    pub(crate) endpoint: Endpoint,
    pub(crate) busy: Duration,
    pub(crate) installed: usize,
    pub(crate) last_child: Option<ChildId>,
    pub(crate) sent: Vec<Transmit>,
}

impl End {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            endpoint: Endpoint::new(EndpointConfig::new([seed; 32])),
            busy: Duration::ZERO,
            installed: 0,
            last_child: None,
            sent: Vec::new(),
        }
    }

    /// One call with everything that a driver does after it, key exchanges included.
    pub(crate) fn call<T>(&mut self, now: Instant, act: impl FnOnce(&mut Endpoint) -> T) -> T {
        let start = cpu_time();
        let result = act(&mut self.endpoint);
        self.drain();
        while let Some((id, job)) = self.endpoint.poll_job() {
            self.endpoint.handle_job(now, id, job.run());
            self.drain();
        }
        self.busy += cpu_time().saturating_sub(start);
        result
    }

    fn drain(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::InstallChild { child, .. } = event {
                self.installed += 1;
                self.last_child = Some(child.id);
            }
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.sent.push(transmit);
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, sent: &Transmit) {
        self.call(now, |endpoint| {
            endpoint.handle_datagram(now, sent.peer, sent.local, &sent.payload);
        });
    }
}

/// Processor time of this thread: what others do on the machine does not count.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// Carries datagrams to and fro until there are none.
pub(crate) fn exchange(now: Instant, a: &mut End, b: &mut End) {
    while !a.sent.is_empty() || !b.sent.is_empty() {
        for sent in std::mem::take(&mut a.sent) {
            b.receive(now, &sent);
        }
        for sent in std::mem::take(&mut b.sent) {
            a.receive(now, &sent);
        }
    }
}

/// The address of a peer.
pub(crate) fn peer(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number)
}

pub(crate) const fn at(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, PORT)
}

/// Tunnel `number` as the gateway has it.
pub(crate) fn tunnel(kind: Kind, number: u32) -> ConnectionConfig {
    let inside = u32::from(Ipv4Addr::new(172, 16, 0, 0)) + number;
    let net = |address: u32| ipnet::Ipv4Net::new_assert(Ipv4Addr::from(address), 32);
    ConnectionConfig {
        id: ConnectionId(number),
        local: GATEWAY,
        peer: peer(number),
        local_id: Identity::Ipv4(GATEWAY),
        peer_id: Identity::Ipv4(peer(number)),
        psk: Psk::new(b"a key that both ends know".to_vec()),
        version: kind.version,
        mode: kind.mode,
        ike_proposals: vec![IkeProposal {
            encryption: Encryption::Aes128Cbc,
            hash: Hash::Sha1,
            group: kind.group,
            additional: kind.additional,
        }],
        ike_lifetime: Duration::from_secs(86_400),
        ike_kilobytes: None,
        esp_proposals: vec![EspProposal {
            cipher: EspCipher::Aes128Cbc,
            integrity: Some(EspIntegrity::HmacSha1),
        }],
        pfs: None,
        child_lifetime: ChildLifetime {
            time: Duration::from_secs(3600),
            kilobytes: None,
        },
        selectors: vec![SelectorPair {
            local: net(u32::from(Ipv4Addr::new(192, 168, 0, 1))),
            peer: net(inside),
        }],
        may_initiate: true,
        keep_up: false,
        force_udp_encapsulation: false,
        dpd: None,
        esn: Esn::Off,
        reauthentication: None,
        fragmentation: true,
    }
}

/// The same tunnel as its peer has it. All peers are in one engine, each with an address of its own.
pub(crate) fn mirrored(kind: Kind, number: u32) -> ConnectionConfig {
    let ours = tunnel(kind, number);
    ConnectionConfig {
        local: ours.peer,
        peer: ours.local,
        local_id: ours.peer_id.clone(),
        peer_id: ours.local_id.clone(),
        selectors: ours
            .selectors
            .iter()
            .map(|pair| SelectorPair {
                local: pair.peer,
                peer: pair.local,
            })
            .collect(),
        ..ours
    }
}

/// Brings tunnel `number` up from the peers' end.
pub(crate) fn bring_up(now: Instant, number: u32, peers: &mut End, gateway: &mut End) {
    peers.call(now, |endpoint| {
        endpoint.initiate(now, ConnectionId(number), PairIndex(0));
    });
    exchange(now, peers, gateway);
}
