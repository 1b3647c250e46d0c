//! Values out of texts, and what is wrong with them.

use std::path::PathBuf;
use std::str::FromStr;

use super::SETTINGS;
use crate::schedule::FieldFault;

/// Looks settings up and collects all faults.
pub(super) struct Reader<F> {
    lookup: F,
    pub(super) faults: Vec<FieldFault>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    pub(super) fn new(lookup: F) -> Self {
        Self { lookup, faults: Vec::new() }
    }

    /// A fault of a setting.
    pub(super) fn fault(&mut self, name: &str, reason: String) {
        self.faults.push(FieldFault::new(name, reason));
    }

    /// A value, taking a blank one for none.
    pub(super) fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.trim().is_empty())
    }

    /// A value, or the default of the table.
    pub(super) fn text(&self, name: &str) -> String {
        let default =
            || SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default).to_owned();
        self.optional(name).unwrap_or_else(default)
    }

    /// The file that a setting names, which must be one that can be read.
    pub(super) fn file(&mut self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.optional(name)?);
        if let Err(error) = std::fs::read(&path) {
            self.fault(name, format!("{}: {error}", path.display()));
        }
        Some(path)
    }

    /// Two settings of which neither means anything without the other.
    pub(super) fn pair(&mut self, one: &str, other: &str) {
        let is_set = [one, other].map(|name| self.optional(name).is_some());
        let (missing, present) = match is_set {
            [true, false] => (other, one),
            [false, true] => (one, other),
            _ => return,
        };
        self.fault(missing, format!("must be set, since {present} is"));
    }

    /// A value as `parse` makes it, or a fault with the reason and what was there instead.
    pub(super) fn checked<T>(
        &mut self,
        name: &str,
        reason: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name);
        let value = parse(text.trim());
        if value.is_none() {
            self.fault(name, format!("{reason}, not {text:?}"));
        }
        value
    }

    /// A value of a type that has a form as text, or a fault and `fallback`.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, reason: &str, fallback: T) -> T {
        self.checked(name, reason, |text| text.parse().ok()).unwrap_or(fallback)
    }

    /// A number within bounds.
    pub(super) fn number(&mut self, name: &str, least: u64, most: u64) -> u64 {
        let reason = format!("must be {least} to {most}");
        let parse = |text: &str| text.parse().ok().filter(|n| (least..=most).contains(n));
        self.checked(name, &reason, parse).unwrap_or(least)
    }

    pub(super) fn number32(&mut self, name: &str, least: u64, most: u64) -> u32 {
        u32::try_from(self.number(name, least, most)).unwrap_or(u32::MAX)
    }

    pub(super) fn size(&mut self, name: &str, least: u64, most: u64) -> usize {
        usize::try_from(self.number(name, least, most)).unwrap_or(usize::MAX)
    }
}
