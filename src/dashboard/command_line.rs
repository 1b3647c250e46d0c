//! An action as a command of our own command line.

use serde_json::Value;

use super::form::Field;
use super::shell::{quoted, text};

/// Options for fields of an operation, each with its value.
const OPTIONS: [(&str, &str); 11] = [
    ("cron_expression", "--cron"),
    ("scheduled_at", "--at"),
    ("timezone", "--timezone"),
    ("target_command", "--target"),
    ("command_payload", "--payload"),
    ("override_payload", "--payload"),
    ("description", "--description"),
    ("reason", "--reason"),
    ("resume_at", "--until"),
    ("from", "--from"),
    ("to", "--to"),
];
/// Options for fields of a filter, each with its value.
const FILTERS: [(&str, &str); 11] = [
    ("creator", "--creator"),
    ("owner", "--owned-by"),
    ("group", "--group"),
    ("calendar", "--calendar"),
    ("status", "--status"),
    ("schedule_type", "--type"),
    ("last_outcome", "--last-outcome"),
    ("target_prefix", "--target"),
    ("name_prefix", "--prefix"),
    ("name_contains", "--contains"),
    ("tags", "--tag"),
];
/// Options for fields of a filter of executions, each with its value.
const EXECUTIONS: [(&str, &str); 11] = [
    ("schedule_id", "--schedule"),
    ("status", "--status"),
    ("statuses", "--status"),
    ("error_type", "--error-type"),
    ("command_sent", "--sent-to"),
    ("target_command", "--target"),
    ("tag", "--tag"),
    ("from", "--since"),
    ("to", "--until"),
    ("scheduled_from", "--scheduled-from"),
    ("scheduled_to", "--scheduled-to"),
];
/// Options for fields of a filter that have this value, and no option for another.
const SWITCHES: [(&str, bool, &str); 3] = [
    ("is_active", false, "--off"),
    ("is_failing", true, "--failing"),
    ("is_overdue", true, "--overdue"),
];

/// The command for an operation with these fields, if there is one that does the same.
pub(super) fn command_line(operation: &str, fields: &[&Field]) -> Option<String> {
    let get = |name: &str| {
        let (_, value) = fields.iter().find(|(known, _)| known == name)?;
        Some(text(value.get()))
    };
    let mut words = vec!["nats-scheduler".to_owned()];
    let id = |name: &str| get(name).map(|id| quoted(&id));
    let (command, subjects): (&str, Vec<String>) = match operation {
        "schedule.create" => ("create", id("name").into_iter().collect()),
        "schedule.trigger" => ("run", id("schedule_id").into_iter().collect()),
        "schedule.pause" => ("pause", id("schedule_id").into_iter().collect()),
        "schedule.resume" => ("resume", id("schedule_id").into_iter().collect()),
        "schedule.delete" => ("rm", id("schedule_id").into_iter().collect()),
        "schedule.restore" => ("restore", id("schedule_id").into_iter().collect()),
        "schedule.update" => ("edit", id("schedule_id").into_iter().collect()),
        "schedule.backfill" => ("backfill", id("schedule_id").into_iter().collect()),
        "schedule.pause_all" => ("pause --all", Vec::new()),
        "schedule.resume_all" => ("resume --all", Vec::new()),
        "execution.retry" => ("retry", id("execution_id").into_iter().collect()),
        "execution.cancel" => ("cancel", id("execution_id").into_iter().collect()),
        "rerun.cancel" => ("rerun cancel", id("rerun_id").into_iter().collect()),
        "calendar.delete" => ("calendar rm", id("name").into_iter().collect()),
        "group.delete" => ("group rm", id("name").into_iter().collect()),
        "group.put" => ("group put", id("name").into_iter().collect()),
        // The command reads a file, and a form has its text.
        "calendar.put" if get("ics").is_none() => ("calendar put", calendar(fields)?),
        "bulk.operation" => bulk(fields)?,
        "bulk.retry" => ("retry --failed", retried(fields)?),
        _ => return None,
    };
    words.push(command.to_owned());
    words.extend(subjects);
    match operation {
        "schedule.create" => words.extend(creation(fields)),
        "schedule.update" => words.extend(edit(fields)),
        _ => {}
    }
    for (field, name) in OPTIONS {
        if let Some(value) = get(field).filter(|_| operation != "schedule.update") {
            words.push(option(name, &value));
        }
    }
    if let Some(limit) = get("limit").filter(|_| operation == "group.put") {
        words.push(format!("--limit {limit}"));
    }
    if let Some(revision) = get("expected_revision").filter(|_| operation.ends_with(".put")) {
        words.push(format!("--expect {revision}"));
    }
    if let Some(revision) = get("expected_revision").filter(|_| operation == "schedule.delete") {
        words.push(format!("--revision {revision}"));
    }
    if get("payload").as_deref() == Some("current") && operation.ends_with(".retry") {
        words.push("--current".to_owned());
    }
    for (field, option) in [("dry_run", "--dry-run"), ("hard_delete", "--hard")] {
        if get(field).as_deref() == Some("true") {
            words.push(option.to_owned());
        }
    }
    if asks(operation, fields) && get("dry_run").as_deref() != Some("true") {
        words.push("--yes".to_owned());
    }
    Some(words.join(" "))
}

