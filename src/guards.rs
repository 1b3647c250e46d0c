//! The guards of the protocol, each by its name.
//!
//! A guard is a check without which something would be lost, doubled, early or late in some unlucky order of
//! events. Whether a test would notice that one is gone can only be seen by leaving it out. So what stands behind the
//! [port](crate::port) says which of them hold, as a type: behind NATS [all](All) do, which the compiler knows, and
//! there is no way to switch one off. A simulator may say otherwise.

/// A check that the protocol rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// What was claimed is acted on only while this instance has heard itself since.
    Trust,
    /// That is looked at again after every wait, until the command leaves.
    TrustAgain,
    /// A record, a name and a memo are written only at the revision that they were decided from.
    Condition,
    /// Before a message is sent again its stream is searched for it, unless it drops a copy by itself.
    Search,
    /// Who takes an attempt over looks for its outcome first.
    KnownOutcome,
    /// Instances go first with a schedule in an order.
    Order,
    /// What piled up while nobody could act is taken in that order too, and others get the time to come back.
    Visible,
    /// A reservation that seems to be left behind is moved before its name is taken.
    Fence,
    /// All outcomes of an execution have one id in the history.
    OutcomeId,
    /// The history is searched before an outcome is written that it may have, and of which it knows no id any more.
    HistorySearch,
    /// An outcome counts only while the record has its attempt.
    Settle,
    /// A refusal by a stream counts only if the record takes it: nobody has taken the attempt over, nor reported.
    GiveUp,
    /// The silence of others means something only while this instance hears itself.
    Listening,
    /// Heartbeats are sent only while this instance hears.
    Hearing,
    /// Who pauses, changes or deletes a schedule hears of it once nothing is sent under the old state any more.
    Wait,
    /// A claimed attempt sends what the schedule said when it was claimed.
    Pin,
    /// A record remembers its latest changes, and not only the last one.
    Recent,
    /// That no stream captures a target is final.
    NoStream,
    /// What a stream has shown is looked for: a server that had no power may have lost it.
    Kept,
    /// Each stream has a bound of its own for the commands that wait for it.
    Bounds,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Trust,
        Self::TrustAgain,
        Self::Condition,
        Self::Search,
        Self::KnownOutcome,
        Self::Order,
        Self::Visible,
        Self::Fence,
        Self::OutcomeId,
        Self::HistorySearch,
        Self::Settle,
        Self::GiveUp,
        Self::Listening,
        Self::Hearing,
        Self::Wait,
        Self::Pin,
        Self::Recent,
        Self::NoStream,
        Self::Kept,
        Self::Bounds,
    ];
}

/// Which guards hold.
pub trait Guards: Send + Sync + 'static {
    /// Whether one does.
    fn hold(guard: Guard) -> bool;
}

/// All of them do.
#[derive(Clone, Copy, Debug)]
pub struct All;

impl Guards for All {
    #[inline(always)]
    fn hold(_: Guard) -> bool {
        true
    }
}
