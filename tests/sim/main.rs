//! The service over a NATS that is simulated, and the simulation held to the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod calm;
#[path = "../checker/mod.rs"]
mod checker;
mod conformance;
#[path = "../it/harness.rs"]
mod harness;
mod instance;
mod nats;
mod storm;
