//! Choices that the file names by a word. Those of the gateway's own are declared here; algorithms are the IKE engine's.

use std::fmt::Display;

use gateway_ike::config::{
    DpdAction, Esn, EspCipher, EspIntegrity, EspProposal, IkeProposal, IkeVersion, Phase1Mode,
};
use gateway_ike::crypto::{DhGroup, Encryption, Hash};

use super::mistake::Rule;
use super::section::NumberOrWord;

/// Number of ML-KEM-768 in the IANA registry of key exchange methods: only a further key exchange (RFC 9370).
const ML_KEM_768: u16 = 36;
/// What the file calls it.
const ML_KEM_768_NAME: &str = "ml-kem-768";

/// Declares an enum of named choices with `parse` and `name`.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All choices.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in the configuration, in status and in messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Reads a name; the error is the rule.
            pub fn parse(text: &str) -> Result<Self, Rule> {
                one_of(text, Self::ALL.iter().map(|&choice| (choice.name(), choice)))
            }
        }
    };
}

choices! {
    /// When ESP travels in UDP.
    Encapsulation {
        /// When a NAT is in between.
        Auto = "auto",
        /// Always.
        Udp = "udp",
    }
}

choices! {
    /// When a tunnel is brought up.
    Start {
        /// By the first packet that a rule covers.
        Traffic = "traffic",
        /// At once, and again whenever it went down.
        Always = "always",
        /// By the peer only.
        Answer = "answer",
    }
}

choices! {
    /// How the XDP program is attached.
    XdpMode {
        /// Native where the driver can, generic elsewhere.
        Auto = "auto",
        /// In the driver.
        Native = "native",
        /// In the network stack.
        Generic = "generic",
    }
}

choices! {
    /// What an interface faces.
    Role {
        /// The public network: ESP and IKE arrive here.
        Public = "public",
        /// A VPC: traffic to protect arrives here.
        Vpc = "vpc",
    }
}

/// Reads `ikev1`, `ikev2` or `any`.
pub(super) fn ike_version(text: &str) -> Result<IkeVersion, Rule> {
    let all = [IkeVersion::V1, IkeVersion::V2, IkeVersion::Any];
    one_of(text, all.map(|version| (version.name(), version)))
}

/// Reads `main` or `aggressive`.
pub(super) fn phase1_mode(text: &str) -> Result<Phase1Mode, Rule> {
    one_of(
        text,
        [Phase1Mode::Main, Phase1Mode::Aggressive].map(|mode| (mode.name(), mode)),
    )
}

/// Reads `clear`, `restart` or `hold`.
pub(super) fn dpd_action(text: &str) -> Result<DpdAction, Rule> {
    let all = [DpdAction::Clear, DpdAction::Restart, DpdAction::Hold];
    one_of(text, all.map(|action| (action.name(), action)))
}

/// Reads `off` or `allow`.
pub(super) fn esn(text: &str) -> Result<Esn, Rule> {
    one_of(text, [("off", Esn::Off), ("allow", Esn::Allow)])
}

/// Reads the name of a cipher of IKE messages.
pub(super) fn ike_cipher(text: &str) -> Result<Encryption, Rule> {
    one_displayed(text, &Encryption::ALL)
}

/// Reads the name of a hash of IKE.
pub(super) fn hash(text: &str) -> Result<Hash, Rule> {
    one_displayed(text, &Hash::ALL)
}

/// Reads the name of a cipher of ESP.
pub(super) fn esp_cipher(text: &str) -> Result<EspCipher, Rule> {
    one_displayed(text, &EspCipher::ALL)
}

/// Reads the name of an integrity algorithm of ESP.
pub(super) fn esp_integrity(text: &str) -> Result<EspIntegrity, Rule> {
    one_displayed(text, &EspIntegrity::ALL)
}

