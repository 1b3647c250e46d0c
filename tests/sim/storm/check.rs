//! What must hold after a storm.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::names;
use nats_scheduler::schedule::Schedule;
use uuid::Uuid;

use super::{Made, Storm};

impl Storm {
    /// What must hold, by what is stored and by what workers have heard.
    pub fn check(&self, heard: &BTreeMap<String, usize>) -> Result<(), String> {
        let mut stored: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        for entry in self.server.messages("COMMANDS") {
            let header = |name: &str| entry.headers.get(name).unwrap().as_str().to_owned();
            let due: DateTime<Utc> = header(names::SCHEDULED_FOR).parse().unwrap();
            if entry.stored_at < due {
                return Err(format!("{} was stored before {due}", entry.subject));
            }
            let id = header(names::EXECUTION_ID);
            if stored.insert(id.clone(), due).is_some() {
                return Err(format!("execution {id} is twice in the stream"));
            }
        }
        let at: BTreeMap<String, DateTime<Utc>> = self
            .server
            .messages("COMMANDS")
            .into_iter()
            .map(|entry| {
                let id = entry.headers.get(names::EXECUTION_ID).unwrap();
                (id.as_str().to_owned(), entry.stored_at)
            })
            .collect();
        let mut ends: BTreeMap<Uuid, Vec<Execution>> = BTreeMap::new();
        let mut ended = BTreeSet::new();
        for entry in self.server.messages("SCHEDULER_EXECUTIONS") {
            let event: Execution = serde_json::from_slice(&entry.body).unwrap();
            if !event.status.is_final() {
                continue;
            }
            if !ended.insert(event.id) {
                return Err(format!("execution {} has two outcomes", event.id));
            }
            ends.entry(event.schedule_id).or_default().push(event);
        }
        let told = self.told.lock().unwrap();
        if let Some(lost) = told.runs.iter().find(|run| !ended.contains(*run)) {
            return Err(format!("the run {lost} was promised and never made"));
        }
        drop(told);
        for made in &self.made {
            let ends = ends.remove(&made.id).unwrap_or_default();
            self.check_pauses(made, &ends, &at)
                .map_err(|found| format!("{} ({}): {found}", made.id, made.mode))?;
            self.check_schedule(made, &ends, &stored, heard)
                .map_err(|found| format!("{} ({}): {found}", made.id, made.mode))?;
        }
        Ok(())
    }

    fn check_schedule(
        &self,
        made: &Made,
        ends: &[Execution],
        stored: &BTreeMap<String, DateTime<Utc>>,
        heard: &BTreeMap<String, usize>,
    ) -> Result<(), String> {
        let mut times: BTreeMap<DateTime<Utc>, usize> = BTreeMap::new();
        for end in ends.iter().filter(|end| end.triggered_by.is_none()) {
            match end.skipped {
                Some(range) => {
                    let mut at = end.scheduled_for;
                    while at <= range.last {
                        *times.entry(at).or_default() += 1;
                        at += made.interval;
                    }
                }
                None => *times.entry(end.scheduled_for).or_default() += 1,
            }
            let id = end.id.to_string();
            if end.status == ExecutionStatus::Success
                && made.mode == "publish"
                && !stored.contains_key(&id)
            {
                return Err(format!("{id} succeeded and is in no stream"));
            }
            let times = heard.get(&id).copied().unwrap_or_default();
            if times > 1 && self.deaths + self.breaks == 0 {
                return Err(format!("{id} was heard {times} times though nothing broke"));
            }
        }
        if let Some((at, count)) = times.iter().find(|(_, count)| **count != 1) {
            return Err(format!("{at} has {count} outcomes"));
        }
        let listed: Vec<_> = times.keys().copied().collect();
        if let Some(pair) = listed.windows(2).find(|pair| pair[1] - pair[0] != made.interval) {
            return Err(format!("nothing is between {} and {}", pair[0], pair[1]));
        }
        let last = listed.last().copied().ok_or("nothing ran at all")?;
        if self.server.now() - last > made.interval + TimeDelta::seconds(2) {
            return Err(format!("nothing since {last}, and it is {}", self.server.now()));
        }
        let key = names::key_subject(&names::schedule_key(made.id));
        let record = self.server.last(names::SCHEDULES_STREAM, &key).ok_or("no record")?;
        let record: Schedule = serde_json::from_slice(&record.body).unwrap();
        if let Some(left) = record.attempts.first() {
            return Err(format!("an attempt is left: {left:?}"));
        }
        Ok(())
    }

    /// Nothing of a schedule is due after it is said to be paused, until somebody asks to resume it.
    fn check_pauses(
        &self,
        made: &Made,
        ends: &[Execution],
        at: &BTreeMap<String, DateTime<Utc>>,
    ) -> Result<(), String> {
        let told = self.told.lock().unwrap();
        for (_, from) in told.paused.iter().filter(|(id, _)| *id == made.id) {
            let resumes = told.resumes.iter().filter(|(id, at)| *id == made.id && at >= from);
            let until = resumes.map(|(_, at)| *at).min().unwrap_or(DateTime::<Utc>::MAX_UTC);
            for end in ends.iter().filter(|end| end.triggered_by.is_none()) {
                let Some(stored_at) = at.get(&end.id.to_string()) else { continue };
                // What was due before may be late: its instance may have died.
                if end.scheduled_for > *from && *stored_at < until {
                    let (id, due) = (end.id, end.scheduled_for);
                    return Err(format!("{id}, due at {due}, was sent though paused at {from}"));
                }
            }
        }
        Ok(())
    }
}
