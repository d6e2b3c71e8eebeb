//! What one first message with a forged source costs: octets that we send for each that came, and time.

use std::time::{Duration, Instant};

use gateway_ike::config::{ConnectionId, IkeVersion, PairIndex, Phase1Mode};
use gateway_ike::crypto::DhGroup;

use crate::ends::{End, Kind, at, mirrored, peer, tunnel};
use crate::row::{Runs, print};

const ROUNDS: usize = 5;
/// Messages, each in the name of another peer.
const MESSAGES: u32 = 400;

const KINDS: [Kind; 3] = [
    kind("ikev1 main mode", IkeVersion::V1, Phase1Mode::Main),
    kind("ikev1 aggressive mode", IkeVersion::V1, Phase1Mode::Aggressive),
    kind("ikev2", IkeVersion::V2, Phase1Mode::Main),
];

const fn kind(name: &'static str, version: IkeVersion, mode: Phase1Mode) -> Kind {
    Kind {
        name,
        version,
        mode,
        group: DhGroup::Modp2048,
        additional: None,
    }
}

pub(crate) fn run() {
    for kind in KINDS {
        let (ratios, micros): (Vec<f64>, Vec<f64>) = (0..ROUNDS).map(|_| measure(kind)).unzip();
        let name = kind.name;
        print(
            &format!("forged first message, {name}"),
            "octets out/in",
            &Runs(ratios),
            None,
        );
        print(
            &format!("forged first message, {name}, group14"),
            "µs",
            &Runs(micros),
            None,
        );
    }
}

/// The message of a peer's own engine, sent in the name of many. Its SPI differs each time, as a flood's would.
fn measure(kind: Kind) -> (f64, f64) {
    let now = Instant::now();
    let (mut gateway, mut peers) = (End::new(1), End::new(2));
    peers.call(now, |endpoint| endpoint.put_connection(now, mirrored(kind, 0)));
    peers.call(now, |endpoint| {
        endpoint.initiate(now, ConnectionId(0), PairIndex(0))
    });
    let first = peers.sent.remove(0);
    for number in 0..MESSAGES {
        gateway.call(now, |endpoint| endpoint.put_connection(now, tunnel(kind, number)));
    }
    gateway.busy = Duration::ZERO;
    let mut received = 0;
    for number in 0..MESSAGES {
        let mut forged = first.payload.clone();
        forged[..4].copy_from_slice(&number.to_be_bytes());
        received += forged.len();
        gateway.call(now, |endpoint| {
            endpoint.handle_datagram(now, first.peer, at(peer(number)), &forged);
        });
    }
    let sent: usize = gateway.sent.iter().map(|transmit| transmit.payload.len()).sum();
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let ratio = sent as f64 / received as f64;
    (ratio, gateway.busy.as_secs_f64() * 1e6 / f64::from(MESSAGES))
}
