//! What the IKE engine can do on one core: `cargo xtask bench ike` runs it and reads a row of JSON per line.
//!
//! Both ends run in this process on virtual time, without sockets; only what the measured end does is counted.

#[path = "../../tests/scale/ends.rs"]
mod ends;
mod flood;
mod groups;
mod handshakes;
mod restart;
mod row;

fn main() {
    groups::run();
    handshakes::run();
    flood::run();
    restart::run();
}
