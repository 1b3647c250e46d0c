//! What calendars, groups and reruns have in common: each is a key of the bucket, by a name, and users change it.
//!
//! A change and its event are one write, as with schedules. A deletion is first a value that says so; its key goes once
//! that is announced.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::change::Changed;
use super::{Author, Change, ChangeKind};
use crate::stored::damage::Damage;
use crate::stored::format;

/// Most characters of a name.
pub const MAX_NAME: usize = 100;
/// Most changes that are remembered by their ids.
pub(super) const MOST_RECENT: usize = 32;
/// Most events that wait to be announced.
pub(super) const MOST_PENDING: usize = 32;

/// The fields that calendars, groups and reruns have in common.
#[derive(Debug)]
pub struct Head<'a> {
    /// The lowest format that may go by it.
    pub needs: u16,
    /// Its id, which its events carry.
    pub id: Uuid,
    /// Its name.
    pub name: &'a str,
    /// How often it was changed by users.
    pub revision: u64,
    /// Random, new for each write, to recognise one's own.
    pub token: u64,
    /// Whether it was deleted; then the key stays only until its events are announced.
    pub is_deleted: bool,
    /// Ids of the latest changes: they tell one whose acknowledgement was lost that it was made.
    pub recent: &'a [Uuid],
    /// Changes that are not yet known to be in the audit stream.
    pub events: &'a [Change],
}

/// The fields of [`Head`] that a change touches.
#[derive(Debug)]
pub struct HeadMut<'a> {
    pub(crate) format: &'a mut u16,
    pub(crate) needs: &'a mut u16,
    pub(crate) revision: &'a mut u64,
    pub(crate) token: &'a mut u64,
    pub(crate) updated_at: &'a mut DateTime<Utc>,
    pub(crate) updated_by: &'a mut String,
    pub(crate) recent: &'a mut Vec<Uuid>,
    pub(crate) events: &'a mut Vec<Change>,
}

/// A value with a key of its own, by a name.
pub trait Keyed: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync {
    /// Its kind, as messages name it.
    const KIND: &'static str;
    /// The lowest format whose instances go by it.
    const NEEDS: u16;

    /// The key of one.
    fn key(name: &str) -> String;

    /// The fields that all have.
    fn head(&self) -> Head<'_>;

    /// The same, to be changed.
    fn head_mut(&mut self) -> HeadMut<'_>;

    /// Reads a key's value.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn read(value: &[u8]) -> Result<Self, Damage> {
        let read: Self = serde_json::from_slice(value)?;
        let (needs, here) = (read.head().needs, format::supported());
        match needs <= here {
            true => Ok(read),
            false => Err(format!("it needs format {needs}, and this version knows {here}").into()),
        }
    }

    /// Whether a key's value that cannot be read is that of a newer version.
    fn is_newer(value: &[u8]) -> bool {
        let value = serde_json::from_slice::<Value>(value).unwrap_or_default();
        value["needs"].as_u64().is_some_and(|needs| needs > u64::from(format::supported()))
    }

    /// Whether a change was made.
    fn has_made(&self, event_id: Uuid) -> bool {
        self.head().recent.contains(&event_id)
    }

    /// Whether no more changes can wait to be announced.
    fn is_full(&self) -> bool {
        self.head().events.len() >= MOST_PENDING
    }

    /// Whether changes wait to be announced, or the key is to be removed once they are.
    fn has_news(&self) -> bool {
        let head = self.head();
        !head.events.is_empty() || head.is_deleted
    }

    /// Removes events that were said; returns whether there were any.
    fn take_out(&mut self, said: &[Change]) -> bool {
        let events = self.head_mut().events;
        let before = events.len();
        events.retain(|event| !said.contains(event));
        events.len() < before
    }

    /// Gives the next write of it a token.
    fn sign(&mut self, token: u64) {
        *self.head_mut().token = token;
    }

    /// Notes a change and its event.
    fn note(
        &mut self,
        event_id: Uuid,
        kind: ChangeKind,
        now: DateTime<Utc>,
        author: Author<'_>,
        details: Value,
    ) {
        let head = self.head_mut();
        *head.format = (*head.format).max(format::FORMAT);
        *head.needs = (*head.needs).max(Self::NEEDS);
        *head.revision += 1;
        (*head.updated_at, *head.updated_by) = (now, author.actor.to_owned());
        head.recent.push(event_id);
        head.recent.drain(..head.recent.len().saturating_sub(MOST_RECENT));
        let Head { id, name, revision, .. } = self.head();
        let changed = Changed { id, name, revision };
        let event = Change::of(event_id, kind, changed, author, now, details);
        self.head_mut().events.push(event);
    }
}

