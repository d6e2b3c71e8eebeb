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
    /// ID_USER_FQDN of IKEv1, ID_RFC822_ADDR of IKEv2.
    UserFqdn(String),
    /// ID_KEY_ID: octets that mean something to the two ends only.
    KeyId(Vec<u8>),
}

impl Identity {
    /// The identity as the wire has it.
    pub(crate) fn to_payload(&self) -> IdPayload {
        match self {
            Self::Ipv4(address) => IdPayload::from_address(IpAddr::V4(*address)),
            Self::Fqdn(name) => IdPayload::from_fqdn(name),
            Self::UserFqdn(name) => IdPayload {
                id_type: IdType::USER_FQDN,
                ..IdPayload::from_fqdn(name)
            },
            Self::KeyId(octets) => IdPayload {
                id_type: IdType::KEY_ID,
                protocol: 0,
                port: 0,
                data: octets.clone(),
            },
        }
    }

    /// Whether `payload` is this identity. Names compare as DNS names do. RFC 2407 section 4.6.2: protocol and port are zero, or
    /// those of IKE.
    pub(crate) fn matches(&self, payload: &IdPayload) -> bool {
        let unrestricted = matches!(
            (payload.protocol, payload.port),
            (0 | IPPROTO_UDP, 0) | (IPPROTO_UDP, 500 | 4500)
        );
        let named = |id_type, name: &str| {
            payload.id_type == id_type
                && payload
                    .name()
                    .is_some_and(|theirs| theirs.eq_ignore_ascii_case(name))
        };
        let same = match self {
            Self::Ipv4(address) => payload.address() == Some(IpAddr::V4(*address)),
            Self::Fqdn(name) => named(IdType::FQDN, name),
            Self::UserFqdn(name) => named(IdType::USER_FQDN, name),
            Self::KeyId(octets) => payload.id_type == IdType::KEY_ID && payload.data == *octets,
        };
        unrestricted && same
    }
}

impl fmt::Display for Identity {
    /// As the configuration writes it: an address, a name, "user@name", "key-id:branch-7", "key-id:0x00ff".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Fqdn(name) | Self::UserFqdn(name) => f.write_str(name),
            Self::KeyId(octets) => {
                f.write_str("key-id:")?;
                match std::str::from_utf8(octets) {
                    Ok(text)
                        if text.bytes().all(|octet| octet.is_ascii_graphic()) && !text.starts_with("0x") =>
                    {
                        f.write_str(text)
                    }
                    Ok(_) | Err(_) => {
                        f.write_str("0x")?;
                        octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
                    }
                }
            }
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
    /// RFC 7296.
    V2,
    /// Initiates IKEv2 and answers both. Never falls back by itself.
    Any,
}

impl IkeVersion {
    /// Whether a peer may start IKEv1.
    pub const fn answers_v1(self) -> bool {
        matches!(self, Self::V1 | Self::Any)
    }

    /// "ikev1", "ikev2" or "any".
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "ikev1",
            Self::V2 => "ikev2",
            Self::Any => "any",
        }
    }

    /// Whether a peer may start IKEv2, which is also what we initiate then.
    pub const fn answers_v2(self) -> bool {
        matches!(self, Self::V2 | Self::Any)
    }
}

/// Phase 1 exchange of IKEv1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase1Mode {
    /// Identity Protection exchange, RFC 2409 section 5.4.
    Main,
    /// Aggressive exchange, RFC 2409 section 5.4: the identities travel in the clear, and so does a hash of the pre-shared key.
    Aggressive,
}

impl Phase1Mode {
    /// "main" or "aggressive".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Aggressive => "aggressive",
        }
    }
}

/// Algorithms of an IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeProposal {
    /// Cipher of the IKE messages.
    pub encryption: Encryption,
    /// Hash; its HMAC is the PRF and, for IKEv2 without AEAD, the integrity algorithm.
    pub hash: Hash,
    /// Diffie-Hellman group.
    pub group: DhGroup,
    /// A further key exchange of RFC 9370, such as ML-KEM-768. IKEv2 only.
    pub additional: Option<DhGroup>,
}

impl fmt::Display for IkeProposal {
    /// "aes-128/sha1/group14".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.encryption, self.hash, self.group)?;
        self.additional
            .map_or(Ok(()), |additional| write!(f, "+{additional}"))
    }
}

/// Cipher of an ESP SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum EspCipher {
    Des,
    TripleDes,
    Aes128Cbc,
    Aes192Cbc,
    Aes256Cbc,
    Aes128Gcm16,
    Aes192Gcm16,
    Aes256Gcm16,
    ChaCha20Poly1305,
}

impl EspCipher {
    /// Every cipher, weakest first.
    pub const ALL: [Self; 9] = [
        Self::Des,
        Self::TripleDes,
        Self::Aes128Cbc,
        Self::Aes192Cbc,
        Self::Aes256Cbc,
        Self::Aes128Gcm16,
        Self::Aes192Gcm16,
        Self::Aes256Gcm16,
        Self::ChaCha20Poly1305,
    ];

