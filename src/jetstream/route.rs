//! Which stream keeps what is published to a subject.
//!
//! This proves whose an acknowledgement is: it must come from the stream that the server leads the subject to. The
//! server is asked when an answer is in doubt. What it says is remembered with the subjects of the stream, so all later
//! acknowledgements prove themselves without a question; one that names another stream is in doubt again.
//!
//! If the server does not know, because the stream is in another account, the acknowledgement must prove itself: by the
//! message that the stream holds at the sequence it names.

mod known;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use known::LONG;
use known::{Known, Stream};

use super::inbox::Inbox;
use super::trace::{Traced, trace};
use crate::names;
use crate::port::{Nats, Unanswered};

/// How long an answer of the server that names a stream saves others the question.
const FRESH: Duration = Duration::from_secs(1);
/// How long the lack of an answer saves others the question.
const AWAY: Duration = Duration::from_millis(200);
/// Most questions under way at once.
const MAX_QUESTIONS: usize = 64;
/// Most subjects that wait to be looked up.
const MAX_WANTED: usize = 64;
/// How long a stream's settings are trusted.
const VALID: Duration = Duration::from_secs(600);
/// Age from which on they are looked up again.
const CURRENT: Duration = Duration::from_secs(60);
/// Pause before a stream that could not be looked up is asked again.
const SOON: Duration = Duration::from_secs(5);

/// Where a message published to a subject goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Into this stream; under the subject `stored`, if the server says so.
    Stream { name: String, stored: Option<String> },
    /// Into another account, where we cannot see further.
    Elsewhere,
    /// To no stream.
    Nowhere,
    /// We may not publish to it.
    Denied,
    /// We may not ask.
    MayNotAsk,
    /// The server does not say at present.
    Unknown,
}

/// Whether a stream holds a message at the sequence that it named.
pub(crate) enum Held {
    /// It does.
    Yes,
    /// It holds another message there.
    No,
    /// We cannot look: it is not allowed, not in this account, or the message is gone already.
    Unreadable,
    /// The stream does not say at present.
    Unknown,
}

/// Knows which streams keep which subjects.
pub(crate) struct Routes<N> {
    nats: N,
    inbox: Arc<Inbox<N>>,
    known: RwLock<Known>,
    /// Answers of the last moments by subject.
    recent: std::sync::Mutex<HashMap<String, Recent>>,
    /// Turns to ask. What does not answer must not hold up the questions about all others.
    turns: Semaphore,
    /// Subjects whose streams are to be looked up.
    wanted: mpsc::Sender<String>,
}

/// The latest answer about a subject. A task holds the lock while it asks, so all that are in doubt about the same
/// subject share one question.
type Recent = Arc<Mutex<Option<Asked>>>;

struct Asked {
    route: Route,
    asked: Instant,
    answered: Instant,
}

impl Asked {
    /// Whether it says where a message goes that was sent at `sent`.
    ///
    /// An answer from before that counts only if it names a stream and is fresh: a stream may have been created since.
    fn holds(&self, sent: Instant) -> bool {
        match self.route {
            Route::Stream { .. } => self.asked > sent || self.asked.elapsed() < FRESH,
            Route::Unknown => self.asked > sent && self.answered.elapsed() < AWAY,
            _ => self.asked > sent,
        }
    }
}

impl<N: Nats> Routes<N> {
    /// Opens the routes; looks up streams in the background until `stop`.
    pub(crate) fn open(nats: N, inbox: Arc<Inbox<N>>, stop: CancellationToken) -> Arc<Self> {
        let (wanted, wants) = mpsc::channel(MAX_WANTED);
        let (known, recent) = (RwLock::default(), std::sync::Mutex::default());
        let turns = Semaphore::new(MAX_QUESTIONS);
        let routes = Arc::new(Self { nats, inbox, known, recent, turns, wanted });
        let looking = Arc::clone(&routes);
        tokio::spawn(async move { stop.run_until_cancelled(looking.look_up(wants)).await });
        routes
    }

