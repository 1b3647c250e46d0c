//! Reruns: stored requests to run many executions again, and one of them with how far it has come.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    action, badge, execution_path, hidden, nothing, pager, path_part, relative, schedule_link, time,
};
use crate::dashboard::visit::Visitor;

/// Rows of a page.
const ROWS: u64 = 50;
/// Fields of a filter, and what they mean.
const CONDITIONS: [(&str, &str); 9] = [
    ("status", ""),
    ("error_type", "with "),
    ("command_sent", "sent to "),
    ("target_command", "at "),
    ("tag", "tagged "),
    ("from", "from "),
    ("to", "to "),
    ("scheduled_from", "for "),
    ("scheduled_to", "until "),
];

pub(super) async fn all(visitor: &Visitor<'_>) -> Response {
    let fields = json!({ "page": visitor.page(), "limit": ROWS });
    let reply = match visitor.read("rerun.list", fields).await {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/failures")).await,
    };
    let body = html! {
        h1 { "Reruns" }
        p {
            "A rerun takes up many executions again in the background, as their schedules have room. "
            a href="/failures" { "Failures" } " has the button that makes one."
        }
        section #rows data-live {
            @if reply.items("data").is_empty() { (nothing("There is no rerun. Those that ended go after a week.")) }
            @else { (table(visitor, reply.items("data"))) (pager(visitor, &reply["pagination"])) }
        }
    };
    page::show(visitor, "Reruns", body).await
}

fn table(visitor: &Visitor<'_>, reruns: &[Value]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Which executions" } th scope="col" { "Status" } th scope="col" { "Progress" }
                th scope="col" { "Refused" } th scope="col" { "Left alone" } th scope="col" { "Requested" }
            } }
            tbody {
                @for one in reruns {
                    tr {
                        td { a.row href=(path_of(one)) { bdi { (which(one)) } } }
                        td { (badge(standing(one))) }
                        td { (progress(one)) }
                        td { (one.count("refused")) }
                        td { (one.count("passed_over")) }
                        td { (relative(one.instant("created_at"), visitor.now)) " by " bdi { (one.text("created_by")) } }
                    }
                }
            }
        } }
    }
}

pub(super) async fn one(visitor: &Visitor<'_>) -> Response {
    let id = visitor.segment(1);
    let reply = match visitor.read("rerun.get", json!({ "rerun_id": id })).await {
        Ok(reply) => reply,
        Err(error) => return failure(visitor, &error, Some("/reruns")).await,
    };
    let rerun = &reply["data"];
    let body = html! {
        h1 { "Rerun" }
        section #state data-live {
            p.lead { (badge(standing(rerun))) " " bdi { (which(rerun)) } }
            p { (progress(rerun)) }
            @if !rerun.text("waits_for").is_empty() { p.box.warn { "It waits: " bdi { (rerun.text("waits_for")) } } }
            (facts(visitor, rerun))
        }
        section #refusals data-live { h2 { "Refused" } (refusals(rerun)) }
        section #actions data-live { @if rerun.text("status") == "running" { (cancellation(visitor, rerun)) } }
        p { a href="/reruns" { "All reruns" } }
    };
    page::show(visitor, "Rerun", body).await
}

fn path_of(rerun: &Value) -> String {
    format!("/reruns/{}", path_part(rerun.text("rerun_id")))
}

/// How it stands, in a word.
fn standing(rerun: &Value) -> &str {
    match rerun.text("status") {
        "running" if !rerun.text("waits_for").is_empty() => "waiting",
        status => status,
    }
}

/// Which executions, in words.
fn which(rerun: &Value) -> String {
    let filter = &rerun["filter"];
    let of = filter["schedule_id"].as_str().map(|id| format!("of schedule {id}"));
    let none = (filter["error_type"] == "").then(|| "without an error type".to_owned());
    let of = none.into_iter().chain(of);
    let conditions = CONDITIONS.iter().filter(|(field, _)| !filter.text(field).is_empty());
    let said = conditions.map(|(field, word)| format!("{word}{}", filter.text(field)));
    let several: Vec<_> = filter.items("statuses").iter().filter_map(Value::as_str).collect();
    let status = filter["status"].is_null().then(|| match several[..] {
        [] => "failed".to_owned(),
        _ => several.join(" or "),
    });
    status.into_iter().chain(said).chain(of).collect::<Vec<_>>().join(", ")
}