/// Whether the command asks first, which it cannot in a script.
fn asks(operation: &str, fields: &[&Field]) -> bool {
    match operation {
        "schedule.pause_all" | "schedule.resume_all" | "bulk.retry" => true,
        _ => operation == "bulk.operation" && fields.iter().any(|(name, _)| name == "filter"),
    }
}

/// What a creation has besides the options that other commands have too.
fn creation(fields: &[&Field]) -> Vec<String> {
    let mut words = Vec::new();
    for (name, value) in fields {
        let value = value.get();
        let parsed: Value = serde_json::from_str(value).unwrap_or_default();
        match (name.as_str(), &parsed) {
            ("schedule_type", Value::String(kind)) if kind == "immediate" => {
                words.push("--now".to_owned());
            }
            ("name" | "schedule_type" | "dry_run", _) => {}
            ("interval_seconds", _) => words.push(format!("--every {value}s")),
            ("tags", Value::Array(tags)) => {
                words.extend(tags.iter().filter_map(Value::as_str).map(|tag| option("--tag", tag)));
            }
            ("after", _) => {
                let after = |part: &str| parsed[part].as_str();
                words.extend(after("schedule_id").map(|id| option("--after", id)));
                words.extend(after("on").map(|on| option("--on", on)));
            }
            (name, _) if OPTIONS.iter().any(|(known, _)| *known == name) => {}
            (name, _) => words.push(option("--set", &format!("{name}={value}"))),
        }
    }
    words
}

/// What an edit changes, field by field.
fn edit(fields: &[&Field]) -> Vec<String> {
    let changed = fields.iter().filter(|(name, _)| !["schedule_id", "dry_run"].contains(&&**name));
    changed.map(|(name, value)| option("--set", &format!("{name}={}", value.get()))).collect()
}

/// An option with its value, which may look like an option itself.
fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("{name}{between}{}", quoted(value))
}

/// The name, days and spans of a calendar.
fn calendar(fields: &[&Field]) -> Option<Vec<String>> {
    let items = |name: &str| {
        let items = parsed(fields, name)?;
        items.as_array().cloned()
    };
    let (_, name) = fields.iter().find(|(known, _)| known == "name")?;
    let mut words = vec![quoted(&text(name.get()))];
    for day in items("days").iter().flatten() {
        words.push(format!("--day {}", quoted(day.as_str()?)));
    }
    for span in items("spans").iter().flatten() {
        let span = format!("{}/{}", span["start"].as_str()?, span["end"].as_str()?);
        words.push(format!("--span {}", quoted(&span)));
    }
    Some(words)
}

