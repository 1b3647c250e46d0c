//! What became of a time, in a sentence.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};

use uuid::Uuid;

use super::periods::Then;
use super::{Became, CausingChange, ExplainedTime, LATE_MS};
use crate::execution::Execution;
use crate::plan::{MAX_CATCH_UP, MAX_CLAIMED};
use crate::schedule::{CatchUp, ChangeKind, Group, ScheduleType, SkipCause};
use crate::text::within;

/// Bytes of an error's message that a sentence has room for.
const SHORT: usize = 200;
/// Executions that a sentence names.
const NAMED: usize = 3;

/// All that a sentence says.
pub(super) struct Reason<'a> {
    pub(super) told: &'a ExplainedTime,
    pub(super) event: Option<&'a Execution>,
    /// What it waits for.
    pub(super) waits: Option<Waits>,
    /// What the schedule was when it was decided, if that is known.
    pub(super) then: Option<&'a Then>,
    /// When it is due.
    pub(super) due: Option<DateTime<Utc>>,
}

/// What an occurrence waits for.
#[derive(Clone, Debug)]
pub(super) enum Waits {
    /// Its next attempt, at a time.
    Retry(DateTime<Utc>),
    /// The end of an execution before it.
    Behind(Uuid),
    /// A slot of its group.
    Slot(Slots),
    /// The end of a pause.
    Resumption,
    /// A user to switch the schedule on.
    SwitchingOn,
    /// Nothing: it is about to be made.
    Turn,
}

/// Who has the slots of a group.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    name: String,
    limit: Option<u16>,
    taken_by: Vec<Uuid>,
}

impl Slots {
    pub(super) fn new(name: String, group: Option<&Group>) -> Self {
        let slots = group.into_iter().flat_map(|group| &group.slots);
        let taken_by = slots.map(|slot| slot.execution_id).collect();
        Self { name, limit: group.map(|group| group.limit), taken_by }
    }

    fn sentence(&self) -> String {
        let Self { name, limit, taken_by } = self;
        let Some(limit) = limit else {
            return format!("waits for a slot of the group {name}, which is not there");
        };
        if taken_by.len() < usize::from(*limit) {
            return format!("waits for its turn in the group {name}");
        }
        if taken_by.is_empty() {
            return format!("waits, because the group {name} holds everything: its limit is 0");
        }
        let mut text = format!("waits for a slot of the group {name}: all are taken, by ");
        for (n, execution) in taken_by.iter().take(NAMED).enumerate() {
            let _ = write!(text, "{}execution {execution}", if n > 0 { ", " } else { "" });
        }
        if let Some(more @ 1..) = taken_by.len().checked_sub(NAMED) {
            let _ = write!(text, " and {more} more");
        }
        text
    }
}

