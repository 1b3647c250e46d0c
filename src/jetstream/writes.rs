//! The state of writing to our streams: what fails, and for how long.
//!
//! A write that fails is repeated, or reported to its caller. Here it is remembered for the service's health. A write
//! to the bucket is a single try, and the next one that succeeds clears the stream. An event of the history or of the
//! audit is repeated until the stream has it, and may be the only one that the stream does not take: it counts as
//! failing until then, whatever becomes of others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::WriteError;
use super::reminder::Reminder;
use crate::every::every;
use crate::names;

/// How long a refusal counts if nobody has tried again since.
const REFUSED_LATELY: Duration = Duration::from_secs(60);
/// How long a missing acknowledgement counts if nobody has tried again since.
const LOST_LATELY: Duration = Duration::from_secs(15);
/// Time by which a lost acknowledgement, or the election of a leader, is over.
const TRANSIENT: Duration = Duration::from_secs(2);

/// A stream that we write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OurStream {
    /// The bucket of schedules.
    Schedules,
    /// The history of executions.
    Executions,
    /// The changes of schedules.
    Audit,
}

impl OurStream {
    /// Every stream of ours.
    pub const ALL: [Self; 3] = every!(OurStream: Schedules, Executions, Audit);

    /// The name of its stream.
    pub fn stream(self) -> &'static str {
        match self {
            Self::Schedules => names::SCHEDULES_STREAM,
            Self::Executions => names::EXECUTIONS_STREAM,
            Self::Audit => names::AUDIT_STREAM,
        }
    }
}

/// A failure to write to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// From the first failure to the latest one, or until now if the same write is still being repeated.
    pub lasting: Duration,
    /// The kind of the latest error; what NATS said is in the log.
    pub error: &'static str,
}

/// The state of writing to each of our streams.
#[derive(Debug, Default)]
pub struct Writes([Mutex<State>; 3]);

#[derive(Debug, Default)]
struct State {
    /// Writes that are being repeated.
    stuck: usize,
    failing: Option<Failing>,
    /// What was logged.
    said: Reminder,
}

#[derive(Debug)]
struct Failing {
    first: Instant,
    latest: Instant,
    is_refused: bool,
    error: &'static str,
}

impl Failing {
    fn counts_for(&self) -> Duration {
        if self.is_refused { REFUSED_LATELY } else { LOST_LATELY }
    }
}

impl Writes {
    /// Notes that a write was acknowledged.
    pub fn done(&self, place: OurStream) {
        let mut state = self.state(place);
        if state.stuck == 0 {
            state.failing = None;
        }
    }

    /// Notes that a write failed. Losing against another write is no failure, and a value too large is its author's
    /// fault.
    pub fn failed(&self, place: OurStream, error: &WriteError) {
        if !matches!(error, WriteError::Conflict | WriteError::TooLarge(_)) {
            self.state(place).fail(place, error);
        }
    }

    /// Begins a write that is repeated until it succeeds. Dropping the result says that it has.
    pub fn insist(&self, place: OurStream) -> Insistent<'_> {
        Insistent { writes: self, place, has_failed: false }
    }

    /// What is wrong with writes to a stream; `None` while it may be over in a moment.
    pub fn trouble(&self, place: OurStream) -> Option<Trouble> {
        let state = self.state(place);
        let failing = state.failing.as_ref()?;
        let is_stuck = state.stuck > 0;
        if !is_stuck && failing.latest.elapsed() > failing.counts_for() {
            return None;
        }
        let until = if is_stuck { Instant::now() } else { failing.latest };
        let lasting = until.duration_since(failing.first);
        let counts = failing.is_refused || lasting >= TRANSIENT;
        counts.then_some(Trouble { lasting, error: failing.error })
    }

    fn state(&self, place: OurStream) -> MutexGuard<'_, State> {
        self.0[place as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, place: OurStream, error: &WriteError) {
        let now = Instant::now();
        let goes_on = |f: &Failing| self.stuck > 0 || f.latest.elapsed() <= f.counts_for();
        let first = self.failing.as_ref().filter(|f| goes_on(f)).map_or(now, |f| f.first);
        let is_refused = matches!(error, WriteError::Refused(_) | WriteError::Passing(_));
        self.failing = Some(Failing { first, latest: now, is_refused, error: error.kind() });
        // The status only names the kind.
        let cause = error.to_string();
        if (is_refused || now - first >= TRANSIENT) && self.said.is_due(&cause, now) {
            warn!(stream = place.stream(), cause, "write to a stream failed");
        }
    }
}

/// A write that is repeated until it succeeds.
pub struct Insistent<'a> {
    writes: &'a Writes,
    place: OurStream,
    has_failed: bool,
}

impl Insistent<'_> {
    /// Notes that a try failed.
    pub fn failed(&mut self, error: &WriteError) {
        let mut state = self.writes.state(self.place);
        state.fail(self.place, error);
        if !std::mem::replace(&mut self.has_failed, true) {
            state.stuck += 1;
        }
    }
}

impl Drop for Insistent<'_> {
    fn drop(&mut self) {
        if self.has_failed {
            self.writes.state(self.place).stuck -= 1;
            self.writes.done(self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> WriteError {
        WriteError::Refused("insufficient resources".to_owned())
    }

    #[test]
    fn a_refusal_counts_until_a_write_succeeds() {
        let writes = Writes::default();
        writes.failed(OurStream::Schedules, &WriteError::Conflict);
        assert_eq!(writes.trouble(OurStream::Schedules), None, "another write was stored");
        writes.failed(OurStream::Schedules, &refused());
        let trouble = writes.trouble(OurStream::Schedules).unwrap();
        assert_eq!(trouble.error, "refused", "what NATS said is for the log");
        assert_eq!(writes.trouble(OurStream::Audit), None);
        writes.done(OurStream::Schedules);
        assert_eq!(writes.trouble(OurStream::Schedules), None);
    }

    #[test]
    fn one_lost_acknowledgement_is_no_trouble() {
        let writes = Writes::default();
        writes.failed(OurStream::Schedules, &WriteError::NoStream);
        assert_eq!(writes.trouble(OurStream::Schedules), None);
    }

    #[test]
    fn an_event_that_is_repeated_counts_whatever_becomes_of_others() {
        let writes = Writes::default();
        let (mut one, mut other) =
            (writes.insist(OurStream::Audit), writes.insist(OurStream::Audit));
        one.failed(&refused());
        one.failed(&refused());
        other.failed(&refused());
        drop(other);
        writes.done(OurStream::Audit);
        assert!(writes.trouble(OurStream::Audit).is_some());
        drop(one);
        assert_eq!(writes.trouble(OurStream::Audit), None);
    }
}
