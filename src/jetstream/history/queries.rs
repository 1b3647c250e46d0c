//! Queries of the history: the index says which executions and how many, the stream has the bodies.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::warn;
use uuid::Uuid;

use super::headers::{command_header, error_header};
use super::record::leave_aliases_out;
use super::{History, QueryError, Waiter};
use crate::execution::{ErrorType, Execution, ExecutionStatus};
use crate::explain::Acted;
use crate::history_index::{
    Bucket, Buckets, Chosen, Filter, HistoryIndex, Page, Recent, Row, Statistics,
};
use crate::moment::Moment as _;
use crate::names::plain_text;
use crate::port::{Entry, Nats};

/// Number of entries of a ledger up to which the events of all are fetched.
const FEW: usize = 200;
/// Most events that are fetched for a ledger.
const FETCHED: usize = 1000;
/// Most entries of a ledger.
const ROWS: usize = 50_000;

/// Executions of which one query reads what they sent.
const LEARNED: usize = 1000;

impl<N: Nats> History<N> {
    /// How many executions there are.
    pub fn len(&self) -> usize {
        self.read(HistoryIndex::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The schedules that it has executions of, in no order, unless there are more than `most`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn schedules(&self, most: usize) -> Result<Option<Vec<Uuid>>, QueryError> {
        self.mirror.ready().await?;
        Ok(self.read(|index| index.schedules(most)))
    }

    /// The latest event of an execution.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Execution>, QueryError> {
        self.mirror.ready().await?;
        let Some(sequence) = self.read(|index| index.latest(id)) else {
            return Ok(None);
        };
        let execution = self.mirror.fetch(sequence).await?.and_then(read);
        // If the stream has lost what it showed, another message is in its place.
        Ok(execution.filter(|execution| execution.id == id))
    }

    /// One page of executions, newest first, and how many match in all.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn list(
        &self,
        filter: &Filter,
        page: Page,
    ) -> Result<(Vec<Execution>, u64), QueryError> {
        self.learn_commands(filter).await?;
        let (mut executions, total) = self.page(|index| index.list(filter, page)).await?;
        // The index does not tell apart more than 65,535 error types, and knows of commands only hashes, or nothing.
        let fetched = executions.len();
        executions.retain(|execution| is_of(execution, filter));
        let others = (fetched - executions.len()) as u64;
        Ok((executions, total.saturating_sub(others)))
    }

    /// Reads what executions sent that a filter by that asks about, where their headers do not say it: those of former
    /// versions, and what was never sent. Each is read once, and so many for one query, the newest first.
    async fn learn_commands(&self, filter: &Filter) -> Result<(), QueryError> {
        if filter.command.is_none() {
            return Ok(());
        }
        self.mirror.ready().await?;
        let untold = self.read(|index| index.untold(filter, LEARNED));
        let fetched = self.mirror.fetch_all(&untold).await?.into_iter();
        let sent = fetched.map(|one| one.and_then(read).map(|it| command_header(&it.command_sent)));
        let sent: Vec<_> = untold.into_iter().zip(sent).collect();
        self.mirror.index.write(|index| {
            for (place, command) in sent {
                // What cannot be read is not asked after again.
                index.learn(place, command.as_deref().unwrap_or_default());
            }
        });
        Ok(())
    }

