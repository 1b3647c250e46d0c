//! OpenAPI description of the facade, generated from the same tables and types.

mod examples;
mod forms;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use bytes::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::super::CREATED_BY;
use super::super::operations::{Access, Operation, example};
use super::super::reply::{ErrorReply, Reply, ScheduleView};
use super::super::route::{Query, Route};
use super::Http;
use super::probes::Probe;
use super::request::properties;
use crate::config::tokens::Role;
use forms::{older, plain};

/// Where the document is served, and where the same is in OpenAPI 3.0.
pub(super) const PATH: &str = "/openapi.json";
pub(super) const OLDER_PATH: &str = "/openapi-3.0.json";

/// The document, in OpenAPI 3.1 and in 3.0.
pub(super) struct Documents {
    present: Bytes,
    older: Bytes,
}

impl Documents {
    /// Builds both; with `tokens`, they name the roles that each route needs.
    pub(super) fn new(routes: &[(Route, &Operation)], tokens: bool) -> Self {
        let present = document(routes, tokens);
        Self { present: present.to_string().into(), older: older(present).to_string().into() }
    }
}

/// Serves the document.
pub(super) async fn json(State(http): State<Arc<Http>>, request: Request) -> Response {
    http.page(&request, PATH, "application/json", None, || http.openapi.present.clone().into())
}

/// Serves it in OpenAPI 3.0.
pub(super) async fn older_json(State(http): State<Arc<Http>>, request: Request) -> Response {
    http.page(&request, OLDER_PATH, "application/json", None, || http.openapi.older.clone().into())
}

/// Builds the document.
fn document(routes: &[(Route, &Operation)], tokens: bool) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = SchemaGenerator::new(settings);
    let error = generator.subschema_for::<ErrorReply>().to_value();
    let mut paths = Map::new();
    for (route, operation) in routes {
        let mut described = describe(&mut generator, route, operation, &error);
        if tokens {
            described["security"] = security(operation.access);
        }
        let path = paths.entry(&route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = described;
    }
    paths.extend(service_paths(&mut generator, tokens, &error));
    let mut schemas = generator.take_definitions(true);
    schemas.values_mut().for_each(plain);
    paths.values_mut().for_each(plain);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "nats-scheduler",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs jobs on time. The same operations are answered over NATS, on `cmd.scheduler.>`.\n\n\
                            Instants (`date-time`) are RFC 3339 in the years 0000 to 9999, by UTC. Second 60 is \
                            read as second 0 of the next minute. Those in replies are in UTC, with `Z`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": if tokens { json!([{ "token": [] }]) } else { json!([]) },
        "tags": [
            { "name": "schedules", "description": "Schedules, and what is done to them." },
            { "name": "executions", "description": "What ran, runs and is to run again." },
            { "name": "service", "description": "The service itself." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer",
                "description": "A token is `full`, `read` or `worker`; any of those that a route names will do.",
            } },
        },
    })
}

/// The paths that are not operations: probes and metrics.
fn service_paths(
    generator: &mut SchemaGenerator,
    tokens: bool,
    error: &Value,
) -> Map<String, Value> {
    let mut paths = Map::new();
    let probe = generator.subschema_for::<Probe>().to_value();
    for (path, summary, may_fail) in [
        ("/live", "Whether the process works", false),
        (
            "/ready",
            "Whether it can be asked: not while it loads, stops, or cannot follow the schedules in NATS",
            true,
        ),
        ("/health", "Whether the instance has problems that an operator should look at", true),
    ] {
        let mut responses = json!({ "200": answer("The instance answers; `status` is `ok` or `degraded`.", &probe) });
        if may_fail {
            responses["503"] = answer("It cannot be used now; `problems` say why.", &probe);
        }
        let described = json!({ "get": { "operationId": path.trim_start_matches('/'),
            "tags": ["service"], "summary": summary, "security": [], "responses": responses } });
        paths.insert(path.to_owned(), described);
    }
    let security_of_metrics = if tokens { security(Access::Read) } else { json!([]) };
    paths.insert(
        "/metrics".to_owned(),
        json!({ "get": {
            "security": security_of_metrics,
            "operationId": "metrics", "tags": ["service"], "summary": "Metrics for Prometheus",
            "responses": {
                "200": { "description": "In Prometheus's text format, or in that of OpenMetrics where `Accept` names it.",
                         "content": { "text/plain": { "schema": { "type": "string" } },
                                      "application/openmetrics-text": { "schema": { "type": "string" } } } },
                "401": refusal("No token that is known was sent.", error),
                "403": refusal("The caller is not allowed to do this.", error),
            },
        } }),
    );
    paths
}

