//! Size limits of a record, so that a schedule that can be created can also be changed and stopped.
//!
//! A record is one NATS message, and a server accepts messages up to its `max_payload`. What users write is
//! refused if it would leave no room for what comes later: what the engine writes (attempts), changes that
//! are not announced yet, runs by hand with payloads of their own, and the payload that an update replaces
//! while it is about to be sent; whatever waits leaves room for one such payload. A record that is too large
//! all the same, because it is older or the server accepts less than before, drops dispensable parts when it
//! is written.

use super::{Attempt, Change, MAX_PAYLOAD_BYTES, Payload, Phase, Pins, Schedule, Status};
use crate::stored::Few;
use crate::text::cut;

/// Room for the headers of a write, with the longest key names in them.
const HEADERS: usize = 4 * 1024;
/// Room that what users write leaves to the engine and to changes: some 64 attempts, and events.
const RESERVE: usize = 40 * 1024;
/// Room that runs by hand leave to later changes, and to occurrences that are claimed.
const CHANGES: usize = 12 * 1024;
/// Maximum growth of an attempt: claimed or cancelled, it says by whom; reported, it has the worker's report,
/// in its shortest form where more does not fit. So no report is refused, whatever else is in the record.
const GROWTH: usize = 512;
/// Bytes of texts that are cut when nothing else is left to drop, and of those that are cut even then.
const SHORT: usize = 400;
const LEAST: usize = 80;
/// Size of a change that is not announced yet, in its shortest form and without the schedule's name.
const BARE_CHANGE: usize = 512;
/// Number of unannounced changes for which there is always room.
const FEW_CHANGES: usize = 3;

/// Sizes that a server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    max_payload: usize,
}

/// What is too large, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {bytes} bytes; this NATS server (max_payload {max_payload}) allows {most}")]
pub struct TooLarge {
    /// The part that is too large: a field of a request, or the record.
    pub what: &'static str,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its allowed size in bytes.
    pub most: usize,
    /// The server's `max_payload`.
    pub max_payload: usize,
}

impl Room {
    /// The room under a server's limit of `max_payload` bytes a message.
    pub fn of(max_payload: usize) -> Self {
        Self { max_payload }
    }

    /// The largest record that can be written.
    pub fn record(self) -> usize {
        self.max_payload - HEADERS.min(self.max_payload / 4)
    }

    /// The largest definition of a schedule.
    fn definition(self) -> usize {
        self.record().saturating_sub(RESERVE.min(self.max_payload / 2))
    }

    /// The largest payload: beside it there is room for the payload of a run by hand, and for one more that
    /// was replaced while it was about to be sent.
    pub fn payload(self) -> usize {
        (self.definition() / 3).min(MAX_PAYLOAD_BYTES)
    }

    /// Checks that a record leaves room for what comes later. What was already too large in `old` may stay
    /// so.
    ///
    /// # Errors
    /// What is too large.
    pub fn admits(self, old: Option<&Schedule>, new: &Schedule) -> Result<(), TooLarge> {
        let payload = |schedule: &Schedule| schedule.spec.command_payload.as_str().len();
        self.check("command_payload", old.map(payload), payload(new), self.payload())?;
        let grown = old.map(definition);
        self.check("the schedule", grown, definition(new), self.definition())?;
        // Runs by hand may wait in it.
        let grows = grown.is_some_and(|old| definition(new) > old);
        if grows { self.leaves_room(new) } else { Ok(()) }
    }

    /// Checks that a record with a new run leaves room for the changes to come.
    ///
    /// # Errors
    /// The run's own payload is too large, or the record with the run.
    pub fn admits_run(self, new: &Schedule) -> Result<(), TooLarge> {
        self.leaves_room(new).map_err(|record| {
            let own = new.attempts.last().and_then(|run| run.manual.as_ref()?.payload.as_ref());
            own.map_or(record, |own| {
                let (what, bytes) = ("override_payload", own.as_str().len());
                let most = bytes.saturating_sub(record.bytes - record.most);
                TooLarge { what, bytes, most, ..record }
            })
        })
    }

