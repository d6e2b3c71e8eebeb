//! The lab: two gateways and a host behind each, in network namespaces, with real peers, real traffic and captures.
//!
//! ```text
//!  host A 10.77.1.2 --- 10.77.1.1 gateway A 192.0.2.1 === 192.0.2.2 gateway B 10.77.2.1 --- 10.77.2.2 host B
//!         eth0          vpc0                pub0          pub0                vpc0          eth0
//! ```
//!
//! The gateways have no route to the network behind the other one: whatever arrives there went through a tunnel, or it
//! leaked. A [`Lab`] is torn down whatever happens to the process that made it, SIGKILL included; see [`lab`].
//!
//! Everything here needs root and Linux with BPF; [`requirements`] says what is missing.

pub mod agent;
pub mod capture;
pub mod clients;
pub mod config;
pub mod http;
pub mod inject;
pub mod iperf;
pub mod lab;
pub mod matrix;
pub mod metrics;
pub mod namespace;
pub mod ping;
pub mod process;
pub mod quick_start;
pub mod requirements;
pub mod scapy;
pub mod starter;
pub mod status;
pub mod stream;
pub mod strongswan;
pub mod wait;

pub use agent::Agent;
pub use capture::Capture;
pub use config::Config;
pub use lab::{Lab, Side};
pub use namespace::Namespace;
pub use starter::Starter;
pub use strongswan::{StrongSwan, StrongSwanConfig};
