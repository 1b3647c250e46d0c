//! Events on their way to the history or the audit: streams of ours, which must have them in the end.
//!
//! They go over a [line](super::lines), as commands do: what a broken connection has not sent must not be sent over the
//! next one, when the stream may have forgotten the copy that another instance has written.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::ack::Ack;
use super::lines::{LATE, Line, Lines, Message};
use super::publish::{Policy, Sent};
use super::refusal::{Class, class};
use super::writes::{Insistent, OurStream, Writes};
use super::{ACK_TIMEOUT, WriteError};
use crate::port::answers::{Awaited, Heard};
use crate::port::{Append, Nats, Unstored, Wire};

/// Pause between tries.
const RETRY: Duration = Duration::from_millis(500);

/// An event on its way to a stream of ours.
pub(crate) struct Event<'a, N: Nats> {
    lines: &'a Lines<N>,
    writes: &'a Writes,
    place: OurStream,
    insistent: Insistent<'a>,
    said: bool,
}

impl<'a, N: Nats> Event<'a, N> {
    pub(crate) fn new(lines: &'a Lines<N>, writes: &'a Writes, place: OurStream) -> Self {
        Self { lines, writes, place, insistent: writes.insist(place), said: false }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.lines.is_up()
    }

    /// Sends it once, if it `may` be sent at the moment when the client takes it.
    pub(crate) async fn send(&self, message: Append, may: &(impl Fn() -> bool + Sync)) -> Sent {
        let Some(line) = self.lines.present() else { return Sent::Withheld };
        let Append { subject, headers, body } = message;
        let awaited = line.await_for(&subject);
        let message = Message { subject: &subject, headers: headers.into(), body };
        if let Err(unhanded) = line.publish(message, &awaited, may).await {
            return unhanded.into();
        }
        let sent = Instant::now();
        let mut answer = pin!(self.answer(&awaited));
        match timeout_at(sent + LATE, answer.as_mut()).await {
            Ok(sent) => sent,
            Err(_) => Box::pin(answer_late(answer, &line, sent)).await,
        }
    }

    /// The answer of the stream.
    async fn answer(&self, awaited: &Awaited) -> Sent {
        loop {
            let ack = match awaited.next().await {
                Heard::Likely(body) => Ack::read(&body),
                Heard::Stranger => None,
                Heard::NoResponders => return refused(WriteError::NoStream),
                // Somebody may yet allow it.
                Heard::Denied => {
                    return Sent::Passing("NATS does not let the service publish this".to_owned());
                }
            };
            match ack.filter(|ack| ack.stream == self.place.stream()) {
                Some(Ack { error: None, duplicate, .. }) => return Sent::Stored { duplicate },
                Some(Ack { error: Some(error), .. }) if class(&error) == Class::Doubled => {
                    return Sent::Doubled(error.to_string());
                }
                Some(Ack { error: Some(error), .. }) => {
                    return refused(Unstored::Refused(error).into());
                }
                None => {}
            }
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

/// The answer of the stream that did not come at once.
async fn answer_late<W: Wire>(
    mut answer: Pin<&mut impl Future<Output = Sent>>,
    line: &Line<W>,
    sent: Instant,
) -> Sent {
    let unknown = |reason: &str| Sent::Unknown(reason.to_owned());
    tokio::select! {
        biased;
        sent = answer.as_mut() => sent,
        () = line.lost(&|| true) => unknown("the connection was lost"),
        () = sleep_until(sent + ACK_TIMEOUT) => unknown("no acknowledgement in time"),
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
        WriteError::Conflict
        | WriteError::Unknown(_)
        | WriteError::TooLarge(_)
        | WriteError::Newer(_) => Sent::Unknown(error.to_string()),
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