    /// One page of the executions with a correlation id, newest first, and how many there are.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn by_correlation(
        &self,
        correlation_id: &str,
        page: Page,
    ) -> Result<(Vec<Execution>, u64), QueryError> {
        let (mut executions, total) =
            self.page(|index| index.by_correlation(correlation_id, page)).await?;
        // The index knows only hashes.
        let fetched = executions.len();
        executions.retain(|execution| execution.correlation_id == correlation_id);
        let others = (fetched - executions.len()) as u64;
        Ok((executions, total.saturating_sub(others)))
    }

    /// The first `limit` executions that match at the place `until` or before, behind the place `after`, oldest first.
    /// What the stream has dropped, cannot be read, or turns out to have another error type or command is `None`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn chosen(
        &self,
        filter: &Filter,
        until: u64,
        after: u64,
        limit: usize,
    ) -> Result<(Chosen, Vec<Option<Execution>>), QueryError> {
        self.mirror.ready().await?;
        self.learn_commands(filter).await?;
        let chosen = self.read(|index| index.choose(filter, until, after, limit));
        let fetched = self.mirror.fetch_all(&chosen.places).await?;
        let is_it = |execution: &Execution| {
            filter.statuses.contains(&execution.status) && is_of(execution, filter)
        };
        let executions = fetched.into_iter().map(|one| one.and_then(read).filter(is_it)).collect();
        Ok((chosen, executions))
    }

    /// What became of the nominal times of a schedule from `from` to `to`, by nominal time and start; and the time up to
    /// which that is all, if there is too much. Events are fetched where they say more than the index does, and all of
    /// them if they are few.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(crate) async fn ledger(
        &self,
        schedule: Uuid,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<(Vec<Acted>, Option<DateTime<Utc>>), QueryError> {
        self.catch_up().await?;
        let span = (from.timestamp_millis(), to.timestamp_millis());
        let mut rows = self.read(|index| index.ledger(schedule, span.0, span.1));
        let is_few = rows.len() <= FEW;
        let tells = |row: &Row| is_few || row.status != ExecutionStatus::Success;
        let most = rows.iter().enumerate().filter(|(_, row)| tells(row)).nth(FETCHED);
        let beyond = most.map_or(rows.len(), |(at, _)| at).min(ROWS);
        let cut = rows.get(beyond).map(|row| row.scheduled_for().just_before().max(from));
        if let Some(cut) = cut {
            rows.retain(|row| row.scheduled_for() <= cut);
        }
        let told: Vec<u64> = rows.iter().filter(|row| tells(row)).map(|row| row.sequence).collect();
        let fetched = self.mirror.fetch_all(&told).await?;
        let events = fetched.into_iter().flatten().filter_map(read);
        let mut events: HashMap<Uuid, Execution> =
            events.map(|execution| (execution.id, execution)).collect();
        let acted = |row: Row| Acted {
            execution: row.execution,
            occurrence: row.occurrence,
            scheduled_for: row.scheduled_for(),
            status: row.status,
            started_at: moment(row.started_ms),
            ended_at: row.ended_ms.map(moment),
            event: events.remove(&row.execution),
        };
        Ok((rows.into_iter().map(acted).collect(), cut))
    }

    /// The latest executions of each of these schedules that have ended, `most` at most, newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn recent(
        &self,
        schedules: &[Uuid],
        most: usize,
    ) -> Result<Vec<Vec<Recent>>, QueryError> {
        self.mirror.ready().await?;
        Ok(self.read(|index| index.recent(schedules, most)))
    }

    /// Removes executions that have an outcome.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn retain_open<T>(
        &self,
        executions: &mut Vec<T>,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<(), QueryError> {
        self.mirror.ready().await?;
        self.read(|index| executions.retain(|execution| !index.has_ended(id(execution))));
        Ok(())
    }

    /// All attempts at the occurrence of an execution, itself included, by number.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn attempts(&self, of: &Execution) -> Result<Vec<Execution>, QueryError> {
        if of.attempt_number == 1 && !of.will_retry {
            return Ok(vec![of.clone()]);
        }
        let (schedule, scheduled_for) = (of.schedule_id, of.scheduled_for);
        let (mut attempts, _) = self
            .page(|index| {
                let scheduled_for_ms = scheduled_for.timestamp_millis();
                let found = index.attempts(schedule, scheduled_for_ms, &of.correlation_id);
                let total = found.len() as u64;
                (found, total)
            })
            .await?;
        // Retries that were asked for together may have the same time and correlation id.
        attempts.retain(|other| {
            other.correlation_id == of.correlation_id
                && other.retry_of == of.retry_of
                && other.id != of.id
        });
        attempts.push(of.clone());
        attempts.sort_by_key(|attempt| (attempt.attempt_number, attempt.time));
        Ok(attempts)
    }

    /// Statistics at `now` of one schedule, or of all, and the error of the latest failure; `None` if the history has
    /// nothing of the schedule.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn statistics(
        &self,
        schedule: Option<Uuid>,
        now: DateTime<Utc>,
        window: Option<Duration>,
    ) -> Result<Option<(Statistics, Option<String>)>, QueryError> {
        self.mirror.ready().await?;
        let window = window.map(|window| i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        let found = self.read(|index| index.statistics(schedule, now.timestamp_millis(), window));
        let Some(mut statistics) = found else { return Ok(None) };
        statistics.last_error = statistics.last_error.as_deref().map(plain_text);
        if let Some((error_type, _)) = &mut statistics.most_common_error {
            *error_type = plain_text(error_type);
        }
        let message = match &statistics.last_failed {
            Some(failed) => {
                let failed = self.mirror.fetch(failed.sequence).await?.and_then(read);
                failed.and_then(|execution| execution.error_message)
            }
            None => None,
        };
        Ok(Some((statistics, message)))
    }

    /// What was completed in each bucket, of one schedule or of all.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn buckets(
        &self,
        schedule: Option<Uuid>,
        buckets: Buckets,
    ) -> Result<Vec<Bucket>, QueryError> {
        self.mirror.ready().await?;
        Ok(self.read(|index| index.buckets(schedule, buckets)))
    }

    /// The final event of an execution, if the stream has one, after making sure that everything stored until now has
    /// been read.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn outcome(&self, id: Uuid) -> Result<Option<Execution>, QueryError> {
        self.catch_up().await?;
        Ok(self.get(id).await?.filter(|execution| execution.status.is_final()))
    }

    /// Waits until everything that the stream has stored until now has been read; returns its last place.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn catch_up(&self) -> Result<u64, QueryError> {
        self.mirror.catch_up().await
    }

    /// Whether the history has the outcome of an execution, as far as it has been read.
    pub fn has_ended(&self, execution: Uuid) -> bool {
        self.read(|index| index.has_ended(execution))
    }

    /// Takes a place among those who wait for the outcome of an execution; `None` if too many do.
    pub fn await_outcome(&self, execution: Uuid) -> Option<Waiter> {
        self.mirror.index.waiters.join(execution)
    }

    /// Waits for the final event of an execution; asks nothing of NATS until there is one. `None` if the stream has
    /// dropped it.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn ended(&self, waiter: &mut Waiter) -> Result<Option<Execution>, QueryError> {
        let id = waiter.execution;
        if !self.read(|index| index.has_ended(id)) {
            waiter.told().await;
        }
        // Many may be woken at once. (The semaphore is never closed.)
        let _fetch = self.mirror.index.waiters.fetches.acquire().await;
        Ok(self.get(id).await?.filter(|execution| execution.status.is_final()))
    }

    async fn page(
        &self,
        look: impl Fn(&HistoryIndex) -> (Vec<u64>, u64),
    ) -> Result<(Vec<Execution>, u64), QueryError> {
        self.mirror.page(|executions| executions.read(&look), read).await
    }
}

/// Whether an execution has the error type and the command of a filter, which are as headers write them.
fn is_of(execution: &Execution, filter: &Filter) -> bool {
    let found = execution.error_type.as_ref().map_or("", ErrorType::as_str);
    let has_error = |wanted: &String| error_header(found) == *wanted;
    let has_sent = |wanted: &String| command_header(&execution.command_sent) == *wanted;
    filter.error.as_ref().is_none_or(has_error) && filter.command.as_ref().is_none_or(has_sent)
}

impl Row {
    fn scheduled_for(&self) -> DateTime<Utc> {
        moment(self.scheduled_for_ms)
    }
}

fn moment(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

fn read(entry: Entry) -> Option<Execution> {
    match serde_json::from_slice::<Execution>(&entry.body) {
        Ok(mut execution) => {
            leave_aliases_out(&mut execution);
            execution.mend_instants();
            Some(execution)
        }
        Err(error) => {
            warn!(sequence = entry.sequence, %error, "history entry cannot be read");
            None
        }
    }
}