impl Reason<'_> {
    pub(super) fn sentence(&self) -> String {
        let mut text = match self.told.outcome {
            Became::Success => self.success(),
            Became::Failed => format!("failed{}", self.error()),
            Became::Running => "is under way".to_owned(),
            Became::Waiting => self.waiting(),
            Became::Skipped => format!("skipped, because {}", self.cause()),
            Became::Cancelled => "cancelled".to_owned(),
            Became::Corrected => {
                "taken for due by an instance whose clock was ahead, and corrected".to_owned()
            }
            Became::Excluded => self.excluded(),
            Became::Paused if self.all_paused() => {
                format!("all schedules are paused{}", self.by(" by "))
            }
            Became::Paused => format!("the schedule is paused{}", self.by(" by ")),
            Became::SwitchedOff => format!("the schedule is switched off{}", self.by(" by ")),
            Became::Due => "due, and nothing has been done about it yet".to_owned(),
            Became::Coming => self.coming(),
            Became::NotDue => "not due".to_owned(),
            Became::Forgotten => "acted on, but the history no longer has it".to_owned(),
        };
        if self.told.outcome == Became::Cancelled
            && let Some(by) = self.event.and_then(|event| event.cancelled_by.as_deref())
        {
            let _ = write!(text, " by {by}");
        }
        if let Some(by) = &self.told.triggered_by {
            let _ = write!(text, "; run by {by}");
        }
        text
    }

    fn excluded(&self) -> String {
        match self.told.calendars.as_deref() {
            None => "left out by its calendars; which it named then is not known".to_owned(),
            Some([name]) => format!("left out by the calendar {name}"),
            Some(names) => format!("left out by the calendars {}", names.join(", ")),
        }
    }

    fn all_paused(&self) -> bool {
        let all = ChangeKind::PausedAll.event();
        self.told.change.as_ref().is_some_and(|change| change.event == all)
    }

    fn success(&self) -> String {
        let mut text = "ran".to_owned();
        if let Some(late_ms) = self.told.late_ms.filter(|late| *late >= LATE_MS) {
            let (seconds, tenths) = (late_ms / 1000, late_ms % 1000 / 100);
            let _ = write!(text, " {seconds}.{tenths} s late");
            text.push_str(&self.down());
        }
        if let Some(attempts) = self.told.attempts.filter(|attempts| *attempts > 1) {
            let _ = write!(text, ", at attempt {attempts}");
        }
        text
    }

    fn waiting(&self) -> String {
        match &self.waits {
            Some(Waits::Retry(at)) => {
                format!("failed{}; tried again at {}", self.error(), shown(*at))
            }
            Some(Waits::Behind(id)) => format!("waits until execution {id} has ended"),
            Some(Waits::Slot(slots)) => slots.sentence(),
            Some(Waits::Resumption) => "waits until the pause has ended".to_owned(),
            Some(Waits::SwitchingOn) => "waits until the schedule is switched on".to_owned(),
            Some(Waits::Turn) => "is about to be made".to_owned(),
            None => "waits".to_owned(),
        }
    }

    fn coming(&self) -> String {
        let at = self.told.scheduled_for;
        match self.due {
            Some(due) if self.told.count == 1 && due > at => {
                format!("lies ahead; due at {} by its jitter", shown(due))
            }
            _ => "lies ahead".to_owned(),
        }
    }

    fn error(&self) -> String {
        let mut text = String::new();
        if let Some(attempts) = self.told.attempts.filter(|attempts| *attempts > 1) {
            let _ = write!(text, " at attempt {attempts}");
        }
        if let Some(kind) = &self.told.error_type {
            let _ = write!(text, ", {kind}");
        }
        if let Some(message) = self.event.and_then(|event| event.error_message.as_deref()) {
            let _ = write!(text, ": {}", within(message, SHORT));
        }
        text
    }

    /// Why it was skipped.
    fn cause(&self) -> String {
        match self.told.cause {
            Some(SkipCause::Missed) => format!("{}{}", self.missed(), self.down()),
            Some(SkipCause::Coalesced) => {
                format!("a later one was due as well and stood for it{}", self.down())
            }
            Some(SkipCause::Overlap) => match self.told.blocked_by {
                Some(id) => format!("execution {id} was still under way"),
                None => "an earlier execution was still under way, or waited".to_owned(),
            },
            Some(SkipCause::Limit) => self.limit(),
            Some(SkipCause::Paused) => match &self.told.change {
                Some(change) if change.event == "updated" => {
                    format!("the schedule was switched off{}", self.by(" by "))
                }
                _ if self.all_paused() => {
                    format!("all schedules were paused{}", self.by(" by "))
                }
                _ => format!("the schedule was paused{}", self.by(" by ")),
            },
            Some(SkipCause::Changed) => format!("its timing was changed{}", self.by(" by ")),
            Some(SkipCause::Deleted) => format!("the schedule was deleted{}", self.by(" by ")),
            Some(SkipCause::Other(word)) => word.as_str().to_owned(),
            None => "the history does not say why".to_owned(),
        }
    }

    fn missed(&self) -> String {
        match self.then.map(|then| (then.catch_up, then.misfire_grace_seconds)) {
            None => "nothing acted on it in time; what its grace was then is not known".to_owned(),
            Some((CatchUp::None, _)) => {
                "nothing acted on it in time, and catch_up was none".to_owned()
            }
            Some((_, grace)) => format!("nothing acted on it within its grace of {grace} s"),
        }
    }

    fn limit(&self) -> String {
        let many = format!("more than {MAX_CATCH_UP} were to be made up for");
        let claimed = format!(
            "as many executions of the schedule were being sent as may be at once, {MAX_CLAIMED}, or the history did not \
             take their outcomes"
        );
        let full = "its record had no room for another: executions had not ended, or the history did not take their \
                    outcomes";
        match self.then.map(|then| (then.timing.schedule_type, then.catch_up)) {
            Some((ScheduleType::Dependent, _)) => full.to_owned(),
            Some((_, CatchUp::All)) => many,
            Some(_) => claimed,
            None => format!("of a limit; which, is not known: {many}, or {claimed}"),
        }
    }

    fn by(&self, word: &str) -> String {
        let Some(CausingChange { actor, time, reason, .. }) = &self.told.change else {
            return String::new();
        };
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{word}{actor} at {}{reason}", shown(*time))
    }

    fn down(&self) -> String {
        let Some(down) = self.told.down else { return String::new() };
        format!("; no instance ran from {} to {}", shown(down.from), shown(down.to))
    }
}

pub(super) fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
