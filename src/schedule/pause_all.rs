//! Pausing all schedules at once: one value of the bucket, which every claim honours.
//!
//! While all are paused no occurrence, retry, backfill or run after another schedule is claimed, of schedules that are
//! created meanwhile as well. Runs by hand are made, as those of a paused schedule are. Lifting the pause changes no
//! record: when a schedule is next decided, what was due before the end of the latest pause becomes one entry of the
//! history, skipped as paused. Schedules that are paused themselves stay so.
//!
//! Only the latest pause decides anything. Those before it are kept for explanations.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::change::Changed;
use super::keyed::{MOST_PENDING, MOST_RECENT};
use super::{Author, Change, ChangeKind, instant};
use crate::moment::Moment as _;
use crate::stored::damage::Damage;
use crate::stored::{Unknown, format, keeps_unknown};

/// The lowest format whose instances honour a pause of all.
pub const PAUSE_ALL_NEEDS: u16 = 4;
/// Most pauses that are kept.
const MOST: usize = 100;
/// How long a pause that is over is kept, like the changes in the audit stream.
const KEPT: Duration = Duration::days(90);

/// One pause of all schedules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct PauseOfAll {
    /// When it began.
    pub from: DateTime<Utc>,
    /// When it ends, or ended; `None` until somebody lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Who paused them.
    pub paused_by: String,
    /// The reason that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(PauseOfAll);

/// The value of the key `pause_all`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct PausesOfAll {
    /// The format of the version that wrote it.
    pub format: u16,
    /// How often it was changed.
    pub revision: u64,
    /// Random, new for each write, to recognise one's own.
    pub token: u64,
    /// The pauses, oldest first.
    pub pauses: Vec<PauseOfAll>,
    /// Ids of the latest changes: they tell one whose acknowledgement was lost that it was made.
    #[serde(default)]
    pub recent: Vec<Uuid>,
    /// Changes that are not yet known to be in the audit stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Change>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(PausesOfAll);

/// What the latest pause means for claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// What is due before this is not acted on.
    pub until: DateTime<Utc>,
}

/// The end of a pause that nobody has lifted: later than any occurrence, and representable everywhere.
const OPEN: DateTime<Utc> = match DateTime::from_timestamp(9_000_000_000, 0) {
    Some(at) => at,
    None => DateTime::<Utc>::MAX_UTC,
};

impl Default for Halt {
    fn default() -> Self {
        Self { until: DateTime::<Utc>::MIN_UTC }
    }
}

impl Halt {
    /// Whether all schedules are paused at a time.
    pub fn is_on(self, now: DateTime<Utc>) -> bool {
        now < self.until
    }

    /// Whether nobody has said when it ends.
    pub fn is_open(self) -> bool {
        self.until >= OPEN
    }
}

impl PausesOfAll {
    /// Reads the key. A value that cannot be read pauses all: somebody wanted that, and nothing must fire against it.
    pub fn read(value: &[u8]) -> Self {
        Self::parse(value).unwrap_or_else(|damage| Self::unread(&damage))
    }

