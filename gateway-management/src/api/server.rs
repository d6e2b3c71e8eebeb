//! HTTP and HTTPS: a bounded number of connections, bounded requests, slow clients cut off.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode, header};
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
use super::{v2, v3};
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

/// Which API a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    V2,
    V3,
    Document,
}

impl Front {
    fn of(path: &str) -> Option<Self> {
        match path {
            v2::PATH => Some(Self::V2),
            v3::PATH => Some(Self::V3),
            v3::DOCUMENT => Some(Self::Document),
            _ => path.starts_with(v3::PATHS).then_some(Self::V3),
        }
    }

    /// A request that no operation saw, in the words of its API.
    fn failure(self, status: StatusCode, what: &Unanswered) -> Response<Body> {
        let Unanswered {
            number,
            code,
            message,
        } = what;
        let value = match self {
            Self::V2 => v2::failure(*number, code, message),
            Self::V3 | Self::Document => v3::failure(code, message),
        };
        page(status, &value)
    }
}

/// Why no operation saw a request: the number of API v2, the code of both, and what to do.
struct Unanswered {
    number: u32,
    code: &'static str,
    message: &'static str,
}

async fn answer(request: Request<Incoming>, source: SocketAddr, shared: Arc<Shared>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Some(front) = Front::of(head.uri.path()) else {
        let what = Unanswered {
            number: 4000,
            code: "InvalidPath",
            message: "API v2 is at /v2/index.php, API 3.0 at / and /v3/ACTION, its description at /openapi.json",
        };
        return Front::V2.failure(StatusCode::NOT_FOUND, &what);
    };
    let now = Timestamp::now();
    let admitted = shared.rate.lock().unwrap_or_else(PoisonError::into_inner).admit(
        now,
        source.ip(),
        shared.limits.requests_per_second,
    );
    if !admitted {
        let what = Unanswered {
            number: 4400,
            code: "RequestLimitExceeded",
            message: "too many requests; wait a second",
        };
        return front.failure(StatusCode::OK, &what);
    }
    let (get, post) = (head.method == Method::GET, head.method == Method::POST);
    let allowed = match front {
        Front::V2 => get || post,
        Front::V3 => post,
        Front::Document => get,
    };
    if !allowed {
        let what = Unanswered {
            number: 4000,
            code: "InvalidMethod",
            message: "the method is POST; GET with API v2 and for the description",
        };
        return front.failure(StatusCode::METHOD_NOT_ALLOWED, &what);
    }
    let unread = |message| Unanswered {
        number: 4000,
        code: "InvalidBody",
        message,
    };
    let body = match tokio::time::timeout(PATIENCE, to_bytes(Body::new(body), shared.limits.body)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let what = unread("the body is too large or was cut off");
            return front.failure(StatusCode::PAYLOAD_TOO_LARGE, &what);
        }
        Err(_) => {
            return front.failure(StatusCode::REQUEST_TIMEOUT, &unread("the body took too long"));
        }
    };
    // SQLite waits for the disk: not on a thread that serves others.
    match tokio::task::spawn_blocking(move || operate(front, &head, &body, now, &shared)).await {
        Ok(answer) => page(StatusCode::OK, &answer),
        Err(error) => {
            tracing::error!(%error, "an API request ended in a panic");
            let what = Unanswered {
                number: 6000,
                code: "InternalError",
                message: "see the log of the gateway",
            };
            front.failure(StatusCode::INTERNAL_SERVER_ERROR, &what)
        }
    }
}

fn operate(front: Front, head: &Parts, body: &[u8], now: Timestamp, shared: &Shared) -> Value {
    let (method, query) = (head.method.as_str(), head.uri.query().unwrap_or_default());
    match front {
        Front::V2 => {
            let host = head.headers.get(header::HOST);
            let call = v2::Call {
                method,
                host: host.and_then(|host| host.to_str().ok()).unwrap_or_default(),
                parameters: if method == "GET" { query.as_bytes() } else { body },
            };
            v2::answer(&shared.management, &shared.replay, now, &call)
        }
        Front::V3 => {
            let call = v3::Call {
                method,
                path: head.uri.path(),
                query,
                headers: &head.headers,
                body,
            };
            v3::answer(&shared.management, &shared.replay, now, &call)
        }
        Front::Document => v3::document(),
    }
}

fn page(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
