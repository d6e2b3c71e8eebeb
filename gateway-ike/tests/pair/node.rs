//! One end with its driver: installs what the events say, and checks what must hold at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_common::Spi;
use gateway_ike::config::PairIndex;
use gateway_ike::event::{ChildId, ChildSa};
use gateway_ike::{Diagnosis, Endpoint, Event};

/// A Child SA as the driver has installed it.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) sa: ChildSa,
    pub(crate) inbound_used: bool,
}

/// One end with its driver.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) installed: BTreeMap<ChildId, Installed>,
    /// What seals for each pair.
    pub(crate) sealing: BTreeMap<PairIndex, ChildId>,
    pub(crate) ike_sas: BTreeSet<String>,
    pub(crate) failures: Vec<Diagnosis>,
    pub(crate) log: Vec<String>,
    /// Every SPI that was ever installed inbound.
    spis: BTreeSet<Spi>,
    /// SPIs that it has asked for.
    pub(crate) expected: BTreeSet<Spi>,
    /// The last port that the peer was found to have moved to.
    pub(crate) peer_port: Option<u16>,
}

impl Node {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            installed: BTreeMap::new(),
            sealing: BTreeMap::new(),
            ike_sas: BTreeSet::new(),
            expected: BTreeSet::new(),
            failures: Vec::new(),
            log: Vec::new(),
            spis: BTreeSet::new(),
            peer_port: None,
        }
    }

    /// What a driver does with an event, with the checks that a driver need not make.
    pub(crate) fn on_event(&mut self, now: Duration, event: Event) {
        let at = now.as_secs_f64();
        match event {
            Event::IkeUp {
                spis,
                initiator,
                algorithms,
                nat,
                rekeyed,
                ..
            } => {
                self.log.push(format!(
                    "{at:.3} ike up {spis:?} {algorithms} {initiator} {nat} {rekeyed}"
                ));
                assert!(self.ike_sas.insert(format!("{spis:?}")), "the same ike sa twice");
            }
            Event::IkeDown { spis, last, .. } => {
                self.log.push(format!("{at:.3} ike down {spis:?}"));
                assert!(
                    self.ike_sas.remove(&format!("{spis:?}")),
                    "an ike sa that was not up"
                );
                assert_eq!(last, self.ike_sas.is_empty());
            }
            Event::ExpectInbound { spi, .. } => {
                assert!(self.expected.insert(spi), "an inbound spi is expected twice");
            }
            Event::ForgetInbound { spi } => {
                self.expected.remove(&spi);
            }
            Event::InstallChild { child, replaces } => {
                self.expected.remove(&child.inbound.spi);
                self.log.push(format!(
                    "{at:.3} install {:?} {:?} for {replaces:?}",
                    child.id, child.inbound.spi
                ));
                assert!(
                    self.spis.insert(child.inbound.spi),
                    "an inbound spi was used twice"
                );
                assert!(replaces.is_none_or(|old| self.installed.contains_key(&old)));
                let installed = Installed {
                    sa: *child,
                    inbound_used: false,
                };
                assert!(
                    self.installed.insert(installed.sa.id, installed).is_none(),
                    "a child id was used twice"
                );
            }
            Event::UseOutbound { child } => {
                self.log.push(format!("{at:.3} use {child:?}"));
                for served in &self.installed[&child].sa.serves {
                    self.sealing.insert(served.pair, child);
                }
            }
            Event::RaiseSequence { child, by } => {
                self.log.push(format!("{at:.3} raise {child:?} by {by}"));
            }
            Event::RemoveChild { child } => {
                self.log.push(format!("{at:.3} remove {child:?}"));
                let removed = self.installed.remove(&child);
                assert!(removed.is_some(), "a child sa that was not installed");
                self.sealing.retain(|_, sealing| *sealing != child);
            }
            Event::PeerPortChanged { encapsulation, .. } => {
                self.log
                    .push(format!("{at:.3} peer port {}", encapsulation.peer_port));
                let encapsulated = self
                    .installed
                    .values_mut()
                    .filter_map(|installed| installed.sa.encapsulation.as_mut());
                encapsulated.for_each(|udp| *udp = encapsulation);
                self.peer_port = Some(encapsulation.peer_port);
            }
            Event::Failed { diagnosis, .. } => {
                self.log.push(format!("{at:.3} failed {diagnosis}"));
                self.failures.push(diagnosis);
            }
            Event::Note { text, .. } => self.log.push(format!("{at:.3} {text}")),
        }
    }
}
