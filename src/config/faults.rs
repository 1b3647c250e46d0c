//! How a setting reports a faulty value without showing a secret.

use crate::schedule::FieldFault;

/// Markdown as plain text.
pub fn plain(markdown: &str) -> String {
    markdown.replace('`', "")
}

/// Collects the faults of one setting.
pub struct Faults<'a> {
    name: &'static str,
    is_secret: bool,
    found: &'a mut Vec<FieldFault>,
}

impl<'a> Faults<'a> {
    /// Faults of a setting, added to `found`.
    pub(super) fn of(name: &'static str, is_secret: bool, found: &'a mut Vec<FieldFault>) -> Self {
        Self { name, is_secret, found }
    }

    /// Reports that the value must be something else.
    pub(super) fn must_be(&mut self, expected: &str, text: &str) {
        let expected = plain(expected);
        let is = if self.is_secret { String::new() } else { format!(", not {text:?}") };
        self.say(format!("must be {expected}{is}"));
    }

    /// Reports that one of several entries is wrong.
    pub(super) fn entry(&mut self, entry: &str, reason: &str) {
        let entry = if self.is_secret { "an entry".to_owned() } else { format!("{entry:?}") };
        self.say(format!("{entry} {reason}"));
    }

    /// Reports another fault, in words that show no value.
    pub(super) fn say(&mut self, reason: impl Into<String>) {
        self.found.push(FieldFault::new(self.name, reason));
    }
}
