//! Format of a record, and what newer versions put into it, see [`crate::stored`].

use super::GROUPS_NEED;
use super::{CALENDARS_NEED, Schedule, Spec, Writer};
use crate::stored::format;

/// The format that says when a schedule fails or is overdue. Others would not note successes, and it would be overdue in
/// spite of them.
const ALERTS_NEED: u16 = 3;
/// The format that resumes a schedule when its pause ends. Others would leave it paused, or leave the end of one pause to
/// the next.
const RESUMPTION_NEEDS: u16 = 2;

impl Schedule {
    /// Notes the writer of the next revision, and its format.
    pub fn sign(&mut self, writer: Writer) {
        self.writer = writer;
        // Only a newer version can judge what it put there.
        let asked = if self.format > format::FORMAT { self.needs } else { 0 };
        self.needs = asked.max(self.least_format());
        self.format = self.format.max(format::FORMAT);
    }

    /// The lowest format that knows all features that the record uses. A feature that older versions would
    /// get wrong raises it here, and raises [`format::FORMAT`].
    fn least_format(&self) -> u16 {
        // Format 6 has groups. Others would claim without a slot.
        if self.spec.group.is_some() {
            return GROUPS_NEED;
        }
        // Format 5 has calendars. Others would fire when these say that it does not.
        if self.spec.timing.has_calendars() {
            return CALENDARS_NEED;
        }
        let spec = &self.spec;
        if spec.expect_success_within_seconds.is_some() || spec.failing_after.get() > 1 {
            return ALERTS_NEED;
        }
        if self.resumption.is_some() { RESUMPTION_NEEDS } else { 1 }
    }
}

impl Spec {
    /// Keeps the newer version's fields of `old`, which this is about to replace.
    pub(super) fn keep_unknown(&mut self, old: &Self) {
        self.unknown.clone_from(&old.unknown);
        self.delivery.unknown.clone_from(&old.delivery.unknown);
        self.retry.unknown.clone_from(&old.retry.unknown);
        self.timing.unknown.clone_from(&old.timing.unknown);
        if let (Some(after), Some(old)) = (&mut self.timing.after, &old.timing.after) {
            after.unknown.clone_from(&old.unknown);
        }
    }
}
