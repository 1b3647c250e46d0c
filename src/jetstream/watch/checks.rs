//! What the watch remembers from one comparison with the stream to the next.

use std::time::Duration;

use async_nats::jetstream::stream::State;
use tokio::time::Instant;

/// Age at which a stored message must have been shown.
pub(super) const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// Comparisons of the watch with the stream.
pub(super) struct Checks {
    /// A check a while ago: when it was, and up to where the stream went.
    pub(super) last: (Instant, u64),
    /// Since when the stream has been out of reach.
    pub(super) cut_off: Option<Instant>,
    /// What the stream said of itself and when it was asked, until everything that it had by then has been shown.
    pub(super) said: Option<(State, Instant)>,
    /// How often in a row the stream held too little.
    pub(super) differences: u32,
    /// The time by which all that it had must have been shown.
    pub(super) behind: Option<Instant>,
    /// When it was last asked.
    pub(super) looked_at: Option<Instant>,
    /// What the watch had shown then.
    pub(super) seen_then: u64,
}

impl Checks {
    /// Begins to compare, with all seen up to a sequence.
    pub(super) fn begin(seen: u64) -> Self {
        Self {
            last: (Instant::now(), seen),
            cut_off: None,
            said: None,
            differences: 0,
            behind: None,
            looked_at: None,
            seen_then: seen,
        }
    }

    /// Notes what the stream said.
    pub(super) fn take(&mut self, state: State, asked: Instant) {
        (self.cut_off, self.looked_at) = (None, Some(asked));
        if self.last.0.elapsed() >= SHOWN_WITHIN {
            self.last = (Instant::now(), state.last_sequence);
        }
        self.said = Some((state, asked));
    }

    /// Notes that the stream does not answer.
    pub(super) fn fail(&mut self) {
        self.looked_at = Some(Instant::now());
        self.cut_off = self.cut_off.or(self.looked_at);
    }
}
