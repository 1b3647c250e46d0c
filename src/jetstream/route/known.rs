//! What is known of streams and of the subjects that they keep.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use tokio::time::Instant;

use crate::names;

/// Shortest duplicate window that is sure to drop a second copy, sent by another instance that had seemed to be gone.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// Most remembered subjects whose stream does not cover them with its own subjects.
const MAX_EXACT: usize = 10_000;

/// What a stream has said of itself, as far as is known.
#[derive(Default)]
pub(super) struct Stream {
    /// Its subjects, with wildcards.
    patterns: Vec<String>,
    /// Whether it acknowledges, and drops a copy by its id for [`LONG`].
    drops_copies: bool,
    /// When it was asked about that, if it was.
    asked: Option<Instant>,
}

impl Stream {
    pub(super) fn of(config: Config, asked: Instant) -> Self {
        let drops_copies = !config.no_ack && config.duplicate_window >= LONG;
        Self { patterns: config.subjects, drops_copies, asked: Some(asked) }
    }

    fn covers(&self, subject: &str) -> bool {
        self.patterns.iter().any(|pattern| names::covers(pattern, subject))
    }
}

#[derive(Default)]
pub(super) struct Known {
    /// Sorted, so that of two streams that may be meant always the same one is taken.
    streams: BTreeMap<String, Stream>,
    /// Streams of subjects that their patterns do not cover: mapped or imported ones.
    exact: HashMap<String, String>,
}

impl Known {
    pub(super) fn proves(&self, subject: &str, stream: &str) -> bool {
        let covered = |known: &Stream| known.covers(subject);
        self.streams.get(stream).is_some_and(covered)
            || self.exact.get(subject).is_some_and(|known| known == stream)
    }

    pub(super) fn stream_of(&self, subject: &str) -> Option<&String> {
        let covered = |known: &Stream| known.covers(subject);
        let known = self.exact.get(subject);
        known.or_else(|| {
            let mut streams = self.streams.iter();
            streams.find(|(_, known)| covered(known)).map(|(name, _)| name)
        })
    }

    /// Whether a subject's stream is known that does not cover it with its own subjects.
    pub(super) fn is_exact(&self, subject: &str) -> bool {
        self.exact.contains_key(subject)
    }

    /// Whether the stream behind a subject is known to drop copies, and how long ago it said so.
    pub(super) fn drops_copies(&self, subject: &str) -> Option<(bool, Duration)> {
        let stream = self.streams.get(self.stream_of(subject)?)?;
        Some((stream.drops_copies, stream.asked?.elapsed()))
    }

    /// Remembers which stream a subject goes to, and what that stream says of itself; if it said nothing, what was known
    /// of it before.
    pub(super) fn learn(&mut self, subject: &str, name: &str, said: Option<Stream>) {
        let before = self.streams.remove(name);
        let stream = said.or(before).unwrap_or_default();
        self.streams.retain(|_, known| !known.covers(subject));
        self.exact.remove(subject);
        self.streams.insert(name.to_owned(), stream);
        if !self.proves(subject, name) {
            if self.exact.len() >= MAX_EXACT {
                self.exact.clear();
            }
            self.exact.insert(subject.to_owned(), name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_stream_holds_until_another_is_named() {
        let mut known = Known::default();
        assert!(!known.proves("cmd.a.x", "A"));
        let of = |pattern: &str| {
            let asked = Some(Instant::now());
            Some(Stream { patterns: vec![pattern.to_owned()], drops_copies: true, asked })
        };
        known.learn("cmd.a.x", "A", of("cmd.a.*"));
        assert!(known.proves("cmd.a.y", "A"));
        assert!(!known.proves("cmd.a.y", "B"));
        known.learn("cmd.a.y", "B", of("cmd.>"));
        assert!(known.proves("cmd.a.y", "B"));
        assert!(!known.proves("cmd.a.y", "A"));
        // A stream that does not answer is still what it was.
        known.learn("cmd.a.y", "B", None);
        assert!(known.proves("cmd.a.z", "B"));
        assert!(known.drops_copies("cmd.a.z").is_some_and(|(drops, _)| drops));
        known.learn("cmd.mapped", "C", of("elsewhere"));
        assert!(known.proves("cmd.mapped", "C"));
        assert!(!known.proves("cmd.other", "C"));
    }
}
