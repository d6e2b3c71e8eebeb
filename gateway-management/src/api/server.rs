//! HTTP and HTTPS: a bounded number of connections, bounded requests, slow clients cut off.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::limits::{Limits, Rate, Replay};
use super::v2;
use crate::Management;
use crate::time::Timestamp;

/// How long a TLS handshake, the head of a request or its body may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of the head of a request; a GET has its parameters there.
const HEAD: usize = 64 * 1024;

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error("the API cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Secrets of requests must not travel in the clear.
    #[error("the API listens on {address} without TLS: plain HTTP is for loopback addresses only")]
    Plain {
        /// The address.
        address: SocketAddr,
    },
}

/// What all connections share.
struct Shared {
    management: Arc<Management>,
    limits: Limits,
    rate: Mutex<Rate>,
    replay: Mutex<Replay>,
}

/// Listens. Without TLS on loopback only.
///
/// # Errors
/// [`ServeError`].
pub async fn bind(address: SocketAddr, tls: bool) -> Result<TcpListener, ServeError> {
    if !tls && !address.ip().is_loopback() {
        return Err(ServeError::Plain { address });
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind { address, source })
}

/// Serves until the task is dropped.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    management: Arc<Management>,
    limits: Limits,
) {
    let shared = Arc::new(Shared {
        management,
        limits,
        rate: Mutex::default(),
        replay: Mutex::new(Replay::new(Timestamp::now())),
    });
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, source) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            connection(stream, source, tls, shared).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, source: SocketAddr, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    match tls {
        None => exchange(stream, source, shared).await,
        Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => exchange(stream, source, shared).await,
            Ok(Err(error)) => tracing::debug!(%source, %error, "no TLS"),
            Err(_) => tracing::debug!(%source, "the TLS handshake took too long"),
        },
    }
}

async fn exchange<S>(stream: S, source: SocketAddr, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, source, shared).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%source, %error, "the connection of an API client ended");
    }
}

async fn answer(request: Request<Incoming>, source: SocketAddr, shared: Arc<Shared>) -> Response<Body> {
    let (head, body) = request.into_parts();
    if head.uri.path() != v2::PATH {
        return page(
            StatusCode::NOT_FOUND,
            v2::failure(4000, "InvalidPath", "the API is at /v2/index.php"),
        );
    }
    let now = Timestamp::now();
    let admitted = shared.rate.lock().unwrap_or_else(PoisonError::into_inner).admit(
        now,
        source.ip(),
        shared.limits.requests_per_second,
    );
    if !admitted {
        return page(
            StatusCode::OK,
            v2::failure(4400, "RequestLimitExceeded", "too many requests; wait a second"),
        );
    }
    let body = match tokio::time::timeout(PATIENCE, to_bytes(Body::new(body), shared.limits.body)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let text = "the body is too large or was cut off";
            return page(
                StatusCode::PAYLOAD_TOO_LARGE,
                v2::failure(4000, "InvalidBody", text),
            );
        }
        Err(_) => {
            return page(
                StatusCode::REQUEST_TIMEOUT,
                v2::failure(4000, "InvalidBody", "the body took too long"),
            );
        }
    };
    let host = head
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    // SQLite waits for the disk: not on a thread that serves others.
    let answered = tokio::task::spawn_blocking(move || {
        let parameters = match head.method.as_str() {
            "GET" => head.uri.query().unwrap_or_default().as_bytes(),
            "POST" => &body,
            _ => return v2::failure(4000, "InvalidMethod", "the method is GET or POST"),
        };
        let call = v2::Call {
            method: head.method.as_str(),
            host: &host,
            parameters,
        };
        v2::answer(&shared.management, &shared.replay, now, &call)
    });
    match answered.await {
        Ok(answer) => page(StatusCode::OK, answer),
        Err(error) => {
            tracing::error!(%error, "an API request ended in a panic");
            page(
                StatusCode::INTERNAL_SERVER_ERROR,
                v2::failure(6000, "InternalError", "see the log of the gateway"),
            )
        }
    }
}

fn page(status: StatusCode, value: Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
