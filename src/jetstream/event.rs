//! Events on their way to the history or the audit: streams of ours, whose acknowledgements the client hears, and which
//! must have them in the end.

use std::time::Duration;

use super::WriteError;
use super::publish::{Policy, Sent};
use super::refusal::{Class, class};
use super::writes::{Insistent, OurStream, Writes};
use crate::port::{Append, Nats, Unstored};

/// Pause between tries.
const RETRY: Duration = Duration::from_millis(500);

/// An event on its way to a stream of ours.
pub(crate) struct Event<'a, N> {
    nats: &'a N,
    writes: &'a Writes,
    place: OurStream,
    insistent: Insistent<'a>,
    said: bool,
}

impl<'a, N: Nats> Event<'a, N> {
    pub(crate) fn new(nats: &'a N, writes: &'a Writes, place: OurStream) -> Self {
        Self { nats, writes, place, insistent: writes.insist(place), said: false }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.nats.is_connected()
    }

    /// Sends it once.
    pub(crate) async fn send(&self, message: Append) -> Sent {
        match self.nats.append(message).await {
            Ok(appended) => Sent::Stored { duplicate: appended.duplicate },
            Err(Unstored::Refused(error)) if class(&error) == Class::Doubled => {
                Sent::Doubled(error.to_string())
            }
            Err(error) => refused(error.into()),
        }
    }

    /// Notes that a try failed. Returns the reason if it is to be logged: once, and not if a copy is being stored.
    pub(crate) fn failed(&mut self, sent: &Sent) -> Option<String> {
        let error = trouble(sent)?;
        self.insistent.failed(&error);
        (!std::mem::replace(&mut self.said, true)).then(|| error.to_string())
    }

    /// Notes that the stream will never have the event.
    pub(crate) fn lost(self, reason: &str) {
        let Self { writes, place, insistent, .. } = self;
        // Dropping it counts as a success, so that must come first.
        drop(insistent);
        writes.failed(place, &WriteError::Refused(reason.to_owned()));
    }
}

/// What a failed try says is wrong with the stream. That a copy is being stored is normal: another instance writes the
/// same event.
fn trouble(sent: &Sent) -> Option<WriteError> {
    match sent {
        Sent::Passing(reason) => Some(WriteError::Passing(reason.clone())),
        Sent::Unknown(reason) => Some(WriteError::Unknown(reason.clone())),
        _ => None,
    }
}

fn refused(error: WriteError) -> Sent {
    match error {
        WriteError::Refused(reason) => Sent::Refused(reason),
        WriteError::Passing(reason) => Sent::Passing(reason),
        WriteError::NoStream => Sent::Passing(error.to_string()),
        WriteError::Conflict | WriteError::Unknown(_) | WriteError::TooLarge(_) => {
            Sent::Unknown(error.to_string())
        }
    }
}

/// The policy for events: try for as long as it takes.
pub(crate) fn policy(since: Option<chrono::DateTime<chrono::Utc>>) -> Policy<fn() -> bool> {
    Policy { trusted: || true, since, patience: None, pause: RETRY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_being_stored_is_no_trouble() {
        let reason = || "said".to_owned();
        assert!(trouble(&Sent::Doubled(reason())).is_none());
        assert!(matches!(trouble(&Sent::Passing(reason())), Some(WriteError::Passing(_))));
        assert!(matches!(trouble(&Sent::Unknown(reason())), Some(WriteError::Unknown(_))));
    }
}
