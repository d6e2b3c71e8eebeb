//! Handshakes a second of a responder on one core: an IKE SA with one Child SA, authenticated by pre-shared keys. The initiator's
//! work is not counted.

use std::time::{Duration, Instant};

use gateway_ike::config::{IkeVersion, Phase1Mode};
use gateway_ike::crypto::DhGroup;

use crate::ends::{End, Kind, bring_up, mirrored, tunnel};
use crate::row::{Runs, print};

const ROUNDS: usize = 5;
const TUNNELS: u32 = 400;

const fn kind(name: &'static str, version: IkeVersion, group: DhGroup) -> Kind {
    Kind {
        name,
        version,
        mode: Phase1Mode::Main,
        group,
        additional: None,
    }
}

/// What is measured.
const KINDS: [Kind; 7] = [
    kind("ikev2 x25519", IkeVersion::V2, DhGroup::X25519),
    kind("ikev2 ecp256", IkeVersion::V2, DhGroup::Ecp256),
    kind("ikev2 modp1024", IkeVersion::V2, DhGroup::Modp1024),
    kind("ikev2 modp2048", IkeVersion::V2, DhGroup::Modp2048),
    Kind {
        additional: Some(DhGroup::MlKem768),
        ..kind("ikev2 x25519 and ml-kem-768", IkeVersion::V2, DhGroup::X25519)
    },
    kind("ikev1 main mode modp1024", IkeVersion::V1, DhGroup::Modp1024),
    kind("ikev1 main mode modp2048", IkeVersion::V1, DhGroup::Modp2048),
];

pub(crate) fn run() {
    let mut runs = KINDS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (kind, runs) in KINDS.iter().zip(&mut runs) {
            runs.push(measure(*kind));
        }
    }
    for (kind, runs) in KINDS.iter().zip(runs) {
        print(
            &format!("responder, {}", kind.name),
            "handshakes/s",
            &Runs(runs),
            None,
        );
    }
}

fn measure(kind: Kind) -> f64 {
    let now = Instant::now();
    let (mut gateway, mut peers) = (End::new(1), End::new(2));
    for number in 0..TUNNELS {
        gateway.call(now, |endpoint| endpoint.put_connection(now, tunnel(kind, number)));
        peers.call(now, |endpoint| {
            endpoint.put_connection(now, mirrored(kind, number))
        });
    }
    gateway.busy = Duration::ZERO;
    for number in 0..TUNNELS {
        bring_up(now, number, &mut peers, &mut gateway);
    }
    assert_eq!(gateway.installed, TUNNELS as usize, "{}", kind.name);
    f64::from(TUNNELS) / gateway.busy.as_secs_f64()
}
