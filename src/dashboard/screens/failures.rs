//! Failures, grouped by the kind of error and by target.

use std::collections::HashMap;

use axum::response::Response;
use chrono::{SecondsFormat, TimeDelta};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::executions::UNTYPED;
use crate::api::executions::RETRIED_BY_DEFAULT;
use crate::dashboard::json::Look as _;
use crate::dashboard::page::{self, failure};
use crate::dashboard::parts::{
    action, execution_path, hidden, nothing, path_part, relative, schedule_link,
};
use crate::dashboard::visit::{Visitor, drawn};

/// Executions that are looked at, in lists of this length.
const LIST: u64 = 100;
const LISTS: u64 = 3;
/// Groups that are shown.
const GROUPS: usize = 50;

/// Failures of a kind.
struct Group<'a> {
    error_type: &'a str,
    target: &'a str,
    count: u64,
    /// The newest.
    latest: &'a Value,
}

pub(super) async fn write(visitor: &Visitor<'_>) -> Response {
    let hours: i64 = visitor.query("hours").and_then(|hours| hours.parse().ok()).unwrap_or(24);
    let hours = hours.clamp(1, 720);
    let from = (visitor.now - TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let (mut failed, mut total) = (Vec::new(), 0);
    for page in 1..=LISTS {
        let fields =
            json!({ "status": "failed", "started_after": from, "page": page, "limit": LIST });
        let mut reply = match visitor.read("execution.list", fields).await {
            Ok(reply) => reply,
            Err(error) => return failure(visitor, &error, Some("/failures")).await,
        };
        total = reply["pagination"].count("total");
        let Some(part) = reply["data"].as_array_mut() else { break };
        failed.append(part);
        if page * LIST >= total {
            break;
        }
    }
    let groups = grouped(&failed);
    // What is not counted may be of any kind.
    let is_cut = (failed.len() as u64) < total;
    let body = html! {
        h1 { "Failures" }
        form.filters action="/failures" {
            label { "Of the last"
                select name="hours" {
                    @for (value, name) in [(1, "hour"), (24, "24 hours"), (168, "7 days"), (720, "30 days")] {
                        option value=(value) selected[value == hours] { (name) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
        p { a href="/reruns" { "Reruns" } ": what is run again in the background." }
        section #groups data-live {
            @if groups.is_empty() { (nothing("Nothing failed.")) }
            @if is_cut {
                p.dim { "The newest " (failed.len()) " of " (total) " are counted here." }
            }
            @for group in groups.iter().take(GROUPS) { (one(visitor, group, &from, is_cut)) }
            @if groups.len() > GROUPS { p.dim { (groups.len() - GROUPS) " more kinds" } }
        }
    };
    page::show(visitor, "Failures", body).await
}

/// The groups, the largest first.
fn grouped(failed: &[Value]) -> Vec<Group<'_>> {
    let mut groups: HashMap<(&str, &str), Group<'_>> = HashMap::new();
    for one in failed {
        let (error_type, target) = (one.text("error_type"), one.text("command_sent"));
        let new = || Group { error_type, target, count: 0, latest: one };
        groups.entry((error_type, target)).or_insert_with(new).count += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.error_type, group.target));
    groups
}

fn one(visitor: &Visitor<'_>, group: &Group<'_>, from: &str, is_cut: bool) -> Markup {
    let Group { error_type, target, count, latest } = group;
    let filter = json!({ "error_type": error_type, "command_sent": target, "from": from });
    let kind = match error_type.is_empty() {
        true => format!("{UNTYPED}=true"),
        false => format!("error_type={}", path_part(error_type)),
    };
    let address = format!("/executions?status=failed&{kind}&command_sent={}", path_part(target));
    html! {
        // The script finds its buttons again by this: the filter is another each time.
        section.box data-key=(json!([error_type, target])) {
            h2 {
                (count) " × "
                @if error_type.is_empty() { "without an error type" } @else { code { bdi { (error_type) } } }
                " at " code { bdi { (target) } }
            }
            p.text { bdi { (latest.text("error_message")) } }
            p {
                "The latest " (relative(latest.instant("completed_at"), visitor.now)) ", of "
                (schedule_link(latest.text("schedule_id"), latest.text("schedule_name"))) ": "
                a href=(execution_path(latest.text("id"))) { "execution" }
                " · " a href=(address) { "all of this kind" }
            }
            p.dim { "Each is sent to the present target of its schedule, or where it went if it has none; the dry run says where." }
            (action(visitor, "bulk.retry", &visitor.here(), html! {
                (hidden("filter", &filter.to_string()))
                (hidden("idempotency_key", &drawn()))
                (hidden("dry_run", "true"))
                button type="submit" { "Run again all of this kind …" }
                @if is_cut || *count > RETRIED_BY_DEFAULT {
                    button type="submit" name="in_background" value="true" { "Run again in the background …" }
                }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_group_comes_first() {
        let failed = |error_type: &str, target: &str| json!({ "error_type": error_type, "command_sent": target });
        let all = [
            failed("timeout", "cmd.a"),
            failed("no_stream", "cmd.b"),
            failed("no_stream", "cmd.b"),
            failed("no_stream", "cmd.a"),
        ];
        let groups = grouped(&all);
        let seen: Vec<_> =
            groups.iter().map(|group| (group.count, group.error_type, group.target)).collect();
        assert_eq!(
            seen,
            [(2, "no_stream", "cmd.b"), (1, "no_stream", "cmd.a"), (1, "timeout", "cmd.a")]
        );
    }
}