/// Roles of tokens that may do what needs `access`.
fn roles(access: Access) -> Vec<&'static str> {
    Role::ALL.into_iter().filter(|role| role.may(access)).map(Role::word).collect()
}

/// Security requirement: a token of any of these roles.
fn security(access: Access) -> Value {
    roles(access).into_iter().map(|role| json!({ "token": [role] })).collect()
}

/// Describes one route.
fn describe(
    generator: &mut SchemaGenerator,
    route: &Route,
    operation: &Operation,
    error: &Value,
) -> Value {
    let mut fields = properties(generator, operation.request_schema);
    for needless in route.needless_fields() {
        fields.remove(*needless);
    }
    let mut parameters = Vec::new();
    for name in route.path_fields() {
        if let Some(schema) = fields.remove(name) {
            let mut parameter = parameter("path", name, schema);
            if parameter["schema"]["type"] == "string"
                && parameter["schema"].get("format").is_none()
            {
                for (bound, length) in [("minLength", 1), ("maxLength", 255)] {
                    if parameter["schema"].get(bound).is_none() {
                        parameter["schema"][bound] = json!(length);
                    }
                }
            }
            parameters.push(parameter);
        }
    }
    let in_query: Vec<String> = match route.query {
        Query::All => fields.keys().cloned().collect(),
        Query::Only(names) => names.iter().map(|name| (*name).to_owned()).collect(),
    };
    for name in in_query {
        // A field allowed in the query may also be sent in the body.
        let schema = if route.has_body { fields.get(&name).cloned() } else { fields.remove(&name) };
        parameters.extend(schema.map(|schema| parameter("query", &name, schema)));
    }
    let mut described = json!({
        "operationId": route.operation_id(operation.name),
        "tags": [tag(&route.path)],
        "summary": route.summary.unwrap_or(operation.description),
        "description": format!(
            "Over NATS: `cmd.scheduler.{}`. Where there are tokens: one that is {}.",
            operation.name,
            roles(operation.access).join(" or ")
        ),
        // For the page that shows this: the same request over NATS, and one to begin with.
        "x-operation": operation.name,
        "x-example": example(operation.name),
    });
    parameters.extend(headers(route, operation, &fields));
    if route.has_body {
        described["requestBody"] = body(fields, operation);
    }
    described["parameters"] = Value::Array(parameters);
    described["responses"] = responses(generator, route, operation, error);
    examples::add(&mut described, operation.name);
    described
}

/// The headers that a route takes, given the fields of its request that are in no path.
fn headers(route: &Route, operation: &Operation, fields: &Map<String, Value>) -> Vec<Value> {
    let mut headers = Vec::new();
    if operation.access.changes() {
        headers.push(header(operation.actor_header, "The actor."));
        if operation.declares {
            headers.push(header(CREATED_BY, "Whose schedules; default: the actor."));
        }
        if fields.contains_key("expected_revision")
            || !route.has_body && route.method == Method::DELETE
        {
            let text = "The ETag of the schedule as it must be; else the answer is 409.";
            headers.push(json!({ "name": "If-Match", "in": "header", "description": text,
                                    "schema": { "type": "string", "pattern": "^((W/)?\"[0-9]{1,15}\"|\\*)$" } }));
        }
    }
    for (name, text) in [
        (
            "X-Correlation-ID",
            "Carried into commands, events, history and logs; generated if absent.",
        ),
        ("X-Request-ID", "Sent back; generated if absent."),
    ] {
        headers.push(header(name, text));
    }
    if operation.access.changes() {
        let schema = json!({ "type": "string" });
        let text =
            "W3C Trace Context: passed on to commands. A value in any other form is ignored.";
        headers.push(
            json!({ "name": "traceparent", "in": "header", "description": text, "schema": schema }),
        );
    }
    if fields.contains_key("idempotency_key") {
        let text = "Makes the request safe to repeat: the same key of the same user does it once within a day.";
        headers.push(header("Idempotency-Key", text));
    }
    headers
}

