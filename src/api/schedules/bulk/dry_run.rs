//! What pausing or deleting the schedules of a filter would do. Whether one of them is refused goes by its status alone, so
//! the answer comes from the dense rows of the index: no record is looked at, however many match.

use tokio::task::block_in_place;
use uuid::Uuid;

use super::super::super::error::ApiError;
use super::super::super::{Api, Caller};
use super::super::refused_in;
use super::{BulkAction, BulkOperated, BulkOperation, ItemRefused, MAX_LISTED, MAX_REFUSED};
use crate::port::Nats;
use crate::schedule::{NotNow, ScheduleEvent, Status};

impl<N: Nats> Api<N> {
    /// The result of a dry run, if it is one that goes by nothing but statuses.
    pub(super) async fn foreseen(
        &self,
        operation: BulkAction,
        request: &BulkOperation,
        caller: &Caller,
    ) -> Result<Option<BulkOperated>, ApiError> {
        let event = match operation {
            BulkAction::Pause => ScheduleEvent::Pause,
            BulkAction::Delete => ScheduleEvent::Delete,
            // It warns of those whose only time is over.
            BulkAction::Resume => return Ok(None),
        };
        if request.filter.is_none() || request.dry_run != Some(true) {
            return Ok(None);
        }
        let filter = self.asked_for(operation, request).await?;
        let hard_delete = request.hard_delete == Some(true);
        // A filter scans every schedule, and blocks this thread meanwhile.
        let (mut success, mut failed) = block_in_place(|| {
            let (mut success, mut failed) = (Vec::new(), Vec::new());
            for (id, status) in self.index.select_statuses(&filter) {
                match foresee(status, event, hard_delete) {
                    Ok(()) => success.push(id),
                    Err(refused) => failed.push((id, status, refused)),
                }
            }
            (success, failed)
        });
        let (succeeded, refused) = (success.len(), failed.len());
        let matched = succeeded + refused;
        first(&mut success, MAX_LISTED, |id| *id);
        first(&mut failed, MAX_REFUSED, |(id, ..)| *id);
        let failed = failed.into_iter().map(|(schedule_id, status, refused)| {
            let error = refused_in(schedule_id, status, refused);
            let error = error.told("bulk.operation", caller, &self.complaints);
            ItemRefused { schedule_id, error }
        });
        let failed = failed.collect();
        let performed_by = caller.actor();
        tracing::info!(?operation, matched, succeeded, refused, performed_by, "bulk dry run");
        let (dry_run, unknown) = (true, Vec::new());
        Ok(Some(BulkOperated {
            operation,
            dry_run,
            matched,
            succeeded,
            refused,
            success,
            failed,
            unknown,
        }))
    }
}

/// Whether a schedule can be paused or deleted.
fn foresee(status: Status, event: ScheduleEvent, hard_delete: bool) -> Result<(), NotNow> {
    match status {
        // A second deletion would have nothing to do.
        Status::Deleted if !hard_delete => Err(NotNow::IsDeleted),
        status => status.after(event).map(drop),
    }
}

/// Keeps the first of many, by their ids, in order.
fn first<T>(items: &mut Vec<T>, most: usize, id: impl Fn(&T) -> Uuid) {
    if items.len() > most {
        items.select_nth_unstable_by_key(most, &id);
        items.truncate(most);
    }
    items.sort_unstable_by_key(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_by_their_ids_are_named() {
        for most in [0, 1, 10, 99, 100, 101] {
            let mut ids: Vec<_> = (0..100).map(|n| Uuid::from_u128(n * 37 % 100)).collect();
            first(&mut ids, most, |id| *id);
            let expected = (0..100.min(most as u128)).map(Uuid::from_u128);
            assert_eq!(ids, expected.collect::<Vec<_>>(), "{most}");
        }
    }

    #[test]
    fn what_is_deleted_can_only_be_removed() {
        let of = |event, hard_delete| foresee(Status::Deleted, event, hard_delete);
        assert_eq!(of(ScheduleEvent::Pause, false), Err(NotNow::IsDeleted));
        assert_eq!(of(ScheduleEvent::Delete, false), Err(NotNow::IsDeleted));
        assert_eq!(of(ScheduleEvent::Delete, true), Ok(()));
        let ended = foresee(Status::Completed, ScheduleEvent::Pause, false);
        assert_eq!(ended, Err(NotNow::HasEnded));
    }
}
