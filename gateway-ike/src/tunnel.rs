//! What the endpoint holds for one configured tunnel, beside its IKE SAs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::child::Children;
use crate::config::{ConnectionConfig, PairIndex, SelectorPair};
use crate::event::ChildId;
use crate::ike_sa::SaKey;
use crate::unknown_spi::UnknownSpi;

/// First wait before a tunnel that shall be up is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What is to be negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) pair: PairIndex,
    pub(crate) selectors: SelectorPair,
    /// The Child SA that the new one shall replace.
    pub(crate) replaces: Option<ChildId>,
}

/// One tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) config: Arc<ConnectionConfig>,
    pub(crate) children: Children,
    /// What waits for an IKE SA, or for its turn on it.
    pub(crate) wanted: BTreeMap<SelectorPair, Want>,
    /// Established IKE SAs in the order in which they were established. The last one carries what is new.
    pub(crate) established: Vec<SaKey>,
    /// IKE SAs that the peer has deleted and that wait for what it says besides. They are up until they end.
    pub(crate) closing: Vec<SaKey>,
    /// The IKE SA that we are initiating.
    pub(crate) initiating: Option<SaKey>,
    /// When the peer last proved to be there, by IKE or ESP.
    pub(crate) heard: Instant,
    /// Pairs that were up when the peer was found dead, and that [`crate::config::DpdAction::Restart`] brings back.
    pub(crate) restarting: BTreeSet<PairIndex>,
    /// Whether both ends were seen to mean the same PFS, or to be tried: see `probe_pfs`.
    pub(crate) pfs_probed: bool,
    /// What the peer was last seen to seal with that we do not have.
    pub(crate) unknown_spi: UnknownSpi,
    /// When somebody last said for the peer that it had lost a Child SA, and was listened to.
    pub(crate) hinted: Option<Instant>,
    failures: u32,
}

impl Tunnel {
    pub(crate) fn new(config: Arc<ConnectionConfig>, now: Instant) -> Self {
        Self {
            config,
            children: Children::default(),
            wanted: BTreeMap::new(),
            established: Vec::new(),
            closing: Vec::new(),
            initiating: None,
            heard: now,
            restarting: BTreeSet::new(),
            pfs_probed: false,
            unknown_spi: UnknownSpi::default(),
            hinted: None,
            failures: 0,
        }
    }

    /// The IKE SA that new exchanges use.
    pub(crate) fn current_sa(&self) -> Option<SaKey> {
        self.established.last().copied()
    }

    /// Whether there is no SA of any kind with the peer.
    pub(crate) fn is_empty(&self) -> bool {
        self.established.is_empty() && self.children.is_empty()
    }

    /// All selector pairs of the tunnel.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = PairIndex> {
        (0..=u16::MAX)
            .zip(&self.config.selectors)
            .map(|(pair, _)| PairIndex(pair))
    }

    /// Whether a pair is brought up without anybody asking.
    pub(crate) fn shall_be_up(&self, pair: PairIndex) -> bool {
        self.config.may_initiate && (self.config.keep_up || self.restarting.contains(&pair))
    }

    /// How long to wait after one more failure.
    pub(crate) fn back_off(&mut self) -> Duration {
        let wait = FIRST_RETRY * 2u32.pow(self.failures.min(6));
        self.failures += 1;
        wait.min(LAST_RETRY)
    }

    /// Something came up: the next failure waits shortly again.
    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Whether replacing `old` by `new` leaves the SAs of the tunnel as they are: what they were negotiated with is the same, and new
/// selector pairs only follow the old ones.
pub(crate) fn keeps_sas(old: &ConnectionConfig, new: &ConnectionConfig) -> bool {
    let ConnectionConfig {
        id: _,
        local,
        peer,
        local_id,
        peer_id,
        psk,
        version,
        mode,
        ike_proposals,
        ike_lifetime,
        ike_kilobytes,
        esp_proposals,
        pfs,
        child_lifetime,
        selectors,
        may_initiate: _,
        keep_up: _,
        force_udp_encapsulation,
        dpd: _,
        esn,
        reauthentication: _,
        fragmentation: _,
    } = old;
    *local == new.local
        && *peer == new.peer
        && *local_id == new.local_id
        && *peer_id == new.peer_id
        && crate::crypto::ct_eq(psk.expose(), new.psk.expose())
        && *version == new.version
        && *mode == new.mode
        && *ike_proposals == new.ike_proposals
        && *ike_lifetime == new.ike_lifetime
        && *ike_kilobytes == new.ike_kilobytes
        && *esp_proposals == new.esp_proposals
        && *pfs == new.pfs
        && *child_lifetime == new.child_lifetime
        && *esn == new.esn
        && *force_udp_encapsulation == new.force_udp_encapsulation
        && new.selectors.starts_with(selectors)
}