    /// Checks that a record with a new change leaves room for claims, and for the reports on what is under
    /// way: if the audit stream accepts nothing for long, unannounced changes fill the record.
    ///
    /// # Errors
    /// The record with the change is too large.
    pub fn admits_change(self, new: &Schedule) -> Result<(), TooLarge> {
        if new.events.len() <= FEW_CHANGES {
            return Ok(());
        }
        let (bytes, growth) = Self::least(new);
        let most = self.record().saturating_sub(growth + self.claims() + self.pin(new));
        let what = "the schedule with changes that are not announced yet";
        self.check(what, None, bytes, most)
    }

    /// Checks the size of the value of a key by a name, such as a calendar.
    ///
    /// # Errors
    /// It is too large for a message.
    pub fn admits_value(self, what: &'static str, bytes: usize) -> Result<(), TooLarge> {
        self.check(what, None, bytes, self.record())
    }

    /// Whether a record with claimed occurrences leaves room for the reports on all that is under way.
    pub fn admits_claims(self, new: &Schedule) -> bool {
        let most = self.record();
        // Nearly always there is plenty of room, and each firing runs this check.
        if rough(new) <= most / 2 {
            return true;
        }
        let (bytes, growth) = Self::least(new);
        // An attempt that is alone under way is claimed all the same: nothing else could end and make room
        // for it.
        let under_way = |attempt: &&Attempt| !attempt.waits();
        let is_alone = new.attempts.iter().filter(under_way).nth(1).is_none();
        let pin = if is_alone { 0 } else { self.pin(new) };
        bytes + growth + self.claims() + pin <= most
    }

    /// Checks that a record to which an update added something for what is about to be sent can still be
    /// changed and reported on. For one payload, and the fields of an ordinary number of attempts, what waits
    /// has left room.
    ///
    /// # Errors
    /// The payload, together with those that it replaces, or the record is too large.
    pub fn admits_pins(self, new: &Schedule, pins: Pins) -> Result<(), TooLarge> {
        if pins == Pins::None {
            return Ok(());
        }
        let (bytes, growth) = Self::least(new);
        let name = serde_json::to_vec(&new.spec.name).map_or(0, |json| json.len());
        let changes = FEW_CHANGES.saturating_sub(new.events.len()) * (BARE_CHANGE + name);
        let most = self.record().saturating_sub(growth + changes);
        let what = "the schedule with what is about to be sent";
        match (pins, self.check(what, None, bytes, most)) {
            (_, Ok(())) => Ok(()),
            (Pins::None | Pins::Fields, Err(record)) => Err(record),
            (Pins::Payload, Err(record)) => {
                let (what, bytes) = ("command_payload", new.spec.command_payload.as_str().len());
                let most = bytes.saturating_sub(record.bytes - record.most);
                Err(TooLarge { what, bytes, most, ..record })
            }
        }
    }

    /// Size of a record in its shortest form, and the most by which reports make it grow.
    fn least(new: &Schedule) -> (usize, usize) {
        let mut least = new.clone();
        STEPS.iter().for_each(|step| step(&mut least));
        (encode(&least).len(), GROWTH * new.attempts.len() + new.recent_growth())
    }

    /// Half of what runs by hand leave is for occurrences, half for later changes.
    fn claims(self) -> usize {
        CHANGES.min(self.max_payload / 6) / 2
    }

    /// Room for the payload that an update replaces while it is about to be sent; it is kept once. None if
    /// one is kept already, or if the payload is larger than what is accepted now: then nothing can be
    /// promised.
    fn pin(self, schedule: &Schedule) -> usize {
        let is_kept = |attempt: &Attempt| {
            attempt.pinned.as_ref().is_some_and(|pinned| pinned.command_payload.is_some())
        };
        let bytes = schedule.spec.command_payload.as_str().len();
        let is_promised = bytes <= self.payload() && !schedule.attempts.iter().any(is_kept);
        if is_promised { bytes } else { 0 }
    }

    /// Checks that a record can still be changed, its attempts claimed or cancelled.
    fn leaves_room(self, new: &Schedule) -> Result<(), TooLarge> {
        let changes = CHANGES.min(self.max_payload / 6);
        let most = self
            .record()
            .saturating_sub(changes + self.pin(new))
            .saturating_sub(GROWTH * new.attempts.len() + new.recent_growth());
        // Events can be shortened.
        let bytes = encode(&Schedule { events: Few::new(), ..new.clone() }).len();
        self.check("the schedule with what waits", None, bytes, most)
    }

