//! The service against real nats-servers: one server per test, killed when the test ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod answers;
mod audit;
mod bulk;
mod client;
mod clocks;
mod cluster;
mod connecting;
mod corrections;
mod crashes;
mod cuts;
mod dev;
mod failures;
mod firing;
mod formats;
mod harness;
mod header_values;
mod health;
mod heartbeats;
mod history;
mod hostile;
mod http;
mod http_limits;
mod http_tokens;
mod instances;
mod instants;
mod jobs;
mod ledger;
mod lifecycle;
mod limits;
mod lists;
mod logs;
mod long_texts;
mod malformed;
mod messages;
mod outages;
mod overtaken;
mod permissions;
mod pinned;
mod policies;
mod proxy;
mod restores;
mod safety;
mod schedules;
mod sending;
mod service_api;
mod sizes;
#[cfg(feature = "otlp")]
mod spans;
mod starting;
mod statistics;
mod structure;
mod updates;
mod waiting;
mod workers;
