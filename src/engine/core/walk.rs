//! Looks at all schedules again after instances came or went, or after a break.
//!
//! A schedule's turn is worked out again whenever its timer is due. So the walk only has to find turns that are earlier
//! than their timers: claims of instances that are gone, and schedules that fewer instances now go first with. With
//! many schedules that takes a while, and others must fire meanwhile; so it goes a few at a time, what is due next
//! first.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::table::Position;
use super::{Core, Outlook};

/// Schedules that are looked at before other work has its turn.
const LOOKS: usize = 256;

/// A walk over the schedules that is under way.
pub(super) struct Walk {
    /// Schedules that other instances have claimed something of.
    foreign: Vec<Uuid>,
    /// Position of the timer that was looked at last.
    last: Position,
}

impl<A> Core<A> {
    /// Begins the walk again from the start.
    pub(super) fn begin_walk(&mut self) {
        if self.is_draining {
            return;
        }
        let foreign = self.foreign.iter().map(|id| Uuid::from_u128(*id)).collect();
        self.walk = Some(Walk { foreign, last: Position::START });
    }

    /// Takes the next steps of the walk, if one is under way.
    pub(super) fn walk(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        for _ in 0..LOOKS {
            let Some(walk) = &mut self.walk else { return };
            let id = walk.foreign.pop().or_else(|| {
                let (place, id) = self.table.timers_behind(walk.last).next()?;
                walk.last = place;
                Some(id)
            });
            match id {
                Some(id) => self.look(id, now, outlook),
                None => self.walk = None,
            }
        }
    }
}
