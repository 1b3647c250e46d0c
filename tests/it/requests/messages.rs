//! Error messages for requests that cannot be read: in our own words, naming what was expected.

use nats_scheduler::api::nats::endpoints;
use serde_json::{Value, json};

use crate::harness::{Nats, far};
use crate::http::Http;

/// Words of the libraries that read requests.
const FOREIGN: [&str; 21] = [
    "invalid type",
    "invalid value",
    "invalid length",
    "invalid number",
    "invalid escape",
    ", expected ",
    "expected value",
    "unknown variant",
    "unknown field",
    "missing field",
    "duplicate field",
    "did not match any variant",
    "premature",
    "trailing",
    "EOF",
    "recursion limit",
    "parsing failed",
    "input contains",
    "input is out of range",
    "number out of range",
    "column 0",
];

/// A value of each type, and some that look like one.
const SAMPLES: [&str; 20] = [
    "null",
    "true",
    "7",
    "-1",
    "1.5",
    "1.0",
    "1e400",
    "99999999999999999999",
    "\"\"",
    "\"x\"",
    "\"7\"",
    "\"true\"",
    "\"\\ud800\"",
    "\"2030-13-01T00:00:00Z\"",
    "[]",
    "[7]",
    "[\"x\"]",
    "{}",
    "{\"a\":[1]}",
    "{\"\\ud800\":1}",
];

/// Asserts that no library speaks, and that each fault says what to do.
pub fn assert_own_words(error: &Value, context: &str) {
    let message = error["message"].as_str().unwrap_or_else(|| panic!("{context}: {error}"));
    let foreign = FOREIGN.iter().find(|text| message.contains(**text));
    assert_eq!(foreign, None, "{context}: {message}");
    assert!(!message.contains("this field takes"), "nothing is known of {context}: {message}");
}

/// Values for a field that its schema does not allow, and for each field in it.
fn wrong_values(schema: &Value, definitions: &Value) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return wrong_values(&definitions[name], definitions);
    }
    let mut values: Vec<_> = SAMPLES.iter().map(|value| (*value).to_owned()).collect();
    for part in schema["anyOf"].as_array().into_iter().flatten() {
        values.extend(wrong_values(part, definitions));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let inner = wrong_values(field, definitions);
        values.extend(inner.iter().map(|value| format!("{{\"{name}\":{value}}}")));
    }
    if schema["items"].is_object() {
        let inner = wrong_values(&schema["items"], definitions);
        values.extend(inner.iter().map(|value| format!("[{value}]")));
    }
    values.sort();
    values.dedup();
    values
}

#[tokio::test]
async fn no_library_speaks_to_callers() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
    let mut refused = 0;
    for endpoint in endpoints() {
        let schema: Value = serde_json::from_str(&endpoint.metadata["request_schema"]).unwrap();
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            for value in wrong_values(of, &schema["$defs"]) {
                let body = format!("{{\"{field}\":{value},\"{field}x\":1}}");
                let reply =
                    nats.client.request(endpoint.subject.clone(), body.clone().into()).await;
                let reply: Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
                let context = format!("{} {body}", endpoint.name);
                assert_eq!(reply["error"]["code"], "invalid", "{context}");
                assert_own_words(&reply["error"], &context);
                refused += 1;
            }
        }
    }
    assert!(refused > 2000, "{refused}");
}

