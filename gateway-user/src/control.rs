//! The control loop: desired and actual state, and the only writer of the maps, the worker tables and the engine.

pub mod spd;
