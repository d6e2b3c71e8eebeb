//! Registry numbers of IKEv1 alone. Names in Rust case after the IANA registries "IPSEC DOI", "IKE attributes" and RFC 2408.

use crate::wire::open_number;

open_number! {
    /// Domain of interpretation (RFC 2407 section 4.1; 0 is generic ISAKMP).
    Doi(u32) "doi" {
        ISAKMP = 0,
        IPSEC = 1,
    }
}

open_number! {
    /// Situation bits of the IPsec DOI (RFC 2407 section 4.2). Only identity without labels is in use.
    Situation(u32) "situation" {
        IDENTITY_ONLY = 1,
        SECRECY = 2,
        INTEGRITY = 4,
    }
}

open_number! {
    /// Notify message types (RFC 2408 section 3.14.1, RFC 2407 section 4.6.3, RFC 3706).
    ///
    /// IKEv2 has a registry of its own that reuses some of these numbers with other meanings.
    NotifyType(u16) "notify" {
        INVALID_PAYLOAD_TYPE = 1,
        DOI_NOT_SUPPORTED = 2,
        SITUATION_NOT_SUPPORTED = 3,
        INVALID_COOKIE = 4,
        INVALID_MAJOR_VERSION = 5,
        INVALID_MINOR_VERSION = 6,
        INVALID_EXCHANGE_TYPE = 7,
        INVALID_FLAGS = 8,
        INVALID_MESSAGE_ID = 9,
        INVALID_PROTOCOL_ID = 10,
        INVALID_SPI = 11,
        INVALID_TRANSFORM_ID = 12,
        ATTRIBUTES_NOT_SUPPORTED = 13,
        NO_PROPOSAL_CHOSEN = 14,
        BAD_PROPOSAL_SYNTAX = 15,
        PAYLOAD_MALFORMED = 16,
        INVALID_KEY_INFORMATION = 17,
        INVALID_ID_INFORMATION = 18,
        INVALID_CERT_ENCODING = 19,
        INVALID_CERTIFICATE = 20,
        CERT_TYPE_UNSUPPORTED = 21,
        INVALID_CERT_AUTHORITY = 22,
        INVALID_HASH_INFORMATION = 23,
        AUTHENTICATION_FAILED = 24,
        INVALID_SIGNATURE = 25,
        ADDRESS_NOTIFICATION = 26,
        NOTIFY_SA_LIFETIME = 27,
        CERTIFICATE_UNAVAILABLE = 28,
        UNSUPPORTED_EXCHANGE_TYPE = 29,
        UNEQUAL_PAYLOAD_LENGTHS = 30,
        CONNECTED = 16384,
        RESPONDER_LIFETIME = 24576,
        REPLAY_STATUS = 24577,
        INITIAL_CONTACT = 24578,
        R_U_THERE = 36136,
        R_U_THERE_ACK = 36137,
        /// Cisco's load balancing redirect; seen from concentrators, never acted on.
        UNITY_LOAD_BALANCE = 40501,
    }
}

