//! Pausing a schedule, and resuming it: by hand, or when a pause ends by itself.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FieldFault, NotNow, Schedule, ScheduleEvent, SkipCause, Status, instant};
use crate::stored::{Unknown, keeps_unknown};
use crate::trigger::Trigger;

/// The end of a pause that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Resumption {
    /// When the schedule is resumed.
    pub at: DateTime<Utc>,
    /// The correlation id of the request that paused it, which its resumption carries too.
    pub correlation_id: String,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Resumption);

impl Resumption {
    /// The end of a pause that is requested at `now`; rounded up to milliseconds.
    ///
    /// # Errors
    /// It is not in the future, or further ahead than `lookahead`.
    pub fn new(
        at: DateTime<Utc>,
        now: DateTime<Utc>,
        lookahead: Duration,
        correlation_id: &str,
    ) -> Result<Self, FieldFault> {
        match instant::past(at, now).or_else(|| instant::too_far(at, now, lookahead)) {
            Some(reason) => Err(FieldFault::new("resume_at", reason)),
            None => Ok(Self {
                at: instant::whole_milliseconds(at),
                correlation_id: correlation_id.to_owned(),
                unknown: Unknown::default(),
            }),
        }
    }
}

impl Schedule {
    /// When its pause ends by itself.
    pub fn resume_at(&self) -> Option<DateTime<Utc>> {
        self.resumption.as_ref().map(|resumption| resumption.at)
    }

    /// Pauses it. What a former pause said of its reason and its end is replaced.
    ///
    /// # Errors
    /// Its status does not allow that; nothing has changed.
    pub fn pause(
        &mut self,
        reason: Option<&str>,
        resumption: Option<Resumption>,
    ) -> Result<(), NotNow> {
        self.on(ScheduleEvent::Pause)?;
        self.pause_reason = reason.map(Into::into);
        self.resumption = resumption.map(Box::new);
        Ok(())
    }

    /// Resumes it, after a pause that ended at `at`. What was due by `last` is skipped as paused: one entry, to be
    /// written to the history by instance `by`. What waited is let go. A schedule with nothing left ends.
    ///
    /// # Errors
    /// It is not paused; nothing has changed.
    pub fn resume(
        &mut self,
        trigger: &Trigger,
        at: DateTime<Utc>,
        last: DateTime<Utc>,
        by: Uuid,
    ) -> Result<(), NotNow> {
        self.on(ScheduleEvent::Resume)?;
        self.pause_reason = None;
        self.let_go(at);
        self.skip_due(trigger, last, SkipCause::Paused, by);
        self.consecutive_failures = 0;
        self.expect_from(at);
        // Its last occurrence may have ended while it was paused.
        self.end_if_over(at);
        Ok(())
    }

    /// Forgets the end of a pause that is over. A deleted schedule keeps it, for its restoration.
    pub(super) fn forget_resumption(&mut self) {
        if !matches!(*self.status, Status::Paused | Status::Deleted) {
            self.resumption = None;
        }
    }
}
