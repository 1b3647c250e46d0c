//! The tables of transitions: what each event makes of a schedule or an attempt, by its state.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::moment::Moment as _;
use crate::schedule::{Attempt, Ending, Phase, Report, Schedule, SkippedRange, Status};

/// An event in the life of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleEvent {
    /// It is to be paused.
    Pause,
    /// It is to be resumed.
    Resume,
    /// It gets a new timing.
    Plan,
    /// It has nothing left to do.
    Finish(Finish),
    /// It is deleted, softly or for good.
    Delete,
    /// It is to be as it was before its deletion, or finished if it has nothing left to do.
    Restore {
        /// The former status.
        to: Status,
        /// How it has finished, if it has nothing left to do.
        finish: Option<Finish>,
    },
}

/// How a schedule ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It has had its last occurrence.
    Completed,
    /// Its only occurrence failed for good.
    Failed,
}

impl Finish {
    fn status(self) -> Status {
        match self {
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
        }
    }
}

/// Why an event is refused for a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// It has ended.
    HasEnded,
    /// It is paused, and ends once it is resumed.
    IsPaused,
    /// It is not paused.
    NotPaused,
    /// It is deleted.
    IsDeleted,
    /// It is not deleted.
    NotDeleted,
}

impl Status {
    /// The status after an event.
    ///
    /// # Errors
    /// The event is refused in this status.
    pub fn after(self, event: ScheduleEvent) -> Result<Self, NotNow> {
        use ScheduleEvent::{Delete, Finish, Pause, Plan, Restore, Resume};
        match (self, event) {
            (_, Delete) => Ok(Self::Deleted),

            (Self::Active | Self::Paused, Pause) => Ok(Self::Paused),
            (Self::Completed | Self::Failed, Pause) => Err(NotNow::HasEnded),

            (Self::Paused, Resume) => Ok(Self::Active),
            (Self::Active | Self::Completed | Self::Failed, Resume) => Err(NotNow::NotPaused),

            (Self::Active | Self::Completed | Self::Failed, Plan) => Ok(Self::Active),
            (Self::Paused, Plan) => Ok(Self::Paused),

            (Self::Active, Finish(how)) => Ok(how.status()),
            (Self::Paused, Finish(_)) => Err(NotNow::IsPaused),
            (Self::Completed | Self::Failed, Finish(_)) => Err(NotNow::HasEnded),

            (Self::Deleted, Pause | Resume | Plan | Finish(_)) => Err(NotNow::IsDeleted),

            (Self::Deleted, Restore { to: Self::Active | Self::Paused, finish: Some(how) }) => {
                Ok(how.status())
            }
            // The record does not say what it was.
            (Self::Deleted, Restore { to: Self::Deleted, .. }) => Ok(Self::Active),
            (Self::Deleted, Restore { to, .. }) => Ok(to),
            (_, Restore { .. }) => Err(NotNow::NotDeleted),
        }
    }
}

impl Schedule {
    /// Applies an event.
    ///
    /// # Errors
    /// The event is refused in this status; nothing has changed.
    pub fn on(&mut self, event: ScheduleEvent) -> Result<(), NotNow> {
        let before = *self.status;
        self.status.0 = before.after(event)?;
        match event {
            ScheduleEvent::Delete if before != Status::Deleted => self.deleted_from = Some(before),
            ScheduleEvent::Restore { .. } => self.deleted_from = None,
            _ => {}
        }
        self.forget_resumption();
        Ok(())
    }
}

/// An event in the life of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEvent {
    /// An instance claims it.
    Claim {
        /// The instance.
        by: Uuid,
        /// When.
        at: DateTime<Utc>,
        /// When other instances may take it over.
        until: DateTime<Utc>,
    },
    /// An instance takes over what another has begun.
    TakeOver {
        /// The instance.
        by: Uuid,
        /// When other instances may take it over again, if it is still to be made.
        until: DateTime<Utc>,
    },
    /// A worker has its command.
    HandOver {
        /// When the attempt began.
        since: DateTime<Utc>,
        /// When the worker must have reported.
        deadline: DateTime<Utc>,
        /// How long the worker may be silent.
        heartbeat_seconds: Option<u32>,
    },
    /// Its worker is heard, possibly before the instance knows that the worker has the command.
    Hear {
        /// When.
        at: DateTime<Utc>,
        /// The worker's progress, in percent.
        progress: Option<u8>,
        /// When the worker must have reported, if not known yet.
        deadline: DateTime<Utc>,
        /// How long the worker may be silent, if not known yet.
        heartbeat_seconds: Option<u32>,
    },
    /// It has ended, by its worker's report or because of its silence.
    End {
        /// The instance that writes this to the history.
        by: Uuid,
        /// How it ended.
        report: Box<Report>,
    },
    /// It is to be stopped.
    Stop {
        /// The instance that writes this to the history.
        by: Uuid,
        /// The report on the stopped attempt.
        report: Box<Report>,
    },
    /// What it waited for is over.
    LetGo {
        /// Since when it is over.
        at: DateTime<Utc>,
    },
    /// Its times lay in the future.
    PutBack {
        /// The current time.
        now: DateTime<Utc>,
    },
    /// Less was skipped than recorded.
    Narrow {
        /// What was really skipped.
        range: SkippedRange,
    },
}

