//! What the operator configured, as the engine takes it. Everything here is already validated.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use zeroize::ZeroizeOnDrop;

use crate::crypto::{DhGroup, Encryption, Hash};
use crate::wire::IdType;
use crate::wire::v1::IdPayload;

/// IP protocol number of UDP.
const IPPROTO_UDP: u8 = 17;

/// Number that the driver gives a tunnel; it comes back in every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// Index of a selector pair within [`ConnectionConfig::selectors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairIndex(pub u16);

/// Identity of an IKE endpoint (RFC 2407 section 4.6.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_FQDN.
    Fqdn(String),
}

impl Identity {
    /// The identity as the wire has it.
    pub(crate) fn to_payload(&self) -> IdPayload {
        match self {
            Self::Ipv4(address) => IdPayload::from_address(IpAddr::V4(*address)),
            Self::Fqdn(name) => IdPayload::from_fqdn(name),
        }
    }

    /// Whether `payload` is this identity. Names compare as DNS names do. RFC 2407 section 4.6.2: protocol and port are zero, or
    /// those of IKE.
    pub(crate) fn matches(&self, payload: &IdPayload) -> bool {
        let unrestricted = matches!(
            (payload.protocol, payload.port),
            (0 | IPPROTO_UDP, 0) | (IPPROTO_UDP, 500 | 4500)
        );
        let same = match self {
            Self::Ipv4(address) => payload.address() == Some(IpAddr::V4(*address)),
            Self::Fqdn(name) => {
                payload.id_type == IdType::FQDN
                    && payload
                        .name()
                        .is_some_and(|theirs| theirs.eq_ignore_ascii_case(name))
            }
        };
        unrestricted && same
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Fqdn(name) => f.write_str(name),
        }
    }
}

/// Pre-shared key. Zeroized on drop, never printed.
#[derive(ZeroizeOnDrop)]
pub struct Psk(Vec<u8>);

impl Psk {
    /// Takes the octets of the key (UTF-8 of a Unicode string).
    pub fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets, for the key derivation.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

/// Version of IKE that a tunnel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IkeVersion {
    /// RFC 2409.
    V1,
}

/// Phase 1 exchange of IKEv1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase1Mode {
    /// Identity Protection exchange, RFC 2409 section 5.4.
    Main,
}

/// Algorithms of an IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeProposal {
    /// Cipher of the IKE messages.
    pub encryption: Encryption,
    /// Hash; its HMAC is the PRF.
    pub hash: Hash,
    /// Diffie-Hellman group.
    pub group: DhGroup,
}

impl fmt::Display for IkeProposal {
    /// "aes-128/sha1/group14".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.encryption, self.hash, self.group)
    }
}

/// Cipher of an ESP SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum EspCipher {
    TripleDes,
    Aes128Cbc,
    Aes192Cbc,
    Aes256Cbc,
    Aes128Gcm16,
    Aes256Gcm16,
}

/// Integrity algorithm of an ESP SA with a CBC cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum EspIntegrity {
    HmacMd5,
    HmacSha1,
    HmacSha2_256,
}

/// Algorithms of an ESP SA. `integrity` is `None` exactly for AEAD ciphers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspProposal {
    /// Cipher.
    pub cipher: EspCipher,
    /// Integrity.
    pub integrity: Option<EspIntegrity>,
}

impl fmt::Display for EspProposal {
    /// "aes-128/sha1", "aes-256-gcm".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cipher {
            EspCipher::TripleDes => "3des",
            EspCipher::Aes128Cbc => "aes-128",
            EspCipher::Aes192Cbc => "aes-192",
            EspCipher::Aes256Cbc => "aes-256",
            EspCipher::Aes128Gcm16 => "aes-128-gcm",
            EspCipher::Aes256Gcm16 => "aes-256-gcm",
        })?;
        match self.integrity {
            None => Ok(()),
            Some(EspIntegrity::HmacMd5) => f.write_str("/md5"),
            Some(EspIntegrity::HmacSha1) => f.write_str("/sha1"),
            Some(EspIntegrity::HmacSha2_256) => f.write_str("/sha2-256"),
        }
    }
}

/// One local range and one peer range: the selectors of one pair of IPsec SAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SelectorPair {
    /// Range on our side.
    pub local: Ipv4Net,
    /// Range on the peer's side.
    pub peer: Ipv4Net,
}

/// How long the SAs of a Child SA may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildLifetime {
    /// Time from installation to removal.
    pub time: Duration,
    /// Kilobytes (1,024 octets) per SA; `None` for no limit.
    pub kilobytes: Option<u32>,
}

/// Everything the engine knows about one tunnel.
#[derive(Debug)]
pub struct ConnectionConfig {
    /// The driver's number.
    pub id: ConnectionId,
    /// Our address.
    pub local: Ipv4Addr,
    /// The peer's address.
    pub peer: Ipv4Addr,
    /// Identity we send.
    pub local_id: Identity,
    /// Identity the peer must prove.
    pub peer_id: Identity,
    /// Pre-shared key.
    pub psk: Psk,
    /// Version to speak.
    pub version: IkeVersion,
    /// Phase 1 exchange to use and to accept.
    pub mode: Phase1Mode,
    /// Acceptable IKE proposals, best first. Never empty.
    pub ike_proposals: Vec<IkeProposal>,
    /// Lifetime of the IKE SA.
    pub ike_lifetime: Duration,
    /// Acceptable ESP proposals, best first. Never empty.
    pub esp_proposals: Vec<EspProposal>,
    /// Group of the additional key exchange for Child SAs; `None`: no PFS.
    pub pfs: Option<DhGroup>,
    /// Lifetime of Child SAs.
    pub child_lifetime: ChildLifetime,
    /// Selector pairs; each gets a Child SA of its own.
    pub selectors: Vec<SelectorPair>,
    /// False: only answers, never initiates (rekeys of what the peer brought up included).
    pub may_initiate: bool,
    /// True: every pair is brought up at once and again whenever it is lost, with back-off (`start = "always"`). Needs
    /// `may_initiate`.
    pub keep_up: bool,
    /// True: behaves as if a NAT were in between, so that ESP always travels in UDP.
    pub force_udp_encapsulation: bool,
    /// Dead peer detection (RFC 3706): idle time before a probe; `None`: off, probes are still answered.
    pub dpd_delay: Option<Duration>,
}
