//! Executions that an instance is about to claim.

use uuid::Uuid;

use super::Shared;
use crate::port::Nats;

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
