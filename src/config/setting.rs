//! What a setting is: a typed constant with all that is known of it.
//!
//! It is read through the constant, and help, documents and templates are made of it or held to it. So
//! its name, its default and its bounds are written once.

pub use super::form::plain;
use super::form::{Faults, Form};
use crate::schedule::FieldFault;

/// One setting, of which the form says what it may be.
pub struct Setting<F> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) is_secret: bool,
    pub(super) form: F,
}

impl<F> Setting<F> {
    /// The environment variable.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A setting as help and documents show it. Texts are Markdown; [`plain`] makes plain text of them.
pub trait Described: Sync {
    /// The environment variable.
    fn name(&self) -> &'static str;
    /// What it does.
    fn about(&self) -> &'static str;
    /// Its default, as it would be set; empty for none.
    fn default(&self) -> String;
    /// What it must be, as in "must be 1 to 1000"; empty if every text will do.
    fn expected(&self) -> String;
    /// Whether its value is for nobody to see.
    fn is_secret(&self) -> bool;
    /// What is wrong with a value of it.
    fn refuses(&self, text: &str) -> Vec<FieldFault>;
}

impl<F: Form> Described for Setting<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        // Comments begin with a space.
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

/// Makes the settings of one part: each a constant, of which the comment is what help and documents say,
/// and `SETTINGS`, which has them all. `, secret` after its form makes one secret.
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
