//! Reads what the two ends negotiate: `[tunnel.ike]` and `[tunnel.ipsec]`.

use std::net::Ipv4Addr;
use std::time::Duration;

use gateway_ike::config::{
    DpdAction, DpdConfig, Esn, EspCipher, EspIntegrity, EspProposal, Identity, IkeProposal, IkeVersion,
    Phase1Mode,
};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use super::algorithms::{self, Encapsulation};
use super::mistake::{At, Log, Place, Rule};
use super::model::{IkeConfig, IpsecConfig};
use super::psk::PresharedKey;
use super::read::value_or;
use super::section::{NumberOrWord, Section};
use super::values;

/// With less an IKE SA would be renewed after a handful of Quick Modes.
const LEAST_IKE_KILOBYTES: u32 = 64;
/// Lifetimes below what the product's API takes are legal, so that a test can watch several rekeys; `gateway check` warns.
const LIFETIMES: std::ops::RangeInclusive<u64> = 10..=604_800;
/// Characters of a pre-shared key that stands up to guessing offline, which aggressive mode lets anybody do who listens.
const STRONG_PSK: usize = 20;

/// [`IkeConfig`] before the addresses are known that the identities default to.
#[derive(Debug)]
pub(super) struct IkeDraft {
    version: IkeVersion,
    mode: Phase1Mode,
    mode_place: Place,
    proposals: Vec<IkeProposal>,
    lifetime: Duration,
    lifetime_kilobytes: Option<u32>,
    reauthentication: Option<Duration>,
    local_id: Option<Identity>,
    peer_id: Option<Identity>,
    dpd: Option<DpdConfig>,
    fragmentation: bool,
}

impl IkeDraft {
    pub(super) fn build(self, local: Ipv4Addr, peer: Ipv4Addr) -> IkeConfig {
        IkeConfig {
            version: self.version,
            mode: self.mode,
            proposals: self.proposals,
            lifetime: self.lifetime,
            lifetime_kilobytes: self.lifetime_kilobytes,
            reauthentication: self.reauthentication,
            local_id: self.local_id.unwrap_or(Identity::Ipv4(local)),
            peer_id: self.peer_id.unwrap_or(Identity::Ipv4(peer)),
            dpd: self.dpd,
            fragmentation: self.fragmentation,
        }
    }

    /// Aggressive mode shows a hash of the pre-shared key to everybody on the way.
    pub(super) fn check_psk(&self, log: &Log, psk: &PresharedKey) {
        if self.mode == Phase1Mode::Aggressive && psk.characters() < STRONG_PSK {
            log.mistake(
                &self.mode_place,
                format!("needs a pre-shared key of at least {STRONG_PSK} characters: whoever listens can try keys offline"),
            );
        }
    }
}

/// Reads both sections of a tunnel.
pub(super) fn read(log: &Log, mut ike: Section<'_>, ipsec: Section<'_>) -> (IkeDraft, IpsecConfig) {
    let version = value_or(ike.text("version", algorithms::ike_version), || IkeVersion::V1);
    (read_ike(log, ike, version), read_ipsec(log, ipsec, version))
}

fn read_ike(log: &Log, mut section: Section<'_>, version: IkeVersion) -> IkeDraft {
    let mut identity = |key| section.text(key, values::identity).map(|identity| identity.value);
    let (local_id, peer_id) = (identity("local_id"), identity("peer_id"));
    let mode_place = section.place_of("mode");
    let mode = value_or(section.text("mode", algorithms::phase1_mode), || Phase1Mode::Main);
    if mode == Phase1Mode::Aggressive && version == IkeVersion::V2 {
        log.mistake(&mode_place, "is a mode of IKEv1, and the version is ikev2");
    }
    let reauthentication_place = section.place_of("reauthentication_seconds");
    let reauthentication = section.number("reauthentication_seconds", 0..=*LIFETIMES.end());
    let reauthentication = value_or(reauthentication.map(optional_seconds), || None);
    if reauthentication.is_some() && version == IkeVersion::V1 {
        let rule = "is for IKEv2: IKEv1 authenticates anew with every IKE SA";
        log.mistake(&reauthentication_place, rule);
    }
    let read = IkeDraft {
        version,
        mode,
        mode_place,
        proposals: ike_proposals(log, &mut section, version),
        lifetime: value_or(section.number("lifetime_seconds", LIFETIMES).map(seconds), || {
            Duration::from_hours(24)
        }),
        lifetime_kilobytes: ike_kilobytes(log, &mut section, version),
        reauthentication,
        local_id,
        peer_id,
        dpd: dpd(&mut section),
        fragmentation: value_or(section.flag("fragmentation"), || true),
    };
    section.finish();
    read
}