/// The command for many schedules that are named one by one, or that match a filter.
fn bulk(fields: &[&Field]) -> Option<(&'static str, Vec<String>)> {
    let command = match parsed(fields, "operation")?.as_str()? {
        "pause" => "pause",
        "resume" => "resume",
        "delete" => "rm",
        _ => return None,
    };
    let which = match parsed(fields, "filter") {
        Some(filter) => filters(&filter)?,
        None => {
            let ids = parsed(fields, "schedule_ids")?;
            ids.as_array()?.iter().filter_map(Value::as_str).map(quoted).collect()
        }
    };
    Some((command, which))
}

/// Which executions are run again, and whether in the background, which a dry run is not.
fn retried(fields: &[&Field]) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for (field, value) in parsed(fields, "filter")?.as_object()? {
        let (_, name) = EXECUTIONS.iter().find(|(known, _)| known == field)?;
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            words.push(option(name, value.as_str()?));
        }
    }
    let is = |name: &str| parsed(fields, name) == Some(Value::Bool(true));
    if is("in_background") && !is("dry_run") {
        words.push("--in-background".to_owned());
    }
    words.extend(parsed(fields, "limit").map(|limit| format!("--limit {limit}")));
    Some(words)
}

/// A filter as options, if there are options for all of it: with fewer, more would match.
fn filters(filter: &Value) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for (field, value) in filter.as_object()? {
        if let Some((_, _, name)) =
            SWITCHES.iter().find(|(switch, is, _)| switch == field && *is == *value)
        {
            words.push((*name).to_owned());
            continue;
        }
        if (field.as_str(), value.as_str()) == ("tags_match", Some("all")) {
            words.push("--all-tags".to_owned());
            continue;
        }
        let (_, name) = FILTERS.iter().find(|(known, _)| known == field)?;
        match value {
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    words.push(option(name, item.as_str()?));
                }
            }
            one => words.push(option(name, one.as_str()?)),
        }
    }
    (!words.is_empty()).then_some(words)
}

