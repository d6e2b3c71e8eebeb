//! Algorithms as the configuration names them. Which of them are weak is said here and nowhere else.

use super::mistake::Rule;

/// Declares an enum of named choices with `parse`, `name` and `weakness`.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal $(weak $why:literal)?,)+ }) => {
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

            /// Why the choice is weak; `None` for sound ones.
            pub const fn weakness(self) -> Option<&'static str> {
                match self { $(Self::$variant => choices!(@why $($why)?),)+ }
            }

            /// Reads a name; the error is the rule.
            pub fn parse(text: &str) -> Result<Self, Rule> {
                Self::ALL.iter().copied().find(|choice| choice.name() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|choice| choice.name()).collect();
                    format!("is one of {}", names.join(", ")).into()
                })
            }
        }
    };
    (@why) => { None };
    (@why $why:literal) => { Some($why) };
}

choices! {
    /// Version of IKE.
    IkeVersion {
        /// RFC 2409.
        V1 = "ikev1",
    }
}

choices! {
    /// Phase 1 exchange of IKEv1.
    IkeMode {
        /// Identity Protection exchange.
        Main = "main",
    }
}

choices! {
    /// Cipher of the IKE SA.
    IkeEncryption {
        /// 3DES in CBC mode.
        TripleDes = "3des" weak "64-bit blocks (Sweet32)",
        /// AES-128 in CBC mode.
        Aes128 = "aes-128",
        /// AES-192 in CBC mode.
        Aes192 = "aes-192",
        /// AES-256 in CBC mode.
        Aes256 = "aes-256",
    }
}

choices! {
    /// Hash of the IKE SA or integrity algorithm of ESP.
    Authentication {
        /// HMAC-MD5.
        Md5 = "md5" weak "MD5 is broken as a hash and deprecated for HMAC (RFC 8221, RFC 8247)",
        /// HMAC-SHA1.
        Sha1 = "sha1",
        /// HMAC-SHA-256.
        Sha256 = "sha2-256",
    }
}

choices! {
    /// Diffie-Hellman group, IANA "Group Description".
    DhGroup {
        /// 1024-bit MODP.
        Modp1024 = "2" weak "1024-bit MODP can be broken by well-funded attackers (RFC 8247)",
        /// 1536-bit MODP.
        Modp1536 = "5" weak "1536-bit MODP is below today's security margin (RFC 8247)",
        /// 2048-bit MODP.
        Modp2048 = "14",
    }
}

choices! {
    /// Cipher of ESP.
    EspEncryption {
        /// 3DES in CBC mode.
        TripleDes = "3des" weak "64-bit blocks (Sweet32)",
        /// AES-128 in CBC mode.
        Aes128 = "aes-128",
        /// AES-192 in CBC mode.
        Aes192 = "aes-192",
        /// AES-256 in CBC mode.
        Aes256 = "aes-256",
        /// AES-128 in Galois/counter mode with a 16-octet ICV.
        Aes128Gcm = "aes-128-gcm",
        /// AES-256 in Galois/counter mode with a 16-octet ICV.
        Aes256Gcm = "aes-256-gcm",
    }
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

impl DhGroup {
    /// The group's number in the IANA registry.
    pub const fn number(self) -> u16 {
        match self {
            Self::Modp1024 => 2,
            Self::Modp1536 => 5,
            Self::Modp2048 => 14,
        }
    }

    /// Reads the group's number; the error is the rule.
    pub fn from_number(number: u64) -> Result<Self, Rule> {
        Self::parse(&number.to_string())
    }
}

impl EspEncryption {
    /// Whether the cipher authenticates by itself, so that no integrity algorithm goes with it.
    pub const fn is_aead(self) -> bool {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => true,
            Self::TripleDes | Self::Aes128 | Self::Aes192 | Self::Aes256 => false,
        }
    }
}