fn ike_kilobytes(log: &Log, section: &mut Section<'_>, version: IkeVersion) -> Option<u32> {
    let At { value, place } = section.number("lifetime_kilobytes", 0..=u64::from(u32::MAX))?;
    let kilobytes = Some(value).filter(|&kilobytes: &u32| kilobytes > 0)?;
    if version == IkeVersion::V2 {
        log.mistake(&place, "is for IKEv1: IKE SAs of IKEv2 have no limit of octets");
    } else if kilobytes < LEAST_IKE_KILOBYTES {
        log.mistake(
            &place,
            format!("is 0 for no limit, or at least {LEAST_IKE_KILOBYTES}"),
        );
    }
    Some(kilobytes)
}

/// The list `proposals`, or one proposal of single fields.
fn ike_proposals(log: &Log, section: &mut Section<'_>, version: IkeVersion) -> Vec<IkeProposal> {
    const SINGLES: [&str; 4] = [
        "encryption",
        "authentication",
        "dh_group",
        "additional_key_exchange",
    ];
    let listed = check_list(log, section, &SINGLES);
    let list = section.texts("proposals", algorithms::ike_proposal);
    let single = IkeProposal {
        encryption: value_or(section.text("encryption", algorithms::ike_cipher), || {
            Encryption::Aes128Cbc
        }),
        hash: value_or(section.text("authentication", algorithms::hash), || Hash::Sha1),
        group: value_or(section.number_or_word("dh_group", algorithms::dh_group), || {
            DhGroup::Modp2048
        }),
        additional: section
            .text("additional_key_exchange", algorithms::additional_key_exchange)
            .map(|additional| additional.value),
    };
    if listed {
        return known_to(log, version, list, |proposal| {
            ike_v1_lacks(proposal).map(|(_, lacks)| lacks)
        });
    }
    if let Some((field, lacks)) = ike_v1_lacks(&single) {
        refuse_single(log, &section.place_of(field), version, lacks);
    }
    vec![single]
}

fn read_ipsec(log: &Log, mut section: Section<'_>, version: IkeVersion) -> IpsecConfig {
    let esn_place = section.place_of("esn");
    let esn = value_or(section.text("esn", algorithms::esn), || Esn::Off);
    if esn == Esn::Allow && version == IkeVersion::V1 {
        log.mistake(&esn_place, "is for IKEv2: IKEv1 has sequence numbers of 32 bits");
    }
    let pfs = section.number_or_word("pfs", |input| match input {
        NumberOrWord::Word("off") => Ok(None),
        NumberOrWord::Number(_) | NumberOrWord::Word(_) | NumberOrWord::Neither => {
            algorithms::dh_group(input)
                .map(Some)
                .map_err(|rule| Rule::Owned(format!("{rule}, or \"off\"")))
        }
    });
    let kilobytes = section.number("lifetime_kilobytes", 0..=u64::from(u32::MAX));
    let read = IpsecConfig {
        proposals: esp_proposals(log, &mut section, version),
        pfs: value_or(pfs, || None),
        esn,
        lifetime: value_or(section.number("lifetime_seconds", LIFETIMES).map(seconds), || {
            Duration::from_hours(1)
        }),
        lifetime_kilobytes: Some(value_or(kilobytes, || 1_843_200)).filter(|&kilobytes: &u32| kilobytes > 0),
        replay_window: value_or(section.number("replay_window", 64..=65_536), || 4096),
        encapsulation: value_or(section.text("encapsulation", Encapsulation::parse), || {
            Encapsulation::Auto
        }),
    };
    section.finish();
    read
}

