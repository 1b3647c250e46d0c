//! Pauses of all schedules: what of them has to be announced, and what they change for timers.

use super::{Action, Core, Outlook};
use crate::schedule::Halt;

/// What the core knows of pauses of all schedules.
#[derive(Default)]
pub(super) struct Pauses {
    /// What the latest meant for claims when it was last heard of.
    halt: Halt,
    /// Whether changes of them wait to be announced that nobody announces yet.
    has_news: bool,
    is_announcing: bool,
}

impl<A> Core<A> {
    /// Looks at all schedules again if what claims go by has changed, and has changes announced.
    pub(super) fn note_pauses(&mut self, has_news: bool, outlook: &impl Outlook) {
        let halt = outlook.halt();
        if std::mem::replace(&mut self.pauses.halt, halt) != halt {
            self.begin_walk();
        }
        self.pauses.has_news |= has_news;
        self.announce_pauses();
    }

    /// Notes that all changes have been announced that there were.
    pub(super) fn pauses_announced(&mut self) {
        self.pauses.is_announcing = false;
        self.announce_pauses();
    }

    fn announce_pauses(&mut self) {
        let Pauses { has_news, is_announcing, .. } = &mut self.pauses;
        if *has_news && !*is_announcing {
            (*has_news, *is_announcing) = (false, true);
            self.actions.push(Action::AnnouncePauses);
        }
    }
}
