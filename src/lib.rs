//! nats-scheduler runs jobs on time and needs nothing but NATS JetStream.
//!
//! # A tour
//!
//! Words, one per idea: a **schedule** is what a user wrote; its **trigger** yields **occurrences**, nominal
//! times; an **execution** is one attempt to act on an occurrence; a **claim** is the right to make it;
//! **delivery** is sending the command; the **outcome** is how it ended; an occurrence that nobody could act
//! on in time is **missed**; an **instance** is one running process. A **calendar** names days and times at which
//! schedules do not run, or only run; a **group** bounds how many executions of its schedules are under way, each of
//! which takes a **slot**; a **halt** is the pause of all schedules; a **rerun** is a stored request to run ended
//! executions again.
//!
//! The pure part works on values, without clock or network:
//!
//! - [`trigger`]: cron, interval, once; when they are due.
//! - [`schedule`]: the record, and the checks on what users write.
//! - [`execution`]: outcomes and events.
//! - `stored`: how stored values outlive versions; `text`: cutting texts that others make long; [`shown`]: making
//!   them harmless where they are shown; `moment`: moving an instant, even past the end of time; `every`: lists of
//!   variants that are complete.
//! - [`plan`]: from a record and a time to what must be done and the record that results.
//! - `explain`: why a schedule did or did not run.
//!
//! The rim acts:
//!
//! - [`port`]: NATS as a trait. [`jetstream`]: streams, reading, writing, watching and delivering over it,
//!   and the client behind it; [`names`] of everything in NATS.
//! - [`clock`]: the time of NATS. [`chance`]: all that is drawn. [`guards`]: the checks that the protocol rests on, and
//!   [`failpoint`]: points at which tests make it fail.
//! - [`index`], `history_index`, `audit_index`: the contents of the bucket, the history and the audit, in memory.
//! - [`engine`]: the firing protocol. **Start here** to see how jobs run once.
//! - [`api`]: what users can ask, over NATS and over HTTP.
//! - `dashboard`: pages to look at it and to act on it, in a browser.
//! - [`client`]: the same from Rust, with typed requests, replies and errors.
//! - `presence`: when instances ran, for those who ask why nothing was done.
//! - [`health`], [`metrics`], `load`: the state and the activity of the service; [`trace_context`]: the
//!   trace that work belongs to; `otlp`: sending its spans.
//! - [`instance`]: puts the parts together; [`service`]: connects, starts, runs and drains them. [`config`]:
//!   settings, as plain data for all others. [`stop`]: signals. `url_file`: where HTTP listens, for programs.
//!   `dev`: a session at a terminal, with a nats-server to try it on.

pub mod api;
mod audit_index;
pub mod chance;
pub mod client;
pub mod clock;
pub mod config;
mod dashboard;
#[cfg(feature = "dev")]
pub mod dev;
pub mod engine;
mod every;
pub mod execution;
mod explain;
#[doc(hidden)]
pub mod failpoint;
pub mod guards;
pub mod health;
mod history_index;
pub mod index;
pub mod instance;
pub mod jetstream;
mod load;
pub mod metrics;
mod moment;
pub mod names;
#[cfg(feature = "otlp")]
mod otlp;
pub mod plan;
pub mod port;
mod presence;
pub mod schedule;
pub mod service;
pub mod shown;
pub mod stop;
mod stored;
mod text;
pub mod trace_context;
pub mod trigger;
mod url_file;
