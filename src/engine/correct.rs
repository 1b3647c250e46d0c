//! Corrects records whose times lie ahead: plans them again from now, see [`correct`](crate::plan::correct).
//!
//! One write carries everything: where the schedule goes on, which times have been acted on, and what the history must
//! be told. A crash before it leaves the record as it was, for the next instance that looks; a crash after it leaves
//! attempts in the phase `corrected`, which are taken over like reported ones.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{debug, warn};
use uuid::Uuid;

use super::Shared;
use super::rewrite::{catch_up, rewrite};
use crate::execution::ExecutionStatus;
use crate::failpoint::{failpoint, pause};
use crate::history_index::{Filter, Page};
use crate::jetstream::WriteError;
use crate::jetstream::history::QueryError;
use crate::plan::correct::{self, ActedAhead, MAX_AHEAD};
use crate::port::Nats;
use crate::schedule::Schedule;

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Most executions ahead of their time that are read, the latest first.
const MOST_READ: usize = 1000;

/// Plans a schedule again from now on, if its times lie ahead.
pub(crate) async fn correct(shared: &Shared<impl Nats>, id: Uuid) {
    shared.let_others_go_first(id).await;
    loop {
        let sight = shared.store.sight();
        let (Some(entry), now) = (shared.index.get(id), shared.clock.now()) else { return };
        if !correct::lies_ahead(&entry.schedule, now) {
            return;
        }
        let acted = match acted_ahead(shared, id, now).await {
            Ok(acted) => acted,
            Err(error) => {
                warn!(schedule_id = %id, %error, "its times lie ahead, and the history is needed to plan it again");
                return tokio::time::sleep(RETRY).await;
            }
        };
        let mut schedule = Schedule::clone(&entry.schedule);
        let me = shared.members.me();
        correct::correct(&mut schedule, &entry.trigger, &acted, now, me);
        schedule.sign(shared.writer());
        let schedule = Arc::new(schedule);
        pause("before_correcting");
        match rewrite(shared, &entry, Arc::clone(&schedule), sight.at(entry.revision)).await {
            Ok(_) => {
                failpoint("after_correcting");
                shared.metrics.corrected();
                warn!(
                    schedule_id = %id,
                    said = entry.schedule.last_scheduled_for.map(|at| at.to_rfc3339()),
                    next_run_at = schedule.next_run_at.map(|at| at.to_rfc3339()),
                    acted_on_ahead = schedule.acted_ahead.len(),
                    "the times of this schedule lay ahead of the time: it is planned again from now"
                );
                return;
            }
            Err(WriteError::Conflict) => {
                debug!(schedule_id = %id, "another write came first; looking again whether its times lie ahead");
                catch_up(shared, &entry).await;
            }
            Err(error) => {
                let what = "its times lie ahead, and it cannot be planned again";
                shared.retries.fail(what, id, None, &error);
                return tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// What the history has on occurrences that were acted on ahead of their time.
async fn acted_ahead(
    shared: &Shared<impl Nats>,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<ActedAhead, QueryError> {
    // The instances that wrote them went by the same time.
    let later = Filter {
        schedule: Some(id),
        started_from_ms: Some((now + MAX_AHEAD).timestamp_millis() + 1),
        ..Filter::default()
    };
    let (executions, _) = shared.history.list(&later, Page { offset: 0, limit: MOST_READ }).await?;
    let mut acted = ActedAhead::default();
    for execution in executions.into_iter().rev() {
        match (execution.status, execution.skipped) {
            (ExecutionStatus::Skipped, Some(range)) => {
                acted.skipped.push((execution.id, execution.scheduled_for, range));
            }
            (ExecutionStatus::Skipped | ExecutionStatus::Corrected, _) => {}
            _ if execution.triggered_by.is_none() => acted.made.push(execution.scheduled_for),
            _ => {}
        }
    }
    Ok(acted)
}
