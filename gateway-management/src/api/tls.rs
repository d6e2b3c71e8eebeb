//! TLS of the API: the operator's certificate, or one of a small authority of our own that clients can trust.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFiles {
    /// The operator's: a chain and its key, in PEM.
    Given {
        /// Certificate chain, our own certificate first.
        certificate: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// Ours, in this directory, made when they are missing: `api-ca.pem` for the clients, `api-cert.pem`, `api-key.pem`.
    Generated {
        /// The directory.
        directory: PathBuf,
        /// Names and addresses that clients may use.
        names: Vec<String>,
    },
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not PEM.
    #[error("{} holds no certificate or key in PEM: {source}", file.display())]
    Pem {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used.
    #[error("the certificate cannot be used")]
    Certificate(#[from] rustls::Error),
    /// No certificate can be made.
    #[error("no certificate can be made")]
    Generate(#[from] rcgen::Error),
}

/// What accepts TLS connections.
///
/// # Errors
/// [`TlsError`].
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let (certificate, key) = match files {
        TlsFiles::Given { certificate, key } => (certificate.clone(), key.clone()),
        TlsFiles::Generated { directory, names } => {
            let (certificate, key) = (directory.join("api-cert.pem"), directory.join("api-key.pem"));
            if !certificate.exists() || !key.exists() {
                generate(directory, names)?;
            }
            (certificate, key)
        }
    };
    let pem = |file: &Path| {
        let file = file.to_owned();
        move |source| TlsError::Pem { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&certificate))?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(pem(&key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Names for a generated certificate: the machine's own ways to be called, and where the API listens.
pub fn names_for(listen: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !listen.ip().is_unspecified() && !listen.ip().is_loopback() {
        names.push(listen.ip().to_string());
    }
    names
}

/// Makes an authority, signs one certificate with it and forgets the authority's key.
fn generate(directory: &Path, names: &[String]) -> Result<(), TlsError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, "VPN gateway API authority");
    authority.not_before = rcgen::date_time_ymd(2020, 1, 1);
    authority.not_after = rcgen::date_time_ymd(2049, 12, 31);
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;

    let mut own = CertificateParams::new(names.to_vec())?;
    own.distinguished_name.push(DnType::CommonName, "VPN gateway API");
    own.use_authority_key_identifier_extension = true;
    own.not_before = authority.not_before;
    own.not_after = authority.not_after;
    let key = KeyPair::generate()?;
    let certificate = own.signed_by(&key, &Issuer::new(authority, authority_key))?;

    write(&directory.join("api-ca.pem"), 0o644, &authority_certificate.pem())?;
    write(
        &directory.join("api-key.pem"),
        0o600,
        &Zeroizing::new(key.serialize_pem()),
    )?;
    write(&directory.join("api-cert.pem"), 0o644, &certificate.pem())
}

fn write(file: &Path, mode: u32, text: &str) -> Result<(), TlsError> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(file)
        .and_then(|mut opened| {
            opened.write_all(text.as_bytes())?;
            opened.sync_all()
        });
    written.map_err(|source| TlsError::File {
        file: file.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_generated_certificate_is_made_once_and_its_key_is_protected() {
        let directory = tempfile::tempdir().unwrap();
        let files = TlsFiles::Generated {
            directory: directory.path().to_owned(),
            names: names_for("192.0.2.1:443".parse().unwrap()),
        };
        acceptor(&files).unwrap();
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        let (first, key) = (read("api-cert.pem"), directory.path().join("api-key.pem"));
        acceptor(&files).unwrap();
        assert_eq!(read("api-cert.pem"), first);
        assert_eq!(
            std::fs::metadata(key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(read("api-ca.pem").starts_with(b"-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = directory.path().join("cert.pem");
        std::fs::write(&certificate, "nothing").unwrap();
        let files = TlsFiles::Given {
            key: certificate.clone(),
            certificate,
        };
        let error = acceptor(&files).err().unwrap().to_string();
        assert!(error.contains("cert.pem"), "{error}");
    }
}
