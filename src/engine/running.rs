//! Executions that an instance acts on, from before their claim until they are settled.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Shared;
use crate::port::Nats;

/// The executions that an instance acts on, by id.
#[derive(Default)]
pub(super) struct Executions(Mutex<HashMap<Uuid, Running>>);

#[derive(Default)]
struct Running {
    stop: CancellationToken,
    /// Whether it has ended, and the history does not take its outcome.
    is_held_up: bool,
}

impl Executions {
    /// Whether the instance acts on an execution.
    pub(super) fn has(&self, execution: Uuid) -> bool {
        self.all().contains_key(&execution)
    }

    /// Whether an execution has ended, and the history does not take its outcome.
    pub(super) fn is_held_up(&self, execution: Uuid) -> bool {
        self.all().get(&execution).is_some_and(|running| running.is_held_up)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N: Nats> Shared<N> {
    /// Marks executions as ours. Returns those that were not ours already: only these may be let go again.
    pub(crate) fn begin(&self, executions: impl IntoIterator<Item = Uuid>) -> Vec<Uuid> {
        let mut running = self.running.all();
        let mut fresh = Vec::new();
        for id in executions {
            running.entry(id).or_insert_with(|| {
                fresh.push(id);
                Running::default()
            });
        }
        self.load.executions.store(running.len(), Ordering::Relaxed);
        fresh
    }

    /// Lets go of executions.
    pub(crate) fn end(&self, executions: impl IntoIterator<Item = Uuid>) {
        let mut running = self.running.all();
        for id in executions {
            running.remove(&id);
        }
        self.load.executions.store(running.len(), Ordering::Relaxed);
    }

    /// The token that stops an execution of ours.
    pub(crate) fn stopped(&self, execution: Uuid) -> CancellationToken {
        let running = self.running.all();
        running.get(&execution).map(|running| running.stop.clone()).unwrap_or_default()
    }

    /// Stops an execution, if it is ours.
    pub(crate) fn stop(&self, execution: Uuid) {
        if let Some(running) = self.running.all().get(&execution) {
            running.stop.cancel();
        }
    }

    /// Notes that an execution has ended and its outcome cannot be recorded: its claim is renewed, since nobody else
    /// would know of the outcome.
    pub(super) fn hold_up(&self, execution: Uuid) {
        if let Some(running) = self.running.all().get_mut(&execution) {
            running.is_held_up = true;
        }
    }
}

/// Executions that become ours if a write is accepted; let go when dropped, unless they are kept.
pub(crate) struct Begun<'a, N: Nats> {
    shared: &'a Shared<N>,
    /// Those that were not ours already.
    fresh: Vec<Uuid>,
}

impl<'a, N: Nats> Begun<'a, N> {
    /// Marks executions as ours; call it before the write that says so.
    pub(crate) fn new(shared: &'a Shared<N>, executions: impl IntoIterator<Item = Uuid>) -> Self {
        Self { shared, fresh: shared.begin(executions) }
    }

    /// Keeps them: the write was accepted.
    pub(crate) fn keep(mut self) {
        self.fresh.clear();
    }
}

impl<N: Nats> Drop for Begun<'_, N> {
    fn drop(&mut self) {
        if !self.fresh.is_empty() {
            self.shared.end(self.fresh.drain(..));
        }
    }
}
