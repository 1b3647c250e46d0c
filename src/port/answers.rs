//! What is heard of messages under way: their answers, and refusals by NATS.
//!
//! An answer finds its message by the token in its reply subject, a refusal by the subject that it names. A task that
//! waits holds an `Awaited`; dropping it, however the wait ends, leaves nothing of it here.
//!
//! A refusal does not say which message it is for, and permissions change. So a message counts as refused once there
//! have been as many refusals of its subject as messages were sent to it since, itself included.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use tokio::sync::Notify;

/// Largest answer that can be a stream's, in bytes: names of streams and domains and the text of an error are far
/// shorter.
const MAX_ACK_BYTES: usize = 4096;
/// Most answers that are kept until they are read; strangers' take one place together.
const MAX_UNREAD: usize = 64;

/// Something heard of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// NATS: we may not publish to its subject.
    Denied,
    /// NATS: nobody listens to its subject.
    NoResponders,
    /// An answer that may be a stream's.
    Likely(Bytes),
    /// An answer that is not a stream's; it stands for all such answers since one was read.
    Stranger,
}

impl Heard {
    fn of(message: &Message) -> Self {
        let body = &message.payload;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            Self::NoResponders
        } else if body.len() <= MAX_ACK_BYTES && body.windows(8).any(|part| part == b"\"stream\"") {
            Self::Likely(body.clone())
        } else {
            Self::Stranger
        }
    }
}

/// All messages of one connection that are waited for.
#[derive(Clone, Default)]
pub struct Answers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    next: AtomicU64,
    /// Number of refusals of subjects that nobody waited for. One reason is a subject mapping: the server names the
    /// subject after it.
    strays: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    waiters: BTreeMap<u64, Arc<Waiter>>,
    subjects: HashMap<String, Subject>,
}

/// What has happened to a subject since somebody began to wait for it.
#[derive(Default)]
struct Subject {
    waiting: usize,
    sent: u64,
    refused: u64,
}

struct Waiter {
    subject: String,
    /// How many messages to its subject had been sent and refused before.
    before: (u64, u64),
    unread: Mutex<Vec<Heard>>,
    news: Notify,
}

impl Waiter {
    fn hear(&self, heard: Heard) {
        let mut unread = lock(&self.unread);
        let known = !matches!(heard, Heard::Likely(_)) && unread.contains(&heard);
        if !known && unread.len() < MAX_UNREAD {
            unread.push(heard);
            self.news.notify_one();
        }
    }

    fn read(&self) -> Option<Heard> {
        let mut unread = lock(&self.unread);
        (!unread.is_empty()).then(|| unread.remove(0))
    }
}

impl Answers {
    /// Waits for what is heard of messages to a subject from now on; call it before sending.
    pub(crate) fn await_for(&self, subject: &str) -> Awaited {
        let token = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.await_as(token, subject.to_owned())
    }

    /// The same for a message that we send to its own reply subject.
    pub(crate) fn await_echo(&self, prefix: &str) -> Awaited {
        let token = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.await_as(token, format!("{prefix}{token}"))
    }

    fn await_as(&self, token: u64, subject: String) -> Awaited {
        let mut waiting = lock(&self.0.waiting);
        let known = match waiting.subjects.get_mut(&subject) {
            Some(known) => known,
            None => waiting.subjects.entry(subject.clone()).or_default(),
        };
        known.waiting += 1;
        let before = (known.sent, known.refused);
        let waiter = Waiter { subject, before, unread: Mutex::default(), news: Notify::new() };
        let waiter = Arc::new(waiter);
        waiting.waiters.insert(token, Arc::clone(&waiter));
        drop(waiting);
        let strays = self.0.strays.load(Ordering::Relaxed);
        Awaited { answers: self.clone(), token, waiter, strays }
    }

    /// Notes an answer to the message with a token.
    pub(crate) fn answered(&self, token: u64, message: &Message) {
        let waiter = lock(&self.0.waiting).waiters.get(&token).cloned();
        if let Some(waiter) = waiter {
            waiter.hear(Heard::of(message));
        }
    }

    /// Notes that NATS has refused us to publish to a subject. The refusal is for the subject, not for a message.
    pub fn denied(&self, subject: &str) {
        let mut waiting = lock(&self.0.waiting);
        let Some(known) = waiting.subjects.get_mut(subject) else {
            self.0.strays.fetch_add(1, Ordering::Relaxed);
            return;
        };
        known.refused += 1;
        let (sent, refused) = (known.sent, known.refused);
        for waiter in waiting.waiters.values().filter(|waiter| waiter.subject == subject) {
            if refused - waiter.before.1 >= (sent - waiter.before.0).max(1) {
                waiter.hear(Heard::Denied);
            }
        }
    }
}

