//! Looking at schedules again, since who runs has changed, or all is seen again.
//!
//! A schedule's turn is worked out anew when its timer is due. So only a turn that comes earlier than its timer has to be
//! found: what others had claimed who are gone, and where one fewer goes first. With many schedules that takes a
//! while, in which others must fire: so it is done a few at a time, and what is due next comes first.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::slots::Position;
use super::{Core, Outlook};

/// Schedules that are looked at before other things have their turn.
const STEP: usize = 256;

/// A walk over the schedules.
pub(super) struct Walk {
    /// Those of which others have claimed something.
    foreign: Vec<Uuid>,
    /// The timer that was looked at last.
    last: Position,
}

impl<A> Core<A> {
    /// Begins anew.
    pub(super) fn begin_walk(&mut self) {
        if self.is_draining {
            return;
        }
        let foreign = self.foreign.iter().copied().collect();
        self.walk = Some(Walk { foreign, last: Position::START });
    }

    /// Goes on.
    pub(super) fn walk(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        for _ in 0..STEP {
            let Some(walk) = &mut self.walk else { return };
            let id = walk.foreign.pop().or_else(|| {
                let (place, id) = self.slots.timer_behind(walk.last)?;
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
