//! Queries of the history: the index says which executions and how many, the stream has the bodies.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tracing::warn;
use uuid::Uuid;

use super::headers::error_header;
use super::{History, Waiter};
use crate::execution::{ErrorType, Execution};
use crate::history_index::{Choice, Chosen, Filter, HistoryIndex, Page, Statistics};
use crate::names::{self, plain_text};
use crate::port::Nats;

/// Bodies fetched at once for one page.
const FETCHES: usize = 64;
/// Most tries to fetch a page that the stream drops parts of meanwhile.
const LOOKS: usize = 4;

/// Interval between checks whether the index has been shown what somebody waits for.
const LOOK: Duration = Duration::from_millis(10);
/// Number of checks after which another reader continues reading the stream.
const SLOW: u32 = 50;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The index is still being read from the stream.
    #[error("the history is still being read")]
    Loading,
    /// The stream does not answer.
    #[error("the history cannot be read: {0}")]
    Unavailable(String),
}

/// What the stream holds at a sequence.
enum Fetched {
    Execution(Box<Execution>),
    Unreadable,
    /// Nothing: the stream's limits dropped it since the index was asked.
    Gone,
}

impl Fetched {
    fn execution(self) -> Option<Execution> {
        match self {
            Self::Execution(execution) => Some(*execution),
            Self::Unreadable | Self::Gone => None,
        }
    }
}

impl<N: Nats> History<N> {
    /// How many executions there are.
    pub fn len(&self) -> usize {
        self.read(HistoryIndex::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The latest event of an execution.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Execution>, QueryError> {
        self.ready().await?;
        let Some(sequence) = self.read(|index| index.latest(id)) else {
            return Ok(None);
        };
        let execution = self.fetch(sequence).await?.execution();
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
        self.page(|index| index.list(filter, page)).await
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

    /// The first `limit` executions behind the place `after` that were chosen, oldest first. What the stream has
    /// dropped, cannot be read, or turns out to have another error type is `None`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn chosen(
        &self,
        choice: &Choice,
        after: u64,
        limit: usize,
    ) -> Result<(Chosen, Vec<Option<Execution>>), QueryError> {
        self.ready().await?;
        let error = choice.error_type.as_deref().map(error_header);
        let chosen = self.read(|index| index.choose(choice, error.as_deref(), after, limit));
        let fetched: Vec<Fetched> = stream::iter(chosen.places.clone())
            .map(|sequence| self.fetch(sequence))
            .buffered(FETCHES)
            .try_collect()
            .await?;
        let is_it = |execution: &Execution| {
            let found = execution.error_type.as_ref().map(ErrorType::as_str);
            let wanted = choice.error_type.as_deref();
            execution.status == choice.status && (wanted.is_none() || wanted == found)
        };
        let executions = fetched.into_iter().map(|one| one.execution().filter(is_it)).collect();
        Ok((chosen, executions))
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
        self.ready().await?;
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
        self.ready().await?;
        let window = window.map(|window| i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        let found = self.read(|index| index.statistics(schedule, now.timestamp_millis(), window));
        let Some(mut statistics) = found else { return Ok(None) };
        statistics.last_error = statistics.last_error.as_deref().map(plain_text);
        if let Some((error_type, _)) = &mut statistics.most_common_error {
            *error_type = plain_text(error_type);
        }
        let message = match &statistics.last_failed {
            Some(failed) => {
                self.fetch(failed.sequence).await?.execution().and_then(|e| e.error_message)
            }
            None => None,
        };
        Ok(Some((statistics, message)))
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
        self.ready().await?;
        let last = self.nats.last_sequence(names::EXECUTIONS_STREAM).await.map_err(unavailable)?;
        let caught_up = async {
            let mut looks = 0_u32;
            while self.read(HistoryIndex::seen) < last {
                tokio::time::sleep(LOOK).await;
                looks += 1;
                if looks.is_multiple_of(SLOW) {
                    self.wanted.notify_one();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), caught_up)
            .await
            .map_err(|_| QueryError::Loading)?;
        Ok(last)
    }

    /// Whether the history has the outcome of an execution, as far as it has been read.
    pub fn has_ended(&self, execution: Uuid) -> bool {
        self.read(|index| index.has_ended(execution))
    }

    /// Takes a place among those who wait for the outcome of an execution; `None` if too many do.
    pub fn await_outcome(&self, execution: Uuid) -> Option<Waiter> {
        self.awaited.join(execution)
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
        let _fetch = self.awaited.fetches.acquire().await;
        Ok(self.get(id).await?.filter(|execution| execution.status.is_final()))
    }

    async fn ready(&self) -> Result<(), QueryError> {
        // Polled, not awaited: tasks that wait for a channel to change are woken in random order.
        let read = async {
            while !*self.loaded.borrow() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(2), read).await;
        read.map_err(|_| QueryError::Loading)
    }

    /// Fetches what `look` finds. If the stream has dropped a part of it, tells the index and looks again.
    async fn page(
        &self,
        look: impl Fn(&HistoryIndex) -> (Vec<u64>, u64),
    ) -> Result<(Vec<Execution>, u64), QueryError> {
        self.ready().await?;
        let mut looks = 1;
        loop {
            let (sequences, total) = self.read(&look);
            let fetched: Vec<Fetched> = stream::iter(sequences.clone())
                .map(|sequence| self.fetch(sequence))
                .buffered(FETCHES)
                .try_collect()
                .await?;
            let places = sequences.iter().zip(&fetched);
            let gone = places.filter(|(_, fetched)| matches!(fetched, Fetched::Gone));
            let gone: Vec<u64> = gone.map(|(sequence, _)| *sequence).collect();
            if gone.is_empty() || looks == LOOKS {
                return Ok((fetched.into_iter().filter_map(Fetched::execution).collect(), total));
            }
            looks += 1;
            let first = self.info().await.map_err(unavailable)?.state.first_sequence;
            self.write(|index| {
                index.forget_before(first);
                gone.iter().for_each(|sequence| index.forget(*sequence));
            });
        }
    }

    async fn fetch(&self, sequence: u64) -> Result<Fetched, QueryError> {
        // What is stored never changes, so any replica will do, at half the cost. Only a replica that does not have it,
        // or not yet, is not the last word.
        if self.allows_direct
            && let Ok(Some(message)) =
                self.nats.message_of_any(names::EXECUTIONS_STREAM, sequence).await
        {
            return Ok(read(sequence, &message.body));
        }
        match self.nats.message(names::EXECUTIONS_STREAM, sequence).await {
            Ok(Some(message)) => Ok(read(sequence, &message.body)),
            Ok(None) => Ok(Fetched::Gone),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn read(sequence: u64, body: &[u8]) -> Fetched {
    match serde_json::from_slice::<Box<Execution>>(body) {
        Ok(mut execution) => {
            execution.mend_instants();
            Fetched::Execution(execution)
        }
        Err(error) => {
            warn!(sequence, %error, "history entry cannot be read");
            Fetched::Unreadable
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> QueryError {
    QueryError::Unavailable(error.to_string())
}
