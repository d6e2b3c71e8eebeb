//! Every message of every exchange, in each direction: lost once, arriving twice, arriving again when all is over.
//!
//! However it goes, both ends come to hold the same SAs, as many as without, and nothing half done.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gateway_ike::config::{IkeProposal, PairIndex, Phase1Mode};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use crate::net::{End, FIRST, Fate, Pair, TUNNEL};
use crate::setup::{Setup, ike};

const SECOND: Duration = Duration::from_secs(1);
const SECOND_PAIR: PairIndex = PairIndex(1);

/// Exchanges under test: what begins them, and what both ends have afterwards.
struct Row {
    name: &'static str,
    setup: fn() -> Setup,
    /// The tunnel is up before.
    up: bool,
    act: fn(&mut Pair),
    /// Messages of so long count.
    span: Duration,
    children: usize,
    /// How long it may take until a message that was lost is made good.
    patience: Duration,
    /// A loss is made good at all.
    recovers: bool,
}

const INITIATE: fn(&mut Pair) = |pair| pair.initiate(End::A);
const NEW_CHILD: fn(&mut Pair) = |pair| {
    pair.with(End::A, |endpoint, now| {
        endpoint.initiate(now, TUNNEL, SECOND_PAIR)
    })
};
const REKEY_IKE: fn(&mut Pair) = |pair| pair.with(End::A, |endpoint, now| endpoint.rekey_ike(now, TUNNEL));
const TERMINATE: fn(&mut Pair) = |pair| pair.with(End::A, |endpoint, now| endpoint.terminate(now, TUNNEL));
const WAIT: fn(&mut Pair) = |_| {};

fn rekey_child(pair: &mut Pair) {
    let child = pair.a.sealing[&FIRST];
    pair.with(End::A, |endpoint, now| endpoint.rekey_child(now, child));
}

fn aggressive() -> Setup {
    Setup::new().both(|side| side.mode = Phase1Mode::Aggressive)
}

/// Both ends ask for signs of life.
fn watched(setup: Setup) -> Setup {
    setup.both(|side| side.dpd_delay = Some(10 * SECOND))
}

fn cookies() -> Setup {
    Setup {
        cookie_threshold: 0,
        ..Setup::v2()
    }
}

fn intermediate() -> Setup {
    let proposal = IkeProposal {
        additional: DhGroup::from_number(36),
        ..ike(Encryption::Aes256Gcm16, Hash::Sha2_256, DhGroup::Modp1024)
    };
    Setup::v2().both(|side| side.ike = vec![proposal.clone()])
}

const fn from_nothing(name: &'static str, setup: fn() -> Setup) -> Row {
    Row {
        name,
        setup,
        up: false,
        act: INITIATE,
        span: Duration::from_secs(5),
        children: 1,
        patience: Duration::from_secs(60),
        recovers: true,
    }
}

const fn when_up(name: &'static str, setup: fn() -> Setup, act: fn(&mut Pair), children: usize) -> Row {
    Row {
        up: true,
        act,
        span: Duration::from_secs(15),
        children,
        ..from_nothing(name, setup)
    }
}

const V1: [Row; 10] = [
    from_nothing("main mode", Setup::new),
    from_nothing("aggressive mode", aggressive),
    when_up("quick mode, another pair", Setup::new, NEW_CHILD, 2),
    Row {
        // A Delete of IKEv1 has no answer: where it is lost, the old Child SA stays until its lifetime ends.
        patience: Duration::from_secs(400),
        ..when_up(
            "quick mode, renewal",
            || Setup::new().both(|side| side.lifetime.time = 300 * SECOND),
            rekey_child,
            1,
        )
    },
    Row {
        // Likewise.
        patience: Duration::from_secs(400),
        ..when_up(
            "main mode, renewal",
            || Setup::new().both(|side| side.ike_lifetime = 300 * SECOND),
            REKEY_IKE,
            1,
        )
    },
    Row {
        // Likewise. Signs of life are what proves the new IKE SA to its initiator.
        patience: Duration::from_secs(400),
        ..when_up(
            "aggressive mode, renewal",
            || watched(aggressive()).both(|side| side.ike_lifetime = 300 * SECOND),
            REKEY_IKE,
            1,
        )
    },
    from_nothing("main mode behind a NAT", || Setup::new().behind_nat()),
    from_nothing("aggressive mode behind a NAT", || aggressive().behind_nat()),
    when_up("dead peer detection", || watched(Setup::new()), WAIT, 1),
    Row {
        // Nobody answers a Delete. `life` tells what becomes of an end that misses one.
        recovers: false,
        ..when_up("delete", || watched(Setup::new()), TERMINATE, 0)
    },
];

