//! Two endpoints, virtual time, a network that does what a seed says.

mod attacks;
mod diagnosis;
mod establish;
mod life;
mod net;
mod rekey;
mod storm;
