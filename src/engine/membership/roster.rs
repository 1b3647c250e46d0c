//! What is known of the other instances, and since when.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::MAX_INBOX;
use super::hearing::{Hearing, YOUNG};
use super::paths::Paths;
use crate::guards::{Guard, Guards};
use crate::load::About;

/// The other instances and what they have shown, and the state of hearing them.
pub(super) struct Roster {
    pub(super) heard: BTreeMap<Uuid, Peer>,
    /// Since when we would have heard everybody.
    pub(super) listening: Instant,
    /// Whether that is long enough for the silence of instances never heard to count.
    pub(super) settled: bool,
    pub(super) hearing: Hearing,
    /// When this instance knows those that ran before it.
    pub(super) introduced_at: Option<Instant>,
    pub(super) is_introduced: watch::Sender<bool>,
    /// Whether NATS refuses us our own inbox.
    pub(super) echoes_by_asking: bool,
    /// The subject where others may ask after us.
    pub(super) listens_on: String,
    /// Whether we may ask after others, as far as we know.
    pub(super) may_ask_after: bool,
    pub(super) paths: Paths,
    /// Since when there is no connection for commands.
    pub(super) mute_since: Option<Instant>,
}

impl Roster {
    /// Notes whether there is a connection for commands; returns whether there has been none for [`YOUNG`].
    pub(super) fn note_sending(&mut self, sends: bool, now: Instant) -> bool {
        if sends {
            self.mute_since = None;
            return false;
        }
        let since = *self.mute_since.get_or_insert(now);
        now.duration_since(since) > YOUNG
    }

    /// Whether a subject is an inbox like ours. A heartbeat must not make us publish anywhere else.
    pub(super) fn is_inbox(&self, subject: &str) -> bool {
        let is_plain = |token: &str| token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match (subject.rsplit_once('.'), self.listens_on.rsplit_once('.')) {
            (Some((prefix, token)), Some((ours, _))) => {
                prefix == ours && is_plain(token) && subject.len() <= MAX_INBOX
            }
            _ => false,
        }
    }

    /// Notes that we do not hear ourselves, if so: the silence of others does not count then.
    pub(super) fn note_deafness<G: Guards>(&mut self, now: Instant) {
        if self.is_deaf::<G>(now) {
            (self.listening, self.settled) = (now, false);
        }
    }

    pub(super) fn is_deaf<G: Guards>(&self, now: Instant) -> bool {
        G::hold(Guard::Listening) && (self.paths.is_deaf(now) || !self.hearing.is_young(now))
    }
}

/// What is known of another instance.
pub(super) struct Peer {
    /// When it was last heard.
    pub(super) heard_at: Instant,
    /// The highest format of records that it may act on.
    pub(super) acts_on: u16,
    /// How far its time may be behind that of NATS, in milliseconds.
    pub(super) time_error_ms: u32,
    /// Whether a late heartbeat means something.
    pub(super) is_frequent: bool,
    /// The subject to ask after it.
    pub(super) listens_on: Option<String>,
    /// Whether we have asked since its last heartbeat.
    pub(super) is_asked_after: bool,
    /// Whether it seems to be gone.
    pub(super) is_silent: bool,
    /// What else it says of itself.
    pub(super) about: About,
}