impl NotifyType {
    /// Whether the type reports an error (RFC 2408 section 3.14.1: 1 to 16383).
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

open_number! {
    /// Transform identifiers of protocol ISAKMP (RFC 2407 section 4.4.2).
    IkeTransform(u8) "transform" {
        KEY_IKE = 1,
    }
}

open_number! {
    /// Attribute types of a phase 1 transform (RFC 2409 appendix A).
    IkeAttribute(u16) "attribute" {
        ENCRYPTION_ALGORITHM = 1,
        HASH_ALGORITHM = 2,
        AUTHENTICATION_METHOD = 3,
        GROUP_DESCRIPTION = 4,
        GROUP_TYPE = 5,
        GROUP_PRIME = 6,
        GROUP_GENERATOR_ONE = 7,
        GROUP_GENERATOR_TWO = 8,
        GROUP_CURVE_A = 9,
        GROUP_CURVE_B = 10,
        LIFE_TYPE = 11,
        LIFE_DURATION = 12,
        PRF = 13,
        KEY_LENGTH = 14,
        FIELD_SIZE = 15,
        GROUP_ORDER = 16,
    }
}

open_number! {
    /// Values of [`IkeAttribute::ENCRYPTION_ALGORITHM`].
    IkeEncryption(u16) "encryption" {
        DES_CBC = 1,
        IDEA_CBC = 2,
        BLOWFISH_CBC = 3,
        RC5_R16_B64_CBC = 4,
        TRIPLE_DES_CBC = 5,
        CAST_CBC = 6,
        AES_CBC = 7,
        CAMELLIA_CBC = 8,
    }
}

open_number! {
    /// Values of [`IkeAttribute::HASH_ALGORITHM`].
    IkeHash(u16) "hash" {
        MD5 = 1,
        SHA = 2,
        TIGER = 3,
        SHA2_256 = 4,
        SHA2_384 = 5,
        SHA2_512 = 6,
    }
}

open_number! {
    /// Values of [`IkeAttribute::AUTHENTICATION_METHOD`].
    AuthMethod(u16) "auth-method" {
        PRE_SHARED_KEY = 1,
        DSS_SIGNATURE = 2,
        RSA_SIGNATURE = 3,
        RSA_ENCRYPTION = 4,
        RSA_ENCRYPTION_REVISED = 5,
        ECDSA_SHA2_256 = 9,
        ECDSA_SHA2_384 = 10,
        ECDSA_SHA2_512 = 11,
        HYBRID_INIT_RSA = 64221,
        XAUTH_INIT_PRE_SHARED = 65001,
    }
}

open_number! {
    /// Attribute types of a phase 2 transform (RFC 2407 section 4.5, RFC 4304).
    IpsecAttribute(u16) "attribute" {
        SA_LIFE_TYPE = 1,
        SA_LIFE_DURATION = 2,
        GROUP_DESCRIPTION = 3,
        ENCAPSULATION_MODE = 4,
        AUTHENTICATION_ALGORITHM = 5,
        KEY_LENGTH = 6,
        KEY_ROUNDS = 7,
        COMPRESS_DICTIONARY_SIZE = 8,
        COMPRESS_PRIVATE_ALGORITHM = 9,
        ECN_TUNNEL = 10,
        EXTENDED_SEQUENCE_NUMBER = 11,
        AUTH_KEY_LENGTH = 12,
    }
}

open_number! {
    /// Values of the life type attribute of both phases.
    LifeType(u16) "life-type" {
        SECONDS = 1,
        KILOBYTES = 2,
    }
}

open_number! {
    /// Values of [`IpsecAttribute::ENCAPSULATION_MODE`] (RFC 2407 section 4.5, RFC 3947 section 5.1).
    EncapsulationMode(u16) "encapsulation" {
        TUNNEL = 1,
        TRANSPORT = 2,
        UDP_ENCAPSULATED_TUNNEL = 3,
        UDP_ENCAPSULATED_TRANSPORT = 4,
        /// Of draft-ietf-ipsec-nat-t-ike-00 to 03.
        UDP_ENCAPSULATED_TUNNEL_DRAFT = 61443,
        /// Of draft-ietf-ipsec-nat-t-ike-00 to 03.
        UDP_ENCAPSULATED_TRANSPORT_DRAFT = 61444,
    }
}

open_number! {
    /// Values of [`IpsecAttribute::AUTHENTICATION_ALGORITHM`] (RFC 2407 section 4.5, RFC 4868).
    AuthAlgorithm(u16) "auth-algorithm" {
        HMAC_MD5 = 1,
        HMAC_SHA = 2,
        DES_MAC = 3,
        KPDK = 4,
        HMAC_SHA2_256 = 5,
        HMAC_SHA2_384 = 6,
        HMAC_SHA2_512 = 7,
        HMAC_RIPEMD = 8,
        AES_XCBC_MAC = 9,
        AES_128_GMAC = 11,
        AES_192_GMAC = 12,
        AES_256_GMAC = 13,
    }
}

open_number! {
    /// Transform identifiers of protocol ESP (RFC 2407 section 4.4.4, RFC 3602, 4106, 4309, 4543).
    EspTransform(u8) "esp-transform" {
        DES_IV64 = 1,
        DES = 2,
        TRIPLE_DES = 3,
        RC5 = 4,
        IDEA = 5,
        CAST = 6,
        BLOWFISH = 7,
        TRIPLE_IDEA = 8,
        DES_IV32 = 9,
        RC4 = 10,
        NULL = 11,
        AES_CBC = 12,
        AES_CTR = 13,
        AES_CCM_8 = 14,
        AES_CCM_12 = 15,
        AES_CCM_16 = 16,
        AES_GCM_8 = 18,
        AES_GCM_12 = 19,
        AES_GCM_16 = 20,
        SEED_CBC = 21,
        CAMELLIA = 22,
        NULL_AUTH_AES_GMAC = 23,
    }
}