fn esp_proposals(log: &Log, section: &mut Section<'_>, version: IkeVersion) -> Vec<EspProposal> {
    let listed = check_list(log, section, &["encryption", "authentication"]);
    let list = section.texts("proposals", algorithms::esp_proposal);
    let cipher = value_or(section.text("encryption", algorithms::esp_cipher), || {
        EspCipher::Aes128Cbc
    });
    let integrity = section.text("authentication", algorithms::esp_integrity);
    if listed {
        return known_to(log, version, list, esp_v1_lacks);
    }
    if let Some(At { place, .. }) = integrity.as_ref().filter(|_| cipher.is_aead()) {
        log.mistake(
            place,
            format!("is absent with {cipher}, which authenticates by itself"),
        );
    }
    let single = EspProposal {
        cipher,
        integrity: (!cipher.is_aead()).then(|| value_or(integrity, || EspIntegrity::HmacSha1)),
    };
    if let Some(lacks) = esp_v1_lacks(&single) {
        refuse_single(log, &section.place_of("encryption"), version, lacks);
    }
    vec![single]
}

/// What is wrong with `any` where all proposals need IKEv2.
const NOTHING_FOR_V1: &str =
    "leaves nothing that IKEv1 knows, and the version is any: add such a proposal, or set ikev2";

/// The field that holds what IKEv1 does not have, with the rule.
fn ike_v1_lacks(proposal: &IkeProposal) -> Option<(&'static str, &'static str)> {
    if proposal.encryption.is_aead() {
        Some(("encryption", "is for IKEv2: IKEv1 messages have no AEAD ciphers"))
    } else if proposal.additional.is_some() {
        Some(("additional_key_exchange", "is for IKEv2 (RFC 9370)"))
    } else {
        None
    }
}

fn esp_v1_lacks(proposal: &EspProposal) -> Option<&'static str> {
    (proposal.cipher == EspCipher::ChaCha20Poly1305)
        .then_some("is for IKEv2: IKEv1 has no number for chacha20-poly1305")
}

/// The only proposal of a tunnel needs IKEv2.
fn refuse_single(log: &Log, place: &Place, version: IkeVersion, lacks: &'static str) {
    match version {
        IkeVersion::V1 => log.mistake(place, lacks),
        IkeVersion::Any => log.mistake(place, NOTHING_FOR_V1),
        IkeVersion::V2 => {}
    }
}

/// Whether the section has a list of proposals, which then stands alone.
fn check_list(log: &Log, section: &Section<'_>, singles: &[&'static str]) -> bool {
    let listed = section.has("proposals");
    if listed && let Some(single) = singles.iter().find(|key| section.has(key)) {
        log.mistake(
            &section.place_of(single),
            format!(
                "stands beside proposals, which says all of {}",
                singles.join(", ")
            ),
        );
    }
    listed
}

/// The proposals of a list. What IKEv1 does not have is a mistake where only IKEv1 is spoken, and where nothing else is left to it.
fn known_to<T>(
    log: &Log,
    version: IkeVersion,
    list: Vec<At<T>>,
    v1_lacks: impl Fn(&T) -> Option<&'static str>,
) -> Vec<T> {
    let lacking: Vec<_> = list
        .iter()
        .filter_map(|proposal| Some((&proposal.place, v1_lacks(&proposal.value)?)))
        .collect();
    match version {
        IkeVersion::V1 => lacking
            .iter()
            .for_each(|&(place, lacks)| log.mistake(place, lacks)),
        IkeVersion::Any if lacking.len() == list.len() => {
            if let Some((place, _)) = lacking.first() {
                log.mistake(place, NOTHING_FOR_V1);
            }
        }
        IkeVersion::V2 | IkeVersion::Any => {}
    }
    list.into_iter().map(|proposal| proposal.value).collect()
}

fn dpd(section: &mut Section<'_>) -> Option<DpdConfig> {
    let delay = value_or(
        section.number("dpd_seconds", 0..=3600).map(optional_seconds),
        || Some(Duration::from_secs(30)),
    );
    let action = value_or(section.text("dpd_action", algorithms::dpd_action), || {
        DpdAction::Hold
    });
    delay.map(|delay| DpdConfig { delay, action })
}

fn seconds(at: At<u64>) -> At<Duration> {
    At {
        value: Duration::from_secs(at.value),
        place: at.place,
    }
}

fn optional_seconds(at: At<u64>) -> At<Option<Duration>> {
    At {
        value: Some(Duration::from_secs(at.value)).filter(|time| !time.is_zero()),
        place: at.place,
    }
}