    fn check(
        self,
        what: &'static str,
        old: Option<usize>,
        bytes: usize,
        most: usize,
    ) -> Result<(), TooLarge> {
        if bytes <= most || old.is_some_and(|old| bytes <= old) {
            return Ok(());
        }
        Err(TooLarge { what, bytes, most, max_payload: self.max_payload })
    }

    /// The stored form of a record, shortened if it would be too large.
    ///
    /// # Errors
    /// The record is too large even in its shortest form.
    pub fn fit(self, schedule: &Schedule, whole: Vec<u8>) -> Result<Vec<u8>, TooLarge> {
        let most = self.record();
        if whole.len() <= most {
            return Ok(whole);
        }
        let (mut bytes, mut less) = (whole.len(), schedule.clone());
        for step in STEPS {
            step(&mut less);
            let written = encode(&less);
            if written.len() <= most {
                return Ok(written);
            }
            bytes = written.len();
        }
        Err(TooLarge { what: "the record", bytes, most, max_payload: self.max_payload })
    }
}

/// What a record that is too large drops, one step after the other.
const STEPS: [fn(&mut Schedule); 5] =
    [without_values, without_responses, with_short_texts, with_least_texts, without_unused_payload];

/// Drops the old and new values from pending events.
fn without_values(schedule: &mut Schedule) {
    schedule.events.iter_mut().for_each(|event| *event = event.without_values());
}

/// Drops what workers returned from reports.
fn without_responses(schedule: &mut Schedule) {
    for attempt in &mut schedule.attempts {
        if let Phase::Reported { report, .. } = attempt.phase.within() {
            report.truncated |= report.response.take().is_some();
        }
    }
}

/// Reduces events to what was done, to what and by whom, and cuts texts written by people.
fn with_short_texts(schedule: &mut Schedule) {
    schedule.events.iter_mut().for_each(|event| *event = Change::bare(event));
    for attempt in &mut schedule.attempts {
        if let Phase::Reported { report, .. } = attempt.phase.within()
            && let Some(message) = &mut report.message
        {
            cut(message, SHORT);
        }
    }
}

/// Cuts what workers and cancelling users say to a line.
fn with_least_texts(schedule: &mut Schedule) {
    for attempt in &mut schedule.attempts {
        if let Some(cancel) = &mut attempt.cancel {
            cut(&mut cancel.by, LEAST);
            cancel.reason.iter_mut().for_each(|reason| cut(reason, LEAST));
        }
        if let Phase::Reported { report, .. } = attempt.phase.within() {
            let texts = [&mut report.message, &mut report.error_type, &mut report.by];
            texts.into_iter().flatten().for_each(|text| cut(text, LEAST));
        }
    }
}

/// Drops the payload of a schedule that was deleted for good and is not under way: nobody sends it any more.
fn without_unused_payload(schedule: &mut Schedule) {
    let ended = |attempt: &Attempt| {
        matches!(*attempt.phase, Phase::Reported { .. } | Phase::Skipped { .. })
    };
    let is_gone = schedule.purge && schedule.status == Status::Deleted;
    if is_gone && schedule.attempts.iter().all(ended) {
        std::sync::Arc::make_mut(&mut schedule.spec).command_payload = Payload::default();
    }
}

/// Size of what users wrote.
fn definition(schedule: &Schedule) -> usize {
    serde_json::to_vec(&*schedule.spec).map_or(0, |json| json.len())
}

/// Rough size of a record, at least half of the true one.
fn rough(schedule: &Schedule) -> usize {
    let run = |attempt: &Attempt| {
        let own = attempt.manual.as_ref().and_then(|manual| manual.payload.as_ref());
        let kept = attempt.pinned.as_ref().and_then(|pinned| pinned.command_payload.as_ref());
        own.into_iter().chain(kept).map(|payload| payload.as_str().len()).sum::<usize>() + 2048
    };
    let attempts: usize = schedule.attempts.iter().map(run).sum();
    let events: usize = schedule.events.iter().map(|event| event.body.get().len() + 256).sum();
    let payload = schedule.spec.command_payload.as_str().len();
    // Twice, because there must be room to keep a second one.
    2 * payload + attempts + events + schedule.ended.len() * 512 + 8192
}

fn encode(schedule: &Schedule) -> Vec<u8> {
    serde_json::to_vec(schedule).unwrap_or_default()
}

#[cfg(test)]
mod tests;
