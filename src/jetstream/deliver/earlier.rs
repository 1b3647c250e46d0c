//! Looks for a copy of a message that may have been sent before.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy, State};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use tokio::time::Instant;

use super::ToTarget;
use crate::jetstream::publish::Earlier;
use crate::jetstream::route::{LONG, Route};
use crate::jetstream::trace::Traced;
use crate::names;
use crate::port::{Entry, Nats, Reading, Start};

/// How long to search a stream for a message.
const SEARCH: Duration = Duration::from_secs(30);
/// Time before the first claim that is searched too, since clocks differ.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(30);

impl<N: Nats> ToTarget<'_, N> {
    /// Looks for a copy that may have been sent since `since`.
    pub(super) async fn earlier_copy(&self, since: DateTime<Utc>) -> Earlier {
        let unknown = || Earlier::Unknown("the stream does not say whether it has it".to_owned());
        let subject = self.publication.subject;
        let age = (self.sender.clock.now() - since).to_std().unwrap_or_default();
        if age < LONG / 2 && self.sender.routes.drops_copies(subject) {
            return Earlier::Remembered;
        }
        let route = self.sender.routes.of(subject, Instant::now(), None).await;
        let (name, stored) = match route {
            Route::Stream { name, stored } => (name, stored),
            Route::Nowhere | Route::Elsewhere | Route::Denied => return Earlier::Remembered,
            Route::MayNotAsk | Route::Unknown => return unknown(),
        };
        let Ok(info) = self.sender.nats.info(&name).await else {
            return unknown();
        };
        let config = &info.config;
        if config.no_ack {
            return Earlier::NeverAcknowledged(config.name.clone());
        }
        if age < config.duplicate_window / 2 {
            return Earlier::Remembered;
        }
        let stored = match stored {
            Some(stored) => Some(stored),
            None => self.stored_as(config).await,
        };
        let held = async {
            match config.retention {
                RetentionPolicy::WorkQueue => {
                    self.queue_holds_since(&name, stored, since, &info.state).await
                }
                _ => self.holds_since(&name, stored, since).await,
            }
        };
        match tokio::time::timeout(SEARCH, held).await {
            Ok(Some(true)) => Earlier::Stored,
            Ok(Some(false)) => Earlier::Remembered,
            Ok(None) | Err(_) => unknown(),
        }
    }

    /// The subject under which a stream stores what is published to a target; `None` if nobody says, so that the whole
    /// stream must be searched.
    async fn stored_as(&self, config: &Config) -> Option<String> {
        let subject = self.publication.subject;
        if config.subject_transform.is_none()
            && config.subjects.iter().any(|pattern| names::covers(pattern, subject))
        {
            return Some(subject.to_owned());
        }
        match self.sender.routes.trace(subject).await {
            Traced::Stream { name, stored } if name == config.name => Some(stored),
            _ => None,
        }
    }

    /// Whether a stream holds a message with our id that was sent after `since`; `None` if it does not say.
    async fn holds_since(
        &self,
        stream: &str,
        subject: Option<String>,
        since: DateTime<Utc>,
    ) -> Option<bool> {
        let start = since - CLOCKS_DIFFER;
        let (from, filter) = (Start::Time(start), subject.unwrap_or_default());
        let what = Reading { from, filter, headers_only: true };
        let (mut entries, pending) = self.sender.nats.read(stream, what).await.ok()?;
        if pending == 0 {
            return Some(false);
        }
        while let Some(entry) = entries.next().await {
            let entry = entry.ok()?;
            if self.is_ours(&entry) {
                return Some(true);
            }
            if entry.pending == 0 {
                return Some(false);
            }
        }
        None
    }

    /// The same for a work queue, which only its workers may read: it is asked for one message after another.
    async fn queue_holds_since(
        &self,
        stream: &str,
        subject: Option<String>,
        since: DateTime<Utc>,
        state: &State,
    ) -> Option<bool> {
        let (start, subjects) = (since - CLOCKS_DIFFER, subject.as_deref().unwrap_or(">"));
        let next = |sequence| self.sender.nats.next(stream, subjects, sequence);
        let (mut before, mut from) = (state.first_sequence, state.last_sequence + 1);
        while before < from {
            let middle = before + (from - before) / 2;
            match next(middle).await.ok()? {
                Some(entry) if entry.stored_at < start => before = entry.sequence + 1,
                _ => from = middle,
            }
        }
        while let Some(entry) = next(from).await.ok()?.filter(|e| e.sequence <= state.last_sequence)
        {
            if self.is_ours(&entry) {
                return Some(true);
            }
            from = entry.sequence + 1;
        }
        Some(false)
    }

    fn is_ours(&self, entry: &Entry) -> bool {
        let id = entry.headers.get(names::MESSAGE_ID);
        id.is_some_and(|id| id.as_str() == self.publication.id)
    }
}
