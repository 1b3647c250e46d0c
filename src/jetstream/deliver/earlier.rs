//! Looking for a copy of a message that may have been sent before.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use tokio::time::Instant;

use super::ToTarget;
use crate::jetstream::publish::Earlier;
use crate::jetstream::route::Route;
use crate::jetstream::trace::Traced;
use crate::names;
use crate::port::{Nats, Reading, Start};

/// How long to search a stream for a message.
const SEARCH: Duration = Duration::from_secs(30);

impl<N: Nats> ToTarget<'_, N> {
    /// Looks for a copy that may have been sent since a time.
    pub(super) async fn earlier_copy(&self, since: DateTime<Utc>) -> Earlier {
        let unknown = || Earlier::Unknown("the stream does not say whether it has it".to_owned());
        let subject = self.publication.subject;
        let route = self.delivery.routes.of(subject, Instant::now(), None).await;
        let (name, stored) = match route {
            Route::Stream { name, stored } => (name, stored),
            Route::Nowhere | Route::Elsewhere | Route::Denied => return Earlier::Remembered,
            Route::MayNotAsk | Route::Unknown => return unknown(),
        };
        let Ok(info) = self.delivery.nats.info(&name).await else {
            return unknown();
        };
        let config = &info.config;
        if config.no_ack {
            return Earlier::NeverAcknowledged(config.name.clone());
        }
        let age = (self.delivery.clock.now() - since).to_std().unwrap_or_default();
        if age < config.duplicate_window / 2 {
            return Earlier::Remembered;
        }
        let stored = match stored {
            Some(stored) => Some(stored),
            None => self.stored_as(config).await,
        };
        match tokio::time::timeout(SEARCH, self.holds_since(&name, stored, since)).await {
            Ok(Some(true)) => Earlier::Stored,
            Ok(Some(false)) => Earlier::Remembered,
            Ok(None) | Err(_) => unknown(),
        }
    }

    /// The subject under which a stream stores what is published to a target; `None` if nobody says,
    /// and the whole stream is to be searched.
    async fn stored_as(&self, config: &Config) -> Option<String> {
        let subject = self.publication.subject;
        if config.subject_transform.is_none()
            && config.subjects.iter().any(|pattern| names::covers(pattern, subject))
        {
            return Some(subject.to_owned());
        }
        match self.delivery.routes.trace(subject).await {
            Traced::Stream { name, stored } if name == config.name => Some(stored),
            _ => None,
        }
    }

    /// Whether a stream holds a message with our id that was sent after `since`; `None` if it does not
    /// say.
    async fn holds_since(
        &self,
        stream: &str,
        subject: Option<String>,
        since: DateTime<Utc>,
    ) -> Option<bool> {
        // Clocks differ; half a minute more to read costs little.
        let start = since - chrono::Duration::seconds(30);
        let (from, filter) = (Start::Time(start), subject.unwrap_or_default());
        let what = Reading { from, filter, headers_only: true };
        let (mut entries, pending) = self.delivery.nats.read(stream, what).await.ok()?;
        if pending == 0 {
            return Some(false);
        }
        while let Some(entry) = entries.next().await {
            let entry = entry.ok()?;
            let found = entry.headers.get(names::MESSAGE_ID);
            if found.is_some_and(|found| found.as_str() == self.publication.id) {
                return Some(true);
            }
            if entry.pending == 0 {
                return Some(false);
            }
        }
        None
    }
}
