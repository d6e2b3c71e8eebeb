//! The part of IKE_AUTH and CREATE_CHILD_SA that negotiates a Child SA (RFC 7296 sections 1.2, 1.3.1 and 2.9).

use gateway_common::Spi;

use crate::child::NewChild;
use crate::config::ConnectionConfig;
use crate::crypto::SharedSecret;
use crate::diagnosis::{Code, Diagnosis};
use crate::event::{ChildId, EspSa, Served};
use crate::tunnel::Want;
use crate::wire::v2::{Message, NotifyPayload, NotifyType, Payload};

use super::keys::IkeKeys;
use super::proposal::{EspChoice, EspTerms};
use super::refusal::malformed;
use super::{Role, selectors};

/// What both ends agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    pub(crate) choice: EspChoice,
    pub(crate) serves: Vec<Served>,
    /// Our inbound SPI.
    pub(crate) spi: Spi,
}

/// Why there is no Child SA: what the operator reads, and what the peer reads.
#[derive(Debug)]
pub(crate) struct NoChild {
    pub(crate) diagnosis: Diagnosis,
    pub(crate) notify: NotifyPayload,
}

impl NoChild {
    fn new(diagnosis: Diagnosis, notify: NotifyType) -> Self {
        Self {
            diagnosis,
            notify: NotifyPayload::new(notify, Vec::new()),
        }
    }
}

/// `SA, TSi, TSr` as initiator of the exchange. `spi` is our inbound SPI.
pub(crate) fn offer(terms: EspTerms<'_>, want: Want, spi: Spi) -> [Payload; 3] {
    let (ts_i, ts_r) = selectors::to_payloads(want.selectors, Role::Initiator);
    [
        Payload::Sa(terms.offer(spi)),
        Payload::TsI(ts_i),
        Payload::TsR(ts_r),
    ]
}

/// As initiator: what the peer agrees to. It may narrow, but a Child SA that does not serve the whole pair is of no use.
pub(crate) fn judge_answer(
    config: &ConnectionConfig,
    terms: EspTerms<'_>,
    want: Want,
    spi: Spi,
    message: &Message<'_>,
) -> Result<Agreed, Diagnosis> {
    let missing = |what: &str| malformed(&format!("an answer without {what}"));
    if let Some(error) = message.error() {
        return Err(refused_by_peer(config, terms, want, error));
    }
    let sa = message.sa().ok_or_else(|| missing("sa payload"))?;
    let (ts_i, ts_r) = message
        .ts_i()
        .zip(message.ts_r())
        .ok_or_else(|| missing("traffic selectors"))?;
    let choice = terms.chosen(sa)?;
    selectors::granted(want.selectors, ts_i, ts_r)?;
    let served = Served {
        pair: want.pair,
        selectors: want.selectors,
    };
    Ok(Agreed {
        choice,
        serves: vec![served],
        spi,
    })
}

/// As responder: what of the peer's offer we agree to, with `SA, TSi, TSr` of the answer.
pub(crate) fn judge_request(
    config: &ConnectionConfig,
    terms: EspTerms<'_>,
    spi: Spi,
    message: &Message<'_>,
) -> Result<(Agreed, [Payload; 3]), NoChild> {
    let missing = |what: &str| {
        let diagnosis = malformed(&format!("a request without {what}"));
        NoChild::new(diagnosis, NotifyType::INVALID_SYNTAX)
    };
    let sa = message.sa().ok_or_else(|| missing("sa payload"))?;
    let (ts_i, ts_r) = message
        .ts_i()
        .zip(message.ts_r())
        .ok_or_else(|| missing("traffic selectors"))?;
    let (choice, answer) = terms
        .select(sa, spi)
        .map_err(|diagnosis| NoChild::new(diagnosis, NotifyType::NO_PROPOSAL_CHOSEN))?;
    let narrowed = selectors::narrow(&config.selectors, ts_i, ts_r)
        .map_err(|diagnosis| NoChild::new(diagnosis, NotifyType::TS_UNACCEPTABLE))?;
    let agreed = Agreed {
        choice,
        serves: narrowed.serves,
        spi,
    };
    let payloads = [
        Payload::Sa(answer),
        Payload::TsI(narrowed.ts_i),
        Payload::TsR(narrowed.ts_r),
    ];
    Ok((agreed, payloads))
}