/// Why an event is refused for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has not begun.
    NotBegun,
    /// Its command is being sent.
    IsBeingSent,
    /// It has ended: in this way, or it was never made.
    HasEnded(Option<Ending>),
    /// The event is not possible in its phase.
    OutOfTurn,
}

impl Phase {
    /// The phase after an event.
    ///
    /// # Errors
    /// The event is refused in this phase.
    pub fn after(&self, event: AttemptEvent) -> Result<Self, Refused> {
        use AttemptEvent::{Claim, End, HandOver, Hear, LetGo, Narrow, PutBack, Stop, TakeOver};
        Ok(match (self, event) {
            (Self::Waiting { .. }, Claim { by, at, until }) => Self::Claimed { by, at, until },
            (Self::Waiting { .. }, Stop { by, report }) => {
                Self::Reported { by, since: report.at, report }
            }
            (Self::Waiting { due_at }, LetGo { at }) => Self::Waiting { due_at: at.max(*due_at) },
            (Self::Waiting { due_at }, PutBack { now }) => {
                Self::Waiting { due_at: now.min(*due_at) }
            }

            // Keep the time of the first claim: the command may have been sent since then.
            (Self::Claimed { at, .. }, TakeOver { by, until }) => {
                Self::Claimed { by, at: *at, until }
            }
            (Self::Claimed { .. }, HandOver { since, deadline, heartbeat_seconds }) => {
                let (heard_at, progress) = (None, None);
                Self::Running { since, deadline, heartbeat_seconds, heard_at, progress }
            }
            (
                Self::Claimed { at: since, .. },
                Hear { at, progress, deadline, heartbeat_seconds },
            ) => {
                let (since, heard_at) = (*since, Some(at));
                Self::Running { since, deadline, heartbeat_seconds, heard_at, progress }
            }
            (
                Self::Running { since, deadline, heartbeat_seconds, progress: before, .. },
                Hear { at, progress, .. },
            ) => Self::Running {
                since: *since,
                deadline: *deadline,
                heartbeat_seconds: *heartbeat_seconds,
                heard_at: Some(at),
                progress: progress.or(*before),
            },
            (Self::Claimed { at: since, .. } | Self::Running { since, .. }, End { by, report }) => {
                Self::Reported { by, since: *since, report }
            }
            (Self::Running { since, .. }, Stop { by, report }) => {
                Self::Reported { by, since: *since, report }
            }
            (Self::Claimed { .. }, Stop { .. }) => return Err(Refused::IsBeingSent),
            (
                Self::Running { since, deadline, heartbeat_seconds, heard_at, progress },
                PutBack { now },
            ) if *since > now => Self::Running {
                since: now,
                deadline: now.later(*deadline - *since),
                heartbeat_seconds: *heartbeat_seconds,
                heard_at: heard_at.map(|at| at.min(now)),
                progress: *progress,
            },

            (Self::Reported { since, report, .. }, TakeOver { by, .. }) => {
                Self::Reported { by, since: *since, report: report.clone() }
            }
            (Self::Skipped { range, .. }, TakeOver { by, .. }) => {
                Self::Skipped { by, range: *range }
            }
            (Self::Corrected { range, .. }, TakeOver { by, .. }) => {
                Self::Corrected { by, range: *range }
            }
            (Self::Skipped { by, .. }, Narrow { range }) => Self::Skipped { by: *by, range },

            (
                Self::Waiting { .. },
                End { .. } | Hear { .. } | HandOver { .. } | TakeOver { .. },
            ) => {
                return Err(Refused::NotBegun);
            }
            (Self::Reported { report, .. }, End { .. } | Stop { .. } | Hear { .. }) => {
                return Err(Refused::HasEnded(Some(report.ending)));
            }
            (
                Self::Skipped { .. } | Self::Corrected { .. },
                End { .. } | Stop { .. } | Hear { .. },
            ) => return Err(Refused::HasEnded(None)),
            (
                _,
                Claim { .. }
                | TakeOver { .. }
                | HandOver { .. }
                | LetGo { .. }
                | PutBack { .. }
                | Narrow { .. },
            ) => return Err(Refused::OutOfTurn),
        })
    }
}

impl Attempt {
    /// Applies an event.
    ///
    /// # Errors
    /// The event is refused in this phase; nothing has changed.
    pub fn on(&mut self, event: AttemptEvent) -> Result<(), Refused> {
        self.phase.0 = self.phase.after(event)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
