//! Publishes a message until its fate is known: commands, dead letters, and events of the history and of the audit all
//! go through this one loop.
//!
//! A message whose acknowledgement does not come may be stored, lost, or stored later. It is sent again under the same
//! `Nats-Msg-Id`, and the stream drops what it already has. The stream remembers ids only for its duplicate window. So
//! a message that may have been sent before, by us or by the instance that had it before us, is first looked for in the
//! stream, unless the stream is sure to remember it still.
//!
//! The kinds of messages differ in their `Policy`:
//!
//! - *until when trusted*: a command may be sent only while the claim on it is trusted. That is checked after every
//!   wait, and again in the same moment in which the bytes are handed to the client. Nothing is handed over while the
//!   connection is down either: the client would send it whenever it is back.
//! - *since when* others may have sent a copy.
//! - *when to give up*: a command after some time of unanswered tries, an event of ours never.
//!
//! Where to search, how to send once, and which lesser form to try when a message is refused for good, are the steps of
//! a `Publishing`.
//!
//! | when it dies | then |
//! |---|---|
//! | before the bytes are handed over | nothing was sent |
//! | after that | the instance that has the message next says since when it may have been sent, and searches for it
//! first |

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tracing::debug;

use super::lines::Unhanded;

/// Longest wait before a standing condition is checked again.
const LOOK: Duration = Duration::from_millis(250);

/// The condition to send no longer holds; nothing is sent after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustLost {
    /// Whether a copy may have been sent, by us or by others before us.
    pub maybe_sent: bool,
}

/// Result of sending a message once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A stream has it. `duplicate` says whether the stream already had one with its id.
    Stored { duplicate: bool },
    /// No stream captures the subject. `heard` says whether somebody else has the message.
    NoStream { heard: bool },
    /// We may not publish to the subject.
    Denied,
    /// It was refused, and would be refused again.
    Refused(String),
    /// Nobody has it, and the next try may succeed.
    Passing(String),
    /// A copy with the same id is being stored; whether it will be stored is not known yet.
    Doubled(String),
    /// It may be stored already, or be stored later.
    Unknown(String),
    /// It was not handed over: the connection or the trust was lost.
    Withheld,
}

impl From<Unhanded> for Sent {
    fn from(unhanded: Unhanded) -> Self {
        match unhanded {
            Unhanded::Refused(reason) => Self::Refused(reason),
            Unhanded::NoRoom => Self::Passing("the connection takes nothing".to_owned()),
            Unhanded::TrustLost | Unhanded::Broken => Self::Withheld,
        }
    }
}

/// What a stream says of a message that may have been sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// The stream drops a copy by itself: it still remembers the ids of that time. Or nothing was sent before.
    Remembered,
    /// It holds the message.
    Stored,
    /// It never acknowledges anything, so nobody can know.
    NeverAcknowledged(String),
    /// It does not answer.
    Unknown(String),
}

/// A message on its way, with the steps that get it there.
pub(crate) trait Publishing: Sync {
    /// A place among the tasks that ask one stream for something; given back when dropped.
    type Place: Send;

    /// The time.
    fn now(&self) -> DateTime<Utc>;

    /// Whether the connection is up.
    fn is_connected(&self) -> bool;

    /// Waits for a place to search and to send, for as long as the message `may` be sent.
    fn enter(
        &self,
        may: &(impl Fn() -> bool + Sync),
    ) -> impl Future<Output = Option<Self::Place>> + Send;

    /// Looks for a copy that may have been sent since `since`.
    fn search(&self, since: DateTime<Utc>) -> impl Future<Output = Earlier> + Send;

    /// Sends the message once, if `may` holds at the moment when the client takes it.
    fn send(&self, may: &(impl Fn() -> bool + Sync)) -> impl Future<Output = Sent> + Send;

    /// Switches to a lesser form of the message, since this one is refused; returns false if there is none.
    fn reduce(&mut self, reason: &str) -> bool;

    /// Notes that a try failed, and that there will be another.
    fn failed(&mut self, sent: &Sent);
}

/// How long to try, and under which condition.
pub(crate) struct Policy<T> {
    /// Whether the message may be sent. Once false, it stays false.
    pub(crate) trusted: T,
    /// Since when others, or we ourselves earlier, may have sent it.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Time spent on unanswered tries, while connected, after which the message is given up; `None` for never.
    pub(crate) patience: Option<Duration>,
    /// Pause between tries.
    pub(crate) pause: Duration,
}

