//! What the form of a setting is, and where it says what is wrong with a value: no secret is shown there.

use crate::schedule::FieldFault;

/// How a setting is read out of a text.
pub trait Form: Sync {
    /// What it is in the program.
    type Value;

    /// What it must be, after these two words, in Markdown; empty if every text will do.
    fn expected(&self) -> String;

    /// Its default, as it would be set; empty for none.
    fn default(&self) -> String;

    /// Its value where it is not set.
    fn unset(&self, faults: &mut Faults<'_>) -> Self::Value;

    /// Its value where it is set. With a fault it is any that can be gone on with: the start ends.
    fn read(&self, text: &str, faults: &mut Faults<'_>) -> Self::Value;
}

/// Markdown as plain text.
pub fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}

/// Takes what is wrong with one setting.
pub struct Faults<'a> {
    name: &'static str,
    is_secret: bool,
    found: &'a mut Vec<FieldFault>,
}

impl<'a> Faults<'a> {
    /// Those of a setting, which go to `found`.
    pub(super) fn of(name: &'static str, is_secret: bool, found: &'a mut Vec<FieldFault>) -> Self {
        Self { name, is_secret, found }
    }

    /// It must be something else than it is.
    pub(super) fn must_be(&mut self, expected: &str, text: &str) {
        let expected = plain(expected);
        let is = if self.is_secret { String::new() } else { format!(", not {text:?}") };
        self.say(format!("must be {expected}{is}"));
    }

    /// One of several entries is wrong.
    pub(super) fn entry(&mut self, entry: &str, reason: &str) {
        let entry = if self.is_secret { "an entry".to_owned() } else { format!("{entry:?}") };
        self.say(format!("{entry} {reason}"));
    }

    /// Something else is wrong, in words that show no value.
    pub(super) fn say(&mut self, reason: impl Into<String>) {
        self.found.push(FieldFault::new(self.name, reason));
    }
}