/// Schema of the remaining fields as a JSON object. What a field's documentation calls required is.
fn body(mut fields: Map<String, Value>, operation: &Operation) -> Value {
    let creates = matches!(operation.name, "schedule.create" | "schedule.apply");
    let is_new = creates || operation.name == "execute.immediate";
    let mut required = Vec::new();
    for (name, schema) in &mut fields {
        let text = schema["description"].as_str().unwrap_or_default();
        let is_required = text.starts_with("Required:")
            || text == "Required."
            || creates && text.starts_with("Required to create a schedule:")
            || is_new && text.starts_with("Required except in an update:");
        if is_required {
            required.push(name.clone());
            absent_is_all(schema);
        }
    }
    let is_required = !required.is_empty();
    let mut schema =
        json!({ "type": "object", "properties": fields, "additionalProperties": false });
    if is_required {
        schema["required"] = json!(required);
    }
    json!({ "required": is_required, "content": { "application/json": { "schema": schema } } })
}

fn parameter(place: &str, name: &str, mut schema: Value) -> Value {
    absent_is_all(&mut schema);
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut parameter = json!({ "name": name, "in": place, "schema": schema });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    if place == "path" {
        parameter["required"] = json!(true);
    }
    parameter
}

/// Removes null from a schema whose value is either present or absent.
fn absent_is_all(schema: &mut Value) {
    if let Some(types) = schema["type"].as_array() {
        let types: Vec<_> = types.iter().filter(|one| *one != "null").cloned().collect();
        schema["type"] = if types.len() == 1 { types[0].clone() } else { Value::Array(types) };
    } else if let Some(any) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        any.retain(|one| one["type"] != "null");
        if let [Value::Object(only)] = &any[..] {
            let only = only.clone();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("anyOf");
                schema.extend(only);
            }
        }
    }
    if let Some(schema) = schema.as_object_mut()
        && schema.get("default").is_some_and(Value::is_null)
    {
        schema.remove("default");
    }
}

fn header(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "description": description,
            "schema": { "type": "string", "maxLength": 255, "pattern": "^[ -~]*$" } })
}

fn responses(
    generator: &mut SchemaGenerator,
    route: &Route,
    operation: &Operation,
    error: &Value,
) -> Value {
    let status = route.status.as_u16();
    let mut success = if status == 204 {
        json!({ "description": "Done.", "headers": ids() })
    } else {
        answer("Done.", &(operation.reply_schema)(generator).to_value())
    };
    if status == 201 {
        let schema = json!({ "type": "string", "format": "uri-reference" });
        success["headers"]["Location"] = json!({ "description": "The path of what was created.", "required": true, "schema": schema });
    }
    let with_revision =
        (operation.reply_schema)(generator) == generator.subschema_for::<Reply<ScheduleView>>();
    if with_revision {
        success["headers"]["ETag"] = json!({ "description": "The revision, for If-Match.",
                                             "required": true, "schema": { "type": "string" } });
    }
    let mut responses = json!({ status.to_string(): success });
    let mut may_be = |status: u16, text: &str| {
        responses[status.to_string()] = refusal(text, error);
    };
    may_be(400, "The request is malformed; `details` name fields and reasons.");
    may_be(401, "No token that is known was sent.");
    may_be(403, "The caller is not allowed to do this.");
    may_be(404, "Nothing has that id or name.");
    may_be(500, "A fault of the service.");
    may_be(503, "NATS is out of reach, or the service starts, stops or is overloaded: try again.");
    if operation.access.changes() {
        may_be(409, "The name is taken, or somebody else changed it first.");
        may_be(422, "The request is well formed, and not allowed in this state.");
        may_be(429, "A limit is reached; the message says which.");
    }
    if route.has_body || operation.access == Access::Write {
        may_be(413, "The body is too large, or the record that would follow from it.");
    }
    if route.has_body {
        may_be(408, "The body did not come in time.");
        may_be(415, "The body is not JSON by its Content-Type.");
    }
    for (status, name) in
        [("401", "WWW-Authenticate"), ("429", "Retry-After"), ("503", "Retry-After")]
    {
        if responses.get(status).is_some() {
            responses[status]["headers"][name] =
                json!({ "required": true, "schema": { "type": "string" } });
        }
    }
    responses
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "headers": ids(),
            "content": { "application/json": { "schema": schema } } })
}

fn refusal(description: &str, error: &Value) -> Value {
    answer(description, error)
}

/// Headers that every answer has.
fn ids() -> Value {
    json!({
        "X-Request-ID": { "required": true, "schema": { "type": "string" },
                          "description": "That of the request, or a generated one." },
        "X-Correlation-ID": { "required": true, "schema": { "type": "string" },
                              "description": "That of the request, or a generated one." },
    })
}

fn tag(path: &str) -> &'static str {
    match path.split('/').nth(3) {
        Some("schedules") => "schedules",
        Some("executions") => "executions",
        _ => "service",
    }
}
