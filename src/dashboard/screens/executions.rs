//! Executions, newest first.

use axum::response::Response;
use maud::{Markup, html};
use serde_json::json;

use super::schedule::execution_rows;
use crate::dashboard::form::instant;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure, refusal};
use crate::dashboard::parts::{choice, filters, more, nothing, pager, search, when_read};
use crate::dashboard::visit::{Read, Visitor};
use crate::execution::ExecutionStatus;

/// Filters by time. A browser's own field would lose the seconds' fractions, and could not be emptied by keys alone.
const TIMES: [(&str, &str); 4] = [
    ("started_after", "Started after (UTC, or with an offset)"),
    ("started_before", "Started before"),
    ("scheduled_from", "Nominal time from"),
    ("scheduled_to", "Nominal time to"),
];
/// The parameter that asks for executions without an error type: a field that is left empty asks for nothing.
pub(super) const UNTYPED: &str = "without_error_type";
const CORRELATION: &str = "correlation_id";
/// Filters that are always seen; the others are folded away until they are asked for.
const STANDING: [&str; 4] = ["status", "error_type", "command_sent", "tag"];
const MORE: [&str; 8] = [
    "schedule_id",
    "target_command",
    "started_after",
    "started_before",
    "scheduled_from",
    "scheduled_to",
    UNTYPED,
    CORRELATION,
];
/// Rows of a page.
const ROWS: u64 = 50;

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    // Those of one schedule or of one kind lie apart, each in another file of the server.
    let listed = match visitor.query(CORRELATION) {
        Some(id) => {
            let fields = json!({ "correlation_id": id, "page": visitor.page(), "limit": ROWS });
            visitor.soon("execution.by_correlation", fields).await
        }
        None => {
            let at = |name: &str| visitor.query(name).map(|at| instant(&at));
            let none = visitor.query(UNTYPED).map(|_| String::new());
            let fields = json!({
                "schedule_id": visitor.query("schedule_id"),
                "status": visitor.query("status"),
                "error_type": visitor.query("error_type").or(none),
                "tag": visitor.query("tag"),
                "command_sent": visitor.query("command_sent"),
                "target_command": visitor.query("target_command"),
                "started_after": at("started_after"),
                "started_before": at("started_before"),
                "scheduled_from": at("scheduled_from"),
                "scheduled_to": at("scheduled_to"),
                "page": visitor.page(),
                "limit": ROWS,
            });
            visitor.soon("execution.list", fields).await
        }
    };
    if let Some(Err(error)) = &listed {
        return failure(visitor, error, Some("/executions")).await;
    }
    let body = html! {
        h1 { "Executions" }
        (filters("/executions", html! {
            (choice(visitor, "status", "Outcome", &ExecutionStatus::ALL.map(ExecutionStatus::as_str)))
            (search(visitor, "error_type", "Error type"))
            (search(visitor, "command_sent", "Sent to"))
            (search(visitor, "tag", "Tag"))
            (more(visitor, &MORE, html! {
                (search(visitor, "schedule_id", "Schedule (id)"))
                (search(visitor, "target_command", "Target of the schedule now"))
                @for (name, label) in TIMES { (search(visitor, name, label)) }
                label {
                    input type="checkbox" name=(UNTYPED) value="true" checked[visitor.query(UNTYPED).is_some()];
                    " Without an error type"
                }
                (search(visitor, "correlation_id", "Correlation id (alone)"))
            }))
        }))
        (idle(visitor))
        section #rows data-live {
            (when_read(visitor, listed.as_ref(), |listed| rows(visitor, listed)))
        }
    };
    page::show(visitor, "Executions", body).await
}

/// Says that a correlation id is looked up alone, if there is another filter.
fn idle(visitor: &Visitor<'_>) -> Markup {
    let others = STANDING.iter().chain(&MORE).filter(|name| **name != CORRELATION);
    let is_any = others.into_iter().any(|name| visitor.query(name).is_some());
    html! {
        @if is_any && visitor.query(CORRELATION).is_some() {
            p.box.warn { "A correlation id is looked up alone: the other filters are not in force." }
        }
    }
}

fn rows(visitor: &Visitor<'_>, listed: &Read) -> Markup {
    let reply = match listed {
        Ok(reply) => reply,
        Err(error) => return refusal(error),
    };
    html! {
        @if reply.items("data").is_empty() { (nothing("No execution matches.")) }
        @else { (execution_rows(visitor, reply.items("data"), None)) }
        (pager(visitor, &reply["pagination"]))
    }
}
