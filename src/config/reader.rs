//! Reads settings from an environment and collects their faults.

use super::faults::Faults;
use super::forms::Form;
use super::setting::{Described, Setting};
use crate::schedule::FieldFault;

/// Looks settings up and collects all faults.
pub(super) struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    found: Vec<FieldFault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, found: Vec::new() }
    }

    /// Returns what was made of the settings, unless there are faults.
    pub(super) fn done<T>(self, made: T) -> Result<T, Vec<FieldFault>> {
        if self.found.is_empty() { Ok(made) } else { Err(self.found) }
    }

    /// Value of a setting. A blank one counts as unset.
    pub(super) fn get<F: Form>(&mut self, setting: &Setting<F>) -> F::Value {
        let text = self.text(setting.name);
        let mut faults = Faults::of(setting.name(), setting.is_secret(), &mut self.found);
        match text {
            Some(text) => setting.form.read(&text, &mut faults),
            None => setting.form.unset(&mut faults),
        }
    }

    /// Whether a variable of that name exists and is not empty.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Reports a fault found outside of the setting's form. Its words must not show a secret.
    pub(super) fn fault(&mut self, fault: FieldFault) {
        self.found.push(fault);
    }

    /// Whether none of the settings has a fault so far, so that they can be compared.
    pub(super) fn are_sound(&self, settings: &[&dyn Described]) -> bool {
        let is_at_fault =
            |setting: &&dyn Described| self.found.iter().any(|fault| fault.field == setting.name());
        !settings.iter().any(is_at_fault)
    }

    /// Checks two settings, neither of which means anything without the other.
    pub(super) fn pair(&mut self, one: &dyn Described, other: &dyn Described) {
        let (missing, present) = match [one, other].map(|setting| self.is_set(setting.name())) {
            [true, false] => (other, one),
            [false, true] => (one, other),
            _ => return,
        };
        let reason = format!("must be set, since {} is", present.name());
        self.fault(FieldFault::new(missing.name(), reason));
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty())
    }
}
