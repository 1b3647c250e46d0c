//! The format of a record, and what a newer version has put into it, see [`crate::stored`].

use super::{Schedule, Spec, Writer};
use crate::stored::format;

impl Schedule {
    /// Says who writes the record next, and in which format.
    pub fn sign(&mut self, writer: Writer) {
        self.writer = writer;
        // What a newer version put there it alone can judge.
        let asked = if self.format > format::FORMAT { self.needs } else { 0 };
        self.needs = asked.max(self.least_format());
        self.format = self.format.max(format::FORMAT);
    }

    /// The least format that knows all features that the record uses. A feature that older versions
    /// would get wrong raises it here, and raises [`format::FORMAT`].
    fn least_format(&self) -> u16 {
        1
    }
}

impl Spec {
    /// Keeps what `old`, which this is to replace, has of a newer version.
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
