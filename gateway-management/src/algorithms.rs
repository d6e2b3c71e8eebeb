//! Algorithms and settings of a tunnel, with their spelling in the configuration file and in the APIs.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::values;

/// Declares an enum of choices: the name in the configuration file and in the store, then the one in API v2. API 3.0 has the
/// same words in upper case.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal, $wire:literal $(, also $($alias:literal)|+)?;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// All choices.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in the configuration file.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The name in API v2.
            pub const fn wire(self) -> &'static str {
                match self { $(Self::$variant => $wire,)+ }
            }

            /// Reads the name of an API in any case.
            ///
            /// # Errors
            /// [`Error::Invalid`] for `field`.
            pub fn from_wire(field: &'static str, text: &str) -> Result<Self, Error> {
                let text = text.trim();
                let is = |name: &str| name.eq_ignore_ascii_case(text);
                $(if is($wire) || is($text) $($(|| is($alias))+)? { return Ok(Self::$variant); })+
                let names: Vec<_> = Self::ALL.iter().map(|choice| choice.wire()).collect();
                Err(Error::invalid(field, text, format!("is one of {}", names.join(", "))))
            }
        }
    };
}

choices! {
    /// Version of IKE.
    IkeVersion {
        /// RFC 2409.
        V1 = "ikev1", "ikev1";
        /// RFC 7296.
        V2 = "ikev2", "ikev2";
    }
}

choices! {
    /// Phase 1 exchange of IKEv1.
    ExchangeMode {
        /// Identity Protection exchange.
        Main = "main", "main";
        /// Aggressive exchange.
        Aggressive = "aggressive", "aggressive";
    }
}

choices! {
    /// Cipher of the IKE SA.
    IkeEncryption {
        /// 3DES in CBC mode.
        TripleDes = "3des", "3des-cbc";
        /// AES-128 in CBC mode.
        Aes128 = "aes-128", "aes-cbc-128";
        /// AES-192 in CBC mode.
        Aes192 = "aes-192", "aes-cbc-192";
        /// AES-256 in CBC mode.
        Aes256 = "aes-256", "aes-cbc-256";
        /// DES in CBC mode.
        Des = "des", "des-cbc";
    }
}

choices! {
    /// Hash of the IKE SA or integrity algorithm of ESP.
    Hash {
        /// HMAC-MD5.
        Md5 = "md5", "md5";
        /// HMAC-SHA1.
        Sha1 = "sha1", "sha", also "sha-1";
        /// HMAC-SHA-256.
        Sha256 = "sha2-256", "sha-256", also "sha256";
        /// HMAC-SHA-384.
        Sha384 = "sha2-384", "sha-384", also "sha384";
        /// HMAC-SHA-512.
        Sha512 = "sha2-512", "sha-512", also "sha512";
    }
}

choices! {
    /// Diffie-Hellman group, IANA "Group Description".
    DhGroup {
        /// 768-bit MODP.
        Group1 = "1", "group1", also "dh-group1";
        /// 1024-bit MODP.
        Group2 = "2", "group2", also "dh-group2";
        /// 1536-bit MODP.
        Group5 = "5", "group5", also "dh-group5";
        /// 2048-bit MODP.
        Group14 = "14", "group14", also "dh-group14";
        /// 3072-bit MODP.
        Group15 = "15", "group15", also "dh-group15";
        /// 4096-bit MODP.
        Group16 = "16", "group16", also "dh-group16";
        /// P-256.
        Group19 = "19", "group19", also "dh-group19";
        /// P-384.
        Group20 = "20", "group20", also "dh-group20";
        /// P-521.
        Group21 = "21", "group21", also "dh-group21";
        /// 2048-bit MODP with a 256-bit subgroup.
        Group24 = "24", "group24", also "dh-group24";
    }
}

choices! {
    /// Cipher of ESP.
    EspEncryption {
        /// 3DES in CBC mode.
        TripleDes = "3des", "3des-cbc";
        /// AES-128 in CBC mode.
        Aes128 = "aes-128", "aes-cbc-128";
        /// AES-192 in CBC mode.
        Aes192 = "aes-192", "aes-cbc-192";
        /// AES-256 in CBC mode.
        Aes256 = "aes-256", "aes-cbc-256";
        /// DES in CBC mode.
        Des = "des", "des-cbc";
        /// AES-128 in Galois/counter mode.
        Aes128Gcm = "aes-128-gcm", "aes128gcm128";
        /// AES-256 in Galois/counter mode.
        Aes256Gcm = "aes-256-gcm", "aes256gcm128";
    }
}