    /// Whether the cipher brings its own integrity.
    pub const fn is_aead(self) -> bool {
        matches!(
            self,
            Self::Aes128Gcm16 | Self::Aes192Gcm16 | Self::Aes256Gcm16 | Self::ChaCha20Poly1305
        )
    }
}

impl fmt::Display for EspCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Des => "des",
            Self::TripleDes => "3des",
            Self::Aes128Cbc => "aes-128",
            Self::Aes192Cbc => "aes-192",
            Self::Aes256Cbc => "aes-256",
            Self::Aes128Gcm16 => "aes-128-gcm",
            Self::Aes192Gcm16 => "aes-192-gcm",
            Self::Aes256Gcm16 => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        })
    }
}

/// Integrity algorithm of an ESP SA with a CBC cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum EspIntegrity {
    HmacMd5,
    HmacSha1,
    HmacSha2_256,
    HmacSha2_384,
    HmacSha2_512,
}

impl EspIntegrity {
    /// Every algorithm, weakest first.
    pub const ALL: [Self; 5] = [
        Self::HmacMd5,
        Self::HmacSha1,
        Self::HmacSha2_256,
        Self::HmacSha2_384,
        Self::HmacSha2_512,
    ];
}

impl fmt::Display for EspIntegrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacMd5 => "md5",
            Self::HmacSha1 => "sha1",
            Self::HmacSha2_256 => "sha2-256",
            Self::HmacSha2_384 => "sha2-384",
            Self::HmacSha2_512 => "sha2-512",
        })
    }
}

/// Algorithms of an ESP SA. `integrity` is `None` exactly for AEAD ciphers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspProposal {
    /// Cipher.
    pub cipher: EspCipher,
    /// Integrity.
    pub integrity: Option<EspIntegrity>,
}

impl EspProposal {
    /// Octets of encryption key (for an AEAD with its salt, RFC 4106 section 8.1, RFC 7634 section 2) and of integrity key.
    pub const fn key_lengths(&self) -> (usize, usize) {
        let encryption = match self.cipher {
            EspCipher::Des => 8,
            EspCipher::TripleDes | EspCipher::Aes192Cbc => 24,
            EspCipher::Aes128Cbc => 16,
            EspCipher::Aes256Cbc => 32,
            EspCipher::Aes128Gcm16 => 16 + 4,
            EspCipher::Aes192Gcm16 => 24 + 4,
            EspCipher::Aes256Gcm16 | EspCipher::ChaCha20Poly1305 => 32 + 4,
        };
        let integrity = match self.integrity {
            None => 0,
            Some(EspIntegrity::HmacMd5) => 16,
            Some(EspIntegrity::HmacSha1) => 20,
            Some(EspIntegrity::HmacSha2_256) => 32,
            Some(EspIntegrity::HmacSha2_384) => 48,
            Some(EspIntegrity::HmacSha2_512) => 64,
        };
        (encryption, integrity)
    }
}

impl fmt::Display for EspProposal {
    /// "aes-128/sha1", "aes-256-gcm".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cipher)?;
        self.integrity
            .map_or(Ok(()), |integrity| write!(f, "/{integrity}"))
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

/// Dead peer detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpdConfig {
    /// Idle time before the peer is asked whether it is there.
    pub delay: Duration,
    /// What happens when it is not.
    pub action: DpdAction,
}

/// What becomes of a tunnel whose peer is dead. All its SAs end in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpdAction {
    /// Nothing more happens until somebody asks.
    Clear,
    /// The tunnel is brought up again at once, and again until it is up.
    Restart,
    /// The next packet brings the tunnel up again.
    Hold,
}

impl DpdAction {
    /// "clear", "restart" or "hold".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Restart => "restart",
            Self::Hold => "hold",
        }
    }
}

/// Extended sequence numbers (RFC 4303 section 2.2.1). IKEv2 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Esn {
    /// Neither offered nor accepted.
    Off,
    /// Offered after sequence numbers of 32 bits; as responder the peer's order decides.
    Allow,
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
    /// IKEv1: kilobytes (1,024 octets) of IKE messages that one IKE SA protects; `None` for no limit. IKEv2 knows no such limit.
    pub ike_kilobytes: Option<u32>,
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
    /// Dead peer detection (RFC 3706, RFC 7296 section 2.4); `None`: off, probes are still answered.
    pub dpd: Option<DpdConfig>,
    /// Extended sequence numbers.
    pub esn: Esn,
    /// IKEv2: how often the two ends authenticate anew, make-before-break; `None`: never.
    pub reauthentication: Option<Duration>,
    /// Whether IKE messages may travel in fragments (RFC 7383 and its predecessor of IKEv1).
    pub fragmentation: bool,
}

impl ConnectionConfig {
    /// Whether putting `new` in place of this one leaves the SAs of the tunnel as they are: what they were negotiated with is the
    /// same, and new selector pairs only follow the old ones.
    pub fn keeps_sas(&self, new: &Self) -> bool {
        crate::tunnel::keeps_sas(self, new)
    }
}
