//! The fields of a schedule as a form, to create one or to change one.

use maud::{Markup, html};

use crate::dashboard::form::Form;
use crate::dashboard::visit::Visitor;

/// A field of a single line: its name, its label, the type of the input, and a hint.
type Line = (&'static str, &'static str, &'static str, &'static str);

const TARGET: Line = (
    "target_command",
    "Target",
    "text",
    "the subject that commands are sent to, such as cmd.report.build",
);
const OVERLAPS: [&str; 5] = ["", "skip", "allow", "buffer_one", "cancel_other"];
const TIMING: [Line; 9] = [
    ("cron_expression", "Cron expression", "text", "for cron, such as 0 2 * * MON-FRI"),
    ("interval_seconds", "Interval in seconds", "number", "for interval"),
    ("scheduled_at", "Once at (UTC)", "datetime-local", "for one_time"),
    ("timezone", "Time zone", "text", "such as Europe/Berlin"),
    ("start_at", "Not before (UTC)", "datetime-local", "for interval and cron"),
    ("end_at", "Not after (UTC)", "datetime-local", "for interval and cron"),
    ("max_runs", "Most occurrences", "number", "0 for any number"),
    ("jitter_seconds", "Jitter in seconds", "number", "spreads what is due at once"),
    ("misfire_grace_seconds", "Grace in seconds", "number", "how late it may still be acted on"),
];

const RETRIES: [Line; 6] = [
    ("max_retries", "Further attempts", "number", "0 to 10"),
    ("retry_delay_seconds", "Delay before them in seconds", "number", ""),
    ("dead_letter", "Dead letter", "text", "a subject for what failed for good"),
    ("pause_on_failure", "Pause after so many failures in a row", "number", "0 for never"),
    ("failing_after", "Failing after so many failures in a row", "number", ""),
    (
        "expect_success_within_seconds",
        "A success is expected within seconds",
        "number",
        "0 for no expectation",
    ),
];

/// All fields. Those that the form has are filled in.
pub(super) fn fields(visitor: &Visitor<'_>, form: &Form, is_new: bool) -> Markup {
    let payload_help = "A JSON object, sent byte for byte";
    html! {
        fieldset {
            legend { "Schedule" }
            (line(form, ("name", "Name", "text", ""), true))
            (line(form, TARGET, true))
            @if visitor.sees_payloads() || is_new {
                label { "Payload " span.dim { (payload_help) }
                    textarea name="command_payload" rows="4" spellcheck="false" { (form.control("command_payload")) }
                }
            } @else { p.dim { "The payload is hidden, and stays as it is." } }
            // It may have several lines, which a line of text would run together.
            label { "Description" textarea name="description" rows="2" { (form.control("description")) } }
            (line(form, ("tags", "Tags", "text", "separated by commas"), false))
        }
        fieldset {
            legend { "When" }
            (choice(form, "schedule_type", "Type", &["cron", "interval", "one_time", "immediate", "dependent"]))
            @for one in TIMING { (line(form, one, false)) }
            details {
                summary { "After another schedule" }
                (line(form, ("after.schedule_id", "Id of the other schedule", "text", "for dependent"), false))
                (choice(form, "after.on", "When it ends with", &["", "success", "failure", "completion"]))
            }
            details {
                summary { "Late and overlapping occurrences, calendars, clock changes" }
                (choice(form, "catch_up", "Late occurrences", &["", "latest", "all", "none"]))
                (choice(form, "overlap", "While an earlier one is under way", &OVERLAPS))
                (line(form, ("group", "Concurrency group", "text", "for request and job"), false))
                (line(form, ("exclude", "Not in these calendars", "text", "separated by commas"), false))
                (line(form, ("only", "Only in these calendars", "text", "separated by commas"), false))
                (choice(form, "dst_gap", "A local time that is skipped", &["", "next_valid", "skip"]))
                (choice(form, "dst_overlap", "A local time that comes twice", &["", "first", "both"]))
            }
        }
        details {
            summary { "Delivery and failures" }
            fieldset {
                legend { "Delivery and failures" }
                (choice(form, "delivery.mode", "How commands are sent", &["", "publish", "request", "job", "core"]))
                (line(form, ("delivery.timeout_seconds", "Timeout in seconds", "number", "for request and job"), false))
                (line(form, ("delivery.heartbeat_seconds", "Heartbeat in seconds", "number", "for job"), false))
                (line(form, ("priority", "Priority", "number", "1 to 10"), false))
                @for one in RETRIES { (line(form, one, false)) }
            }
        }
    }
}

fn line(form: &Form, (name, label, kind, hint): Line, required: bool) -> Markup {
    let value = form.control(name);
    html! {
        label { (label) @if !hint.is_empty() { " " span.dim { (hint) } }
            @if kind == "datetime-local" {
                input type="datetime-local" step="any" name=(name) value=(local(value));
            } @else if kind == "number" {
                input type="number" min="0" name=(name) value=(value);
            } @else {
                input type="text" name=(name) value=(value) required[required] spellcheck="false";
            }
        }
    }
}

/// An instant as an input takes it: in UTC, and without saying so.
pub(super) fn local(value: &str) -> &str {
    value.strip_suffix('Z').unwrap_or(value)
}

fn choice(form: &Form, name: &str, label: &str, words: &[&str]) -> Markup {
    let value = form.control(name);
    html! {
        label { (label)
            select name=(name) {
                @for word in words {
                    option value=(word) selected[*word == value] { (if word.is_empty() { "by default" } else { word }) }
                }
            }
        }
    }
}
