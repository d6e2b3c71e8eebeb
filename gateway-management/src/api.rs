//! The front ends of [`Management`](crate::Management): API v2 on `/v2/index.php`, API 3.0 on `/`.
//!
//! A front end authenticates, turns words of the wire into values, calls one operation and writes its answer. It decides nothing.

mod limits;
mod server;
mod tls;
pub mod v2;
pub mod v3;

pub use limits::{Limits, Replay, ReplayError};
pub use server::{ServeError, bind, serve};
pub use tls::{TlsError, TlsFiles, acceptor, names_for};
pub use tokio_rustls::TlsAcceptor;
