//! Signatures: HMAC over `METHOD Host /v2/index.php ? key=value & ...`, values not encoded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Which HMAC a request is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureMethod {
    /// The default of the API.
    HmacSha1,
    /// On request.
    HmacSha256,
}

impl SignatureMethod {
    /// Anything but `HmacSHA256` means HMAC-SHA1.
    pub(super) fn from_parameter(text: Option<&str>) -> Self {
        if text == Some("HmacSHA256") {
            Self::HmacSha256
        } else {
            Self::HmacSha1
        }
    }

    fn key(self, secret: &str) -> hmac::Key {
        let algorithm = match self {
            Self::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha256 => hmac::HMAC_SHA256,
        };
        hmac::Key::new(algorithm, secret.as_bytes())
    }
}

/// The signature of a request, as a client makes it.
pub fn sign(
    method: SignatureMethod,
    secret: &str,
    http_method: &str,
    host: &str,
    path: &str,
    parameters: &[(String, String)],
) -> String {
    let text = signing_string(http_method, host, path, parameters, Order::AfterReplacing);
    STANDARD.encode(hmac::sign(&method.key(secret), text.as_bytes()))
}

/// Whether a signature fits, in constant time.
pub(super) fn verify(
    method: SignatureMethod,
    secret: &str,
    http_method: &str,
    host: &str,
    path: &str,
    parameters: &[(String, String)],
    signature: &str,
) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    let key = method.key(secret);
    [Order::AfterReplacing, Order::BeforeReplacing]
        .into_iter()
        .any(|order| {
            let text = signing_string(http_method, host, path, parameters, order);
            hmac::verify(&key, text.as_bytes(), &signature).is_ok()
        })
}

/// In keys `_` is replaced by `.`; clients disagree on whether they sort before or after. It matters for such keys only.
#[derive(Clone, Copy)]
enum Order {
    /// The Python SDK.
    AfterReplacing,
    /// The Node SDK, which also leaves a key alone that begins with `_`.
    BeforeReplacing,
}

fn signing_string(
    http_method: &str,
    host: &str,
    path: &str,
    parameters: &[(String, String)],
    order: Order,
) -> String {
    let is_file = |value: &str| http_method == "POST" && value.starts_with('@');
    let mut pairs: Vec<(String, &str)> = parameters
        .iter()
        .filter(|(key, value)| key != "Signature" && !is_file(value))
        .map(|(key, value)| (key.clone(), value.as_str()))
        .collect();
    match order {
        Order::AfterReplacing => {
            pairs.iter_mut().for_each(|(key, _)| *key = key.replace('_', "."));
            pairs.sort();
        }
        Order::BeforeReplacing => {
            pairs.sort();
            let inner = pairs.iter_mut().filter(|(key, _)| !key.starts_with('_'));
            inner.for_each(|(key, _)| *key = key.replace('_', "."));
        }
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{http_method}{host}{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_ID: &str = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA";
    const SECRET: &str = "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA";

    fn pairs(more: &[(&str, &str)]) -> Vec<(String, String)> {
        let common = [
            ("Action", "DescribeInstances"),
            ("SecretId", SECRET_ID),
            ("Timestamp", "1465185768"),
            ("Nonce", "11886"),
        ];
        let all = common.iter().chain(more);
        all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_documents_signatures_are_reproduced() {
        let instance = ("InstanceIds.0", "ins-09dx96dg");
        for (more, method, expected) in [
            (
                &[
                    instance,
                    ("Region", "ap-guangzhou"),
                    ("SignatureMethod", "HmacSHA256"),
                ][..],
                SignatureMethod::HmacSha256,
                "0EEm/HtGRr/VJXTAD9tYMth1Bzm3lLHz5RCDv1GdM8s=",
            ),
            (
                &[
                    instance,
                    ("Region", "ap-guangzhou"),
                    ("SignatureMethod", "HmacSHA1"),
                ],
                SignatureMethod::HmacSha1,
                "nPVnY6njQmwQ8ciqbPl5Qe+Oru4=",
            ),
            (
                &[
                    ("instanceIds.0", "ins-09dx96dg"),
                    ("limit", "20"),
                    ("offset", "0"),
                    ("Region", "gz"),
                ],
                SignatureMethod::HmacSha1,
                "NSI3UqqD99b/UJb4tbG/xZpRW64=",
            ),
        ] {
            let pairs = pairs(more);
            let host = "cvm.api.qcloud.com";
            assert_eq!(
                sign(method, SECRET, "GET", host, "/v2/index.php", &pairs),
                expected
            );
            assert!(verify(
                method,
                SECRET,
                "GET",
                host,
                "/v2/index.php",
                &pairs,
                expected
            ));
            for (secret, http_method, host) in [
                ("other", "GET", host),
                (SECRET, "POST", host),
                (SECRET, "GET", "cvm.api.qcloud.com:443"),
            ] {
                assert!(!verify(
                    method,
                    secret,
                    http_method,
                    host,
                    "/v2/index.php",
                    &pairs,
                    expected
                ));
            }
        }
        assert!(!verify(
            SignatureMethod::HmacSha1,
            SECRET,
            "GET",
            "h",
            "/",
            &pairs(&[]),
            "not base64"
        ));
    }

    #[test]
    fn keys_with_underscores_may_be_sorted_before_or_after_replacing() {
        let pairs = pairs(&[("a_c", "1"), ("a.d", "2"), ("aZ", "3"), ("_x", "4")]);
        for order in [Order::AfterReplacing, Order::BeforeReplacing] {
            let text = signing_string("GET", "h", "/v2/index.php", &pairs, order);
            let signature = STANDARD.encode(hmac::sign(
                &SignatureMethod::HmacSha1.key(SECRET),
                text.as_bytes(),
            ));
            assert!(verify(
                SignatureMethod::HmacSha1,
                SECRET,
                "GET",
                "h",
                "/v2/index.php",
                &pairs,
                &signature
            ));
        }
    }

    #[test]
    fn values_of_files_are_left_out_of_a_post() {
        let pairs = pairs(&[("file", "@x")]);
        assert!(!signing_string("POST", "h", "/", &pairs, Order::AfterReplacing).contains("file"));
        assert!(signing_string("GET", "h", "/", &pairs, Order::AfterReplacing).contains("file=@x"));
    }
}
