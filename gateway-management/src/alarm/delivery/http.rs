//! One POST over HTTP or HTTPS.

use std::collections::BTreeMap;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::DeliveryError;
use crate::alarm::{Secret, Targets};

/// POSTs JSON on a connection of its own. Redirects are not followed.
pub(super) async fn post(
    targets: &Targets,
    url: &str,
    headers: &BTreeMap<String, Secret>,
    body: String,
) -> Result<(), DeliveryError> {
    let uri: hyper::Uri = url.parse().map_err(hyper::http::Error::from)?;
    let with_tls = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or(DeliveryError::Url)?.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if with_tls { 443 } else { 80 });
    let authority = uri.authority().ok_or(DeliveryError::Url)?.as_str();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let mut request = hyper::Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", authority)
        .header("content-type", "application/json")
        .header("user-agent", concat!("ipsec-gateway/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(name, &**value);
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let address = targets.resolve(host, port).await?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(DeliveryError::Connect)?;
    if with_tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|_no_name| DeliveryError::Url)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls_client()?));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(DeliveryError::Connect)?;
        exchange(stream, request).await
    } else {
        exchange(stream, request).await
    }
}

async fn exchange<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Result<(), DeliveryError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection is driven beside the request and dropped with the first of both that ends: the body is not read.
    let driven = async {
        connection.await.ok();
        std::future::pending::<()>().await;
    };
    let response = tokio::select! {
        response = sender.send_request(request) => response?,
        () = driven => return Err(DeliveryError::Patience),
    };
    if response.status().is_success() {
        Ok(())
    } else {
        Err(DeliveryError::Status(response.status()))
    }
}

/// Trusts the certificates that the machine trusts.
fn tls_client() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
