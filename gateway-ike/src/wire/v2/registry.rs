//! Registry numbers of IKEv2 alone. Names in Rust case after the IANA registries "IKEv2 Parameters".

use crate::wire::open_number;

open_number! {
    /// Transform types (RFC 7296 section 3.3.2, RFC 9370 section 4).
    TransformType(u8) "transform-type" {
        /// Encryption algorithm, see [`EncryptionId`].
        ENCR = 1,
        /// Pseudorandom function, see [`PrfId`].
        PRF = 2,
        /// Integrity algorithm, see [`IntegrityId`].
        INTEG = 3,
        /// Key exchange method, see [`crate::crypto::DhGroup::number`].
        KE = 4,
        /// Extended sequence numbers, see [`Esn`].
        ESN = 5,
        /// First additional key exchange.
        ADDKE1 = 6,
        ADDKE2 = 7,
        ADDKE3 = 8,
        ADDKE4 = 9,
        ADDKE5 = 10,
        ADDKE6 = 11,
        ADDKE7 = 12,
    }
}

open_number! {
    /// Transform ids of [`TransformType::ENCR`].
    EncryptionId(u16) "encryption" {
        DES_IV64 = 1,
        DES = 2,
        TRIPLE_DES = 3,
        RC5 = 4,
        IDEA = 5,
        CAST = 6,
        BLOWFISH = 7,
        TRIPLE_IDEA = 8,
        DES_IV32 = 9,
        NULL = 11,
        AES_CBC = 12,
        AES_CTR = 13,
        AES_CCM_8 = 14,
        AES_CCM_12 = 15,
        AES_CCM_16 = 16,
        AES_GCM_8 = 18,
        AES_GCM_12 = 19,
        AES_GCM_16 = 20,
        NULL_AUTH_AES_GMAC = 21,
        CAMELLIA_CBC = 23,
        CAMELLIA_CTR = 24,
        CAMELLIA_CCM_8 = 25,
        CAMELLIA_CCM_12 = 26,
        CAMELLIA_CCM_16 = 27,
        CHACHA20_POLY1305 = 28,
        AES_CCM_8_IIV = 29,
        AES_GCM_16_IIV = 30,
        CHACHA20_POLY1305_IIV = 31,
    }
}

open_number! {
    /// Transform ids of [`TransformType::PRF`].
    PrfId(u16) "prf" {
        HMAC_MD5 = 1,
        HMAC_SHA1 = 2,
        HMAC_TIGER = 3,
        AES128_XCBC = 4,
        HMAC_SHA2_256 = 5,
        HMAC_SHA2_384 = 6,
        HMAC_SHA2_512 = 7,
        AES128_CMAC = 8,
    }
}

open_number! {
    /// Transform ids of [`TransformType::INTEG`].
    IntegrityId(u16) "integrity" {
        NONE = 0,
        HMAC_MD5_96 = 1,
        HMAC_SHA1_96 = 2,
        DES_MAC = 3,
        KPDK_MD5 = 4,
        AES_XCBC_96 = 5,
        HMAC_MD5_128 = 6,
        HMAC_SHA1_160 = 7,
        AES_CMAC_96 = 8,
        AES_128_GMAC = 9,
        AES_192_GMAC = 10,
        AES_256_GMAC = 11,
        HMAC_SHA2_256_128 = 12,
        HMAC_SHA2_384_192 = 13,
        HMAC_SHA2_512_256 = 14,
    }
}

open_number! {
    /// Transform ids of [`TransformType::ESN`].
    Esn(u16) "esn" {
        /// 32-bit sequence numbers.
        NO_ESN = 0,
        /// 64-bit sequence numbers.
        ESN = 1,
    }
}

open_number! {
    /// Authentication methods (RFC 7296 section 3.8).
    AuthMethod(u8) "auth-method" {
        RSA_SIGNATURE = 1,
        SHARED_KEY_MIC = 2,
        DSS_SIGNATURE = 3,
        ECDSA_SHA2_256 = 9,
        ECDSA_SHA2_384 = 10,
        ECDSA_SHA2_512 = 11,
        GENERIC_SECURE_PASSWORD = 12,
        NULL = 13,
        DIGITAL_SIGNATURE = 14,
    }
}

