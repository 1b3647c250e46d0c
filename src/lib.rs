//! nats-scheduler runs jobs on time and needs nothing but NATS JetStream.
//!
//! # A tour
//!
//! Words, one per idea: a **schedule** is what a user wrote; its **trigger** yields **occurrences**,
//! nominal times; an **execution** is one attempt to act on an occurrence; a **claim** is the right
//! to make it; **delivery** is sending the command; the **outcome** is what became of it; an
//! occurrence that nobody could act on in time is **missed**; an **instance** is one running process.
//!
//! The pure part knows values and no clock or network:
//!
//! - [`trigger`]: cron, interval, once; when they are due.
//! - [`schedule`]: the record and the check of what users write.
//! - [`execution`]: outcomes and events.
//! - [`stored`]: how stored values outlive versions; `text`: how what others make long is cut;
//!   `moment`: moving an instant, past the end of time too.
//! - [`plan`]: from a record and a time to what must be done and how the record should look.
//!
//! The rim acts:
//!
//! - [`port`]: NATS as a trait. [`jetstream`]: streams, reading, writing, watching, delivering over it, and the client
//!   behind it; [`names`] of all that is there.
//! - [`index`], [`history_index`]: what the bucket and the history hold, in memory.
//! - [`engine`]: the firing protocol. **Start here** to see how jobs run once.
//! - [`api`]: what users can ask, over NATS and over HTTP.
//! - [`client`]: the same from Rust, with typed requests, replies and errors.
//! - [`health`], [`metrics`], [`load`]: how it is and what it does; [`trace_context`]: which trace that is a
//!   part of.
//! - [`instance`]: puts the parts together; [`service`]: connects, starts, runs and drains them. [`config`]:
//!   settings, as plain data for all others. [`stop`]: signals. `dev`: a session at a terminal, with a nats-server to try
//!   it on.

pub mod api;
pub mod chance;
pub mod client;
pub mod clock;
pub mod config;
#[cfg(feature = "dev")]
pub mod dev;
pub mod engine;
pub mod execution;
mod failpoint;
pub mod guards;
pub mod health;
pub mod history_index;
pub mod index;
pub mod instance;
pub mod jetstream;
pub mod load;
pub mod metrics;
mod moment;
pub mod names;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod plan;
pub mod port;
pub mod schedule;
pub mod service;
pub mod stop;
pub mod stored;
mod text;
pub mod trace_context;
pub mod trigger;
