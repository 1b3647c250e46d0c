//! The stored requests to run executions again, as the watch or an own write last showed them.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Index, Shown};
use crate::execution::Rerun;
use crate::schedule::keyed::{Keyed as _, Known};
use crate::stored::damage::Damage;

impl Index {
    /// The stored requests.
    pub fn reruns(&self) -> Arc<Known<Rerun>> {
        self.reruns.all()
    }

    /// Tells when any of them changes.
    pub fn reruns_changed(&self) -> watch::Receiver<()> {
        self.reruns.changed()
    }

    /// Takes in one that this instance wrote, unless something newer is known.
    pub fn know_rerun(&self, rerun: Rerun, revision: u64) {
        let key = Rerun::key(&rerun.name);
        self.reruns.change(|known| known.take_in(&key, revision, Some(Ok(rerun))));
    }

    /// Takes in what the watch showed of the key of one, unless something newer is known.
    pub(super) fn take_in_rerun(
        &self,
        key: &str,
        revision: u64,
        held: Option<Result<Rerun, Damage>>,
    ) {
        if let Some(Err(damage)) = &held {
            damage.tell(key, revision, "stored request cannot be read; it is left alone");
        }
        self.reruns.change(|known| known.take_in(key, revision, held));
    }

    /// Forgets what is not newer than a revision and was not shown: it is not in the bucket any more.
    pub(super) fn forget_reruns(&self, shown: &Shown, revision: u64) {
        self.reruns.change(|known| known.retain(revision, |key| shown.has_named(key)));
    }
}