/// How many of those that match were dealt with.
fn progress(rerun: &Value) -> Markup {
    let goal = rerun.count("matched").min(rerun.count("limit"));
    let done = rerun.count("retried") + rerun.count("refused") + rerun.count("passed_over");
    html! {
        @if goal > 0 {
            progress max=(goal) value=(done.min(goal)) aria-label="executions dealt with" {} " "
        }
        (rerun.count("retried")) " of " (goal) " run again"
    }
}

fn facts(visitor: &Visitor<'_>, rerun: &Value) -> Markup {
    let numbers = [
        ("Match", "matched"),
        ("Run again", "retried"),
        ("Refused", "refused"),
        ("Left alone", "passed_over"),
        ("At most", "limit"),
    ];
    let payload = match rerun.text("payload") {
        "current" => "what the schedule sends now",
        _ => "what each execution sent",
    };
    html! {
        dl.facts {
            @for (name, field) in numbers { dt { (name) } dd { (rerun.count(field)) } }
            dt { "Payload" } dd { (payload) }
            dt { "Requested" }
            dd { (relative(rerun.instant("created_at"), visitor.now)) " by " bdi { (rerun.text("created_by")) } }
            @if rerun["ended_at"].is_string() { dt { "Ended" } dd { (time(rerun.instant("ended_at"))) } }
            @if rerun["cancelled_by"].is_string() { dt { "Cancelled by" } dd { bdi { (rerun.text("cancelled_by")) } } }
            dt { "Id" } dd { code.id { (rerun.text("rerun_id")) } }
        }
        @if rerun.count("passed_over") > 0 {
            p.dim { "Left alone are executions after which another attempt followed, and those that the history has dropped." }
        }
    }
}

fn refusals(rerun: &Value) -> Markup {
    let (all, shown) = (rerun.count("refused"), rerun.items("refusals"));
    if shown.is_empty() {
        return nothing("None.");
    }
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "Execution" } th scope="col" { "Schedule" } th scope="col" { "Why" } } }
            tbody {
                @for one in shown {
                    @let id = one.text("execution_id");
                    tr {
                        td { a.row href=(execution_path(id)) { code.id { (id) } } }
                        td { (schedule_link(one.text("schedule_id"), "")) }
                        td { bdi { (one.text("reason")) } }
                    }
                }
            }
        } }
        @if all > shown.len() as u64 { p.dim { "The latest " (shown.len()) " of " (all) "." } }
    }
}

fn cancellation(visitor: &Visitor<'_>, rerun: &Value) -> Markup {
    if !visitor.may_act() {
        return html! {};
    }
    html! {
        details #cancel {
            summary { "Cancel" }
            p { "What it has taken up goes on; nothing more is run again." }
            (action(visitor, "rerun.cancel", &path_of(rerun), html! {
                (hidden("rerun_id", rerun.text("rerun_id")))
                button.danger type="submit" { "Cancel it" }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_said_in_words() {
        let said = |filter: Value| which(&json!({ "filter": filter }));
        assert_eq!(said(json!({ "tag": "outage" })), "failed, tagged outage");
        let several = json!({ "statuses": ["failed", "cancelled"], "tag": "outage" });
        assert_eq!(said(several), "failed or cancelled, tagged outage");
        let many = json!({ "status": "cancelled", "error_type": "timeout", "command_sent": "cmd.b", "target_command": "cmd.a",
                           "scheduled_from": "2026-01-02T00:00:00Z", "scheduled_to": "2026-01-03T00:00:00Z",
                           "from": "2026-01-01T00:00:00Z", "schedule_id": "7" });
        assert_eq!(
            said(many),
            "cancelled, with timeout, sent to cmd.b, at cmd.a, from 2026-01-01T00:00:00Z, for 2026-01-02T00:00:00Z, \
             until 2026-01-03T00:00:00Z, of schedule 7"
        );
        assert_eq!(said(json!({ "error_type": "" })), "failed, without an error type");
    }

    #[test]
    fn progress_goes_by_what_it_may_take_up() {
        let of = |matched: u64, limit: u64, retried: u64| {
            progress(&json!({ "matched": matched, "limit": limit, "retried": retried }))
                .into_string()
        };
        assert!(of(500, 1_000_000, 3).contains("max=\"500\" value=\"3\""));
        assert!(of(500, 10, 12).contains("max=\"10\" value=\"10\""));
        assert_eq!(of(0, 10, 0), "0 of 0 run again");
    }
}
