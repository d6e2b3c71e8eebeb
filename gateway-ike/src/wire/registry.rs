//! Registry numbers that both IKE versions use, as open newtypes: unknown values survive, print and compare.

/// Defines an open newtype over a registry number. The constants carry the registry's names in Rust case; `Debug` and `Display`
/// print the name, or `label(number)` when it has none.
macro_rules! open_number {
    ($(#[$doc:meta])* $name:ident($int:ty) $label:literal { $($(#[$item_doc:meta])* $item:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        #[allow(missing_docs, reason = "the registry's name says what the number means")]
        impl $name {
            $($(#[$item_doc])* pub const $item: Self = Self($value);)*

            /// The registry's name, if we know one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($item)),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!($label, "({})"), self.0),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self, f)
            }
        }
    };
}
pub(crate) use open_number;

open_number! {
    /// Payload types: IANA "Next Payload Types" of ISAKMP (RFC 2408 section 3.1, RFC 3947) and "IKEv2 Payload Types".
    ///
    /// The two ranges do not overlap, which is what lets a parser refuse a payload of the other version.
    PayloadType(u8) "payload" {
        /// Ends the chain.
        NONE = 0,
        SA = 1,
        PROPOSAL = 2,
        TRANSFORM = 3,
        KE = 4,
        ID = 5,
        CERT = 6,
        CERT_REQUEST = 7,
        HASH = 8,
        SIGNATURE = 9,
        NONCE = 10,
        NOTIFY = 11,
        DELETE = 12,
        VENDOR_ID = 13,
        /// Mode Config, draft-ietf-ipsec-isakmp-mode-cfg.
        ATTRIBUTES = 14,
        NAT_D = 20,
        NAT_OA = 21,
        V2_SA = 33,
        V2_KE = 34,
        V2_ID_I = 35,
        V2_ID_R = 36,
        V2_CERT = 37,
        V2_CERT_REQUEST = 38,
        V2_AUTH = 39,
        V2_NONCE = 40,
        V2_NOTIFY = 41,
        V2_DELETE = 42,
        V2_VENDOR_ID = 43,
        V2_TS_I = 44,
        V2_TS_R = 45,
        V2_ENCRYPTED = 46,
        V2_CONFIGURATION = 47,
        V2_EAP = 48,
        V2_GSPM = 49,
        V2_ENCRYPTED_FRAGMENT = 53,
        /// NAT-D of draft-ietf-ipsec-nat-t-ike-00 to 03.
        NAT_D_DRAFT = 130,
        /// NAT-OA of draft-ietf-ipsec-nat-t-ike-00 to 03.
        NAT_OA_DRAFT = 131,
        /// A piece of a message of IKEv1, Microsoft's and Cisco's fragmentation.
        FRAGMENT = 132,
    }
}

impl PayloadType {
    /// Whether the number belongs to the payloads of IKEv2 (33 to 54 are assigned, 32 is reserved).
    pub const fn is_v2(self) -> bool {
        self.0 >= 32 && self.0 <= 54
    }

    /// Whether the number belongs to the payloads of IKEv1, which IKEv2 will never assign (RFC 7296 section 3.2: 1 to 32).
    pub const fn is_v1(self) -> bool {
        self.0 >= 1 && self.0 <= 32
    }
}

open_number! {
    /// Exchange types: IANA "IKEv2 Exchange Types" and RFC 2408 section 3.1, RFC 2409 section 4.
    ExchangeType(u8) "exchange" {
        BASE = 1,
        /// Main Mode.
        IDENTITY_PROTECTION = 2,
        AUTHENTICATION_ONLY = 3,
        AGGRESSIVE = 4,
        INFORMATIONAL_V1 = 5,
        /// Mode Config and XAUTH.
        TRANSACTION = 6,
        QUICK_MODE = 32,
        NEW_GROUP_MODE = 33,
        IKE_SA_INIT = 34,
        IKE_AUTH = 35,
        CREATE_CHILD_SA = 36,
        INFORMATIONAL = 37,
        IKE_SESSION_RESUME = 38,
        /// RFC 9242.
        IKE_INTERMEDIATE = 43,
        /// RFC 9370 section 2.2.4.
        IKE_FOLLOWUP_KE = 44,
    }
}

open_number! {
    /// Protocols that a proposal, notification or deletion speaks about: IANA "IPSEC Security Protocol Identifiers"
    /// (RFC 2407 section 4.4.1) and "IKEv2 Security Protocol Identifiers".
    ProtocolId(u8) "protocol" {
        NONE = 0,
        /// The ISAKMP SA of IKEv1 and the IKE SA of IKEv2.
        IKE = 1,
        AH = 2,
        ESP = 3,
        IPCOMP = 4,
    }
}

open_number! {
    /// Identification types: RFC 2407 section 4.6.2.1 and IANA "IKEv2 Identification Payload ID Types".
    ///
    /// The subnet and range types exist in IKEv1 only.
    IdType(u8) "id" {
        IPV4_ADDR = 1,
        FQDN = 2,
        USER_FQDN = 3,
        IPV4_ADDR_SUBNET = 4,
        IPV6_ADDR = 5,
        IPV6_ADDR_SUBNET = 6,
        IPV4_ADDR_RANGE = 7,
        IPV6_ADDR_RANGE = 8,
        DER_ASN1_DN = 9,
        DER_ASN1_GN = 10,
        KEY_ID = 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_print_their_name_and_unknown_ones_their_number() {
        assert_eq!(format!("{:?}", ExchangeType::QUICK_MODE), "QUICK_MODE");
        assert_eq!(format!("{:?}", ExchangeType(243)), "exchange(243)");
        assert_eq!(PayloadType::NAT_D.to_string(), "NAT_D");
        assert_eq!(IdType(77).name(), None);
    }
}