choices! {
    /// When a tunnel is brought up.
    Start {
        /// By the first packet that a rule covers.
        Traffic = "traffic", "flowTrigger";
        /// At once, and again whenever it went down.
        Always = "always", "active";
        /// By the peer only.
        Answer = "answer", "passive";
    }
}

choices! {
    /// What follows a dead peer. Its SAs end in any case.
    DpdAction {
        /// Nothing more.
        Clear = "clear", "clear";
        /// The tunnel is brought up again at once, and again until it is up.
        Restart = "restart", "restart";
        /// The next packet brings the tunnel up again.
        Hold = "hold", "hold";
    }
}

impl DpdAction {
    /// What an operation means that does not say.
    pub fn default_of(start: Start) -> Self {
        match start {
            Start::Always => Self::Restart,
            Start::Traffic | Start::Answer => Self::Clear,
        }
    }
}

impl DhGroup {
    /// The group's number in the IANA registry.
    pub const fn number(self) -> u16 {
        match self {
            Self::Group1 => 1,
            Self::Group2 => 2,
            Self::Group5 => 5,
            Self::Group14 => 14,
            Self::Group15 => 15,
            Self::Group16 => 16,
            Self::Group19 => 19,
            Self::Group20 => 20,
            Self::Group21 => 21,
            Self::Group24 => 24,
        }
    }

    /// The name as a PFS group of API v2.
    pub fn pfs_wire(self) -> String {
        format!("dh-{}", self.wire())
    }
}

impl EspEncryption {
    /// Whether the cipher authenticates by itself, so that no integrity algorithm goes with it.
    pub const fn is_aead(self) -> bool {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => true,
            Self::TripleDes | Self::Aes128 | Self::Aes192 | Self::Aes256 | Self::Des => false,
        }
    }
}

/// Identity of an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Its public address.
    #[default]
    OwnAddress,
    /// Another address, as behind a NAT.
    Address(Ipv4Addr),
    /// A domain name.
    Fqdn(String),
}

/// Settings of the IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeOptions {
    /// Version.
    pub version: IkeVersion,
    /// Phase 1 exchange; IKEv1 only.
    pub mode: ExchangeMode,
    /// Cipher.
    pub encryption: IkeEncryption,
    /// Hash.
    pub hash: Hash,
    /// Diffie-Hellman group.
    pub group: DhGroup,
    /// Lifetime of the IKE SA in seconds, 60 to 604800.
    pub lifetime_seconds: u32,
    /// Identity we send.
    pub local_identity: Identity,
    /// Identity the peer must prove.
    pub remote_identity: Identity,
}

/// Settings of the IPsec SAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsecOptions {
    /// Cipher.
    pub encryption: EspEncryption,
    /// Integrity algorithm; means nothing with an AEAD cipher.
    pub integrity: Hash,
    /// Group of the additional key exchange; `None`: off.
    pub pfs: Option<DhGroup>,
    /// Lifetime in seconds, 180 to 604800.
    pub lifetime_seconds: u32,
    /// Lifetime in kilobytes, at least 2560.
    pub lifetime_kilobytes: u32,
}

/// A change of some [`IkeOptions`]; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IkePatch {
    /// Version.
    pub version: Option<IkeVersion>,
    /// Phase 1 exchange.
    pub mode: Option<ExchangeMode>,
    /// Cipher.
    pub encryption: Option<IkeEncryption>,
    /// Hash.
    pub hash: Option<Hash>,
    /// Diffie-Hellman group.
    pub group: Option<DhGroup>,
    /// Lifetime in seconds.
    pub lifetime_seconds: Option<u32>,
    /// Identity we send.
    pub local_identity: Option<Identity>,
    /// Identity the peer must prove.
    pub remote_identity: Option<Identity>,
}

/// A change of some [`IpsecOptions`]; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpsecPatch {
    /// Cipher.
    pub encryption: Option<EspEncryption>,
    /// Integrity algorithm.
    pub integrity: Option<Hash>,
    /// Group of the additional key exchange, or none.
    pub pfs: Option<Option<DhGroup>>,
    /// Lifetime in seconds.
    pub lifetime_seconds: Option<u32>,
    /// Lifetime in kilobytes.
    pub lifetime_kilobytes: Option<u32>,
}

impl IkePatch {
    /// The options with the change.
    #[must_use]
    pub fn apply(self, base: IkeOptions) -> IkeOptions {
        IkeOptions {
            version: self.version.unwrap_or(base.version),
            mode: self.mode.unwrap_or(base.mode),
            encryption: self.encryption.unwrap_or(base.encryption),
            hash: self.hash.unwrap_or(base.hash),
            group: self.group.unwrap_or(base.group),
            lifetime_seconds: self.lifetime_seconds.unwrap_or(base.lifetime_seconds),
            local_identity: self.local_identity.unwrap_or(base.local_identity),
            remote_identity: self.remote_identity.unwrap_or(base.remote_identity),
        }
    }
}

