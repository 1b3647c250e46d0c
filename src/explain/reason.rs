//! What became of a time, in a sentence.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Became, CausingChange, ExplainedTime, LATE_MS};
use crate::execution::Execution;
use crate::schedule::{CatchUp, ChangeKind, Schedule, SkipCause};
use crate::text::within;

/// Bytes of an error's message that a sentence has room for.
const SHORT: usize = 200;

/// All that a sentence says.
pub(super) struct Reason<'a> {
    pub(super) told: &'a ExplainedTime,
    pub(super) event: Option<&'a Execution>,
    /// Until when it waits.
    pub(super) waits: Option<DateTime<Utc>>,
    pub(super) schedule: &'a Schedule,
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
        let names: Vec<&str> = self.schedule.spec.timing.calendars().collect();
        match names[..] {
            [name] => format!("left out by the calendar {name}"),
            _ => format!("left out by the calendars {}", names.join(", ")),
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
        let Some(due_at) = self.waits else { return "waits".to_owned() };
        match &self.told.attempts {
            Some(_) => format!("failed{}; tried again at {}", self.error(), shown(due_at)),
            None => match &self.schedule.spec.group {
                Some(group) => {
                    format!(
                        "waits for a slot of the group {}, or for the execution before it",
                        **group
                    )
                }
                None => "waits until the execution before it has ended".to_owned(),
            },
        }
    }

    fn coming(&self) -> String {
        let at = self.told.scheduled_for;
        let due = self.schedule.due(at);
        if self.told.count == 1 && due > at {
            return format!("lies ahead; due at {} by its jitter", shown(due));
        }
        "lies ahead".to_owned()
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
            Some(SkipCause::Missed) => {
                let (spec, down) = (&self.schedule.spec, self.down());
                if spec.catch_up == CatchUp::None {
                    return format!("nothing acted on it in time, and catch_up is none{down}");
                }
                let grace = spec.misfire_grace_seconds;
                format!("nothing acted on it within its grace of {grace} s{down}")
            }
            Some(SkipCause::Coalesced) => {
                format!("a later one was due as well and stood for it{}", self.down())
            }
            Some(SkipCause::Overlap) => match self.told.blocked_by {
                Some(id) => format!("execution {id} was still under way"),
                None => "an earlier execution was still under way".to_owned(),
            },
            Some(SkipCause::Limit) => {
                "as many executions of the schedule as may be under way had not been settled: they had \
                 not ended, or the history did not take their outcomes"
                    .to_owned()
            }
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

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
