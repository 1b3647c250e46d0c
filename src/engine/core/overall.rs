//! What holds for all schedules: what of it has to be announced, and what it changes for timers.

use super::{Action, Core, Outlook};
use crate::schedule::Halt;

/// The core's view of what holds for all schedules.
#[derive(Default)]
pub(super) struct Overall {
    /// What the latest pause of all meant for claims when it was last heard of.
    halt: Halt,
    /// Whether changes wait to be announced that nobody announces yet.
    has_news: bool,
    is_announcing: bool,
}

impl<A> Core<A> {
    /// Looks at all schedules again if a pause of all has changed, and has changes announced. Schedules whose calendars
    /// have changed are told of one by one.
    pub(super) fn note_overall(&mut self, has_news: bool, outlook: &impl Outlook) {
        let halt = outlook.halt();
        if std::mem::replace(&mut self.overall.halt, halt) != halt {
            self.begin_walk();
        }
        self.overall.has_news |= has_news;
        self.announce_overall();
    }

    /// Notes that everything there was to announce has been announced.
    pub(super) fn overall_announced(&mut self) {
        self.overall.is_announcing = false;
        self.announce_overall();
    }

    fn announce_overall(&mut self) {
        let Overall { has_news, is_announcing, .. } = &mut self.overall;
        if *has_news && !*is_announcing {
            (*has_news, *is_announcing) = (false, true);
            self.actions.push(Action::AnnounceOverall);
        }
    }
}