const V2: [Row; 10] = [
    from_nothing("IKE_SA_INIT, IKE_AUTH", Setup::v2),
    from_nothing("IKE_SA_INIT, IKE_AUTH behind a NAT", || Setup::v2().behind_nat()),
    from_nothing("cookie", cookies),
    from_nothing("IKE_INTERMEDIATE", intermediate),
    when_up("CREATE_CHILD_SA, another pair", Setup::v2, NEW_CHILD, 2),
    when_up(
        "CREATE_CHILD_SA, renewal of a Child SA",
        Setup::v2,
        rekey_child,
        1,
    ),
    when_up("CREATE_CHILD_SA, renewal of the IKE SA", Setup::v2, REKEY_IKE, 1),
    when_up(
        "CREATE_CHILD_SA, renewal of the IKE SA behind a NAT",
        || Setup::v2().behind_nat(),
        REKEY_IKE,
        1,
    ),
    when_up("INFORMATIONAL, liveness", || watched(Setup::v2()), WAIT, 1),
    when_up("INFORMATIONAL, delete", Setup::v2, TERMINATE, 0),
];

impl Row {
    fn begin(&self) -> Pair {
        if self.up {
            let mut pair = Pair::established((self.setup)());
            pair.run_for(SECOND);
            pair
        } else {
            (self.setup)().start()
        }
    }

    /// The messages of the exchanges when nothing goes wrong: who sent each.
    fn messages(&self) -> Vec<End> {
        let mut pair = self.begin();
        let before = pair.sent.len();
        (self.act)(&mut pair);
        pair.run_for(self.span);
        pair.sent[before..].iter().map(|(_, from, _)| *from).collect()
    }

    /// Runs the exchanges; message `number` meets `fate`.
    fn run(&self, number: usize, fate: Fate) -> (Pair, usize) {
        let mut pair = self.begin();
        let before = pair.sent.len();
        let left = Rc::new(Cell::new(number));
        pair.filter = Some(Box::new(move |_, _, _| match left.get().checked_sub(1) {
            Some(next) => {
                left.set(next);
                Fate::Deliver
            }
            None => {
                left.set(usize::MAX);
                fate
            }
        }));
        (self.act)(&mut pair);
        pair.run_for(self.span);
        (pair, before + number)
    }

    /// Waits until both ends hold what they should and no more.
    #[track_caller]
    fn settles(&self, pair: &mut Pair, what: &str) {
        let end = pair.now + self.patience;
        while !self.is_settled(pair) {
            assert!(
                pair.now < end,
                "{}, {what}: not settled\n{:?} {:?} {:#?}\n{:?} {:?} {:#?}",
                self.name,
                pair.a.endpoint.totals(),
                pair.a.installed.keys(),
                pair.a.log,
                pair.b.endpoint.totals(),
                pair.b.installed.keys(),
                pair.b.log,
            );
            pair.run_for(SECOND);
        }
        pair.assert_mirrored();
    }

    fn is_settled(&self, pair: &Pair) -> bool {
        let ike = usize::from(self.children > 0);
        let inbound = |end| {
            let mut spis: Vec<_> = pair
                .node(end)
                .installed
                .values()
                .map(|installed| (installed.sa.inbound.spi, installed.sa.outbound.spi))
                .collect();
            spis.sort_unstable();
            spis
        };
        let mut mirrored: Vec<_> = inbound(End::B)
            .into_iter()
            .map(|(inbound, outbound)| (outbound, inbound))
            .collect();
        mirrored.sort_unstable();
        inbound(End::A) == mirrored
            && [End::A, End::B].into_iter().all(|end| {
                let node = pair.node(end);
                node.installed.len() == self.children
                    && node.sealing.len() == self.children
                    && node.ike_sas.len() == ike
                    && node.expected.is_empty()
                    && node.endpoint.snapshots(pair.now).len() == ike
                    && node.endpoint.totals().half_open == 0
                    && !node.endpoint.is_initiating(TUNNEL)
            })
    }
}

#[track_caller]
fn check(rows: &[Row]) {
    for row in rows {
        let messages = row.messages();
        let both = [End::A, End::B].map(|end| messages.contains(&end));
        assert!(
            both[0] && (both[1] || row.children == 0),
            "{}: {messages:?}",
            row.name
        );
        for (number, &from) in messages.iter().enumerate() {
            for (fate, name) in [(Fate::Lose, "lost"), (Fate::Duplicate, "twice")] {
                if fate == Fate::Lose && !row.recovers {
                    continue;
                }
                let (mut pair, _) = row.run(number, fate);
                row.settles(&mut pair, &format!("message {number} of {from:?} {name}"));
            }
            let (mut pair, message) = row.run(number, Fate::Deliver);
            row.settles(&mut pair, &format!("message {number} of {from:?}"));
            let installed = |pair: &Pair| pair.a.installed.keys().copied().collect::<Vec<_>>();
            let before = installed(&pair);
            pair.replay(message);
            pair.run_for(SECOND);
            row.settles(&mut pair, &format!("message {number} of {from:?} again later"));
            assert_eq!(installed(&pair), before, "{}, message {number}", row.name);
        }
    }
}

#[test]
fn any_message_of_ikev1_may_be_lost_repeated_or_replayed() {
    check(&V1);
}

#[test]
fn any_message_of_ikev2_may_be_lost_repeated_or_replayed() {
    check(&V2);
}
