//! A setting: a typed constant with all that is known about it.
//!
//! Values are read through the constant, and help, documents and templates are generated from it or checked against it.
//! So its name, default and bounds are written once.

use super::faults::Faults;
pub use super::faults::plain;
use super::forms::Form;
use crate::schedule::FieldFault;

/// One setting, whose form defines its values.
pub struct Setting<F> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) is_secret: bool,
    pub(super) form: F,
}

impl<F> Setting<F> {
    /// Name of the environment variable.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A setting as help and documents show it. Texts are Markdown; [`plain`] converts them to plain text.
pub trait Described: Sync {
    /// Name of the environment variable.
    fn name(&self) -> &'static str;
    /// What it does.
    fn about(&self) -> &'static str;
    /// Its default as text; empty for none.
    fn default(&self) -> String;
    /// What it must be, as in "must be 1 to 1000"; empty if any text is valid.
    fn expected(&self) -> String;
    /// Whether its value must not be shown.
    fn is_secret(&self) -> bool;
    /// Faults of a value.
    fn refuses(&self, text: &str) -> Vec<FieldFault>;
}

impl<F: Form> Described for Setting<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        // Doc comments begin with a space.
        self.about.trim_ascii()
    }

    fn default(&self) -> String {
        self.form.default()
    }

    fn expected(&self) -> String {
        self.form.expected()
    }

    fn is_secret(&self) -> bool {
        self.is_secret
    }

    fn refuses(&self, text: &str) -> Vec<FieldFault> {
        let mut found = Vec::new();
        self.form.read(text, &mut Faults::of(self.name, self.is_secret, &mut found));
        found
    }
}

/// Defines the settings of one part: a constant for each, whose comment is the text for help and documents, and
/// `SETTINGS`, which lists them all. `, secret` after its form makes one secret.
macro_rules! settings {
    ($($(#[doc = $about:literal])+ $name:ident: $form:ty = $value:expr $(, $secret:ident)?;)+) => {
        $(
            $(#[doc = $about])+
            pub const $name: Setting<$form> = Setting {
                name: stringify!($name),
                about: concat!($($about),+),
                is_secret: settings!(@is $($secret)?),
                form: $value,
            };
        )+

        /// The settings of this part, in the order of the documentation.
        pub(super) const SETTINGS: &[&dyn Described] = &[$(&$name),+];
    };
    (@is) => { false };
    (@is secret) => { true };
}
pub(super) use settings;
