//! An inventory of the bucket: what it must hold, by what the watch has shown of it.
//!
//! If somebody purges the bucket or a part of it, the watch shows nothing. But the stream says how many messages it
//! holds and which is the first; if it holds fewer than were shown, it has lost some. It may hold more: markers of
//! deletions, which disappear silently when their time is over. Only young markers, which must still be there, are
//! counted. So old markers can hide the loss of as many keys, which then shows once they are gone.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use async_nats::jetstream::stream::State;
use chrono::{DateTime, TimeDelta, Utc};

use super::schedules::MARKER;
use crate::index::schedule_id;

/// Age up to which a marker is certainly still there: those of the service last for an hour, others for longer.
pub(super) const YOUNG: TimeDelta = TimeDelta::seconds(MARKER.as_secs() as i64 - 10 * 60);

/// What was last shown of a key, in one word: its revision, with the kind in the two lowest bits.
#[derive(Clone, Copy, Debug)]
struct Shown(u64);

impl Shown {
    fn new(revision: u64, kind: Kind) -> Self {
        Self(revision << 2 | kind as u64)
    }

    fn revision(self) -> u64 {
        self.0 >> 2
    }

    fn is(self, kind: Kind) -> bool {
        self.0 & 3 == kind as u64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Schedule,
    Other,
    Marker,
}

/// The keys that were shown, by hash; some 35 bytes each.
#[derive(Debug, Default)]
pub(super) struct Account {
    keys: HashMap<u64, Shown>,
    /// Markers, in the order of their ages.
    markers: VecDeque<(DateTime<Utc>, u64, u64)>,
    /// The stream's first sequence when it was last certain that none of the keys lies before it.
    first: u64,
}

impl Account {
    /// Takes in what was shown of a key: a value, or that there is none any more.
    pub(super) fn take(&mut self, key: &str, revision: u64, has_value: bool, at: DateTime<Utc>) {
        let hash = hash(key);
        let kind = match has_value {
            true if schedule_id(key).is_some() => Kind::Schedule,
            true => Kind::Other,
            false => Kind::Marker,
        };
        self.keys.insert(hash, Shown::new(revision, kind));
        if kind == Kind::Marker {
            self.markers.push_back((at, hash, revision));
        }
    }

    /// Whether a stream in this state at `now` can hold all that was shown up to its last sequence.
    pub(super) fn agrees(&mut self, stream: &State, now: DateTime<Utc>) -> bool {
        while let Some(&(at, hash, revision)) = self.markers.front()
            && now - at >= YOUNG
        {
            self.markers.pop_front();
            if self.keys.get(&hash).is_some_and(|shown| shown.revision() == revision) {
                self.keys.remove(&hash);
            }
        }
        let first = stream.first_sequence;
        let is_gone = |shown: &Shown| !shown.is(Kind::Marker) && shown.revision() < first;
        if first != self.first {
            if self.keys.values().any(is_gone) {
                return false;
            }
            self.first = first;
        }
        stream.messages >= self.keys.len() as u64
    }

    /// How many schedules of this account the other one does not know of, not even as deleted.
    pub(super) fn schedules_unknown_to(&self, other: &Self) -> usize {
        let schedules = self.keys.iter().filter(|(_, shown)| shown.is(Kind::Schedule));
        schedules.filter(|(hash, _)| !other.keys.contains_key(hash)).count()
    }
}

/// Hash of a key. It is the same in every account, so that two can be compared.
fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::schedule_key;

    fn stream(messages: u64, first: u64, last: u64) -> State {
        let state = serde_json::json!({
            "messages": messages, "bytes": 0, "first_seq": first, "last_seq": last,
            "first_ts": at(0), "last_ts": at(0), "consumer_count": 0,
        });
        serde_json::from_value(state).unwrap()
    }

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minutes * 60, 0).unwrap()
    }

    fn schedule(n: u128) -> String {
        schedule_key(uuid::Uuid::from_u128(n))
    }

    fn account(keys: &[(&str, u64, bool)]) -> Account {
        let mut account = Account::default();
        for (key, revision, has_value) in keys {
            account.take(key, *revision, *has_value, at(0));
        }
        account
    }

    #[test]
    fn a_stream_that_holds_fewer_messages_has_lost_some() {
        let mut three = account(&[("a", 1, true), ("b", 2, true), ("a", 3, true), ("c", 4, true)]);
        assert!(three.agrees(&stream(3, 2, 4), at(0)));
        assert!(three.agrees(&stream(4, 2, 4), at(0)), "an old marker");
        assert!(!three.agrees(&stream(2, 2, 4), at(0)), "b or another is gone");
        assert!(!three.agrees(&stream(0, 5, 4), at(0)), "all are gone");
    }

    #[test]
    fn what_lies_before_the_first_message_is_gone_however_many_there_are() {
        let mut two = account(&[("a", 7, true), ("b", 9, true)]);
        assert!(two.agrees(&stream(2, 7, 9), at(0)));
        assert!(!two.agrees(&stream(5, 8, 9), at(0)));
        assert!(!two.agrees(&stream(5, 8, 9), at(0)), "nor when it is looked at again");
    }

    #[test]
    fn young_markers_hide_nothing_and_old_ones_may_be_gone() {
        let mut deleted = account(&[("a", 1, true), ("b", 2, true), ("a", 3, false)]);
        assert!(deleted.agrees(&stream(2, 2, 3), at(49)));
        assert!(!deleted.agrees(&stream(1, 3, 3), at(49)), "the marker is there and b is not");
        assert!(deleted.agrees(&stream(1, 2, 3), at(50)), "the marker is gone");
        deleted.take("a", 4, true, at(51));
        assert!(!deleted.agrees(&stream(1, 4, 4), at(51)));
        let mut again = account(&[("a", 1, false), ("a", 2, true)]);
        assert!(again.agrees(&stream(1, 2, 2), at(60)), "it was put again");
        assert!(!again.agrees(&stream(0, 3, 2), at(60)));
    }

    #[test]
    fn schedules_vanish_and_what_was_deleted_or_is_none_does_not() {
        let keys = [1, 2, 3].map(schedule);
        let [one, two, three] = keys.each_ref().map(String::as_str);
        let before =
            account(&[(one, 1, true), (two, 2, true), (three, 3, true), ("name.x", 4, true)]);
        let after = account(&[(two, 9, true), (three, 10, false)]);
        assert_eq!(before.schedules_unknown_to(&after), 1);
        assert_eq!(before.schedules_unknown_to(&Account::default()), 3);
        assert_eq!(after.schedules_unknown_to(&before), 0);
    }
}
