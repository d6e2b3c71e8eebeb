//! Prometheus metrics and the health check, over HTTP.
//!
//! Both are rendered from a [`Status`] snapshot at the time of the request: no cached values, and every configured object has its
//! series whether it is up or not. Names follow `ipsecgw_<object>_<quantity>_<unit>`; counters survive rekeying.

mod family;
mod render;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::status::Status;

pub use render::render;

/// Media type of the Prometheus text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves `/metrics` and `/healthz` until the listener fails.
///
/// `source` asks the control loop for a snapshot; `None` means that it does not answer, and both pages say 503.
///
/// # Errors
/// When the listener cannot accept any more.
pub async fn serve<S, F>(listener: TcpListener, source: S) -> std::io::Result<()>
where
    S: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Option<Status>> + Send + 'static,
{
    let app = Router::new()
        .route("/metrics", get(metrics::<S, F>))
        .route("/healthz", get(healthz::<S, F>))
        .with_state(Arc::new(source));
    axum::serve(listener, app).await
}

async fn metrics<S, F>(State(source): State<Arc<S>>) -> Response
where
    S: Fn() -> F,
    F: Future<Output = Option<Status>>,
{
    let Some(status) = source().await else {
        return silent();
    };
    // A page of thousands of tunnels takes a while; the control loop shares this thread.
    let rendered = tokio::task::spawn_blocking(move || render(&status)).await;
    let rendered = rendered.map_err(|error| prometheus::Error::Msg(error.to_string()));
    match rendered.flatten() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot render the metrics: {error}\n"),
        )
            .into_response(),
    }
}

async fn healthz<S, F>(State(source): State<Arc<S>>) -> Response
where
    S: Fn() -> F,
    F: Future<Output = Option<Status>>,
{
    let Some(status) = source().await else {
        return silent();
    };
    let problems = problems(&status);
    if problems.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response()
    }
}

fn silent() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "the control loop does not answer\n",
    )
        .into_response()
}

/// What keeps the gateway from serving, in sentences; empty when it is healthy. A tunnel that is down is no problem of the gateway.
pub fn problems(status: &Status) -> Vec<String> {
    let dead = status.workers.iter().filter(|worker| !worker.alive);
    status
        .problems
        .iter()
        .cloned()
        .chain(dead.map(|worker| format!("the worker of queue {} has stopped", worker.queue)))
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::status::WorkerStatus;

    async fn fetch(page: &str, status: Option<Status>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, move || {
            let status = status.clone();
            async move { status }
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {page} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn health_names_every_problem() {
        assert!(
            fetch("/healthz", Some(Status::default()))
                .await
                .starts_with("HTTP/1.1 200")
        );
        let ill = Status {
            problems: vec!["interface eth0 is missing".to_owned()],
            workers: vec![WorkerStatus {
                queue: 3,
                alive: false,
                ..WorkerStatus::default()
            }],
            ..Status::default()
        };
        let answer = fetch("/healthz", Some(ill)).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.contains("interface eth0 is missing\nthe worker of queue 3 has stopped\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_silent_control_loop_is_unavailable() {
        for page in ["/metrics", "/healthz"] {
            assert!(fetch(page, None).await.starts_with("HTTP/1.1 503"), "{page}");
        }
    }

    #[tokio::test]
    async fn the_scrape_has_the_media_type_of_the_text_format() {
        let answer = fetch("/metrics", Some(Status::default())).await;
        assert!(
            answer.contains("content-type: text/plain; version=0.0.4"),
            "{answer}"
        );
        assert!(answer.contains("ipsecgw_build_info"), "{answer}");
    }
}
