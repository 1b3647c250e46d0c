//! The end of a run: waits until all is settled, and checks what is stored and what was heard against the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::client::BulkAction;
use nats_scheduler::names;
use nats_scheduler::schedule::{Phase, Schedule};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::lateness::{Lateness, execution};
use super::streams::Streams;
use super::strike::Fault;
use super::users::User;
use super::workers::Workers;
use crate::checker::{Evidence, Heard, Summary, check};

/// Maximum time until nothing is left to do.
const SETTLED: Duration = Duration::from_secs(60);
/// How late something may be that nothing prevents.
const LATE: TimeDelta = TimeDelta::seconds(5);
const LOOK: Duration = Duration::from_millis(500);
const TRIES: usize = 4;
/// Apparent difference between the clocks of servers that are one clock: each is asked over a network.
const TOLERANCE: TimeDelta = TimeDelta::milliseconds(5);

/// Waits until nothing is waiting that should be done by now; returns what keeps waiting.
pub async fn nothing_waits(streams: &Streams) -> Vec<String> {
    until_empty(streams, SETTLED, |record| overdue(record, Utc::now())).await
}

/// Pauses everything, and waits until nothing is under way; returns what never ends. An occurrence that waits for
/// another one rests with its schedule, so if only such are left, everything is resumed for a moment first.
pub async fn nothing_is_left(streams: &Streams, user: &User) -> Vec<String> {
    let mut left = Vec::new();
    for _ in 0..TRIES {
        left = user.insist_on(BulkAction::Pause).await;
        left.extend(until_empty(streams, SETTLED / 4, unsettled).await);
        if left.is_empty() {
            break;
        }
        user.insist_on(BulkAction::Resume).await;
        sleep(LOOK).await;
    }
    left
}

async fn until_empty(
    streams: &Streams,
    within: Duration,
    look: impl Fn(&Schedule) -> Option<String>,
) -> Vec<String> {
    let began = Instant::now();
    loop {
        let left: Vec<_> = streams.records().await.iter().filter_map(&look).collect();
        if left.is_empty() || began.elapsed() > within {
            return left;
        }
        sleep(LOOK).await;
    }
}

/// Parts of a schedule that are under way, or not yet announced.
fn unsettled(record: &Schedule) -> Option<String> {
    let Schedule { id, attempts, ended, events, purge, .. } = record;
    let is_settled = attempts.is_empty() && ended.is_empty() && events.is_empty() && !purge;
    (!is_settled).then(|| format!("{id} is not settled: {attempts:?} {ended:?} {events:?}"))
}

/// Parts of a schedule that should have been done by now.
fn overdue(record: &Schedule, now: DateTime<Utc>) -> Option<String> {
    let id = record.id;
    let next = record.next_run_at.filter(|_| record.fires()).map(|at| record.due(at));
    if let Some(due) = next.filter(|due| *due + LATE < now) {
        return Some(format!("{id} was due at {due}, and nothing is done"));
    }
    let stuck = record.attempts.iter().find(|attempt| {
        let until = match *attempt.phase {
            Phase::Running { deadline, .. } => deadline,
            _ => record.due_at(attempt),
        };
        until + LATE * 2 < now
    })?;
    Some(format!("{id} has an attempt that stays: {stuck:?}"))
}

/// Everything that was seen and can be read.
pub struct Seen {
    pub streams: Streams,
    pub workers: Workers,
    pub user: User,
    pub faults: Vec<Fault>,
}

impl Seen {
    /// Checks all of it.
    pub async fn look(self, mut violations: Vec<String>, folder: &Path) -> super::Report {
        std::fs::write(folder.join("faults.txt"), self.told_faults()).unwrap();
        let (evidence, promised) = self.evidence().await;
        let lateness = Lateness::of(&evidence, &self.faults);
        let mut summary = lateness.to_string();
        match check(&evidence) {
            Ok(found) => summary.push_str(&counts(&found)),
            Err(found) => violations.extend(found),
        }
        violations.extend(unkept(&evidence, &promised));
        std::fs::write(folder.join("violations.txt"), violations.join("\n")).unwrap();
        super::Report { violations, summary }
    }

    /// The evidence, and the promised commands without a schedule.
    async fn evidence(&self) -> (Evidence, Vec<Uuid>) {
        let known = std::mem::take(&mut *self.user.known().lock().unwrap());
        let workers = self.workers.seen();
        let mut heard = workers.asked;
        heard.extend(heard_most(workers.told));
        let evidence = Evidence {
            now: Utc::now(),
            tolerance: TOLERANCE,
            commands: self.streams.all(names::COMMANDS_STREAM).await,
            executions: self.streams.all(names::EXECUTIONS_STREAM).await,
            audit: self.streams.all(names::AUDIT_STREAM).await,
            records: self.streams.records().await,
            heard,
            created: known.created,
            asked: known.asked.into_iter().chain(workers.reports).collect(),
            faults: self.faults.iter().map(Fault::evidence).collect(),
            ..Evidence::default()
        };
        (evidence, known.promised)
    }

    /// The faults and their times, for people.
    fn told_faults(&self) -> String {
        let mut faults = self.faults.clone();
        faults.sort_by_key(|fault| fault.began_at);
        let mut text = String::new();
        for Fault { kind, what, began_at, ended_at, .. } in faults {
            let (began_at, ended_at) = (began_at.format("%T%.3f"), ended_at.format("%T%.3f"));
            let _ = writeln!(text, "{began_at} - {ended_at} {}: {what}", kind.name());
        }
        text
    }
}

/// For each execution, the account of the listener that heard it most often: each misses what arrives while its server
/// is down.
fn heard_most(listeners: Vec<Vec<Heard>>) -> Vec<Heard> {
    let mut most: BTreeMap<Uuid, Vec<Heard>> = BTreeMap::new();
    for listener in listeners {
        let mut own: BTreeMap<Uuid, Vec<Heard>> = BTreeMap::new();
        for heard in listener {
            own.entry(heard.execution).or_default().push(heard);
        }
        for (execution, heard) in own {
            let before = most.entry(execution).or_default();
            if before.len() < heard.len() {
                *before = heard;
            }
        }
    }
    most.into_values().flatten().collect()
}

/// Promised commands without a schedule whose fate is unknown.
fn unkept(evidence: &Evidence, promised: &[Uuid]) -> Vec<String> {
    let ends = evidence.executions.iter().filter_map(execution);
    let ends: BTreeSet<Uuid> = ends.collect();
    let unkept = promised.iter().filter(|id| !ends.contains(id));
    unkept.map(|id| format!("the command {id} was promised, and there is no outcome")).collect()
}

/// Summary of a run, for people.
fn counts(found: &Summary) -> String {
    let Summary { schedules, executions, succeeded, failed, cancelled, uncertain, .. } = found;
    let Summary { retries, skipped, repeated, acknowledged, asked, .. } = found;
    format!(
        "{schedules} schedules, {executions} executions: {succeeded} succeeded, {failed} failed, {cancelled} cancelled, \
         {uncertain} uncertain, {retries} retries; {skipped} occurrences skipped; {repeated} commands heard again\n\
         {acknowledged} of {asked} requests acknowledged\n"
    )
}
