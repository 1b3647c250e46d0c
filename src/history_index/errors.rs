//! Numbers for error types. Workers may report types of their own, so they are not known beforehand.

use std::collections::HashMap;

/// The error types seen so far.
#[derive(Debug, Default)]
pub(super) struct Errors {
    codes: HashMap<String, u16>,
    names: Vec<String>,
}

impl Errors {
    /// The number of a type; 0 for none, and for types that come after 65,535 others.
    pub(super) fn code(&mut self, name: &str) -> u16 {
        if let Some(code) = self.codes.get(name) {
            return *code;
        }
        let Ok(code) = u16::try_from(self.names.len() + 1) else { return 0 };
        self.names.push(name.to_owned());
        self.codes.insert(name.to_owned(), code);
        code
    }

    pub(super) fn name(&self, code: u16) -> Option<&str> {
        self.names.get(usize::from(code).checked_sub(1)?).map(String::as_str)
    }
}
