//! What the two ends are configured with.

use std::net::Ipv4Addr;
use std::time::Duration;

use gateway_ike::config::{
    ChildLifetime, ConnectionConfig, DpdAction, DpdConfig, Esn, EspCipher, EspIntegrity, EspProposal,
    Identity, IkeProposal, IkeVersion, Phase1Mode, Psk, SelectorPair,
};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use crate::net::{A, A_INSIDE, B, End, Pair, TUNNEL};

/// Settings of an end as tests change them.
pub(crate) struct Side {
    pub(crate) local: Ipv4Addr,
    pub(crate) peer: Ipv4Addr,
    pub(crate) local_id: Identity,
    pub(crate) peer_id: Identity,
    pub(crate) psk: &'static str,
    pub(crate) ike: Vec<IkeProposal>,
    pub(crate) ike_lifetime: Duration,
    pub(crate) ike_kilobytes: Option<u32>,
    pub(crate) esp: Vec<EspProposal>,
    pub(crate) pfs: Option<DhGroup>,
    pub(crate) lifetime: ChildLifetime,
    pub(crate) selectors: Vec<SelectorPair>,
    pub(crate) may_initiate: bool,
    pub(crate) keep_up: bool,
    pub(crate) force_udp: bool,
    pub(crate) dpd_delay: Option<Duration>,
    pub(crate) dpd_action: DpdAction,
    pub(crate) version: IkeVersion,
    pub(crate) mode: Phase1Mode,
    pub(crate) esn: Esn,
    pub(crate) reauthentication: Option<Duration>,
    pub(crate) fragmentation: bool,
}

impl Side {
    fn new(end: End) -> Self {
        let (local, peer) = match end {
            End::A => (A, B),
            End::B => (B, A),
        };
        let pair = |n: u8| {
            let (a, b) = (
                format!("10.1.{n}.0/24").parse().unwrap(),
                format!("10.2.{n}.0/24").parse().unwrap(),
            );
            match end {
                End::A => SelectorPair { local: a, peer: b },
                End::B => SelectorPair { local: b, peer: a },
            }
        };
        Self {
            local,
            peer,
            local_id: Identity::Ipv4(local),
            peer_id: Identity::Ipv4(peer),
            psk: "a key that both ends know",
            ike: vec![ike(Encryption::Aes128Cbc, Hash::Sha1, DhGroup::Modp1024)],
            ike_lifetime: Duration::from_secs(86_400),
            ike_kilobytes: None,
            esp: vec![esp(EspCipher::Aes128Cbc, Some(EspIntegrity::HmacSha1))],
            pfs: None,
            lifetime: ChildLifetime {
                time: Duration::from_secs(3600),
                kilobytes: None,
            },
            selectors: vec![pair(0), pair(1)],
            may_initiate: true,
            keep_up: false,
            force_udp: false,
            dpd_delay: None,
            dpd_action: DpdAction::Hold,
            version: IkeVersion::V1,
            mode: Phase1Mode::Main,
            esn: Esn::Off,
            reauthentication: None,
            fragmentation: true,
        }
    }

    pub(crate) fn config(&self) -> ConnectionConfig {
        ConnectionConfig {
            id: TUNNEL,
            local: self.local,
            peer: self.peer,
            local_id: self.local_id.clone(),
            peer_id: self.peer_id.clone(),
            psk: Psk::new(self.psk.as_bytes().to_vec()),
            version: self.version,
            mode: self.mode,
            ike_proposals: self.ike.clone(),
            ike_lifetime: self.ike_lifetime,
            ike_kilobytes: self.ike_kilobytes,
            esp_proposals: self.esp.clone(),
            pfs: self.pfs,
            child_lifetime: self.lifetime,
            selectors: self.selectors.clone(),
            may_initiate: self.may_initiate,
            keep_up: self.keep_up,
            force_udp_encapsulation: self.force_udp,
            dpd: self.dpd_delay.map(|delay| DpdConfig {
                delay,
                action: self.dpd_action,
            }),
            esn: self.esn,
            reauthentication: self.reauthentication,
            fragmentation: self.fragmentation,
        }
    }
}

pub(crate) fn ike(encryption: Encryption, hash: Hash, group: DhGroup) -> IkeProposal {
    IkeProposal {
        encryption,
        hash,
        group,
        additional: None,
    }
}

pub(crate) fn esp(cipher: EspCipher, integrity: Option<EspIntegrity>) -> EspProposal {
    EspProposal { cipher, integrity }
}

/// Both ends before they start.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) a: Side,
    pub(crate) b: Side,
    /// A NAT in front of A.
    pub(crate) nat: bool,
    /// Half-open attempts from which on an end asks for cookies.
    pub(crate) cookie_threshold: u32,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            seed: 1,
            a: Side::new(End::A),
            b: Side::new(End::B),
            nat: false,
            cookie_threshold: 100,
        }
    }

    /// Both ends speak IKEv2, with algorithms of this century.
    pub(crate) fn v2() -> Self {
        Self::new().both(|side| {
            side.version = IkeVersion::V2;
            side.ike = vec![ike(Encryption::Aes128Cbc, Hash::Sha2_256, DhGroup::Modp1024)];
        })
    }

    pub(crate) fn both(mut self, change: impl Fn(&mut Side)) -> Self {
        change(&mut self.a);
        change(&mut self.b);
        self
    }

    pub(crate) fn behind_nat(mut self) -> Self {
        self.nat = true;
        self.a.local = A_INSIDE;
        self
    }

    pub(crate) fn start(self) -> Pair {
        Pair::new(self)
    }
}