impl IpsecPatch {
    /// The options with the change.
    #[must_use]
    pub fn apply(self, base: IpsecOptions) -> IpsecOptions {
        IpsecOptions {
            encryption: self.encryption.unwrap_or(base.encryption),
            integrity: self.integrity.unwrap_or(base.integrity),
            pfs: self.pfs.unwrap_or(base.pfs),
            lifetime_seconds: self.lifetime_seconds.unwrap_or(base.lifetime_seconds),
            lifetime_kilobytes: self.lifetime_kilobytes.unwrap_or(base.lifetime_kilobytes),
        }
    }
}

impl IkeOptions {
    /// Checks the rules between and of the values.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        if !(60..=604_800).contains(&self.lifetime_seconds) {
            return Err(Error::invalid(
                "IKE SA lifetime",
                self.lifetime_seconds,
                "is 60 to 604800 seconds",
            ));
        }
        for (field, identity) in [
            ("local identity", &self.local_identity),
            ("remote identity", &self.remote_identity),
        ] {
            if let Identity::Fqdn(name) = identity {
                values::domain_name(name).map_err(|rule| Error::invalid(field, name, rule))?;
            }
        }
        Ok(())
    }

    /// Why each weak choice is weak, in the words of the configuration file.
    pub fn weaknesses(&self) -> Vec<String> {
        let mut found = Vec::new();
        if matches!(self.encryption, IkeEncryption::Des | IkeEncryption::TripleDes) {
            found.push(format!("IKE encryption {}", self.encryption.name()));
        }
        if self.hash == Hash::Md5 {
            found.push("IKE authentication md5".to_owned());
        }
        if is_weak(self.group) {
            found.push(format!("IKE group {}", self.group.number()));
        }
        if self.version == IkeVersion::V1 && self.mode == ExchangeMode::Aggressive {
            found.push("aggressive mode".to_owned());
        }
        found
    }
}

impl IpsecOptions {
    /// Checks the rules between and of the values.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        if !(180..=604_800).contains(&self.lifetime_seconds) {
            return Err(Error::invalid(
                "IPsec SA lifetime",
                self.lifetime_seconds,
                "is 180 to 604800 seconds",
            ));
        }
        if self.lifetime_kilobytes < 2560 {
            return Err(Error::invalid(
                "IPsec SA lifetime in kilobytes",
                self.lifetime_kilobytes,
                "is at least 2560",
            ));
        }
        Ok(())
    }

    /// Why each weak choice is weak, in the words of the configuration file.
    pub fn weaknesses(&self) -> Vec<String> {
        let mut found = Vec::new();
        if matches!(self.encryption, EspEncryption::Des | EspEncryption::TripleDes) {
            found.push(format!("ESP encryption {}", self.encryption.name()));
        }
        if self.integrity == Hash::Md5 && !self.encryption.is_aead() {
            found.push("ESP authentication md5".to_owned());
        }
        if let Some(group) = self.pfs.filter(|&group| is_weak(group)) {
            found.push(format!("PFS group {}", group.number()));
        }
        found
    }
}

const fn is_weak(group: DhGroup) -> bool {
    matches!(
        group,
        DhGroup::Group1 | DhGroup::Group2 | DhGroup::Group5 | DhGroup::Group24
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_apis_are_read_in_any_case() {
        for (text, expected) in [
            ("3des-cbc", IkeEncryption::TripleDes),
            ("3DES-CBC", IkeEncryption::TripleDes),
            ("AES-CBC-128", IkeEncryption::Aes128),
        ] {
            assert_eq!(IkeEncryption::from_wire("x", text).unwrap(), expected);
        }
        for (text, expected) in [
            ("sha", Hash::Sha1),
            ("SHA1", Hash::Sha1),
            ("SHA-256", Hash::Sha256),
            ("md5", Hash::Md5),
        ] {
            assert_eq!(Hash::from_wire("x", text).unwrap(), expected);
        }
        for (text, number) in [("group14", 14), ("dh-group14", 14), ("DH-GROUP24", 24), ("2", 2)] {
            assert_eq!(DhGroup::from_wire("x", text).unwrap().number(), number);
        }
        let error = IkeEncryption::from_wire("IKE encryption", "rot13")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("rot13") && error.contains("is one of 3des-cbc, aes-cbc-128"),
            "{error}"
        );
    }
}
