//! TC3-HMAC-SHA256.

use jiff::Timestamp as Instant;
use ring::{digest, hmac};

use super::Call;
use crate::time::Timestamp;

const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// The parts of an Authorization header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Id of the API key.
    pub key: &'a str,
    /// Day, UTC: `2018-10-09`.
    pub date: &'a str,
    /// `vpc`.
    pub service: &'a str,
    /// Names of the signed headers, `content-type;host` or more.
    pub headers: &'a str,
    /// In hexadecimal.
    pub signature: &'a str,
}

impl<'a> Signed<'a> {
    /// Reads the header; `None` when it has another form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix(ALGORITHM)?.split(',').map(str::trim);
        let credential = parts.next()?.strip_prefix("Credential=")?;
        let headers = parts.next()?.strip_prefix("SignedHeaders=")?;
        let signature = parts.next()?.strip_prefix("Signature=")?;
        let mut scope = credential.split('/');
        let (key, date, service) = (scope.next()?, scope.next()?, scope.next()?);
        let whole = scope.next() == Some("tc3_request") && scope.next().is_none() && parts.next().is_none();
        whole.then_some(Self {
            key,
            date,
            service,
            headers,
            signature,
        })
    }
}

/// The Authorization header of a request, as a client makes it.
pub fn sign(key: &str, secret: &str, service: &str, time: Timestamp, call: &Call<'_>) -> String {
    let date = date(time);
    let headers = "content-type;host";
    let signed = Signed {
        key,
        date: &date,
        service,
        headers,
        signature: "",
    };
    let tag = hmac::sign(
        &signing_key(secret, &signed),
        string_to_sign(&signed, time, call).unwrap_or_default().as_bytes(),
    );
    let signature = hex(tag.as_ref());
    format!(
        "{ALGORITHM} Credential={key}/{date}/{service}/tc3_request, SignedHeaders={headers}, Signature={signature}"
    )
}

/// Whether a signature fits, in constant time.
pub(super) fn verify(signed: &Signed<'_>, secret: &str, time: Timestamp, call: &Call<'_>) -> bool {
    let Some(text) = string_to_sign(signed, time, call) else {
        return false;
    };
    let Some(signature) = unhex(signed.signature) else {
        return false;
    };
    signed.date == date(time)
        && hmac::verify(&signing_key(secret, signed), text.as_bytes(), &signature).is_ok()
}

/// `None` when a signed header is not there, or Host is not signed.
fn string_to_sign(signed: &Signed<'_>, time: Timestamp, call: &Call<'_>) -> Option<String> {
    let mut headers = String::new();
    for name in signed.headers.split(';') {
        let value = call.headers.get(name)?.to_str().ok()?;
        headers.push_str(&format!("{name}:{}\n", value.trim().to_lowercase()));
    }
    if !signed.headers.split(';').any(|name| name == "host") {
        return None;
    }
    let body = hex(digest::digest(&digest::SHA256, call.body).as_ref());
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{}\n{body}",
        call.method, call.path, call.query, signed.headers
    );
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    Some(format!(
        "{ALGORITHM}\n{}\n{}/{}/tc3_request\n{canonical}",
        time.0, signed.date, signed.service
    ))
}

fn signing_key(secret: &str, signed: &Signed<'_>) -> hmac::Key {
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("TC3{secret}").as_bytes());
    for part in [signed.date, signed.service, "tc3_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

fn date(time: Timestamp) -> String {
    Instant::from_second(time.0).map_or_else(
        |_out_of_range| String::new(),
        |instant| instant.strftime("%Y-%m-%d").to_string(),
    )
}

/// Octets in hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // `from_str_radix` takes a sign: one signature would have several spellings, and each would be another request.
    if !text.len().is_multiple_of(2) || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const TIME: Timestamp = Timestamp(1_551_113_065);

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    const HOST: (&str, &str) = ("host", "cvm.tencentcloudapi.com");
    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn the_published_example_has_its_canonical_request() {
        // The example of the provider's page on this signature; its body has an escaped letter.
        let body =
            br#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        let digest = hex(digest::digest(&digest::SHA256, body).as_ref());
        assert_eq!(
            digest,
            "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064"
        );
        let headers = headers(&[HOST, JSON]);
        let call = Call {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            body,
        };
        let signed = Signed {
            key: "AKIDx",
            date: "2019-02-25",
            service: "cvm",
            headers: "content-type;host",
            signature: "",
        };
        let text = string_to_sign(&signed, TIME, &call).unwrap();
        assert_eq!(
            text,
            "TC3-HMAC-SHA256\n1551113065\n2019-02-25/cvm/tc3_request\n\
             5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
        );
    }

    #[test]
    fn octets_have_one_spelling() {
        assert_eq!(unhex("0aff"), Some(vec![0x0a, 0xff]));
        for other in ["+aff", "0aF", "0x", " a", "-1", "\u{e4}"] {
            assert_eq!(unhex(other), None, "{other}");
        }
    }

    #[test]
    fn a_signature_fits_its_request_and_no_other() {
        let map = headers(&[HOST, JSON]);
        let call = Call {
            method: "POST",
            path: "/",
            query: "",
            headers: &map,
            body: b"{}",
        };
        let header = sign("AKIDx", "secret", "vpc", TIME, &call);
        let signed = Signed::parse(&header).unwrap();
        assert_eq!(
            (signed.key, signed.date, signed.service),
            ("AKIDx", "2019-02-25", "vpc")
        );
        assert!(verify(&signed, "secret", TIME, &call));
        assert!(!verify(&signed, "other", TIME, &call));
        assert!(!verify(&signed, "secret", Timestamp(TIME.0 + 1), &call));
        let other_host = headers(&[("host", "x"), JSON]);
        let other_type = headers(&[HOST, ("content-type", "text/plain")]);
        for other in [
            Call {
                headers: &other_host,
                ..call
            },
            Call {
                headers: &other_type,
                ..call
            },
            Call { body: b"[]", ..call },
            Call {
                method: "GET",
                ..call
            },
            Call {
                path: "/v3/x",
                ..call
            },
            Call { query: "a=b", ..call },
        ] {
            assert!(!verify(&signed, "secret", TIME, &other), "{other:?}");
        }
        for headers in ["content-type", "content-type;host;x-tc-action", ""] {
            let other = Signed { headers, ..signed };
            assert!(!verify(&other, "secret", TIME, &call), "{headers}");
        }
        for signature in ["", "0", "zz", "é"] {
            let other = Signed { signature, ..signed };
            assert!(!verify(&other, "secret", TIME, &call), "{signature}");
        }
    }

    #[test]
    fn headers_of_another_form_are_refused() {
        for wrong in [
            "",
            "TC3-HMAC-SHA256",
            "TC3-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=00",
            "TC3-HMAC-SHA256 Credential=a/b/c/tc3_request/d, SignedHeaders=host, Signature=00",
            "HMAC Credential=a/b/c/tc3_request, SignedHeaders=host, Signature=00",
        ] {
            assert_eq!(Signed::parse(wrong), None, "{wrong}");
        }
    }
}
