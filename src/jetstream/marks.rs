//! Checks whether a stream still has what it has shown.
//!
//! A server that loses its power comes back without what it had not written to its disk, and goes on from there with
//! the same sequences. Once others have written as much again, a reader that continues after what it was shown notices
//! nothing: it goes on believing what was lost, and is never shown what was written in its place. So the last messages
//! that were shown are looked for.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::account::YOUNG;
use crate::guards::{Guard, Guards as _};
use crate::port::{Entry, Nats, Unanswered};

/// Messages that are remembered. An earlier one is asked for only if the later ones have been replaced since.
const MOST: usize = 64;
/// The last messages that a stream has shown.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<Mark>);

#[derive(Debug)]
struct Mark {
    sequence: u64,
    subject: String,
    stored_at: DateTime<Utc>,
}

impl Marks {
    /// Remembers what was shown.
    pub(super) fn note(&mut self, shown: Entry) {
        if self.0.len() == MOST {
            self.0.pop_back();
        }
        let Entry { sequence, subject, stored_at, .. } = shown;
        self.0.push_front(Mark { sequence, subject, stored_at });
    }

    /// Forgets all messages.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether the stream has, at `now`, everything that it has recently shown, or what replaced it. If one message is
    /// unchanged, so is everything before it.
    ///
    /// # Errors
    /// If the stream's leader does not answer.
    pub(super) async fn are_in<N: Nats>(
        &self,
        nats: &N,
        stream: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, Unanswered> {
        if !N::Guards::hold(Guard::Kept) {
            return Ok(true);
        }
        for mark in &self.0 {
            if let Some(message) = nats.message(stream, mark.sequence).await? {
                return Ok(message.stored_at == mark.stored_at);
            }
            let replaced = nats.last(stream, &mark.subject).await?;
            let is_replaced = replaced.is_some_and(|by| by.sequence > mark.sequence);
            if !is_replaced && now - mark.stored_at < YOUNG {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