/// The fate of a message, once it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) fate: Fate,
    /// Whether a try before the last one may have got through.
    pub(crate) maybe_sent: bool,
}

/// How publishing a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A stream has it. `duplicate` says whether it was there before this try.
    Stored { duplicate: bool },
    /// No stream captures the subject. `heard` says whether somebody else has the message.
    NoStream { heard: bool },
    /// We may not publish to the subject.
    Denied,
    /// It is refused in every form.
    Refused(String),
    /// Its stream never acknowledges anything.
    NeverAcknowledged(String),
    /// Nothing was heard for too long; the text is the last that was heard.
    GivenUp(String),
}

/// Publishes a message until a stream has it or refuses it, or it is known that none will.
pub(crate) async fn until_known<T: Fn() -> bool + Sync>(
    message: &mut impl Publishing,
    policy: Policy<T>,
) -> Result<Known, TrustLost> {
    let Policy { trusted, mut since, patience, pause } = policy;
    let mut unanswered = Duration::ZERO;
    loop {
        let maybe_sent = since.is_some();
        let known = |fate| Ok(Known { fate, maybe_sent });
        if !connected_while(message, &trusted).await {
            return Err(TrustLost { maybe_sent });
        }
        let (tried, tried_at) = (Instant::now(), message.now());
        let sent = match try_once(message, since, &trusted).await {
            Ok(Tried::Sent(sent)) => sent,
            Ok(Tried::Found(fate)) => return known(fate),
            Err(Withdrawn) => return Err(TrustLost { maybe_sent }),
        };
        let reason = match &sent {
            Sent::Stored { duplicate } => return known(Fate::Stored { duplicate: *duplicate }),
            Sent::NoStream { heard } => return known(Fate::NoStream { heard: *heard }),
            Sent::Denied => return known(Fate::Denied),
            Sent::Refused(reason) if message.reduce(reason) => continue,
            Sent::Refused(reason) => return known(Fate::Refused(reason.clone())),
            Sent::Withheld => continue,
            Sent::Passing(reason) => reason,
            Sent::Doubled(reason) | Sent::Unknown(reason) => {
                since.get_or_insert(tried_at);
                reason
            }
        };
        debug!(reason, "publishing again under the same id");
        message.failed(&sent);
        tokio::time::sleep(pause).await;
        unanswered += tried.elapsed();
        if patience.is_some_and(|patience| unanswered >= patience) {
            let (fate, maybe_sent) = (Fate::GivenUp(reason.clone()), since.is_some());
            return Ok(Known { fate, maybe_sent });
        }
    }
}

/// Result of one try.
enum Tried {
    /// The message was sent, or not.
    Sent(Sent),
    /// There was no need to send it.
    Found(Fate),
}

/// The trust is lost.
struct Withdrawn;

/// Looks for an earlier copy, if there may be one, and sends the message unless it is found.
async fn try_once(
    message: &impl Publishing,
    since: Option<DateTime<Utc>>,
    trusted: &(impl Fn() -> bool + Sync),
) -> Result<Tried, Withdrawn> {
    let may = || message.is_connected() && trusted();
    let Some(_place) = message.enter(&may).await else {
        return Ok(Tried::Sent(Sent::Withheld));
    };
    let found = match since {
        Some(since) => Box::pin(message.search(since)).await,
        None => Earlier::Remembered,
    };
    if !trusted() {
        return Err(Withdrawn);
    }
    Ok(match found {
        Earlier::Remembered => Tried::Sent(message.send(&may).await),
        Earlier::Stored => Tried::Found(Fate::Stored { duplicate: true }),
        Earlier::NeverAcknowledged(stream) => Tried::Found(Fate::NeverAcknowledged(stream)),
        Earlier::Unknown(reason) => Tried::Sent(Sent::Unknown(reason)),
    })
}

/// Waits until the connection is up; returns false if the trust is lost before.
async fn connected_while(message: &impl Publishing, trusted: &impl Fn() -> bool) -> bool {
    while trusted() {
        if message.is_connected() {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

#[cfg(test)]
mod tests;
