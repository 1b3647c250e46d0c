//! Every place that must know the fields of a schedule knows all of them, or says here why it does not.
//!
//! `src/schedule/declared.rs` declares a field, and the compiler names what stores and checks it. What is read by the
//! names of fields, the compiler cannot see: these tests name it.

use std::collections::{BTreeMap, BTreeSet};

use nats_scheduler::api::nats::endpoints;
use serde_json::{Value, json};

use crate::harness::Nats;
use crate::house::structure::root;

/// A field of the request that is none of the schedule.
const OF_THE_REQUEST: &str = "idempotency_key";
/// Fields that the form of the dashboard does not have, and why.
const NOT_IN_FORMS: [(&str, &str); 6] = [
    ("is_active", "people pause a schedule; files switch it off"),
    ("created_by", "a form acts for whoever is signed in"),
    ("owner", "what a file owns is changed in the file"),
    ("payload_template", "needs placeholders that the form does not explain"),
    ("retry", "delays that grow and error types have parts of their own"),
    ("max_instances", "the setting's default holds"),
];
/// Fields whose default a setting of the service decides: files say them.
const BY_SETTINGS: [&str; 7] = [
    "timezone",
    "max_retries",
    "retry_delay_seconds",
    "retry",
    "misfire_grace_seconds",
    "catch_up",
    "max_instances",
];
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The texts between quotes in what follows a line until its end.
fn texts(source: &str, from: &str, to: &str) -> Vec<String> {
    let (_, rest) = source.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    let (list, _) = rest.split_once(to).unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn schema(operation: &str, which: &str) -> Value {
    let endpoint = endpoints().into_iter().find(|one| one.subject.ends_with(operation)).unwrap();
    serde_json::from_str(&endpoint.metadata[which]).unwrap()
}

fn names(of: &Value) -> BTreeSet<String> {
    of["properties"].as_object().unwrap().keys().cloned().collect()
}

/// The fields that a user may give a schedule.
fn given() -> BTreeSet<String> {
    let mut names = names(&schema("schedule.create", "request_schema"));
    assert!(names.remove(OF_THE_REQUEST));
    names
}

fn without(all: &BTreeSet<String>, exceptions: &[(&str, &str)]) -> BTreeSet<String> {
    for (name, why) in exceptions {
        assert!(all.contains(*name) && !why.is_empty(), "{name} is not a field any more");
    }
    all.iter().filter(|name| !exceptions.iter().any(|(one, _)| one == name)).cloned().collect()
}

#[test]
fn files_have_every_field() {
    let export = read("src/main/cli/files/export.rs");
    let known: BTreeSet<_> = texts(&export, "const FIELDS", "];").into_iter().collect();
    assert_eq!(known, given(), "FIELDS in src/main/cli/files/export.rs");
}

#[test]
fn replies_show_every_field() {
    let reply = schema("schedule.get", "response_schema");
    let shown = names(&reply["$defs"]["ScheduleView"]);
    let missing: Vec<_> = given().into_iter().filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "ScheduleView in src/api/reply/schedule.rs lacks {missing:?}");
}

#[test]
fn the_documents_have_every_field() {
    let api = read("docs/api.md");
    let (_, section) = api.split_once("\n## schedule.create\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let known: BTreeSet<_> =
        rows.flat_map(|(first, _)| first.split('`').skip(1).step_by(2)).collect();
    let missing: Vec<_> =
        given().into_iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "the table of schedule.create in docs/api.md lacks {missing:?}");
}

#[test]
fn forms_have_every_field() {
    let forms = read("src/dashboard/screens/fields.rs");
    let edit = read("src/dashboard/screens/edit.rs");
    for (path, source) in [("fields.rs", &forms), ("edit.rs", &edit)] {
        let has = |name: &String| {
            source.contains(&format!("\"{name}\"")) || source.contains(&format!("\"{name}."))
        };
        let known: BTreeSet<_> = given().into_iter().filter(has).collect();
        let expected = without(&given(), &NOT_IN_FORMS);
        assert_eq!(known, expected, "src/dashboard/screens/{path}");
    }
}

/// The words that a schema allows.
fn words(schema: &Value, definitions: &Value) -> BTreeSet<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return words(&definitions[name], definitions);
    }
    let mut all = BTreeSet::new();
    for part in ["anyOf", "oneOf"] {
        let parts = schema[part].as_array().into_iter().flatten();
        all.extend(parts.flat_map(|part| words(part, definitions)));
    }
    let listed = schema["enum"].as_array().into_iter().flatten();
    let text = |word: &Value| word.as_str().map(str::to_owned);
    all.extend(listed.chain([&schema["const"]]).filter_map(text));
    all
}

