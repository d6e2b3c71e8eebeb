//! The agent's end of the control socket, and the lock that makes the agent the only one.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{MAX_REQUEST, Request, Response};

/// How many operators may be connected at once.
const CONNECTIONS: usize = 16;
/// How long a connection may be idle.
const IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// Why the agent cannot listen for commands.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent holds the lock.
    #[error("another agent runs: it holds {}", lock.display())]
    AnotherInstance {
        /// The lock file.
        lock: PathBuf,
    },
    /// The directory, lock or socket cannot be made.
    #[error("cannot listen on the control socket {}: {source}", path.display())]
    Io {
        /// The path that failed.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A request with the way back.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Response>,
}

/// The listening socket. The lock lives as long as it does; the socket is removed with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    _lock: Flock<File>,
}

impl ControlSocket {
    /// Takes the lock next to `path` and listens. Fails when another agent has the lock.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Io { path, source }
        };
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed(directory))?;
        }
        let lock_path = path.with_added_extension("lock");
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_CLOEXEC);
        let file = options.open(&lock_path).map_err(failed(&lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
            let lock = lock_path.clone();
            if error == nix::errno::Errno::EWOULDBLOCK {
                SocketError::AnotherInstance { lock }
            } else {
                SocketError::Io {
                    path: lock,
                    source: error.into(),
                }
            }
        })?;
        // With the lock held, a socket that is left belongs to an agent that died.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(path)(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed(path))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed(path))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Accepts connections and hands their requests to `calls` until the receiver is gone.
    pub async fn serve(self, calls: mpsc::Sender<Call>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let calls = calls.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &calls).await {
                            tracing::debug!(%error, "control connection ended");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
            if calls.is_closed() {
                return;
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket is gone already");
        }
    }
}

/// Whether an agent runs behind the control socket at `path`.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new()
        .write(true)
        .open(path.with_added_extension("lock"))
    else {
        return false;
    };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

async fn converse(mut stream: UnixStream, calls: &mpsc::Sender<Call>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(MAX_REQUEST);
        let read = bounded.read_until(b'\n', &mut line);
        let Ok(read) = tokio::time::timeout(IDLE, read).await else {
            return Ok(());
        };
        if read? == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n');
        let response = match serde_json::from_slice(&line) {
            Ok(request) if whole => call(request, calls).await,
            Ok(_) | Err(_) => Response::Refused("not a request".to_owned()),
        };
        // A status of thousands of tunnels takes a while to write down; the control loop shares this thread.
        let answer = tokio::task::spawn_blocking(move || serde_json::to_vec(&response)).await?;
        let mut answer = answer?;
        answer.push(b'\n');
        writer.write_all(&answer).await?;
        if !whole {
            return Ok(());
        }
    }
}

async fn call(request: Request, calls: &mpsc::Sender<Call>) -> Response {
    let stopping = || Response::Refused("the agent is stopping".to_owned());
    let (answer, answered) = oneshot::channel();
    if calls.send(Call { request, answer }).await.is_err() {
        return stopping();
    }
    answered.await.unwrap_or_else(|_stopped| stopping())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::control_socket::ask;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn a_second_agent_is_refused_and_a_dead_ones_socket_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        runtime().block_on(async {
            let first = ControlSocket::bind(&path).unwrap();
            assert!(matches!(
                ControlSocket::bind(&path),
                Err(SocketError::AnotherInstance { .. })
            ));
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            drop(first);
            std::fs::write(&path, "left behind").unwrap();
            ControlSocket::bind(&path).unwrap();
        });
    }

    #[test]
    fn requests_are_answered_in_order_and_garbage_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (sender, mut calls) = mpsc::channel::<Call>(4);
        runtime().block_on(async {
            let socket = ControlSocket::bind(&path).unwrap();
            tokio::spawn(socket.serve(sender));
            let client = tokio::task::spawn_blocking(move || {
                assert_eq!(
                    ask(&path, &Request::Up { tunnel: "one".into() }).unwrap(),
                    Response::Done("up one".into())
                );
                let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
                stream
                    .write_all(b"{\"command\":\"explode\"}\n{\"command\":\"status\"}\n")
                    .unwrap();
                stream.write_all(&[b'x'; 70_000]).unwrap();
                let mut answers = String::new();
                stream.read_to_string(&mut answers).ok();
                answers
            });
            while let Some(call) = calls.recv().await {
                let answer = match call.request {
                    Request::Up { tunnel } => Response::Done(format!("up {tunnel}")),
                    Request::Status { .. } => Response::Status(Box::default()),
                    Request::Down { .. }
                    | Request::Reload {}
                    | Request::ReadStore {}
                    | Request::Api { .. } => {
                        panic!("nobody asked for it")
                    }
                };
                let last = matches!(answer, Response::Status(_));
                call.answer.send(answer).unwrap();
                if last {
                    break;
                }
            }
            let answers: Vec<_> = client.await.unwrap().lines().map(str::to_owned).collect();
            assert!(
                answers[0].contains("refused") && answers[1].contains("\"status\""),
                "{answers:?}"
            );
            assert!(
                answers.get(2).is_none_or(|answer| answer.contains("refused")),
                "{answers:?}"
            );
        });
    }
}