/// Implements [`Keyed`] for a type that has the common fields.
macro_rules! keyed {
    ($type:ty, $kind:literal, needs $needs:expr, key $key:path) => {
        impl $crate::schedule::keyed::Keyed for $type {
            const KIND: &'static str = $kind;
            const NEEDS: u16 = $needs;

            fn key(name: &str) -> String {
                $key(name)
            }

            fn head(&self) -> $crate::schedule::keyed::Head<'_> {
                $crate::schedule::keyed::Head {
                    needs: self.needs,
                    id: self.id,
                    name: &self.name,
                    revision: self.revision,
                    token: self.token,
                    is_deleted: self.is_deleted,
                    recent: &self.recent,
                    events: &self.events,
                }
            }

            fn head_mut(&mut self) -> $crate::schedule::keyed::HeadMut<'_> {
                $crate::schedule::keyed::HeadMut {
                    format: &mut self.format,
                    needs: &mut self.needs,
                    revision: &mut self.revision,
                    token: &mut self.token,
                    updated_at: &mut self.updated_at,
                    updated_by: &mut self.updated_by,
                    recent: &mut self.recent,
                    events: &mut self.events,
                }
            }
        }
    };
}

pub(crate) use keyed;

/// Why a text is no name.
pub(crate) fn not_a_name(name: &str) -> Option<String> {
    if !(1..=MAX_NAME).contains(&name.chars().count()) {
        return Some(format!("must have 1 to {MAX_NAME} characters"));
    }
    let odd = name.trim() != name || name.chars().any(char::is_control);
    odd.then(|| "must not begin or end with white space, or have control characters".to_owned())
}

/// All of one kind as an instance has seen them, by their keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Known<T> {
    all: BTreeMap<String, Seen<T>>,
}

/// What a key held at a revision: one that is there or cannot be read, or nothing any more.
#[derive(Clone, Debug, PartialEq)]
struct Seen<T> {
    revision: u64,
    held: Option<Result<Arc<T>, String>>,
}

impl<T> Seen<T> {
    fn readable(&self) -> Option<&Arc<T>> {
        self.held.as_ref()?.as_ref().ok()
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new() }
    }
}

impl<T: Keyed> Known<T> {
    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.at(name).map(|(held, _)| held)
    }

    /// One of them, with the revision of its key.
    pub fn at(&self, name: &str) -> Option<(&Arc<T>, u64)> {
        let seen = self.all.get(&T::key(name))?;
        let held = seen.readable().filter(|held| !held.head().is_deleted)?;
        Some((held, seen.revision))
    }

    /// All of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        let all = self.all.values().filter_map(Seen::readable);
        all.filter(|held| !held.head().is_deleted)
    }

    /// Those whose changes wait to be announced, or that are to be removed once they are.
    pub fn with_news(&self) -> impl Iterator<Item = &Arc<T>> {
        let all = self.all.values().filter_map(Seen::readable);
        all.filter(|held| held.has_news())
    }

    /// Why one cannot be used.
    pub fn unreadable(&self, name: &str) -> Option<&str> {
        self.all.get(&T::key(name))?.held.as_ref()?.as_ref().err().map(String::as_str)
    }

    /// Takes in what a key holds at a revision; returns whether that is news.
    pub fn take_in(&mut self, key: &str, revision: u64, held: Option<Result<T, Damage>>) -> bool {
        if self.all.get(key).is_some_and(|seen| seen.revision >= revision) {
            return false;
        }
        let held = held.map(|held| {
            held.map_err(|damage| damage.reason).and_then(|held| {
                match T::key(held.head().name) == key {
                    true => Ok(Arc::new(held)),
                    false => Err("the key is not that of its name".to_owned()),
                }
            })
        });
        let is_there = held.is_some();
        // Of one that is gone the revision stays: an own write may be heard of after its deletion.
        let before = self.all.insert(key.to_owned(), Seen { revision, held });
        is_there || before.is_some_and(|seen| seen.held.is_some())
    }

    /// Forgets those that a replay of the bucket up to a revision did not show; returns whether there were any.
    pub fn retain(&mut self, revision: u64, was_shown: impl Fn(&str) -> bool) -> bool {
        let mut is_news = false;
        self.all.retain(|key, seen| {
            let stays = seen.revision > revision || was_shown(key);
            is_news |= !stays && seen.held.is_some();
            stays
        });
        is_news
    }
}
