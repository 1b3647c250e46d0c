//! Index of the changes in the audit stream, in memory: enough to filter, count and order the newest of them.
//!
//! A change takes 33 bytes. Actors are kept as hashes, so that nobody fills the memory with names: very rarely a
//! different one is found, so check what was fetched.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::ops::RangeInclusive;

use uuid::Uuid;

/// Most changes that are held.
pub(crate) const MOST: usize = if cfg!(test) { 20 } else { 1_000_000 };
/// Number of slots of a full chunk. Few in tests, so that tests cross the borders of chunks.
const SLOTS: usize = if cfg!(test) { 8 } else { 4096 };
/// Kind of an entry that the stream no longer holds.
const GONE: u8 = u8::MAX;
/// Kind of an entry that is no change.
const FOREIGN: u8 = GONE - 1;
/// Kind of a change whose event came after too many others; users cannot make events up.
const OTHER: u8 = FOREIGN - 1;

/// One change, with the fields that the index needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted<'a> {
    /// Its place in the stream.
    pub(crate) sequence: u64,
    /// The schedule.
    pub(crate) schedule: Uuid,
    /// What was done.
    pub(crate) event: &'a str,
    /// Who did it, as headers write it.
    pub(crate) actor: &'a str,
    /// When, in Unix milliseconds.
    pub(crate) at_ms: i64,
}

/// Conditions on changes; `None` matches all.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The schedule.
    pub(crate) schedule: Option<Uuid>,
    /// What was done.
    pub(crate) events: Option<Vec<String>>,
    /// Who did it, as headers write it.
    pub(crate) actor: Option<String>,
    /// When, in Unix milliseconds.
    pub(crate) at_ms: RangeInclusive<i64>,
}

/// Index of the changes in the audit stream.
#[derive(Debug, Default)]
pub(crate) struct AuditIndex {
    /// The newest entries of the stream, oldest first.
    chunks: VecDeque<Chunk>,
    /// The events that there have been; the kind of an entry is a place in it.
    events: Vec<Box<str>>,
    /// Keyed randomly, so that nobody can choose colliding actors.
    hasher: RandomState,
    seen: u64,
    /// Number of slots.
    slots: usize,
    /// Number of changes.
    changes: usize,
    /// Number of entries that the stream no longer holds.
    gone: usize,
    /// Whether the stream may hold older changes.
    is_cut: bool,
}

/// Consecutive entries of the stream, oldest first, in columns. Sequences and times are differences from those of the
/// first one.
#[derive(Debug, Default)]
struct Chunk {
    first: u64,
    base_ms: i64,
    sequences: Vec<u32>,
    times: Vec<i32>,
    schedules: Vec<Uuid>,
    actors: Vec<u64>,
    kinds: Vec<u8>,
}

impl AuditIndex {
    /// Forgets everything, and starts after a place of the stream. `is_cut` tells whether there is something before it.
    pub(crate) fn restart(&mut self, after: u64, is_cut: bool) {
        *self = Self { seen: after, is_cut, ..Self::default() };
    }

    /// The highest place in the stream seen so far.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Number of changes.
    pub(crate) fn len(&self) -> usize {
        self.changes
    }

    /// Whether the stream may hold changes that are older than those held.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Number of entries that the stream must hold, if that is certain.
    pub(crate) fn entries(&self) -> Option<usize> {
        (!self.is_cut).then_some(self.slots - self.gone)
    }

    /// Adds a change. One that was seen before is ignored.
    pub(crate) fn apply(&mut self, change: Noted<'_>) {
        let kind = self.kind(change.event);
        let actor = self.hasher.hash_one(change.actor);
        self.push(&change, actor, kind);
    }

    /// Adds an entry of the stream that is no change.
    pub(crate) fn apply_foreign(&mut self, sequence: u64) {
        let nothing = Noted { sequence, schedule: Uuid::nil(), event: "", actor: "", at_ms: 0 };
        self.push(&nothing, 0, FOREIGN);
    }

    /// Forgets entries before the stream's first.
    pub(crate) fn forget_before(&mut self, first: u64) {
        self.seen = self.seen.max(first.saturating_sub(1));
        while let Some(chunk) = self.chunks.front()
            && chunk.last() < first
        {
            self.drop_first();
        }
        if let Some(chunk) = self.chunks.front_mut() {
            let before = chunk.sequences.iter().filter(|s| chunk.first + u64::from(**s) < first);
            let (before, kinds) = (before.count(), &chunk.kinds);
            let dropped = Dropped::of(&kinds[..before]);
            chunk.forget_first(before);
            self.count_out(dropped);
        }
    }

