//! Replies to requests. Each line in turn subscribes to them; a request has a token behind a prefix that stays the
//! same, so a reply also finds its request over a later line than the one that carried the request. The first reply
//! counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Message;
use futures::{Stream, StreamExt as _};
use tokio::sync::oneshot;

use crate::port::{Deaf, Wire};

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Message>>>>;

/// Receives replies.
#[derive(Clone)]
pub(super) struct Replies {
    /// Ends in a dot.
    prefix: Arc<str>,
    next: Arc<AtomicU64>,
    waiting: Waiting,
}

/// A reply that is still to come. Dropping it leaves nothing behind.
pub(crate) struct Reply {
    token: u64,
    waiting: Waiting,
    coming: oneshot::Receiver<Message>,
}

impl Replies {
    /// Creates the replies under an inbox's name.
    pub(super) fn new(inbox: &str) -> Self {
        let prefix = format!("{inbox}.").into();
        Self { prefix, next: Arc::default(), waiting: Waiting::default() }
    }

    /// Listens as long as a connection lasts.
    pub(super) async fn listen(&self, wire: &impl Wire) -> Result<(), Deaf> {
        let heard = wire.subscribe(format!("{}*", self.prefix)).await?;
        tokio::spawn(listen(heard, self.prefix.len(), Arc::clone(&self.waiting)));
        Ok(())
    }

    /// Expects a reply to a request; also returns the subject that it must be sent to.
    pub(super) fn expect(&self) -> (Reply, String) {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, coming) = oneshot::channel();
        lock(&self.waiting).insert(token, sender);
        let waiting = Arc::clone(&self.waiting);
        (Reply { token, waiting, coming }, format!("{}{token}", self.prefix))
    }
}

impl Reply {
    /// Waits for the reply.
    pub(crate) async fn come(&mut self) -> Message {
        match (&mut self.coming).await {
            Ok(message) => message,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.token);
    }
}

async fn listen(mut heard: impl Stream<Item = Message> + Unpin, prefix: usize, waiting: Waiting) {
    while let Some(message) = heard.next().await {
        let token = message.subject.get(prefix..).and_then(|token| token.parse().ok());
        let sender = token.and_then(|token: u64| lock(&waiting).remove(&token));
        if let Some(sender) = sender {
            // Fails if nobody waits any more.
            let _ = sender.send(message);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_who_waits_no_more() {
        let replies = Replies::new("_INBOX.x");
        let (one, subject) = replies.expect();
        let (two, other) = replies.expect();
        assert_eq!((subject.as_str(), other.as_str()), ("_INBOX.x.0", "_INBOX.x.1"));
        assert_eq!(lock(&replies.waiting).len(), 2);
        drop((one, two));
        assert!(lock(&replies.waiting).is_empty());
    }
}