/// A place for what is heard of one message.
pub(crate) struct Awaited {
    answers: Answers,
    token: u64,
    waiter: Arc<Waiter>,
    strays: u64,
}

impl Awaited {
    /// The subject that answers must be sent to, given the inbox's prefix.
    pub(crate) fn reply(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.token)
    }

    /// Notes that the message has been handed to the client.
    pub(crate) fn sent(&self) {
        if let Some(known) = lock(&self.answers.0.waiting).subjects.get_mut(&self.waiter.subject) {
            known.sent += 1;
        }
    }

    /// Waits for the next thing heard.
    pub(crate) async fn next(&self) -> Heard {
        loop {
            if let Some(heard) = self.waiter.read() {
                return heard;
            }
            self.waiter.news.notified().await;
        }
    }

    /// Waits until NATS refuses the message.
    pub(crate) async fn denied(&self) {
        while self.next().await != Heard::Denied {}
    }

    /// Whether NATS has refused the message. This reads everything that was heard, so nothing else is left to read.
    pub(crate) fn was_denied(&self) -> bool {
        std::iter::from_fn(|| self.waiter.read()).any(|heard| heard == Heard::Denied)
    }

    /// Whether NATS has since refused a subject that nobody waited for.
    pub(crate) fn strays(&self) -> bool {
        self.answers.0.strays.load(Ordering::Relaxed) != self.strays
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut waiting = lock(&self.answers.0.waiting);
        waiting.waiters.remove(&self.token);
        if let Some(known) = waiting.subjects.get_mut(&self.waiter.subject) {
            known.waiting -= 1;
            if known.waiting == 0 {
                waiting.subjects.remove(&self.waiter.subject);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &'static str) -> Message {
        Message {
            subject: "_INBOX.x.0".into(),
            reply: None,
            payload: Bytes::from_static(body.as_bytes()),
            headers: None,
            status: None,
            description: None,
            length: body.len(),
        }
    }

    #[test]
    fn an_answer_finds_its_message_and_a_refusal_all_of_its_subject() {
        let answers = Answers::default();
        let (one, two) = (answers.await_for("cmd.a"), answers.await_for("cmd.a"));
        let other = answers.await_for("cmd.b");
        answers.answered(two.token, &message(r#"{"stream":"S","seq":1}"#));
        answers.denied("cmd.a");
        assert_eq!(one.waiter.read(), Some(Heard::Denied));
        assert!(matches!(two.waiter.read(), Some(Heard::Likely(_))));
        assert_eq!(two.waiter.read(), Some(Heard::Denied));
        assert_eq!(other.waiter.read(), None);
        assert!(!other.strays());
        answers.denied("after.a.mapping");
        assert!(other.strays());
    }

    #[test]
    fn what_was_sent_before_permissions_went_is_not_refused_with_what_was_sent_after() {
        let answers = Answers::default();
        let (taken, refused) = (answers.await_for("cmd.a"), answers.await_for("cmd.a"));
        taken.sent();
        refused.sent();
        answers.denied("cmd.a");
        assert!(!taken.was_denied() && !refused.was_denied(), "it is of one of both");
        let late = answers.await_for("cmd.a");
        late.sent();
        answers.denied("cmd.a");
        assert!(late.was_denied() && !taken.was_denied());
        // Everything that was sent is now refused.
        answers.denied("cmd.a");
        assert!(taken.was_denied() && refused.was_denied());
    }

    #[test]
    fn strangers_however_many_leave_room_for_the_stream() {
        let answers = Answers::default();
        let awaited = answers.await_for("cmd.a");
        for _ in 0..1000 {
            answers.answered(awaited.token, &message(r#"{"error":"no"}"#));
        }
        answers.answered(awaited.token, &message(r#"{"stream":"S","seq":1}"#));
        assert_eq!(awaited.waiter.read(), Some(Heard::Stranger));
        assert!(matches!(awaited.waiter.read(), Some(Heard::Likely(_))));
        for _ in 0..1000 {
            answers.answered(awaited.token, &message(r#"{"stream":"forged"}"#));
        }
        assert_eq!(lock(&awaited.waiter.unread).len(), MAX_UNREAD);
    }

    #[tokio::test]
    async fn nothing_is_left_of_who_waits_no_more() {
        let answers = Answers::default();
        for _ in 0..100 {
            let awaited = answers.await_for("cmd.a");
            let patience = std::time::Duration::from_micros(1);
            assert!(tokio::time::timeout(patience, awaited.next()).await.is_err());
            let waiting = async move { awaited.next().await };
            drop(waiting);
        }
        assert!(lock(&answers.0.waiting).waiters.is_empty());
        assert!(lock(&answers.0.waiting).subjects.is_empty());
        answers.answered(0, &message("late"));
    }
}