    /// Forgets a change that the stream does not hold.
    pub(crate) fn forget(&mut self, sequence: u64) {
        let index = self.chunks.partition_point(|chunk| chunk.last() < sequence);
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        if let Some(at) = chunk.find(sequence)
            && chunk.kinds[at] < FOREIGN
        {
            chunk.kinds[at] = GONE;
            self.changes -= 1;
            self.gone += 1;
        }
    }

    /// The places of one page, newest first, and the number of all that match.
    pub(crate) fn page(&self, wanted: &Wanted, offset: usize, limit: usize) -> (Vec<u64>, u64) {
        let (mut found, mut total) = (Vec::new(), 0);
        let kinds = wanted.events.as_ref().map(|events| {
            let place = |event: &String| self.events.iter().position(|known| **known == **event);
            events.iter().filter_map(place).filter_map(|kind| u8::try_from(kind).ok()).collect()
        });
        let kinds: Option<Vec<u8>> = kinds;
        let actor = wanted.actor.as_ref().map(|actor| self.hasher.hash_one(actor.as_str()));
        for chunk in self.chunks.iter().rev() {
            let matches = |at: &usize| {
                let at = *at;
                chunk.kinds[at] < FOREIGN
                    && wanted.schedule.is_none_or(|schedule| schedule == chunk.schedules[at])
                    && actor.is_none_or(|actor| actor == chunk.actors[at])
                    && kinds.as_ref().is_none_or(|kinds| kinds.contains(&chunk.kinds[at]))
                    && wanted.at_ms.contains(&(chunk.base_ms + i64::from(chunk.times[at])))
            };
            for at in (0..chunk.kinds.len()).rev().filter(matches) {
                if total >= offset && found.len() < limit {
                    found.push(chunk.first + u64::from(chunk.sequences[at]));
                }
                total += 1;
            }
        }
        (found, total as u64)
    }

    fn kind(&mut self, event: &str) -> u8 {
        let known = self.events.iter().position(|known| **known == *event);
        let place = known.unwrap_or_else(|| {
            if self.events.len() < usize::from(OTHER) {
                self.events.push(event.into());
                return self.events.len() - 1;
            }
            usize::from(OTHER)
        });
        u8::try_from(place).unwrap_or(OTHER)
    }

    fn push(&mut self, change: &Noted<'_>, actor: u64, kind: u8) {
        if change.sequence <= self.seen {
            return;
        }
        self.seen = change.sequence;
        if self.chunks.back_mut().is_none_or(|chunk| !chunk.push(change, actor, kind)) {
            let mut chunk = Chunk::starting(change);
            chunk.push(change, actor, kind);
            self.chunks.push_back(chunk);
        }
        self.slots += 1;
        self.changes += usize::from(kind < FOREIGN);
        if self.slots > MOST {
            self.is_cut = true;
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.count_out(Dropped::of(&chunk.kinds));
        }
    }

    fn count_out(&mut self, dropped: Dropped) {
        self.slots -= dropped.slots;
        self.changes -= dropped.changes;
        self.gone -= dropped.gone;
    }
}

/// Numbers of slots that are dropped.
struct Dropped {
    slots: usize,
    changes: usize,
    gone: usize,
}

impl Dropped {
    fn of(kinds: &[u8]) -> Self {
        let changes = kinds.iter().filter(|kind| **kind < FOREIGN).count();
        let gone = kinds.iter().filter(|kind| **kind == GONE).count();
        Self { slots: kinds.len(), changes, gone }
    }
}

impl Chunk {
    fn starting(change: &Noted<'_>) -> Self {
        Self { first: change.sequence, base_ms: change.at_ms, ..Self::default() }
    }

    /// Adds an entry, if it belongs into this chunk.
    fn push(&mut self, change: &Noted<'_>, actor: u64, kind: u8) -> bool {
        let base_ms = if kind == FOREIGN { change.at_ms } else { self.base_ms };
        let (Ok(sequence), Ok(time)) = (
            u32::try_from(change.sequence - self.first),
            i32::try_from(change.at_ms.saturating_sub(base_ms)),
        ) else {
            return false;
        };
        if self.kinds.len() >= SLOTS {
            return false;
        }
        self.sequences.push(sequence);
        self.times.push(time);
        self.schedules.push(change.schedule);
        self.actors.push(actor);
        self.kinds.push(kind);
        true
    }

    fn last(&self) -> u64 {
        self.first + self.sequences.last().map_or(0, |sequence| u64::from(*sequence))
    }

    fn find(&self, sequence: u64) -> Option<usize> {
        let difference = u32::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.sequences.binary_search(&difference).ok()
    }

    fn forget_first(&mut self, count: usize) {
        self.sequences.drain(..count);
        self.times.drain(..count);
        self.schedules.drain(..count);
        self.actors.drain(..count);
        self.kinds.drain(..count);
    }
}

#[cfg(test)]
mod tests;
