//! Numbers for error types. Workers may report types of their own, so they are not known beforehand.

use std::collections::HashMap;

/// The error types seen so far.
#[derive(Debug, Default)]
pub(super) struct Errors {
    codes: HashMap<String, u16>,
    names: Vec<String>,
}

impl Errors {
    /// The number of a type; 0 for none, which may be written as an empty one, and for types that come after 65,535
    /// others.
    pub(super) fn code(&mut self, name: &str) -> u16 {
        if name.is_empty() {
            return 0;
        }
        if let Some(code) = self.codes.get(name) {
            return *code;
        }
        let Ok(code) = u16::try_from(self.names.len() + 1) else { return 0 };
        self.names.push(name.to_owned());
        self.codes.insert(name.to_owned(), code);
        code
    }

    /// The number of a type, if an execution may have it: 0 for none, and once types are no longer told apart.
    pub(super) fn find(&self, name: &str) -> Option<u16> {
        if name.is_empty() {
            return Some(0);
        }
        let is_full = self.names.len() >= usize::from(u16::MAX);
        self.codes.get(name).copied().or(is_full.then_some(0))
    }

    pub(super) fn name(&self, code: u16) -> Option<&str> {
        self.names.get(usize::from(code).checked_sub(1)?).map(String::as_str)
    }
}
