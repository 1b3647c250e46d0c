//! Executions to act on: oldest first, and up to a place of the stream, so that what the acting adds is not among them.

use std::collections::HashSet;

use uuid::Uuid;

use super::HistoryIndex;
use super::chunk::{self, Chunk, Wanted};
use crate::execution::ExecutionStatus;

/// Conditions on the executions to act on.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Of one of these schedules; `None` for all.
    pub schedules: Option<HashSet<Uuid>>,
    /// With this status.
    pub status: ExecutionStatus,
    /// With this error type.
    pub error_type: Option<String>,
    /// Started at the first of these instants or later, and at the second or earlier, in Unix milliseconds.
    pub started_ms: (i64, i64),
    /// At this place of the stream or before.
    pub until: u64,
}

/// A part of what was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The places of this part, oldest first.
    pub places: Vec<u64>,
    /// How many are behind it.
    pub left: u64,
    /// How many there are in all.
    pub total: u64,
}

impl HistoryIndex {
    /// The first `limit` executions behind the place `after`; `error` is the wanted error type as headers write it.
    /// Types that came after 65,535 others are told apart only by what is fetched.
    pub fn choose(&self, choice: &Choice, error: Option<&str>, after: u64, limit: usize) -> Chosen {
        let Choice { schedules, status, started_ms, until, .. } = choice;
        let error = match error.map(|error| self.errors.find(error)) {
            Some(None) => return Chosen::default(),
            known => known.flatten(),
        };
        let numbers: Option<HashSet<u32>> = schedules
            .as_ref()
            .map(|ids| ids.iter().filter_map(|id| self.schedules.number(*id)).collect());
        let wanted =
            Wanted { schedule: None, status: Some(chunk::code(*status)), started: *started_ms };
        let is_wanted = |chunk: &Chunk, at: usize| {
            chunk.sequences[at] <= *until
                && error.is_none_or(|error| error == chunk.errors[at])
                && numbers.as_ref().is_none_or(|some| some.contains(&chunk.schedules[at]))
                && chunk.is_wanted(at, &wanted)
        };
        let mut chosen = Chosen::default();
        for chunk in self.chunks.iter().filter(|chunk| chunk.count(&wanted) > 0) {
            for at in (0..chunk.len()).filter(|at| is_wanted(chunk, *at)) {
                chosen.total += 1;
                if chunk.sequences[at] <= after {
                    continue;
                }
                if chosen.places.len() < limit {
                    chosen.places.push(chunk.sequences[at]);
                } else {
                    chosen.left += 1;
                }
            }
        }
        chosen
    }
}
