//! Two endpoints, virtual time, a network that does what a seed says.

mod establish;
mod net;