#[tokio::test]
async fn faults_are_said_with_what_was_expected() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let id = "must be a UUID, such as 018f3c5e-7b1a-7cc3-9a4e-5d2f8b6a1c0e";
    let time = "must be a time in RFC 3339, such as 2030-01-31T02:00:00Z";
    let statuses =
        "must be one of active, paused, completed, failed, deleted; did you mean active?";
    for (operation, body, expected) in [
        ("schedule.get", json!({ "schedule_id": "nightly" }), format!("schedule_id: {id}")),
        ("schedule.list", json!({ "status": "Active" }), format!("status: {statuses}")),
        (
            "schedule.list",
            json!({ "limit": "5" }),
            "limit: must be a whole number from 1 to 100, such as 5, without quotes".to_owned(),
        ),
        (
            "schedule.list",
            json!({ "sort": "created" }),
            "sort: must be one of created_at, -created_at, name, -name, next_run_at, -next_run_at; did \
             you mean created_at?"
                .to_owned(),
        ),
        (
            "bulk.operation",
            json!({ "operation": "pause", "schedule_ids": [uuid::Uuid::nil(), "x"] }),
            format!("schedule_ids[1]: {id}"),
        ),
        (
            "bulk.operation",
            json!({ "operation": "pause", "filter": { "due_after": "soon", "status": "Active" } }),
            format!("filter.due_after: {time}; filter.status: {statuses}"),
        ),
        ("execution.list", json!({ "started_after": "yesterday" }), format!("started_after: {time}")),
        (
            "execution.get",
            json!({ "id": "x" }),
            "id: is not a field of this request; did you mean execution_id?; the fields are execution_id"
                .to_owned(),
        ),
        (
            "status",
            json!({ "verbose": true }),
            "verbose: is not a field of this request; the fields are include_settings".to_owned(),
        ),
        (
            "schedule.create",
            json!({ "name": "a", "schedule_type": "dependent", "target_command": "cmd.example.a",
                    "after": { "schedule_id": "nightly" } }),
            format!("after.schedule_id: {id}"),
        ),
    ] {
        let error = nats.refused(operation, body.clone()).await;
        assert_eq!(error["message"], expected, "{operation} {body}");
    }
    let items = json!({ "schedules": [7, { "schedule_type": "Cron" }] });
    let results = nats.ask("bulk.create", items).await["results"].clone();
    let first = &results[0]["error"]["details"];
    assert_eq!(first.as_array().unwrap().len(), 1, "{first}");
    assert_eq!(first[0]["field"], "body");
    assert_eq!(results[1]["error"]["details"][0]["field"], "schedule_type");
    // A body that cannot be read has no fields of which more could be said.
    let reply = nats.client.request("cmd.scheduler.schedule.create", "{\"name\":}".into()).await;
    let reply: Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
    assert_eq!(reply["error"]["message"], "body: is not JSON: unexpected `}` at line 1, column 9");

    let http = Http::new(&service).await;
    let schedule = nats.create(far("over http")).await;
    for (path, expected) in [
        ("/api/v1/schedules?status=Active".to_owned(), format!("status: {statuses}")),
        (
            "/api/v1/schedules?limit=many&page=-1".to_owned(),
            "limit: must be a whole number from 1 to 100, such as 20; page: must be a whole number from \
             1 to 1000000000, such as 2"
                .to_owned(),
        ),
        ("/api/v1/schedules?is_active=yes".to_owned(), "is_active: must be true or false".to_owned()),
        ("/api/v1/schedules?due_after=soon".to_owned(), format!("due_after: {time}")),
        ("/api/v1/schedules/nightly".to_owned(), format!("schedule_id: {id}")),
        (
            format!("/api/v1/schedules/{schedule}/preview?cout=3&color=red"),
            "cout: is not a parameter of this route; did you mean count?; the parameters are after, \
             count; color: is not a parameter of this route"
                .to_owned(),
        ),
    ] {
        assert_eq!(http.error(&path).await["message"], expected, "{path}");
    }
}

#[tokio::test]
async fn no_library_speaks_to_callers_over_http() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    for (path, fields) in [
        (
            "/api/v1/schedules",
            "creator,tags,tags_match,status,schedule_type,is_active,due_after,due_before,sort,page,limit",
        ),
        ("/api/v1/executions", "schedule_id,status,started_after,started_before,page,limit"),
        ("/api/v1/executions/running", "schedule_id,include_pending,page,limit"),
    ] {
        for field in fields.split(',') {
            for text in ["x", "-1", "1.5", "99999999999999999999", "%00", "Active", "[]"] {
                // The name beside it makes sure of a refusal.
                let path = format!("{path}?{field}={text}&{field}x=1");
                assert_own_words(&http.error(&path).await, &path);
            }
        }
    }
    for path in ["/api/v1/schedules/x", "/api/v1/executions/x", "/api/v1/schedules/%FF"] {
        assert_own_words(&http.error(path).await, path);
    }
}
