//! Whether a stream still has what it has shown.
//!
//! A server that loses its power comes back without what it had not written to its disk, and goes on from there with the
//! same sequences. Whoever reads on behind what was shown sees nothing of that once others have written as much again: what
//! was lost is believed for ever, and what was written in its place is never shown. So what was shown last is looked for.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use crate::guards::{Guard, Guards as _};
use crate::port::{Entry, Nats, Unanswered};

/// Messages that are kept in mind. Only what has been replaced since sends a look further back.
const MOST: usize = 64;
/// Before this age nothing goes without a word; markers of deletions may after it.
const YOUNG: TimeDelta = TimeDelta::minutes(50);

/// What a stream has shown last.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<Mark>);

#[derive(Debug)]
struct Mark {
    sequence: u64,
    subject: String,
    stored_at: DateTime<Utc>,
}

impl Marks {
    /// Takes in what was shown.
    pub(super) fn note(&mut self, shown: Entry) {
        if self.0.len() == MOST {
            self.0.pop_back();
        }
        let Entry { sequence, subject, stored_at, .. } = shown;
        self.0.push_front(Mark { sequence, subject, stored_at });
    }

    /// Forgets all of it.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether the stream has, at `now`, all that it has shown of late, or what replaced it. Where one message is still
    /// what it was, so is all before it.
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