/// What a schema says of a field, or of a part of one.
fn at<'a>(path: &str, schema: &'a Value, definitions: &'a Value) -> &'a Value {
    path.split('.').fold(schema, |schema, name| {
        let mut found = &schema["properties"][name];
        while let Some(whole) = found["anyOf"].as_array().map(|all| &all[0]).or(Some(found))
            && let Some(name) = whole["$ref"].as_str().and_then(|name| name.rsplit('/').next())
        {
            found = &definitions[name];
        }
        found
    })
}

#[test]
fn forms_offer_the_words_that_requests_allow() {
    let forms = read("src/dashboard/screens/fields.rs");
    let schema = schema("schedule.create", "request_schema");
    let mut offered = BTreeMap::new();
    for choice in
        forms.split(" choice(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'))
    {
        let (name, rest) = choice.split_once('"').unwrap();
        let (rest, _) = rest.split_once("),").unwrap();
        let list = match rest.rsplit_once("&OVERLAPS") {
            Some(_) => texts(&forms, "const OVERLAPS", "];"),
            None => texts(rest, "&[", "]"),
        };
        let list: BTreeSet<_> = list.into_iter().filter(|word| !word.is_empty()).collect();
        offered.insert(name.to_owned(), list);
    }
    assert!(offered.len() >= 7, "{offered:?}");
    for (name, list) in offered {
        let allowed = words(at(&name, &schema, &schema["$defs"]), &schema["$defs"]);
        assert_eq!(list, allowed, "{name} in src/dashboard/screens/fields.rs");
    }
}

/// Fields by which a schedule's times go: a test beside `IN_TIMING` compares it with what is stored.
#[test]
fn the_checker_knows_every_field_of_timing() {
    let known = texts(&read("tests/checker/story.rs"), "const TIMING", "];");
    let all = texts(&read("src/explain/periods.rs"), "const IN_TIMING", "];");
    assert_eq!(known, all, "TIMING in tests/checker/story.rs");
}

#[tokio::test]
async fn files_leave_out_what_is_so_by_default() {
    let export = read("src/main/cli/files/export.rs");
    let (_, table) = export.split_once("const DEFAULTS").unwrap();
    let (table, _) = table.split_once("\n];").unwrap();
    let rows = table.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", "));
    let defaults: BTreeMap<_, Value> = rows
        .map(|(name, value)| {
            let value = value.trim_end_matches("),");
            let json = match value.strip_prefix("r#\"") {
                Some(raw) => raw.trim_end_matches("\"#").to_owned(),
                None => serde_json::from_str(value).unwrap(),
            };
            (name.to_owned(), serde_json::from_str(&json).unwrap())
        })
        .collect();
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let body = json!({ "name": "least", "schedule_type": "interval", "interval_seconds": 3600,
                       "target_command": "cmd.example.least" });
    let id = nats.create(body.clone()).await;
    let view = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    let said = ["created_by", "start_at"];
    let by_default: BTreeMap<_, _> = given()
        .into_iter()
        .filter(|name| body.get(name).is_none() && !said.contains(&name.as_str()))
        .filter(|name| !BY_SETTINGS.contains(&name.as_str()))
        .map(|name| (name.clone(), view[name].clone()))
        .filter(|(_, value)| !value.is_null())
        .collect();
    assert_eq!(by_default, defaults, "DEFAULTS in src/main/cli/files/export.rs");
}

/// A rule that is tighter than the schema would refuse what the documents promise.
#[tokio::test]
async fn the_last_values_that_the_schema_allows_are_taken() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("SCHEDULER_MAX_INSTANCES", "16")]).await;
    let schema = schema("schedule.create", "request_schema");
    // Each of these has a form of its own.
    let of_a_form = ["cron_expression", "target_command", "dead_letter", "timezone", "group"];
    let mut sent = 0;
    for (field, of) in schema["properties"].as_object().unwrap() {
        let numbers = ["minimum", "maximum"].map(|edge| of[edge].clone());
        let lengths = ["minLength", "maxLength"].map(|edge| of[edge].as_u64());
        let texts = lengths.map(|length| length.map(|length| json!("x".repeat(length as usize))));
        let texts = texts.into_iter().flatten().filter(|_| !of_a_form.contains(&field.as_str()));
        let numbers = numbers.into_iter().filter(|edge| !edge.is_null());
        for value in texts.chain(numbers).collect::<Vec<_>>() {
            let mut body = json!({ "name": format!("edge {sent}"), "schedule_type": "interval",
                                   "interval_seconds": 86_400, "target_command": "cmd.example.edge",
                                   "delivery": { "mode": "request" } });
            body[field] = value.clone();
            let reply = nats.request("schedule.create", &body).await;
            let details = reply["error"]["details"].as_array().cloned().unwrap_or_default();
            let refused = details.iter().find(|fault| fault["field"] == **field);
            assert_eq!(refused, None, "{field}: {value} is within the schema");
            sent += 1;
        }
    }
    assert!(sent > 20, "{sent}");
}
