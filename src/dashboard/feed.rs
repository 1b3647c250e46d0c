//! Tells browsers that something has changed, so that they ask for their page again.
//!
//! One task per instance looks whether the instance shows something new, and all streams of events wait for what it
//! finds; it rests while nobody does. So a crowd costs one look. Streams are bounded in number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::api::http::{Http, Pulse};

/// Interval between looks.
const LOOK: Duration = Duration::from_millis(250);

/// The feed of an instance.
pub(super) struct Feed {
    places: Arc<Semaphore>,
    pulses: watch::Sender<Pulse>,
    /// Whether somebody looks.
    looks: Arc<AtomicBool>,
    http: Arc<Http>,
}

impl Feed {
    /// A feed for at most so many streams.
    pub(super) fn new(http: Arc<Http>, max_streams: usize) -> Self {
        let pulses = watch::Sender::new(http.pulse());
        let places = Arc::new(Semaphore::new(max_streams));
        Self { places, pulses, looks: Arc::default(), http }
    }

    /// A place for one more stream, and what it waits for.
    pub(super) fn join(&self) -> Option<(OwnedSemaphorePermit, watch::Receiver<Pulse>)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut pulses = self.pulses.subscribe();
        if !self.looks.swap(true, Ordering::SeqCst) {
            let (looks, http) = (Arc::clone(&self.looks), Arc::clone(&self.http));
            tokio::spawn(look(self.pulses.clone(), looks, http));
        }
        // The first event is sent at once: something may have changed since the page was made.
        pulses.mark_changed();
        Some((place, pulses))
    }
}

/// Looks for as long as anybody waits.
async fn look(pulses: watch::Sender<Pulse>, looks: Arc<AtomicBool>, http: Arc<Http>) {
    loop {
        if pulses.receiver_count() == 0 {
            looks.store(false, Ordering::SeqCst);
            // Somebody may have come who saw this task at work.
            if pulses.receiver_count() == 0 || looks.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        let now = http.pulse();
        pulses.send_if_modified(|before| std::mem::replace(before, now) != now);
        tokio::time::sleep(LOOK).await;
    }
}