/// Reads the number of a Diffie-Hellman group.
pub(super) fn dh_group(input: NumberOrWord<'_>) -> Result<DhGroup, Rule> {
    let number = match input {
        NumberOrWord::Number(number) => Some(number),
        NumberOrWord::Word(_) | NumberOrWord::Neither => None,
    };
    dh_groups()
        .find(|group| Some(u64::from(group.number())) == number)
        .ok_or_else(|| {
            let numbers: Vec<_> = dh_groups().map(|group| group.number().to_string()).collect();
            format!("is one of {}", numbers.join(", ")).into()
        })
}

/// Reads the name of a further key exchange (RFC 9370).
pub(super) fn additional_key_exchange(text: &str) -> Result<DhGroup, Rule> {
    DhGroup::from_number(u64::from(ML_KEM_768))
        .filter(|_| text == ML_KEM_768_NAME)
        .ok_or(Rule::Borrowed("is \"ml-kem-768\""))
}

/// Reads `aes-128/sha1/group14` and `aes-256-gcm/sha2-384/group31+ml-kem-768`.
pub(super) fn ike_proposal(text: &str) -> Result<IkeProposal, Rule> {
    let mut parts = text.split('/');
    let (Some(cipher), Some(name), Some(exchange), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("is CIPHER/HASH/GROUP, such as \"aes-256/sha2-256/group14\"".into());
    };
    let (group, additional) = match exchange.split_once('+') {
        None => (exchange, None),
        Some((group, additional)) => (group, Some(additional)),
    };
    let number = group.strip_prefix("group").and_then(|number| number.parse().ok());
    Ok(IkeProposal {
        encryption: ike_cipher(cipher).map_err(|rule| part("the cipher", &rule))?,
        hash: hash(name).map_err(|rule| part("the hash", &rule))?,
        group: dh_group(number.map_or(NumberOrWord::Neither, NumberOrWord::Number))
            .map_err(|rule| part("the group, written like group14,", &rule))?,
        additional: additional
            .map(additional_key_exchange)
            .transpose()
            .map_err(|rule| part("the further key exchange", &rule))?,
    })
}

/// Reads `aes-128/sha1` and `aes-256-gcm`.
pub(super) fn esp_proposal(text: &str) -> Result<EspProposal, Rule> {
    let (cipher, integrity) = match text.split_once('/') {
        None => (text, None),
        Some((cipher, integrity)) => (cipher, Some(integrity)),
    };
    let cipher = esp_cipher(cipher).map_err(|rule| part("the cipher", &rule))?;
    let integrity = integrity
        .map(esp_integrity)
        .transpose()
        .map_err(|rule| part("the integrity algorithm", &rule))?;
    match (cipher.is_aead(), integrity) {
        (true, Some(_)) => {
            Err(format!("has no integrity algorithm beside {cipher}, which authenticates by itself").into())
        }
        (false, None) => {
            Err(format!("has an integrity algorithm after the cipher, such as \"{cipher}/sha2-256\"").into())
        }
        (true, None) | (false, Some(_)) => Ok(EspProposal { cipher, integrity }),
    }
}

/// Groups that can be the first key exchange of an IKE SA or that of PFS.
fn dh_groups() -> impl Iterator<Item = DhGroup> {
    DhGroup::ALL
        .into_iter()
        .filter(|group| group.number() != ML_KEM_768)
}

fn part(what: &str, rule: &Rule) -> Rule {
    format!("is a proposal of which {what} {rule}").into()
}

fn one_displayed<T: Copy + Display>(text: &str, all: &[T]) -> Result<T, Rule> {
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    one_of(text, names.iter().map(String::as_str).zip(all.iter().copied()))
}

fn one_of<'n, T: Copy>(text: &str, choices: impl IntoIterator<Item = (&'n str, T)>) -> Result<T, Rule> {
    let mut names = Vec::new();
    for (name, choice) in choices {
        if name == text {
            return Ok(choice);
        }
        names.push(name);
    }
    Err(format!("is one of {}", names.join(", ")).into())
}