fn parsed(fields: &[&Field], name: &str) -> Option<Value> {
    let (_, value) = fields.iter().find(|(known, _)| known == name)?;
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dashboard::form::raw;

    fn line(operation: &str, fields: &Value) -> Option<String> {
        let fields = fields.as_object().unwrap().iter();
        let fields: Vec<Field> = fields.map(|(name, value)| (name.clone(), raw(value))).collect();
        command_line(operation, &fields.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_creation_has_all_of_its_fields() {
        let made = line(
            "schedule.create",
            &json!({
                "name": "n", "schedule_type": "dependent", "target_command": "cmd.a",
                "after": { "schedule_id": "17", "on": "failure" }, "tags": ["a", "b c"],
                "delivery": { "mode": "job", "timeout_seconds": 60 }, "overlap": "allow",
                "max_runs": 3, "dry_run": true,
            }),
        );
        assert_eq!(
            made.unwrap(),
            r#"nats-scheduler create n --after 17 --on failure --set 'delivery={"mode":"job","timeout_seconds":60}' --set max_runs=3 --set 'overlap="allow"' --tag a --tag 'b c' --target cmd.a --dry-run"#
        );
        let now = json!({ "name": "n", "schedule_type": "immediate", "target_command": "cmd.a" });
        let made = line("schedule.create", &now).unwrap();
        assert_eq!(made, "nats-scheduler create n --now --target cmd.a");
        let every = json!({ "name": "n", "schedule_type": "interval", "interval_seconds": 90 });
        assert_eq!(line("schedule.create", &every).unwrap(), "nats-scheduler create n --every 90s");
    }

    #[test]
    fn an_edit_has_what_was_typed() {
        let made = line(
            "schedule.update",
            &json!({ "schedule_id": "17", "description": "it's", "retry": { "max_seconds": 9 },
                     "priority": 7, "expected_revision": 3, "dry_run": true }),
        );
        assert_eq!(
            made.unwrap(),
            r#"nats-scheduler edit 17 --set 'description="it'\''s"' --set expected_revision=3 --set priority=7 --set 'retry={"max_seconds":9}' --dry-run"#
        );
    }

    #[test]
    fn a_retry_of_many_has_all_of_its_filter() {
        let of = |filter: Value, more: Value| {
            let mut fields = json!({ "filter": filter });
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line("bulk.retry", &fields)
        };
        let all = json!({ "command_sent": "cmd.a", "error_type": "no stream", "from": "2026-01-01T00:00:00Z",
                          "scheduled_from": "2026-01-02T00:00:00Z", "status": "cancelled" });
        assert_eq!(
            of(all, json!({ "dry_run": true, "in_background": true, "payload": "current" }))
                .unwrap(),
            "nats-scheduler retry --failed --sent-to cmd.a --error-type 'no stream' --since 2026-01-01T00:00:00Z \
             --scheduled-from 2026-01-02T00:00:00Z --status cancelled --current --dry-run"
        );
        let stored = of(json!({ "tag": "x" }), json!({ "in_background": true, "limit": 7 }));
        assert_eq!(
            stored.unwrap(),
            "nats-scheduler retry --failed --tag x --in-background --limit 7 --yes"
        );
        let several = of(json!({ "statuses": ["failed", "cancelled"] }), json!({}));
        assert_eq!(
            several.unwrap(),
            "nats-scheduler retry --failed --status failed --status cancelled --yes"
        );
        assert_eq!(of(json!({ "later": "x" }), json!({})), None);
        let all = line("schedule.pause_all", &json!({ "reason": "moving" })).unwrap();
        assert_eq!(all, "nats-scheduler pause --all --reason moving --yes");
    }

    #[test]
    fn all_that_match_are_said_by_the_options_of_the_filter() {
        let of = |operation: &str, filter: Value, more: Value| {
            let mut fields = json!({ "operation": operation, "filter": filter });
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line("bulk.operation", &fields)
        };
        for (operation, filter, more, expected) in [
            (
                "pause",
                json!({ "name_contains": "a'b c" }),
                json!({ "reason": "-", "dry_run": true }),
                r"pause --contains 'a'\''b c' --reason=- --dry-run",
            ),
            (
                "resume",
                json!({ "creator": "ann", "owner": "git:ops", "group": "db", "calendar": "holidays",
                        "status": "paused", "schedule_type": "one_time", "last_outcome": "failed",
                        "target_prefix": "cmd.a", "name_prefix": "-n" }),
                json!({}),
                "resume --calendar holidays --creator ann --group db --last-outcome failed --prefix=-n --owned-by git:ops \
                 --type one_time --status paused --target cmd.a --yes",
            ),
            (
                "delete",
                json!({ "tags": ["x y", "z"], "tags_match": "all", "is_failing": true, "is_overdue": true,
                        "is_active": false }),
                json!({ "hard_delete": true }),
                "rm --off --failing --overdue --tag 'x y' --tag z --all-tags --hard --yes",
            ),
        ] {
            let made = of(operation, filter, more).unwrap();
            let sorted = |text: &str| {
                let mut options: Vec<_> = text.split(" --").map(str::to_owned).collect();
                options[1..].sort();
                options
            };
            assert_eq!(sorted(&made), sorted(&format!("nats-scheduler {expected}")));
        }
        // The command would change more than what matches.
        for filter in [
            json!({ "is_failing": false }),
            json!({ "name_contains": "a", "is_active": true }),
            json!({ "name_contains": "a", "later": "b" }),
            json!({ "due_before": "2027-01-01T00:00:00Z" }),
            json!({ "tags": [] }),
            json!({}),
        ] {
            assert_eq!(of("pause", filter.clone(), json!({})), None, "{filter}");
        }
    }
}