    /// Whether an acknowledgement from a stream is valid for a message to a subject, as far as is known without a
    /// question.
    pub(crate) fn proves(&self, subject: &str, stream: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).proves(subject, stream)
    }

    /// The stream that a subject goes to, as far as is known without a question.
    pub(crate) fn stream_of(&self, subject: &str) -> Option<String> {
        self.at_stream_of(subject, |stream| stream.map(str::to_owned))
    }

    /// Looks at the name of the stream that a subject goes to, as [`Self::stream_of`] knows it, without a copy.
    pub(crate) fn at_stream_of<T>(&self, subject: &str, ask: impl FnOnce(Option<&str>) -> T) -> T {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        ask(known.stream_of(subject).map(String::as_str))
    }

    /// Where a message goes that was sent at `sent`; `by` is the stream that claims to have stored it.
    pub(crate) async fn of(&self, subject: &str, sent: Instant, by: Option<&str>) -> Route {
        let recent = self.recent(subject);
        let mut recent = recent.lock().await;
        let known = |recent: &Option<Asked>| match by.filter(|name| self.proves(subject, name)) {
            Some(name) => Some(Route::Stream { name: name.to_owned(), stored: None }),
            None => Some(recent.as_ref().filter(|known| known.holds(sent))?.route.clone()),
        };
        // Whoever asked before us, also about another subject of the same stream, may have learnt it.
        if let Some(route) = known(&recent) {
            return route;
        }
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        if let Some(route) = known(&recent) {
            return route;
        }
        let asked = Instant::now();
        let route = self.ask(subject).await;
        if let Route::Stream { name, .. } = &route {
            self.learn(subject, name).await;
        }
        *recent = Some(Asked { route: route.clone(), asked, answered: Instant::now() });
        route
    }

    /// The place for the latest answer about a subject.
    fn recent(&self, subject: &str) -> Recent {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |known: &Option<Asked>| {
            known.as_ref().is_some_and(|known| known.answered.elapsed() < FRESH)
        };
        // Whoever asks, or waits for one that asks, holds a clone.
        recent.retain(|_, known| {
            Arc::strong_count(known) > 1 || known.try_lock().is_ok_and(|known| is_fresh(&known))
        });
        Arc::clone(recent.entry(subject.to_owned()).or_default())
    }

    /// Asks where a message goes.
    pub(crate) async fn ask(&self, subject: &str) -> Route {
        match self.trace(subject).await {
            Traced::Stream { name, stored } => Route::Stream { name, stored: Some(stored) },
            Traced::Elsewhere => Route::Elsewhere,
            Traced::Denied => Route::Denied,
            // A trace sees no stream while the stream is out of reach, either: JetStream has the last word.
            Traced::To(mapped) => match self.named(&mapped).await {
                Route::Stream { name, .. } => Route::Stream { name, stored: None },
                other => other,
            },
            Traced::Nowhere | Traced::Unknown => self.named(subject).await,
        }
    }

    /// Traces where a message to a subject goes.
    pub(crate) async fn trace(&self, subject: &str) -> Traced {
        trace(&self.nats, &self.inbox, subject).await
    }

    /// The stream that JetStream names for a subject.
    async fn named(&self, subject: &str) -> Route {
        let awaited = self.inbox.await_for("$JS.API.STREAM.NAMES");
        let named = tokio::select! {
            biased;
            named = self.nats.stream_of(subject) => named,
            () = awaited.denied() => return Route::MayNotAsk,
        };
        match named {
            Ok(Some(name)) => Route::Stream { name, stored: None },
            Ok(None) => Route::Nowhere,
            Err(_) => Route::Unknown,
        }
    }

    /// Asks a stream about itself; returns whether there is no use in asking again soon.
    async fn learn(&self, subject: &str, stream: &str) -> bool {
        let asked = Instant::now();
        let awaited = self.inbox.await_for(&format!("$JS.API.STREAM.INFO.{stream}"));
        let (said, is_final) = tokio::select! {
            biased;
            found = self.nats.info(stream) => match found {
                Ok(found) => (Some(Stream::of(found.config, asked)), true),
                Err(error) => (None, !matches!(error, Unanswered::Lost(_))),
            },
            // We may not ask.
            () = awaited.denied() => (None, true),
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.learn(subject, stream, said);
        is_final
    }

    /// Whether the stream behind a subject drops a copy of what another instance may send too, as far as is known. If
    /// it is not known, the stream is looked up in the background.
    pub(crate) fn drops_copies(&self, subject: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let said = known.drops_copies(subject);
        if said.is_none_or(|(_, age)| age >= CURRENT) {
            let _ = self.wanted.try_send(subject.to_owned());
        }
        said.is_some_and(|(drops, age)| drops && age < VALID)
    }

    /// Looks up streams that were asked about, one after another: none twice within a minute, or within [`SOON`] if it
    /// could not be looked up.
    async fn look_up(&self, mut wanted: mpsc::Receiver<String>) {
        let mut not_before: HashMap<String, Instant> = HashMap::new();
        while let Some(subject) = wanted.recv().await {
            not_before.retain(|_, at| *at > Instant::now());
            let is_known = {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                known.drops_copies(&subject).is_some_and(|(_, age)| age < CURRENT)
            };
            if is_known || not_before.contains_key(&subject) {
                continue;
            }
            let is_done = match self.ask(&subject).await {
                Route::Stream { name, .. } => self.learn(&subject, &name).await,
                route => route != Route::Unknown,
            };
            let pause = if is_done { CURRENT } else { SOON };
            not_before.insert(subject, Instant::now() + pause);
        }
    }

    /// Whether a stream holds, at a sequence, the message with an id.
    pub(crate) async fn holds(&self, stream: &str, sequence: u64, id: &str) -> Held {
        let awaited = self.inbox.await_for(&format!("$JS.API.STREAM.MSG.GET.{stream}"));
        let message = tokio::select! {
            biased;
            message = self.nats.message(stream, sequence) => message,
            () = awaited.denied() => return Held::Unreadable,
        };
        match message {
            Ok(Some(message)) => {
                let found = message.headers.get(names::MESSAGE_ID);
                if found.is_some_and(|found| found.as_str() == id) { Held::Yes } else { Held::No }
            }
            Ok(None) => Held::Unreadable,
            Err(error) if error.is_no_stream() => Held::Unreadable,
            // Not a name that a stream could have.
            Err(Unanswered::Invalid(_)) => Held::No,
            Err(_) => Held::Unknown,
        }
    }

    /// Remembers that acknowledgements of a stream count for a subject, although the server names no stream for it.
    pub(crate) fn trust(&self, subject: &str, stream: &str, verified: bool) {
        if !verified {
            warn!(
                subject,
                stream,
                "acknowledgements of this stream count unverified: NATS names no stream for the \
                 subject, and this service cannot read that one"
            );
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.learn(subject, stream, None);
    }

    /// Whether acknowledgements have counted for a subject for which the server names no stream.
    pub(crate) fn is_trusted(&self, subject: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.is_exact(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_server_holds_for_what_was_sent_before_it_and_a_stream_for_a_moment() {
        let now = Instant::now();
        let ago = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap();
        let stream = || Route::Stream { name: "S".to_owned(), stored: None };
        for (route, asked, sent, expected) in [
            (stream(), 500, 0, true),
            (stream(), 2000, 1000, false),
            (stream(), 2000, 3000, true),
            (Route::Nowhere, 500, 0, false),
            (Route::Nowhere, 500, 600, true),
            (Route::Unknown, 500, 600, false),
            (Route::Unknown, 50, 600, true),
            (Route::Unknown, 50, 0, false),
        ] {
            let known = Asked { route, asked: ago(asked), answered: ago(asked) };
            assert_eq!(known.holds(ago(sent)), expected, "{:?} {asked} {sent}", known.route);
        }
    }
}
