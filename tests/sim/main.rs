//! The service over a simulated NATS, and the simulation compared with the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

/// What the program uses: thousands of storms are mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod bystanders;
mod calendars;
mod calm;
#[path = "../checker/mod.rs"]
mod checker;
mod conformance;
mod cuts;
mod groups;
mod guards;
mod halts;
#[path = "../it/harness.rs"]
mod harness;
mod held_up;
mod instance;
mod jobs;
mod joins;
mod losses;
mod mutations;
mod names;
mod nats;
mod silences;
mod storm;
mod takeovers;
