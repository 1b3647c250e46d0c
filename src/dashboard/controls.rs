//! Controls of a form, each with its label, and with what is wrong with what it has.

use maud::{Markup, html};

use super::form::Form;
use super::page::refusal;
use crate::api::error::{ApiError, Code};

/// What a control takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A line of text, at most so long.
    Line(Option<u32>),
    /// A number from 0, at most so large.
    Number(Option<u32>),
    /// An instant, in UTC.
    Instant,
    /// Lines of text: so many are seen, and at most so long.
    Area(u32, Option<u32>),
    /// Lines that are written for programs.
    Code(u32),
    /// One of these words; empty for what is so by default.
    Choice(&'static [&'static str]),
}

/// A control with a label.
#[derive(Clone, Copy)]
pub(super) struct Control {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
}

impl Control {
    /// One that may be left empty.
    pub(super) const fn new(
        name: &'static str,
        label: &'static str,
        kind: Kind,
        hint: &'static str,
    ) -> Self {
        Self { name, label, hint, kind, is_required: false }
    }

    /// The same, not to be left empty.
    pub(super) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// The control with what a form has for it.
    pub(super) fn shown(&self, form: &Form) -> Markup {
        let Self { name, label, hint, .. } = *self;
        let faults = form.faults_of(name);
        let id = (!faults.is_empty()).then(|| mark(name));
        html! {
            label { (label) @if !hint.is_empty() { " " span.dim { (hint) } } (self.bare(form.control(name), id.as_deref())) }
            @if let Some(id) = id { p.fault id=(id) { (faults.join("; ")) } }
        }
    }

    /// The control alone; `fault` is the id of what is wrong.
    fn bare(&self, value: &str, fault: Option<&str>) -> Markup {
        let Self { name, is_required, .. } = *self;
        let invalid = fault.map(|_| "true");
        html! {
            @match self.kind {
                Kind::Line(most) => input type="text" name=(name) value=(value) required[is_required] spellcheck="false"
                    maxlength=[most] aria-invalid=[invalid] aria-describedby=[fault];,
                Kind::Number(most) => input type="number" min="0" max=[most] name=(name) value=(value) required[is_required]
                    aria-invalid=[invalid] aria-describedby=[fault];,
                Kind::Instant => input type="datetime-local" step="any" name=(name) value=(local(value))
                    aria-invalid=[invalid] aria-describedby=[fault];,
                Kind::Area(rows, most) => textarea name=(name) rows=(rows) maxlength=[most]
                    aria-invalid=[invalid] aria-describedby=[fault] { (value) },
                Kind::Code(rows) => textarea name=(name) rows=(rows) spellcheck="false"
                    aria-invalid=[invalid] aria-describedby=[fault] { (value) },
                Kind::Choice(words) => select name=(name) aria-invalid=[invalid] aria-describedby=[fault] {
                    @for word in words {
                        option value=(word) selected[*word == value] { (if word.is_empty() { "by default" } else { word }) }
                    }
                },
            }
        }
    }
}

/// The id of what is wrong with a control.
fn mark(name: &str) -> String {
    format!("fault-{name}")
}

/// Controls behind a word. They are seen if something is wrong with one.
pub(super) fn folded(word: &str, controls: &Markup) -> Markup {
    // What visitors write has no quotes of ours.
    let is_faulty = controls.0.contains(" aria-invalid=\"true\"");
    html! { details open[is_faulty] { summary { (word) } (controls) } }
}

/// Why a form was refused, as far as that does not stand beside its controls.
pub(super) fn refused(form: &Form, controls: &Markup, error: Option<&ApiError>) -> Markup {
    let Some(error) = error else { return html! {} };
    if error.code != Code::Invalid {
        let revision = form.control("expected_revision");
        return html! {
            (refusal(error))
            @if error.code == Code::Conflict && !matches!(revision, "" | "0") {
                p.box.warn {
                    "What you entered is kept, and is now meant for revision " (revision)
                    ": what somebody else has changed becomes again what stands here."
                }
            }
        };
    }
    let has = |name: &str| controls.0.contains(&format!("id=\"{}\"", mark(name)));
    let (beside, elsewhere): (Vec<_>, Vec<_>) =
        error.details.iter().partition(|fault| form.control_of(&fault.field).is_some_and(has));
    if beside.is_empty() {
        return refusal(error);
    }
    html! {
        div.box.bad role="alert" {
            p { "See what is marked below: " @if beside.len() == 1 { "a field is" } @else { (beside.len()) " fields are" } " not right." }
            @if !elsewhere.is_empty() {
                ul { @for fault in elsewhere { li { code { (fault.field) } ": " (fault.reason) } } }
            }
        }
    }
}

/// An instant as an input takes it: in UTC, and without saying so.
fn local(value: &str) -> &str {
    value.strip_suffix('Z').unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::FieldFault;

    const LINE: Control =
        Control::new("delivery.timeout_seconds", "Timeout", Kind::Number(None), "");

    #[test]
    fn what_is_wrong_stands_beside_its_control_and_nowhere_else() {
        let fault = |field: &str, reason: &str| FieldFault::new(field, reason);
        let error = ApiError::invalid(vec![
            fault("delivery.timeout_seconds", "must be less"),
            fault("nowhere", "is <odd>"),
        ]);
        let form = Form::of(&[("delivery.timeout_seconds", "\" aria-invalid=\"true\"")]);
        let open = |form: &Form| folded("More", &LINE.shown(form)).0.contains("<details open>");
        assert!(!open(&form), "what is written there is not the mark");
        let form = form.refused(&error);
        assert!(open(&form));
        let controls = LINE.shown(&form);
        let beside = r#"<p class="fault" id="fault-delivery.timeout_seconds">must be less</p>"#;
        assert!(controls.0.contains(beside), "{}", controls.0);
        assert!(controls.0.contains(r#"aria-describedby="fault-delivery.timeout_seconds""#));
        let top = refused(&form, &controls, Some(&error)).0;
        assert!(top.contains("a field is") && top.contains("is &lt;odd&gt;"), "{top}");
        assert!(!top.contains("must be less"), "{top}");
    }

    #[test]
    fn a_part_of_a_list_or_of_an_object_stands_at_its_control() {
        let error = ApiError::invalid(
            ["spans[3].start", "after", "tags[0]"].map(|field| FieldFault::new(field, "no")).into(),
        );
        let names = ["spans", "after.schedule_id", "after.on", "tags"];
        let form = Form::of(&names.map(|name| (name, ""))).refused(&error);
        assert_eq!(names.map(|name| form.faults_of(name).len()), [1, 1, 0, 1]);
    }
}
