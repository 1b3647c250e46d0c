//! Evidence that a run leaves behind, for [`check`](super::check) to judge.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::{Calendars, DeliveryMode, Schedule};
use uuid::Uuid;

use super::explained::Explanations;

/// All that is known of a run once it is over and settled.
#[derive(Debug, Default)]
pub struct Evidence {
    /// When the evidence was taken, by NATS's clock. Faults are over for long enough by then.
    pub now: DateTime<Utc>,
    /// By how much clocks, and stamps made by hand, may be off: nothing in a simulation.
    pub tolerance: TimeDelta,
    /// What the targets' streams hold, in order: of those without limits that it could have met.
    pub commands: Vec<Entry>,
    /// All of the history stream, in order.
    pub executions: Vec<Entry>,
    /// All of the audit stream, in order.
    pub audit: Vec<Entry>,
    /// The records that are in the bucket.
    pub records: Vec<Schedule>,
    /// What responders and subscribers heard of `request` and `core` commands, one for each message.
    pub heard: Vec<Heard>,
    /// Schedules as the replies to creations showed them: the JSON text of `data`. Needed of those that may have
    /// no record at the end.
    pub created: Vec<String>,
    /// What users and workers asked for, whatever became of it.
    pub asked: Vec<Asked>,
    /// What went wrong, and when.
    pub faults: Vec<Fault>,
    /// What was said when somebody asked what became of the times of a schedule, once all was settled.
    pub explained: Explanations,
    /// The calendars that there were from before the first schedule on, and that nobody changed.
    pub calendars: Calendars,
    /// The names of the groups that there were.
    pub groups: Vec<String>,
    /// All that was ever written into the bucket, in order; needed where there are groups.
    pub written: Vec<Entry>,
    /// Which instances those are that faults name, as far as that is known.
    pub instances: BTreeMap<u64, Uuid>,
}

/// Within which instances know what NATS has lost, and have begun anew from what it has.
const HEALED: TimeDelta = TimeDelta::seconds(7);

impl Evidence {
    /// The schedules that name a group: their executions may have to wait for a slot.
    pub fn grouped(&self) -> BTreeSet<Uuid> {
        let created = self.created.iter().filter_map(|text| {
            let shown: serde_json::Value = serde_json::from_str(text).ok()?;
            shown["group"].as_str()?;
            shown["id"].as_str()?.parse().ok()
        });
        let records = self.records.iter().filter(|record| record.spec.group.is_some());
        records.map(|record| record.id).chain(created).collect()
    }

    /// From when on nothing is lost any more, if NATS has lost something that it had acknowledged.
    pub fn whole_from(&self) -> Option<DateTime<Utc>> {
        let losses = self.faults.iter().filter(|fault| fault.kind == FaultKind::Power);
        losses.map(|loss| loss.until + HEALED).max()
    }
}

/// A command that somebody heard who is no stream.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its header `Scheduler-Execution-Id`.
    pub execution: Uuid,
    /// Its header `Scheduler-Revision`: which claim it was sent under.
    pub claim: Option<u64>,
    /// How it was sent.
    pub mode: DeliveryMode,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub body: Vec<u8>,
    /// When, by NATS's clock.
    pub at: DateTime<Utc>,
}

/// A request to the service.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its correlation id, which no other request has: the audit names it.
    pub correlation_id: String,
    /// What was asked for.
    pub what: Wish,
    /// Of which schedules, as far as whoever asked knew. Of a creation, which the reply named.
    pub schedules: Vec<Uuid>,
    /// When it was sent, or earlier.
    pub at: DateTime<Utc>,
    /// What was said to it.
    pub answer: Answer,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Create {
        name: String,
        created_by: String,
    },
    Update,
    Pause,
    Resume,
    Delete,
    Restore,
    /// That all schedules be paused, and whether all instances were said to honour that.
    PauseAll {
        is_confirmed: bool,
    },
    ResumeAll,
    /// A run by hand: of which execution, once that is known, and with which payload instead of the schedule's.
    Trigger {
        execution: Option<Uuid>,
        payload: Option<String>,
    },
    /// That an execution be stopped.
    Cancel {
        execution: Uuid,
    },
    /// A worker's word that a job was done.
    Complete {
        execution: Uuid,
    },
    /// A worker's word that it was not.
    Fail {
        execution: Uuid,
    },
    /// A report of whoever has no right to it.
    Forged {
        execution: Uuid,
    },
    /// A worker's sign of life.
    Heartbeat {
        execution: Uuid,
    },
}

/// What was said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, or that nobody knows (`unavailable`, `internal`): it may be done or not, now or later.
    Unknown,
    /// That it is not done: any other error.
    Refused,
    /// That it is done, when the reply arrived.
    Done(DateTime<Utc>),
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// Whose, by any number; none where it was NATS's and so everybody's.
    pub instance: Option<u64>,
    /// The only targets that it was about, where it was: a pattern.
    pub targets: Option<&'static str>,
    pub from: DateTime<Utc>,
    /// Of a death, the same.
    pub until: DateTime<Utc>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// An instance's process ended without a word.
    Death,
    /// An instance was told to stop (SIGTERM).
    Stop,
    /// It had no connection, or one over which nothing or only one way went.
    Cut,
    /// It did not run, and went on.
    Suspension,
    /// Acknowledgements were lost or came late.
    Acks,
    /// Those who read a stream were shown nothing, and did not know.
    Silence,
    /// NATS refused something: a stream was full, or had no leader, or permissions were gone.
    Refusals,
    /// A clock was set.
    Clock,
    /// NATS, or a part of it, was not there or did not answer.
    Outage,
    /// NATS lost its power: from then on, what it has done since `from` may be gone.
    Power,
}
