//! Which choices work and are weak, and why: RFC 8247 for IKE, RFC 8221 for ESP.
//!
//! HMAC-SHA1 is not among them: both RFCs still require it (MUST-), and no attack on SHA-1 reaches HMAC.

use std::fmt;

use gateway_ike::config::IkeVersion;

use super::model::TunnelConfig;

/// Why something is weak. The names are labels of a metric: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeakReason {
    /// DES: keys of 56 bits.
    ShortKey,
    /// 3DES: blocks of 64 bits.
    SmallBlock,
    /// MD5.
    BrokenHash,
    /// MODP groups of less than 2048 bits.
    SmallGroup,
    /// Group 24: a prime of unknown origin.
    UnverifiableGroup,
    /// Aggressive mode with a pre-shared key.
    AggressiveMode,
}

impl WeakReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::ShortKey,
        Self::SmallBlock,
        Self::BrokenHash,
        Self::SmallGroup,
        Self::UnverifiableGroup,
        Self::AggressiveMode,
    ];

    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortKey => "short_key",
            Self::SmallBlock => "small_block",
            Self::BrokenHash => "broken_hash",
            Self::SmallGroup => "small_group",
            Self::UnverifiableGroup => "unverifiable_group",
            Self::AggressiveMode => "aggressive_mode",
        }
    }

    /// A sentence fragment for the operator.
    const fn why(self) -> &'static str {
        match self {
            Self::ShortKey => "56-bit keys are found in hours",
            Self::SmallBlock => "64-bit blocks (Sweet32)",
            Self::BrokenHash => "MD5 is broken as a hash and deprecated for HMAC (RFC 8221, RFC 8247)",
            Self::SmallGroup => "below 2048 bits, in reach of well-funded attackers (RFC 8247)",
            Self::UnverifiableGroup => "its prime has no known origin (RFC 8247)",
            Self::AggressiveMode => "whoever listens can try pre-shared keys offline",
        }
    }
}

/// A weak choice of a tunnel: `ike.encryption 3des: 64-bit blocks (Sweet32)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weakness {
    /// The field that makes the choice.
    pub field: &'static str,
    /// The choice.
    pub choice: String,
    /// Why it is weak.
    pub reason: WeakReason,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.field, self.choice, self.reason.why())
    }
}

impl TunnelConfig {
    /// The weak choices of the tunnel, each once.
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let mut found = Vec::new();
        let mut add = |field, choice: &dyn fmt::Display| {
            let choice = choice.to_string();
            let Some(reason) = reason(&choice) else { return };
            let weakness = Weakness {
                field,
                choice,
                reason,
            };
            if !found.contains(&weakness) {
                found.push(weakness);
            }
        };
        if self.ike.version != IkeVersion::V2 {
            add("ike.mode", &self.ike.mode.name());
        }
        for proposal in &self.ike.proposals {
            add("ike.encryption", &proposal.encryption);
            add("ike.authentication", &proposal.hash);
            add("ike.dh_group", &proposal.group.number());
        }
        for proposal in &self.ipsec.proposals {
            add("ipsec.encryption", &proposal.cipher);
            if let Some(integrity) = &proposal.integrity {
                add("ipsec.authentication", integrity);
            }
        }
        if let Some(group) = self.ipsec.pfs {
            add("ipsec.pfs", &group.number());
        }
        found
    }
}

/// By the name in the file.
fn reason(choice: &str) -> Option<WeakReason> {
    match choice {
        "des" => Some(WeakReason::ShortKey),
        "3des" => Some(WeakReason::SmallBlock),
        "md5" => Some(WeakReason::BrokenHash),
        "1" | "2" | "5" => Some(WeakReason::SmallGroup),
        "24" => Some(WeakReason::UnverifiableGroup),
        "aggressive" => Some(WeakReason::AggressiveMode),
        _ => None,
    }
}
