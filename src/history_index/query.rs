//! Queries for executions, newest first.
//!
//! Every query walks all chunks. Most chunks are counted by what is known of them as a whole, the others by
//! their columns, so a query over a million executions takes a millisecond or two.

use std::hash::BuildHasher as _;

use uuid::Uuid;

use super::HistoryIndex;
use super::chunk::{self, Chunk, Wanted};
use crate::execution::ExecutionStatus;

/// Maximum number of attempts found for one occurrence; a schedule makes at most 11.
pub(super) const MAX_ATTEMPTS: usize = 64;

/// Conditions on executions; all must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The schedule; `None` for all.
    pub schedule: Option<Uuid>,
    /// One of these schedules; `None` for all.
    pub schedules: Option<Vec<Uuid>>,
    /// One of these statuses; none for all.
    pub statuses: Vec<ExecutionStatus>,
    /// The error type, as headers write it; empty for those without one.
    pub error: Option<String>,
    /// The subject of the command, as headers write it. Events that do not say match too.
    pub command: Option<String>,
    /// Of a nominal time then or later, in Unix milliseconds.
    pub scheduled_from_ms: Option<i64>,
    /// Of a nominal time then or earlier, in Unix milliseconds.
    pub scheduled_to_ms: Option<i64>,
    /// Started then or later, in Unix milliseconds.
    pub started_from_ms: Option<i64>,
    /// Started then or earlier, in Unix milliseconds.
    pub started_to_ms: Option<i64>,
}

/// The part of a list to return.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Number of executions to leave out.
    pub offset: usize,
    /// Maximum number of executions to return.
    pub limit: usize,
}

impl HistoryIndex {
    /// The schedules that it has executions of, in no order, unless there are more than `most`.
    pub fn schedules(&self, most: usize) -> Option<Vec<Uuid>> {
        let ids = self.schedules.ids();
        (ids.len() <= most).then(|| ids.collect())
    }

    /// The places of one page, newest first, and the total number of matches. Error types that came after 65,535 others,
    /// and commands, are told apart for sure only by what is fetched.
    pub fn list(&self, filter: &Filter, page: Page) -> (Vec<u64>, u64) {
        let Some(wanted) = self.wanted(filter) else { return (Vec::new(), 0) };
        self.page(page, |chunk| chunk.count(&wanted), |chunk, at| chunk.is_wanted(at, &wanted))
    }

    /// The places, newest first, of executions that match as far as is known, and do not say what was sent.
    pub fn untold(&self, filter: &Filter, most: usize) -> Vec<u64> {
        let Some(wanted) = self.wanted(filter) else { return Vec::new() };
        let untold = self.chunks.iter().rev().flat_map(|chunk| {
            let slots = (0..chunk.len()).rev();
            let untold = slots.filter(|at| chunk.is_untold(*at) && chunk.is_wanted(*at, &wanted));
            untold.map(|at| chunk.sequences[at])
        });
        untold.take(most).collect()
    }

    /// Notes what an event turned out to have sent, as headers write it; nothing at all is empty.
    pub fn learn(&mut self, sequence: u64, command: &str) {
        let command = self.command_hash(command);
        if let Some((chunk, at)) = self.find(sequence) {
            self.chunks[chunk].learn(at, command);
        }
    }

    /// What a filter means for chunks; `None` if nothing can match.
    pub(super) fn wanted(&self, filter: &Filter) -> Option<Wanted> {
        let schedule = filter.schedule.map(|schedule| self.schedules.number(schedule));
        let error = filter.error.as_ref().map(|error| self.errors.find(error));
        let are_wanted = |ids: &Vec<Uuid>| {
            let mut are_wanted = vec![false; self.schedules.len()];
            for number in ids.iter().filter_map(|id| self.schedules.number(*id)) {
                are_wanted[number as usize] = true;
            }
            are_wanted
        };
        Some(Wanted {
            schedule: schedule.map_or(Some(None), |number| number.map(Some))?,
            schedules: filter.schedules.as_ref().map(are_wanted),
            statuses: chunk::Statuses::of(&filter.statuses),
            error: error.map_or(Some(None), |code| code.map(Some))?,
            command: filter.command.as_ref().map(|command| self.command_hash(command)),
            scheduled: (
                filter.scheduled_from_ms.unwrap_or(i64::MIN),
                filter.scheduled_to_ms.unwrap_or(i64::MAX),
            ),
            started: (
                filter.started_from_ms.unwrap_or(i64::MIN),
                filter.started_to_ms.unwrap_or(i64::MAX),
            ),
        })
    }

    /// Lists the executions with a correlation id in the same way. Very rarely a different one is among them,
    /// so check what was fetched.
    pub fn by_correlation(&self, correlation: &str, page: Page) -> (Vec<u64>, u64) {
        let wanted = self.hasher.hash_one(correlation);
        let is_wanted = |chunk: &Chunk, at: usize| {
            chunk.correlations[at] == wanted && chunk.latest(at).is_some()
        };
        self.page(page, |chunk| count_by(chunk, wanted, is_wanted), is_wanted)
    }

    /// The places of all attempts at one occurrence, oldest first. Check what was fetched here, too.
    pub fn attempts(&self, schedule: Uuid, scheduled_for_ms: i64, correlation: &str) -> Vec<u64> {
        let Some(schedule) = self.schedules.number(schedule) else { return Vec::new() };
        let wanted = self.hasher.hash_one(correlation);
        let is_wanted = |chunk: &Chunk, at: usize| {
            chunk.correlations[at] == wanted
                && chunk.schedules[at] == schedule
                && chunk.scheduled_for[at] == scheduled_for_ms
                && chunk.latest(at).is_some()
        };
        let all = Page { offset: 0, limit: MAX_ATTEMPTS };
        let (mut found, _) = self.page(all, |chunk| count_by(chunk, wanted, is_wanted), is_wanted);
        found.reverse();
        found
    }

    fn page(
        &self,
        page: Page,
        count: impl Fn(&Chunk) -> usize,
        is_wanted: impl Fn(&Chunk, usize) -> bool,
    ) -> (Vec<u64>, u64) {
        let (mut found, mut total) = (Vec::new(), 0);
        for chunk in self.chunks.iter().rev() {
            let matching = count(chunk);
            if matching > 0 && total + matching > page.offset && found.len() < page.limit {
                let slots = (0..chunk.len()).rev().filter(|at| is_wanted(chunk, *at));
                let skipped = page.offset.saturating_sub(total);
                let places = slots.skip(skipped).map(|at| chunk.sequences[at]);
                found.extend(places.take(page.limit - found.len()));
            }
            total += matching;
        }
        (found, total as u64)
    }
}

/// Number of wanted slots of a chunk; most have a different correlation id, which is quick to see.
fn count_by(chunk: &Chunk, wanted: u64, is_wanted: impl Fn(&Chunk, usize) -> bool) -> usize {
    let with_it = chunk.correlations.iter().filter(|known| **known == wanted).count();
    if with_it == 0 {
        return 0;
    }
    (0..chunk.len()).filter(|at| is_wanted(chunk, *at)).count()
}
