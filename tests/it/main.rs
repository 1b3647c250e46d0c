//! The service against real nats-servers: one server per test, killed when the test ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "../checker/mod.rs"]
mod checker;
mod command_line;
mod dashboard;
mod executions;
mod faults;
mod harness;
mod house;
mod http;
mod json_schema;
mod operating;
mod proxy;
mod requests;
mod schedules;
#[path = "../../examples/chaos/world/mod.rs"]
mod world;
