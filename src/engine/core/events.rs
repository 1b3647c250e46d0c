//! What the core is told ([`Event`]), and what it wants done ([`Action`]).

use uuid::Uuid;

use super::{Armed, Done, Lane};
use crate::execution::Execution;

/// Something that has happened.
pub(crate) enum Event<A> {
    /// A schedule's record changed, or something about it that the record does not show.
    Changed(Uuid),
    /// Instances came or went.
    Members,
    /// What holds for all schedules changed; whether changes of it wait to be announced.
    Overall { has_news: bool },
    /// Slots of groups have been taken or freed.
    Groups,
    /// There were no changes left to announce.
    OverallAnnounced,
    /// Everything that others wrote during a break has been seen.
    Sees,
    /// Whether claims may be made from now on.
    MayClaim(bool),
    /// The schedule's record is free for the next write.
    Free(Uuid),
    /// The same, but the work did not get done: look again later.
    Later(Uuid),
    /// Acting on a claim of the schedule failed unexpectedly: look again later.
    Failed(Uuid),
    /// Finished work could not be folded into the record.
    Back(Uuid, Done),
    /// A claim made ahead of its time was accepted.
    Armed(Armed<A>),
    /// An execution's outcome is in the history.
    Ended(Box<Execution>),
    /// Changes of the schedule are in the audit stream.
    Announced(Uuid, Vec<Uuid>),
    /// The schedules that follow this one have been told of the ends of these executions.
    Told(Uuid, Vec<Uuid>),
    /// The correction of a record whose times lay ahead has ended, whether or not it was written.
    Corrected(Uuid),
    /// A permit was given back.
    Returned(Lane),
    /// Nothing new may be claimed.
    Drain,
    /// No work may begin at all.
    Close,
}

/// Something to do now.
pub(crate) enum Action<A> {
    /// Fold `done` into a schedule's record, and claim what is due.
    Work {
        id: Uuid,
        done: Done,
        claim: Claiming,
        /// Whether it may take a slot of its group, if it belongs to one.
        admitted: bool,
        lane: Lane,
        /// Whether something is due.
        is_due: bool,
    },
    /// Make an attempt that was armed, now that its time has come.
    Release(A),
    /// Announce a schedule's changes.
    Announce(Uuid),
    /// Announce the changes of what holds for all schedules.
    AnnounceOverall,
    /// Tell the schedules that follow this one of what has ended.
    Tell(Uuid),
    /// Correct a schedule whose times lie ahead: plan it again from now.
    Correct(Uuid),
    /// Stop an execution, if it is ours.
    Stop(Uuid),
    /// Let go of executions whose record is gone.
    Forget(Vec<Uuid>),
}

/// What a piece of work may claim, besides settling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claiming {
    /// Whatever is due.
    All,
    /// Only what does not wait for replies.
    Fast,
    /// Nothing that is sent: only entries of what was skipped.
    Skips,
    /// Nothing.
    None,
}