/// Nonces of the exchange, and its key exchange.
#[derive(Clone, Copy)]
pub(crate) struct KeySource<'a> {
    pub(crate) nonce_i: &'a [u8],
    pub(crate) nonce_r: &'a [u8],
    pub(crate) shared: Option<&'a SharedSecret>,
}

impl Agreed {
    /// Both directions with their keys (RFC 7296 section 2.17: those of the initiator of the exchange first).
    pub(crate) fn into_child(
        self,
        config: &ConnectionConfig,
        keys: &IkeKeys,
        initiator: bool,
        source: KeySource<'_>,
        replaces: Option<ChildId>,
    ) -> NewChild {
        let (encryption, integrity) = self.choice.proposal.key_lengths();
        let of_one = encryption + integrity;
        let keymat = keys.keymat(source.shared, source.nonce_i, source.nonce_r, &[], 2 * of_one);
        let (from_i, from_r) = keymat.split(of_one);
        let (outbound, inbound) = if initiator {
            (from_i, from_r)
        } else {
            (from_r, from_i)
        };
        let esp = |spi, keymat: crate::crypto::Secret| {
            let (encryption_key, integrity_key) = keymat.split(encryption);
            EspSa {
                spi,
                encryption_key,
                integrity_key,
            }
        };
        NewChild {
            serves: self.serves,
            replaces,
            proposal: self.choice.proposal,
            esn: self.choice.esn,
            lifetime: config.child_lifetime.time,
            kilobytes: config.child_lifetime.kilobytes.map(u64::from),
            inbound: esp(self.spi, inbound),
            outbound: esp(self.choice.peer_spi, outbound),
        }
    }
}

/// The peer has proven itself and refuses a Child SA.
fn refused_by_peer(
    config: &ConnectionConfig,
    terms: EspTerms<'_>,
    want: Want,
    error: &NotifyPayload,
) -> Diagnosis {
    let (local, theirs) = (want.selectors.local, want.selectors.peer);
    let peer = format!("peer refuses {local} to {theirs} with {}", error.notify_type);
    let with_pfs = terms.pfs.is_some();
    match error.notify_type {
        NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED | NotifyType::INVALID_SELECTORS => {
            Diagnosis::new(
                Code::SelectorMismatch,
                format!("tunnel has {local} to {theirs}"),
                peer,
                "give the peer the mirrored ranges, or correct the rule",
            )
        }
        // The first Child SA had no key exchange of its own and came up, so the algorithms fit.
        NotifyType::INVALID_KE_PAYLOAD | NotifyType::NO_PROPOSAL_CHOSEN if with_pfs => {
            pfs_mismatch(config, peer)
        }
        NotifyType::INVALID_KE_PAYLOAD => pfs_mismatch(config, peer),
        NotifyType::NO_PROPOSAL_CHOSEN => Diagnosis {
            peer,
            ..terms.refused_by_peer()
        },
        _ => Diagnosis::new(
            Code::PeerRefused,
            format!("tunnel asks for {local} to {theirs}"),
            peer,
            "read the peer's log: it knows why it refuses",
        ),
    }
}

/// A request with a key exchange of another group than ours, or without one.
pub(crate) fn pfs_differs(config: &ConnectionConfig, theirs: Option<u16>) -> Diagnosis {
    let peer = theirs.map_or_else(
        || "peer asks for a child sa without pfs".to_owned(),
        |group| format!("peer asks for pfs group{group}"),
    );
    pfs_mismatch(config, peer)
}

fn pfs_mismatch(config: &ConnectionConfig, peer: String) -> Diagnosis {
    let ours = config
        .pfs
        .map_or_else(|| "pfs off".to_owned(), |group| format!("pfs {group}"));
    Diagnosis::new(
        Code::PfsMismatch,
        format!("tunnel has {ours}"),
        peer,
        "make ipsec.pfs the same on both sides",
    )
}
