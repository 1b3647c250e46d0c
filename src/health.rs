//! How the service is: whether it is ready, and what is the matter if something is.
//!
//! A task asks NATS every few seconds and keeps what it saw; whoever wants to know gets that at once,
//! together with what is known without asking.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, jetstream};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::index::Index;
use crate::jetstream::observe::{Observation, last_revision, observe};
use crate::jetstream::provision::StreamOptions;
use crate::load::Load;

/// How often NATS is asked.
const INTERVAL: Duration = Duration::from_secs(5);
/// Beyond this offset between our clock and the server's, commands are early or late by too much.
pub const MAX_CLOCK_OFFSET: TimeDelta = TimeDelta::milliseconds(500);
/// Beyond so many records that were written and not seen, this instance acts on old state.
pub const MAX_WATCH_LAG: u64 = 10_000;
/// Beyond this the engine is late.
pub const MAX_TIMER_LAG: Duration = Duration::from_secs(5);

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for NATS, or loads.
    Starting,
    /// It fires and answers.
    Running,
    /// It finishes what it has begun.
    Stopping,
}

/// What is known of how the service is.
#[derive(Debug, Default)]
pub struct Health {
    phase: AtomicU8,
    client: OnceLock<Client>,
    seen: RwLock<Seen>,
    /// What the engine says.
    pub load: Arc<Load>,
}

/// What was seen of NATS last.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What NATS answered.
    pub nats: Observation,
    /// Records that were written and not seen by this instance.
    pub watch_lag: Option<u64>,
}

impl Health {
    /// Where the instance is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Running,
            _ => Phase::Stopping,
        }
    }

    /// Says where the instance is in its life; it never goes back.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
    }

    /// Whether there is a connection to NATS.
    pub fn is_connected(&self) -> bool {
        self.client.get().is_some_and(|client| client.connection_state() == State::Connected)
    }

    /// Why the instance is not ready, if it is not.
    pub fn not_ready(&self) -> Option<&'static str> {
        match self.phase() {
            Phase::Stopping => Some("the service is stopping"),
            Phase::Starting => Some("the service is starting"),
            Phase::Running if !self.is_connected() => Some("NATS is out of reach"),
            Phase::Running => None,
        }
    }

    /// What was seen of NATS last.
    pub fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is the matter, each in a sentence for people; nothing if all is well.
    pub fn problems(&self) -> Vec<String> {
        let Seen { nats, watch_lag } = self.seen();
        let mut problems = Vec::new();
        if !self.is_connected() {
            problems.push("NATS is out of reach".to_owned());
        }
        if let Some(error) = &nats.jetstream_error {
            problems.push(format!("JetStream does not answer: {error}"));
        }
        for stream in &nats.streams {
            if stream.exists == Some(false) {
                problems.push(format!("stream {} does not exist", stream.name));
            }
            if !stream.drift.is_empty() {
                let drift = stream.drift.join("; ");
                problems.push(format!("stream {} differs from ours: {drift}", stream.name));
            }
        }
        if let Some((offset, error)) = nats.clock_offset
            && offset.abs() - error > MAX_CLOCK_OFFSET
        {
            let (ms, side) = (
                offset.num_milliseconds(),
                if offset > TimeDelta::zero() { "ahead of" } else { "behind" },
            );
            problems.push(format!("the clock is {} ms {side} that of NATS", ms.abs()));
        }
        if let Some(lag) = watch_lag.filter(|lag| *lag > MAX_WATCH_LAG) {
            problems.push(format!("{lag} records were written and not seen yet"));
        }
        let timer_lag = self.load.timer_lag(clock::now());
        if timer_lag > MAX_TIMER_LAG {
            problems.push(format!("timers are late by {} s", timer_lag.as_secs()));
        }
        problems
    }

    /// Says how NATS is reached.
    pub fn connected(&self, client: Client) {
        let _ = self.client.set(client);
    }

    /// Asks NATS every few seconds, until `stop`.
    pub async fn watch(
        self: Arc<Self>,
        js: jetstream::Context,
        index: Arc<Index>,
        options: StreamOptions,
        stop: CancellationToken,
    ) {
        let mut known = Vec::new();
        loop {
            let nats = observe(&js, options).await;
            let watch_lag =
                last_revision(&nats.streams).map(|last| last.saturating_sub(index.seen()));
            *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Seen { nats, watch_lag };
            let problems = self.problems();
            // What is the matter changes in its numbers all the time; a line each time it begins or ends.
            if problems.len() != known.len() {
                if problems.is_empty() {
                    info!("healthy again");
                } else {
                    warn!(problems = problems.join("; "), "degraded");
                }
            }
            known = problems;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}
