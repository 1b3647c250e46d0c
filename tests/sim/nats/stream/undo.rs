//! The latest changes of a stream, kept so that they can be undone.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::port::Entry;

use super::{Stored, Stream};

/// For how long it is known.
pub const UNSYNCED: TimeDelta = TimeDelta::seconds(10);

/// One thing that was done.
pub struct Done {
    at: DateTime<Utc>,
    what: What,
}

enum What {
    Added(u64),
    Removed(u64, Stored),
}

impl Done {
    pub fn added(at: DateTime<Utc>, sequence: u64) -> Self {
        Self { at, what: What::Added(sequence) }
    }

    pub fn removed(at: DateTime<Utc>, sequence: u64, gone: Stored) -> Self {
        Self { at, what: What::Removed(sequence, gone) }
    }
}

impl Stream {
    pub(super) fn note(&mut self, done: Done) {
        let now = done.at;
        while self.done.pop_front_if(|old| now - old.at > UNSYNCED).is_some() {}
        self.done.push_back(done);
    }

    /// What it is once its server was started again: as it was `ago`, with the ids of what it holds. What was
    /// done longer ago than [`UNSYNCED`] is on the disk.
    pub fn restart(&mut self, ago: Duration, now: DateTime<Utc>) {
        self.now = now;
        self.undo(now - ago);
        self.read_ids();
    }

    fn undo(&mut self, since: DateTime<Utc>) {
        while let Some(done) = self.done.pop_back_if(|done| done.at > since) {
            match done.what {
                What::Added(sequence) => {
                    self.take(sequence);
                    self.last = sequence - 1;
                }
                What::Removed(sequence, gone) => self.put(sequence, gone),
            }
        }
    }

    fn read_ids(&mut self) {
        self.ids.clear();
        self.window.clear();
        for (sequence, one) in &self.messages {
            if let Some(id) = one.header("Nats-Msg-Id") {
                self.ids.insert(id.to_owned(), *sequence);
                self.window.push_back((one.at, id.to_owned()));
            }
        }
        self.forget_ids();
    }

    /// The message at a sequence, as a replica has it that knows nothing of what was done since `then`.
    pub fn message_then(&self, sequence: u64, then: DateTime<Utc>) -> Option<Entry> {
        let late = self.done.iter().rev().take_while(|done| done.at > then);
        let mut message = self.message(sequence);
        for done in late {
            match &done.what {
                What::Added(one) if *one == sequence => message = None,
                What::Removed(one, gone) if *one == sequence => {
                    message = Some(gone.entry(sequence))
                }
                _ => {}
            }
        }
        message
    }
}
