//! The fields of a schedule as a form, to create one or to change one.

use maud::{Markup, html};

use crate::dashboard::controls::{Control, Kind, folded};
use crate::dashboard::form::Form;
use crate::dashboard::visit::Visitor;

/// Fields of a line.
const fn line(name: &'static str, label: &'static str, hint: &'static str) -> Control {
    Control::new(name, label, Kind::Line(None), hint)
}

const fn number(name: &'static str, label: &'static str, hint: &'static str) -> Control {
    Control::new(name, label, Kind::Number(None), hint)
}

const fn instant(name: &'static str, label: &'static str, hint: &'static str) -> Control {
    Control::new(name, label, Kind::Instant, hint)
}

const fn choice(
    name: &'static str,
    label: &'static str,
    words: &'static [&'static str],
) -> Control {
    Control::new(name, label, Kind::Choice(words), "")
}

const NAMED: [Control; 2] = [
    line("name", "Name", "").required(),
    line(
        "target_command",
        "Target",
        "the subject that commands are sent to, such as cmd.report.build",
    )
    .required(),
];
const PAYLOAD: Control =
    Control::new("command_payload", "Payload", Kind::Code(4), "A JSON object, sent byte for byte");
const ABOUT: [Control; 2] = [
    // It may have several lines, which a line of text would run together.
    Control::new("description", "Description", Kind::Area(2, None), ""),
    line("tags", "Tags", "separated by commas"),
];
const TIMING: [Control; 10] = [
    choice("schedule_type", "Type", &["cron", "interval", "one_time", "immediate", "dependent"]),
    line("cron_expression", "Cron expression", "for cron, such as 0 2 * * MON-FRI"),
    number("interval_seconds", "Interval in seconds", "for interval"),
    instant("scheduled_at", "Once at (UTC)", "for one_time"),
    line("timezone", "Time zone", "such as Europe/Berlin"),
    instant("start_at", "Not before (UTC)", "for interval and cron"),
    instant("end_at", "Not after (UTC)", "for interval and cron"),
    number("max_runs", "Most occurrences", "0 for any number"),
    number("jitter_seconds", "Jitter in seconds", "spreads what is due at once"),
    number("misfire_grace_seconds", "Grace in seconds", "how late it may still be acted on"),
];
const AFTER: [Control; 2] = [
    line("after.schedule_id", "Id of the other schedule", "for dependent"),
    choice("after.on", "When it ends with", &["", "success", "failure", "completion"]),
];
const OVERLAPS: [&str; 5] = ["", "skip", "allow", "buffer_one", "cancel_other"];
const LATE: [Control; 7] = [
    choice("catch_up", "Late occurrences", &["", "latest", "all", "none"]),
    choice("overlap", "While an earlier one is under way", &OVERLAPS),
    line("group", "Concurrency group", "for request and job"),
    line("exclude", "Not in these calendars", "separated by commas"),
    line("only", "Only in these calendars", "separated by commas"),
    choice("dst_gap", "A local time that is skipped", &["", "next_valid", "skip"]),
    choice("dst_overlap", "A local time that comes twice", &["", "first", "both"]),
];
const DELIVERY: [Control; 10] = [
    choice("delivery.mode", "How commands are sent", &["", "publish", "request", "job", "core"]),
    number("delivery.timeout_seconds", "Timeout in seconds", "for request and job"),
    number("delivery.heartbeat_seconds", "Heartbeat in seconds", "for job"),
    number("priority", "Priority", "1 to 10"),
    number("max_retries", "Further attempts", "0 to 10"),
    number("retry_delay_seconds", "Delay before them in seconds", ""),
    line("dead_letter", "Dead letter", "a subject for what failed for good"),
    number("pause_on_failure", "Pause after so many failures in a row", "0 for never"),
    number("failing_after", "Failing after so many failures in a row", ""),
    number(
        "expect_success_within_seconds",
        "A success is expected within seconds",
        "0 for no expectation",
    ),
];

/// All fields. Those that the form has are filled in.
pub(super) fn fields(visitor: &Visitor<'_>, form: &Form, is_new: bool) -> Markup {
    let all = |controls: &[Control]| html! { @for one in controls { (one.shown(form)) } };
    html! {
        fieldset {
            legend { "Schedule" }
            (all(&NAMED))
            @if visitor.sees_payloads() || is_new { (PAYLOAD.shown(form)) }
            @else { p.dim { "The payload is hidden, and stays as it is." } }
            (all(&ABOUT))
        }
        fieldset {
            legend { "When" }
            (all(&TIMING))
            (folded("After another schedule", &all(&AFTER)))
            (folded("Late and overlapping occurrences, calendars, clock changes", &all(&LATE)))
        }
        (folded("Delivery and failures", &html! {
            fieldset { legend { "Delivery and failures" } (all(&DELIVERY)) }
        }))
    }
}
