//! Guards of the protocol, each with its name.
//!
//! A guard is a check without which something would be lost, doubled, early or late in some unlucky order of
//! events. Only leaving a guard out shows whether a test would notice its absence. So the implementation
//! behind the [port](crate::port) says, as a type, which guards hold: behind NATS [all](All) do, which the
//! compiler knows, and there is no way to switch one off. A simulator may say otherwise.

use crate::every::every;

/// A check that the protocol rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// A claim is acted on only while this instance has heard itself since.
    Trust,
    /// [`Trust`](Self::Trust) is checked again after every wait, until the command leaves.
    TrustAgain,
    /// A record, a name and a memo are written only at the revision that the write was decided from.
    Condition,
    /// Before a message is sent again its stream is searched for it, unless the stream drops duplicates by
    /// itself.
    Search,
    /// An instance that takes an attempt over looks for its outcome first.
    KnownOutcome,
    /// Instances have an order in which they go first with a schedule.
    Order,
    /// Work that piled up while no instance could act is taken in that order too, and others get time to come
    /// back.
    Visible,
    /// A reservation that seems to be left over is moved before its name is taken.
    Fence,
    /// All outcomes of an execution have one id in the history.
    OutcomeId,
    /// The history is searched before an outcome is written that it may already have and whose id it no
    /// longer knows.
    HistorySearch,
    /// An outcome counts only while the record has its attempt.
    Settle,
    /// A refusal by a stream counts only if the record accepts it: no instance has taken the attempt over,
    /// and nothing was reported.
    GiveUp,
    /// The silence of others means something only while this instance hears itself.
    Listening,
    /// Heartbeats are sent only while this instance hears.
    Hearing,
    /// A user who pauses, changes or deletes a schedule gets the reply once nothing is sent under the old
    /// state any more.
    Wait,
    /// A user who pauses all schedules gets the reply once every instance claims by that.
    Honoured,
    /// A claimed attempt sends what the schedule said when it was claimed.
    Pin,
    /// A record remembers its latest changes, and not only the last one.
    Recent,
    /// The finding that no stream captures a target is final.
    NoStream,
    /// Messages that a stream has shown are looked for again: a server that lost power may have lost them.
    Kept,
    /// Each stream has its own bound for the commands that wait for it.
    Bounds,
    /// An execution of a group is claimed only with a slot that was taken for that claim.
    Slot,
    /// A slot whose claim may be on its way is freed only after the record has been written anew.
    SlotFence,
}

impl Guard {
    /// Every guard.
    pub const ALL: [Self; 23] = every!(
        Guard: Trust, TrustAgain, Condition, Search, KnownOutcome, Order, Visible, Fence,
        OutcomeId, HistorySearch, Settle, GiveUp, Listening, Hearing, Wait, Honoured, Pin, Recent,
        NoStream, Kept, Bounds, Slot, SlotFence
    );
}

/// Which guards hold.
pub trait Guards: Send + Sync + 'static {
    /// Whether a guard holds.
    fn hold(guard: Guard) -> bool;
}

/// The guards of the real protocol: all hold.
#[derive(Clone, Copy, Debug)]
pub struct All;

impl Guards for All {
    #[inline(always)]
    fn hold(_: Guard) -> bool {
        true
    }
}