    /// Reads the key.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, Damage> {
        Ok(serde_json::from_slice(value)?)
    }

    /// What a value means that cannot be read.
    pub(crate) fn unread(damage: &Damage) -> Self {
        Self {
            pauses: vec![PauseOfAll {
                from: DateTime::UNIX_EPOCH,
                until: None,
                paused_by: "unknown".to_owned(),
                reason: Some(format!("the key pause_all cannot be read: {}", damage.reason)),
                unknown: Unknown::default(),
            }],
            ..Self::default()
        }
    }

    /// What the latest pause means for claims.
    pub fn halt(&self) -> Halt {
        self.pauses
            .last()
            .map_or_else(Halt::default, |pause| Halt { until: pause.until.unwrap_or(OPEN) })
    }

    /// The pause that is on.
    pub fn current(&self, now: DateTime<Utc>) -> Option<&PauseOfAll> {
        self.pauses.last().filter(|_| self.halt().is_on(now))
    }

    /// The earliest pause that ends after a time: the one in which it lies, or the next.
    pub fn ending_after(&self, at: DateTime<Utc>) -> Option<&PauseOfAll> {
        self.pauses.iter().find(|pause| pause.until.is_none_or(|until| until > at))
    }

    /// Whether a change was made that was first decided at a revision; `None` if too many were made since to tell.
    pub fn has_made(&self, event_id: Uuid, first: u64) -> Option<bool> {
        let is_made = self.recent.contains(&event_id);
        let since = usize::try_from(self.revision.saturating_sub(first)).unwrap_or(usize::MAX);
        (is_made || since <= self.recent.len()).then_some(is_made)
    }

    /// The stored form, if possible in at most so many bytes: without the oldest pauses, and then with only the common
    /// fields of events. The latest pause stays, since lifting it must always be possible.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn encode(&self, most: usize) -> Result<Vec<u8>, serde_json::Error> {
        let mut kept = self.clone();
        loop {
            let encoded = serde_json::to_vec(&kept)?;
            if encoded.len() <= most {
                return Ok(encoded);
            }
            match kept.pauses.len() {
                0 | 1 => break,
                count => kept.pauses.drain(..count / 2),
            };
        }
        kept.events.iter_mut().for_each(|event| *event = event.bare());
        serde_json::to_vec(&kept)
    }

    /// Whether no more changes can wait to be announced.
    pub fn is_full(&self) -> bool {
        self.events.len() >= MOST_PENDING
    }

    /// Pauses all schedules, or replaces the reason and the end of the pause that is on.
    pub fn pause(
        &mut self,
        event_id: Uuid,
        now: DateTime<Utc>,
        author: Author<'_>,
        reason: Option<&str>,
        until: Option<DateTime<Utc>>,
    ) {
        let until = until.map(instant::whole_milliseconds);
        let began = self.current(now).map(|pause| pause.from);
        if began.is_some() {
            self.pauses.pop();
        }
        self.pauses.push(PauseOfAll {
            from: began.unwrap_or(now),
            until,
            paused_by: author.actor.to_owned(),
            reason: reason.map(str::to_owned),
            unknown: Unknown::default(),
        });
        let details = json!({
            "reason": reason, "resume_at": until, "paused_by": author.actor, "paused_at": now,
        });
        self.note(event_id, ChangeKind::PausedAll, now, author, details);
    }

    /// Ends the pause that is on; returns false if there is none.
    pub fn resume(&mut self, event_id: Uuid, now: DateTime<Utc>, author: Author<'_>) -> bool {
        if self.current(now).is_none() {
            return false;
        }
        let from = self.pauses.last_mut().map(|pause| {
            pause.until = Some(now.max(pause.from));
            pause.from
        });
        let details =
            json!({ "resumed_by": author.actor, "resumed_at": now, "paused_since": from });
        self.note(event_id, ChangeKind::ResumedAll, now, author, details);
        true
    }

    fn note(
        &mut self,
        event_id: Uuid,
        kind: ChangeKind,
        now: DateTime<Utc>,
        author: Author<'_>,
        details: Value,
    ) {
        self.format = self.format.max(format::FORMAT);
        self.revision += 1;
        self.recent.push(event_id);
        self.recent.drain(..self.recent.len().saturating_sub(MOST_RECENT));
        let is_old = |pause: &PauseOfAll| pause.until.is_some_and(|until| until.later(KEPT) < now);
        let beyond = self.pauses.len().saturating_sub(MOST);
        let first = self.pauses.iter().take_while(|pause| is_old(pause)).count().max(beyond);
        // The latest decides, however old it is.
        self.pauses.drain(..first.min(self.pauses.len().saturating_sub(1)));
        let changed = Changed { id: Uuid::nil(), name: "", revision: self.revision };
        self.events.push(Change::of(event_id, kind, changed, author, now, details));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Author<'_> = Author { actor: "anna", correlation_id: "c" };

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn only_the_latest_pause_decides_and_the_others_explain() {
        let mut all = PausesOfAll::default();
        assert!(!all.halt().is_on(at(0)));
        assert!(!all.resume(Uuid::nil(), at(0), BY), "there is nothing to lift");
        all.pause(Uuid::nil(), at(10), BY, Some("a leak"), None);
        assert!(all.halt().is_on(at(10)) && all.halt().is_open());
        // Again: the reason and the end are replaced, the beginning stays.
        all.pause(Uuid::nil(), at(12), BY, None, Some(at(20)));
        assert_eq!((all.pauses.len(), all.pauses[0].from), (1, at(10)));
        assert!(all.halt().is_on(at(19)) && !all.halt().is_on(at(20)));
        all.pause(Uuid::nil(), at(30), BY, None, None);
        assert!(all.resume(Uuid::nil(), at(35), BY));
        assert_eq!(all.halt().until, at(35));
        let from = |second| all.ending_after(at(second)).map(|pause| pause.from);
        assert_eq!((from(0), from(19), from(20)), (Some(at(10)), Some(at(10)), Some(at(30))));
        assert_eq!(from(35), None);
        assert_eq!(all.revision, 4);
        let kinds: Vec<_> = all.events.iter().map(|event| event.kind.event()).collect();
        assert_eq!(kinds, ["paused_all", "paused_all", "paused_all", "resumed_all"]);
    }

    #[test]
    fn a_change_is_recognised_for_as_long_as_it_is_remembered() {
        let mut all = PausesOfAll::default();
        all.pause(Uuid::from_u128(1), at(0), BY, None, None);
        for n in 2..40 {
            assert_eq!(all.has_made(Uuid::from_u128(1), 0), Some(n <= 33).filter(|made| *made));
            assert_eq!(all.has_made(Uuid::from_u128(99), all.revision), Some(false));
            all.pause(Uuid::from_u128(n), at(0), BY, None, None);
        }
        assert_eq!(all.has_made(Uuid::from_u128(99), 2), None, "nobody can tell any more");
    }

    #[test]
    fn what_has_been_said_at_length_leaves_room_to_lift_a_pause() {
        let mut all = PausesOfAll::default();
        let reason = "\u{10348}".repeat(500);
        for n in 0..20 {
            all.pause(Uuid::from_u128(n), at(0), BY, Some(&reason), Some(at(1)));
            all.resume(Uuid::from_u128(n), at(0), BY);
        }
        all.pause(Uuid::from_u128(99), at(3), BY, Some(&reason), None);
        let whole = all.encode(usize::MAX).unwrap();
        assert_eq!(PausesOfAll::read(&whole), all);
        for most in [whole.len() - 1, 48 * 1024, 24 * 1024] {
            let encoded = all.encode(most).unwrap();
            assert!(encoded.len() <= most, "{} of {most}", encoded.len());
            let read = PausesOfAll::read(&encoded);
            assert_eq!((read.halt(), read.pauses.last()), (all.halt(), all.pauses.last()));
            assert_eq!(read.events.len(), all.events.len());
        }
    }

    #[test]
    fn old_pauses_go_and_the_latest_stays() {
        let mut all = PausesOfAll::default();
        let day = 86_400;
        for n in 0..300 {
            all.pause(Uuid::nil(), at(n * 10), BY, None, Some(at(n * 10 + 5)));
        }
        assert_eq!((all.pauses.len(), all.pauses[99].from), (MOST, at(2990)));
        all.pause(Uuid::nil(), at(80 * day), BY, None, Some(at(81 * day)));
        all.pause(Uuid::nil(), at(100 * day), BY, None, None);
        assert_eq!(
            all.pauses.iter().map(|one| one.from).collect::<Vec<_>>(),
            [at(80 * day), at(100 * day)]
        );
    }

    #[test]
    fn what_cannot_be_read_pauses_all_and_says_so() {
        let odd = PausesOfAll::read(b"{\"pauses\":7}");
        assert!(odd.halt().is_on(at(0)) && odd.halt().is_open());
        let reason = odd.pauses[0].reason.as_deref().unwrap();
        assert!(reason.starts_with("the key pause_all cannot be read"), "{reason}");
        let mut all = PausesOfAll::default();
        all.pause(Uuid::from_u128(7), at(1), BY, Some("r"), Some(at(2)));
        let mut stored: Value = serde_json::to_value(&all).unwrap();
        stored["pauses"][0]["of_a_newer_version"] = json!(1.50);
        let read = PausesOfAll::read(stored.to_string().as_bytes());
        assert_eq!(read.halt(), all.halt());
        assert_eq!(serde_json::to_value(&read).unwrap(), stored);
    }
}
