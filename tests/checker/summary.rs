//! Summary of a run, for people.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use nats_scheduler::execution::ExecutionStatus;
use nats_scheduler::schedule::DeliveryMode;
use uuid::Uuid;

use super::Evidence;
use super::ledger::Ledger;

/// How much there was in a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Schedules of which there is an outcome.
    pub schedules: u64,
    /// Executions that were made.
    pub executions: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Of those, of which nobody knows whether the command got through.
    pub uncertain: u64,
    pub cancelled: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Occurrences that were skipped.
    pub skipped: u64,
    /// Commands that were heard again.
    pub repeated: u64,
    /// Requests that were acknowledged, and all.
    pub acknowledged: u64,
    pub asked: u64,
    /// How late commands arrived, by how they were sent: `publish` and `job` as they were stored.
    pub lateness: BTreeMap<&'static str, Lateness>,
}

/// How late something was, each time.
#[derive(Clone, Debug, Default)]
pub struct Lateness(Vec<TimeDelta>);

impl Summary {
    pub(super) fn of(evidence: &Evidence, ledger: &Ledger) -> Self {
        let mut summary = Self::default();
        let mut schedules: Vec<_> = ledger.ends.values().map(|end| end.schedule_id).collect();
        schedules.sort_unstable();
        schedules.dedup();
        summary.schedules = schedules.len() as u64;
        for end in ledger.ends.values() {
            let made = matches!(end.status, ExecutionStatus::Success | ExecutionStatus::Failed);
            summary.executions += u64::from(made);
            summary.succeeded += u64::from(end.status == ExecutionStatus::Success);
            summary.failed += u64::from(end.status == ExecutionStatus::Failed);
            summary.uncertain += u64::from(end.uncertain);
            summary.cancelled += u64::from(end.status == ExecutionStatus::Cancelled);
            summary.retries += u64::from(end.attempt_number > 1);
            summary.skipped += end.skipped.map_or(0, |range| range.count);
        }
        let mut first: BTreeMap<Uuid, ()> = BTreeMap::new();
        for sent in &ledger.sent {
            if first.insert(sent.execution, ()).is_some() {
                summary.repeated += 1;
                continue;
            }
            let Some(end) = ledger.ends.get(&sent.execution) else { continue };
            let due = end.timings.due_at.unwrap_or(end.scheduled_for);
            let word = match sent.heard {
                Some(DeliveryMode::Request) => "request",
                Some(_) => "core",
                // A job alone says that it has started, before it has ended.
                None if ledger.started.contains_key(&sent.execution) => "job",
                None => "publish",
            };
            summary.lateness.entry(word).or_default().0.push(sent.at - due);
        }
        summary.asked = evidence.asked.len() as u64;
        let done = |asked: &&super::Asked| matches!(asked.answer, super::Answer::Done(_));
        summary.acknowledged = evidence.asked.iter().filter(done).count() as u64;
        summary
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.executions += other.executions;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.uncertain += other.uncertain;
        self.cancelled += other.cancelled;
        self.retries += other.retries;
        self.skipped += other.skipped;
        self.repeated += other.repeated;
        self.acknowledged += other.acknowledged;
        self.asked += other.asked;
        for (word, lateness) in &other.lateness {
            self.lateness.entry(word).or_default().0.extend(&lateness.0);
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { executions, succeeded, failed, uncertain, cancelled, .. } = self;
        let Self { retries, skipped, repeated, acknowledged, asked, .. } = self;
        writeln!(
            f,
            "{executions} executions ({succeeded} succeeded, {failed} failed, {uncertain} of them uncertain), \
             {cancelled} cancelled, {retries} retries, {skipped} occurrences skipped, {repeated} heard again; \
             {acknowledged} of {asked} requests acknowledged"
        )?;
        for (word, lateness) in &self.lateness {
            let ms = |part| lateness.quantile(part).map_or(0, |late| late.num_milliseconds());
            let (count, half, most, worst) = (lateness.count(), ms(0.5), ms(0.99), ms(1.0));
            writeln!(f, "{word}: {count} late by {half} ms, p99 {most} ms, at worst {worst} ms")?;
        }
        Ok(())
    }
}

impl Lateness {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one below which a part of them is, 0 to 1; nothing where there are none.
    pub fn quantile(&self, part: f64) -> Option<TimeDelta> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get(((last as f64) * part).round() as usize).copied()
    }

    /// The worst.
    pub fn worst(&self) -> Option<TimeDelta> {
        self.0.iter().max().copied()
    }
}