open_number! {
    /// Traffic selector types (RFC 7296 section 3.13.1).
    TsType(u8) "ts-type" {
        IPV4_ADDR_RANGE = 7,
        IPV6_ADDR_RANGE = 8,
        /// RFC 4595.
        FC_ADDR_RANGE = 9,
        /// RFC 9478.
        SECLABEL = 10,
    }
}

open_number! {
    /// Notify message types (RFC 7296 section 3.10.1 and its successors).
    ///
    /// IKEv1 has a registry of its own that gives some of these numbers other meanings.
    NotifyType(u16) "notify" {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1,
        INVALID_IKE_SPI = 4,
        INVALID_MAJOR_VERSION = 5,
        INVALID_SYNTAX = 7,
        INVALID_MESSAGE_ID = 9,
        INVALID_SPI = 11,
        NO_PROPOSAL_CHOSEN = 14,
        INVALID_KE_PAYLOAD = 17,
        AUTHENTICATION_FAILED = 24,
        SINGLE_PAIR_REQUIRED = 34,
        NO_ADDITIONAL_SAS = 35,
        INTERNAL_ADDRESS_FAILURE = 36,
        FAILED_CP_REQUIRED = 37,
        TS_UNACCEPTABLE = 38,
        INVALID_SELECTORS = 39,
        UNACCEPTABLE_ADDRESSES = 40,
        UNEXPECTED_NAT_DETECTED = 41,
        USE_ASSIGNED_HOA = 42,
        TEMPORARY_FAILURE = 43,
        CHILD_SA_NOT_FOUND = 44,
        INVALID_GROUP_ID = 45,
        AUTHORIZATION_FAILED = 46,
        /// RFC 9370: an IKE_FOLLOWUP_KE names no exchange that waits for one.
        STATE_NOT_FOUND = 47,
        TS_MAX_QUEUE = 48,
        INITIAL_CONTACT = 16384,
        SET_WINDOW_SIZE = 16385,
        ADDITIONAL_TS_POSSIBLE = 16386,
        IPCOMP_SUPPORTED = 16387,
        NAT_DETECTION_SOURCE_IP = 16388,
        NAT_DETECTION_DESTINATION_IP = 16389,
        COOKIE = 16390,
        USE_TRANSPORT_MODE = 16391,
        HTTP_CERT_LOOKUP_SUPPORTED = 16392,
        REKEY_SA = 16393,
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394,
        NON_FIRST_FRAGMENTS_ALSO = 16395,
        MOBIKE_SUPPORTED = 16396,
        ADDITIONAL_IP4_ADDRESS = 16397,
        ADDITIONAL_IP6_ADDRESS = 16398,
        NO_ADDITIONAL_ADDRESSES = 16399,
        UPDATE_SA_ADDRESSES = 16400,
        COOKIE2 = 16401,
        NO_NATS_ALLOWED = 16402,
        AUTH_LIFETIME = 16403,
        MULTIPLE_AUTH_SUPPORTED = 16404,
        ANOTHER_AUTH_FOLLOWS = 16405,
        REDIRECT_SUPPORTED = 16406,
        REDIRECT = 16407,
        REDIRECTED_FROM = 16408,
        EAP_ONLY_AUTHENTICATION = 16417,
        CHILDLESS_IKEV2_SUPPORTED = 16418,
        QUICK_CRASH_DETECTION = 16419,
        /// RFC 6311.
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420,
        /// RFC 6311.
        IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421,
        /// RFC 6311.
        IKEV2_MESSAGE_ID_SYNC = 16422,
        /// RFC 6311.
        IPSEC_REPLAY_COUNTER_SYNC = 16423,
        /// RFC 7383.
        IKEV2_FRAGMENTATION_SUPPORTED = 16430,
        SIGNATURE_HASH_ALGORITHMS = 16431,
        CLONE_IKE_SA_SUPPORTED = 16432,
        CLONE_IKE_SA = 16433,
        PUZZLE = 16434,
        USE_PPK = 16435,
        PPK_IDENTITY = 16436,
        NO_PPK_AUTH = 16437,
        /// RFC 9242.
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438,
        IP4_ALLOWED = 16439,
        IP6_ALLOWED = 16440,
        /// RFC 9370: links an IKE_FOLLOWUP_KE to its exchange.
        ADDITIONAL_KEY_EXCHANGE = 16441,
        USE_AGGFRAG = 16442,
    }
}

impl NotifyType {
    /// Whether the type reports an error (RFC 7296 section 3.10.1: 0 to 16383).
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}
