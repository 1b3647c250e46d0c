//! Lateness of commands: in calm, and during faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use chrono::{DateTime, Utc};
use nats_scheduler::execution::Execution;
use nats_scheduler::names;
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::DeliveryMode;
use uuid::Uuid;

use super::faults::AFTER;
use super::strike::{Fault, Kind};
use crate::checker::Evidence;

/// Lateness by fault and by mode, in milliseconds.
pub struct Lateness {
    rows: BTreeMap<(Row, &'static str), Vec<i64>>,
    began: BTreeMap<Kind, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    /// Nothing was wrong at the time, nor shortly before.
    Calm,
    /// One kind of fault and no other.
    Alone(Kind),
    /// A kind of fault, alone or with others.
    Any(Kind),
}

impl Lateness {
    /// Lateness of the first attempts at occurrences, by the faults during which they were due: from the beginning of a
    /// fault until its effects end. The history says when they were due.
    pub fn of(evidence: &Evidence, faults: &[Fault]) -> Self {
        let mut lateness = Self { rows: BTreeMap::new(), began: BTreeMap::new() };
        for fault in faults {
            *lateness.began.entry(fault.kind).or_default() += 1;
        }
        let modes = evidence.records.iter().map(|record| (record.id, record.spec.delivery.mode));
        let (modes, came) = (modes.collect::<BTreeMap<_, _>>(), came(evidence));
        for (schedule, ends) in ends(evidence) {
            let Some(mode) = modes.get(&schedule) else { continue };
            for end in ends.iter().filter(|end| is_first_of_occurrence(end)) {
                let Some(came_at) = came.get(&end.id) else { continue };
                if !mode.takes_time() || !had_to_wait(end, *came_at, &ends) {
                    lateness.note(word(*mode), end, *came_at, faults);
                }
            }
        }
        lateness.rows.values_mut().for_each(|all| all.sort_unstable());
        lateness
    }

    fn note(
        &mut self,
        mode: &'static str,
        end: &Execution,
        came_at: DateTime<Utc>,
        faults: &[Fault],
    ) {
        let due_at = end.timings.due_at.unwrap_or(end.scheduled_for);
        let is_felt = |fault: &&Fault| (fault.began_at..=fault.ended_at + AFTER).contains(&due_at);
        let kinds: BTreeSet<_> = faults.iter().filter(is_felt).map(|fault| fault.kind).collect();
        let late_ms = (came_at - due_at).num_milliseconds();
        match kinds.iter().collect::<Vec<_>>()[..] {
            [] => self.add(Row::Calm, mode, late_ms),
            [kind] => self.add(Row::Alone(*kind), mode, late_ms),
            _ => {}
        }
        for kind in kinds {
            self.add(Row::Any(kind), mode, late_ms);
        }
    }

    fn add(&mut self, row: Row, mode: &'static str, late_ms: i64) {
        self.rows.entry((row, mode)).or_default().push(late_ms);
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, row: Row, name: &str, mode: &str) -> fmt::Result {
        let Some((_, all)) = self.rows.iter().find(|((one, of), _)| *one == row && *of == mode)
        else {
            return Ok(());
        };
        let at = |part: usize| all[(all.len() - 1) * part / 100];
        let (count, median, p99, worst) = (all.len(), at(50), at(99), at(100));
        writeln!(f, "  {name:<34} {count:>7} {median:>8} {p99:>8} {worst:>8}")
    }
}

impl Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mode in ["publish", "job", "request", "core"] {
            writeln!(f, "{mode:<36} {:>7} {:>8} {:>8} {:>8}", "n", "median", "p99", "worst ms")?;
            self.line(f, Row::Calm, "calm", mode)?;
            for kind in Kind::ALL.into_iter().chain([Kind::Stall]) {
                self.line(f, Row::Alone(kind), &format!("{}, alone", kind.name()), mode)?;
                self.line(f, Row::Any(kind), kind.name(), mode)?;
            }
        }
        writeln!(f, "faults")?;
        for (kind, count) in &self.began {
            writeln!(f, "  {:<34} {count:>7}", kind.name())?;
        }
        Ok(())
    }
}

/// When each execution's command first arrived somewhere.
fn came(evidence: &Evidence) -> BTreeMap<Uuid, DateTime<Utc>> {
    let mut came = BTreeMap::new();
    let stored = evidence.commands.iter();
    let stored = stored.filter_map(|entry| Some((execution(entry)?, entry.stored_at)));
    for (id, at) in stored.chain(evidence.heard.iter().map(|heard| (heard.execution, heard.at))) {
        came.entry(id).or_insert(at);
    }
    came
}

/// Outcomes of the executions that were made, by schedule.
fn ends(evidence: &Evidence) -> BTreeMap<Uuid, Vec<Execution>> {
    let mut ends: BTreeMap<Uuid, Vec<Execution>> = BTreeMap::new();
    for entry in &evidence.executions {
        let Ok(event) = serde_json::from_slice::<Execution>(&entry.body) else { continue };
        if event.status.is_final() && event.skipped.is_none() {
            ends.entry(event.schedule_id).or_default().push(event);
        }
    }
    ends
}

fn is_first_of_occurrence(end: &Execution) -> bool {
    end.attempt_number == 1 && end.triggered_by.is_none()
}

/// Whether another execution of the schedule was under way when this one was due.
fn had_to_wait(end: &Execution, came_at: DateTime<Utc>, ends: &[Execution]) -> bool {
    let due_at = end.timings.due_at.unwrap_or(end.scheduled_for);
    ends.iter().filter(|other| other.id != end.id).any(|other| {
        other.started_at.is_some_and(|at| at < came_at)
            && other.completed_at.is_some_and(|at| at > due_at)
    })
}

/// The execution to which a stored command or event belongs.
pub fn execution(entry: &Entry) -> Option<Uuid> {
    entry.headers.get(names::EXECUTION_ID)?.as_str().parse().ok()
}

/// Name of a mode in JSON.
fn word(mode: DeliveryMode) -> &'static str {
    match mode {
        DeliveryMode::Publish => "publish",
        DeliveryMode::Request => "request",
        DeliveryMode::Job => "job",
        DeliveryMode::Core => "core",
    }
}
