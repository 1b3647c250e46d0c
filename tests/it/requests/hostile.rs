//! Hostile requests: anybody who may send requests may send anything. Whatever it is, it is refused with an error,
//! changes nothing, and leaves nothing in memory.
//!
//! Every request is a valid one, generated from the schemas that the service publishes, with one fault in it.
//! `HOSTILE_REQUESTS` sets their number, `HOSTILE_SEED` repeats a run.

use std::ops::Range;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request};
use futures::StreamExt as _;
use nats_scheduler::api::error::Code;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::harness::{Nats, Service, in_ms};

/// Memory that may come on top after a warm-up: what the allocator keeps in reserve varies.
const MARGIN_KIB: u64 = 32 * 1024;

// All lists are texts with `|` between the items.

/// Operations on one existing schedule.
const BY_ID: &str = "schedule.get|schedule.update|schedule.delete|schedule.restore|schedule.pause|\
                     schedule.resume|schedule.trigger";
/// Operations that take a command, and those that take a timing.
const STORING: &str = "schedule.create|schedule.update|execute.immediate";
const PLANNING: &str = "schedule.create|schedule.update|schedule.preview";
const LISTING: &str = "schedule.list|execution.list";

/// A JSON value of each type. An empty array is no object either, though serde makes structs of it.
const SAMPLES: &str = r#"boolean true|integer 7|number 1.5|string "x"|string "true"|string "7"|
                         array []|array [7]|object {}|object {"a":[1]}"#;
/// What is no integer of 64 bits.
const NUMBERS: &str = "18446744073709551616|-9223372036854775809|1e400|-1e400|1.0|1.5|01|0x10|+1|\
                       NaN|Infinity";
const NO_UUIDS: &str = "|x|*|>|schedule.*|../../x|00000000-0000-0000-0000-00000000000|\
                        00000000-0000-0000-0000-0000000000000|0000000g-0000-0000-0000-000000000000|\
                        018f0000-0000-7000-8000-000000000000\0|\
                        018f0000-0000-7000-8000-000000000000\r\nX: 1";
const NO_TIMES: &str = "|soon|1e9|2030-01-01|2030-01-01T00:00:00|2030-13-01T00:00:00Z|\
                        2030-02-30T00:00:00Z|2030-01-01T25:00:00Z|+9999999-01-01T00:00:00Z|\
                        2030-01-01T00:00:00Z\0|2030-01-01T00:00:00Z\r\nX: 1";
const NO_WORDS: &str = "|bogus|ACTIVE|cron |cron\0|\u{202e}norc";
/// Names of no field of a request, though some of a record, and values for them.
const NAMES: &str = "__proto__||\0|\u{1b}]0;x\u{7}|名前|\u{202e}di|schedule_id |schedule_id\0|\
                     SCHEDULE_ID|scheduleId|id|purge|writer|revision|run_count|$where|\
                     x\r\nX-Injected: 1\r\n\r\n|x\r\nNats-Service-Error-Code: 200";
const VALUES: &str = r#"null|1|1e400|"x"|"\ud800"|{}|[]|{"a":[{"b":null}]}"#;
/// What is no JSON object, and what cannot stand behind one.
const FRAGMENTS: &str = "[]|[{}]|null|true|\"{}\"|0|1e400|NaN|\u{feff}{}|{]|{,}|{\"a\"}|{a:1}|\
                         {'a':1}|{\"a\":1,}|{\"a\":.5}|{\"a\":\"\n\"}|{\"\\ud800\":1}|\0|}{|//{}|<x/>";
const TRAILERS: &str = "x|{}|\0|,|}|]|null|\u{feff}|//|\n[]";
/// Headers that mean something to NATS, or to readers of the reply.
const HEADERS: &str = "Nats-Rollup all|Nats-Expected-Last-Sequence 0|Nats-Service-Error-Code 200|\
                       X-Injected 1";

/// Texts that the schema allows and the service does not: operations, fields, texts.
const TEXTS: &[(&str, &str, &str)] = &[
    (BY_ID, "schedule_id", ABSENT),
    ("schedule.preview|execution.get", "schedule_id|execution_id", ABSENT),
    // Taken.
    ("schedule.create", "name", "a"),
    (
        STORING,
        "name|description|created_by|idempotency_key",
        "\0|a\u{1b}[31m|\u{7f}|\u{85}|a\r\n\u{1b}b",
    ),
    (
        STORING,
        "target_command",
        "|cmd|cmd.|cmd..a|.cmd.a|cmd.a.|CMD.a|cmd.A|cmd.é|cmd.a b|cmd.a\0|>|*|cmd.*|cmd.>|cmd.a.*.b|\
         cmd.a/../scheduler|cmd.scheduler|cmd.scheduler.schedule.delete|cmd.scheduler.>|$JS.API.>|\
         $JS.API.STREAM.DELETE.KV_scheduler_schedules|$KV.scheduler_schedules.schedule.x|_INBOX.x|\
         $SYS.REQ.SERVER.PING|evt.scheduler.instance.x|cmd.a\r\nPUB cmd.b 0\r\n\r\n",
    ),
    (
        PLANNING,
        "cron_expression",
        "| |* * * *|* * * * * * * *|61 * * * *|-1 * * * *|*/0 * * * *|5-1 * * * *|1,,2 * * * *|\
         0 24 * * *|0 0 32 * *|0 0 30 2 *|0 0 * 13 *|0 0 * * 8|0 0 0 1 1 * 1969|0 0 0 1 1 * 2200|\
         @reboot|@daily x|１ * * * *|99999999999999999999 * * * *|$(reboot) * * * *|0 3 * * *\0|\
         0 3 * * *\r\nPUB x y z 0",
    ),
    (
        PLANNING,
        "timezone",
        "| UTC|:UTC|UTC+25|Mars/Base|../../etc/passwd|/etc/localtime|Europe/../UTC|Europe/Berlin\0|\
         \u{202e}CTU|Europe/Berlin\r\nX: 1",
    ),
    (PLANNING, "scheduled_at|start_at", "9999-12-31T23:59:59Z|+262000-01-01T00:00:00Z"),
    (PLANNING, "scheduled_at", "2001-01-01T00:00:00Z|0000-01-01T00:00:00Z|-262000-01-01T00:00:00Z"),
    // Base64 of nothing, of JSON that is no place in a list, and of a place in another order.
    (
        "schedule.list",
        "cursor",
        "|x|!|../../x|e30|bnVsbA|eyJzb3J0IjoibmFtZSJ9|W1tbW1tbW1tb|\
         eyJzb3J0IjoiY3JlYXRlZF9hdCIsIm5hbWUiOm51bGwsInRpbWUiOm51bGwsImlkIjoiMDAwMDAwMDAtMDAwMC0wMDAw\
         LTAwMDAtMDAwMDAwMDAwMDAwIn0",
    ),
];
const ABSENT: &str = "00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff|\
                      018f0000-0000-7000-8000-000000000000";

/// The same of other values: operations, fields, JSON.
const OTHERS: &[(&str, &str, &str)] = &[
    (STORING, "tags", r#"[""]|["a","a"]|["\u0000"]|["\u001b"]"#),
    ("schedule.create|schedule.update|schedule.list", "tags", r#"[7]|[null]|[["a"]]|["a",{}]"#),
    (
        STORING,
        "delivery",
        r#"{"mode":"pigeon"}|{"mode":null}|{"mode":7}|{"mode":"core","mode":"core"}|{"x":1}|
           {"timeout_seconds":0}|{"timeout_seconds":3601}|{"timeout_seconds":4294967296}|
           {"timeout_seconds":-1}|{"timeout_seconds":1.5}"#,
    ),
    (BY_ID, "expected_revision", "0|18446744073709551615"),
    (LISTING, "page", "1000000001|18446744073709551615"),
    ("bulk.create", "schedules", "[]"),
    ("bulk.operation", "schedule_ids", r#"[]|["x"]|[7]|[null]|[[]]"#),
    // It stands beside ids.
    ("bulk.operation", "filter", r#"{}|{"x":1}|{"status":"x"}|{"creator":"x"}"#),
];

/// Fields in order, names and values as JSON, so that both can be malformed.
type Pairs = Vec<(String, String)>;
/// Makes a large value, as JSON.
type Make = fn(&mut StdRng) -> String;

/// What the schema says of a field.
#[derive(Default)]
struct Field {
    types: Vec<String>,
    /// `format`, `minimum`, `maxLength` and the like.
    limits: Map<String, Value>,
}

impl Field {
    /// Reads a schema; follows references and alternatives.
    fn gather(&mut self, schema: &Value, definitions: &Value) {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            self.gather(&definitions[name], definitions);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for part in schema[key].as_array().into_iter().flatten() {
                self.gather(part, definitions);
            }
        }
        let one = std::slice::from_ref(&schema["type"]);
        let types = schema["type"].as_array().map_or(one, Vec::as_slice);
        self.types.extend(types.iter().filter_map(Value::as_str).map(str::to_owned));
        for (key, value) in schema.as_object().into_iter().flatten() {
            self.limits.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }

    fn is(&self, kind: &str) -> bool {
        self.types.iter().any(|known| known == kind)
    }

    fn limit(&self, key: &str) -> Option<u64> {
        self.limits.get(key)?.as_u64()
    }

    /// Texts that are none of those it takes; none if it takes any.
    fn no_texts(&self) -> Option<&'static str> {
        match self.limits.get("format").and_then(Value::as_str) {
            Some("uuid") => Some(NO_UUIDS),
            Some("date-time") => Some(NO_TIMES),
            _ if self.limits.contains_key("enum") => Some(NO_WORDS),
            _ => self.limits.get("const").map(|_| NO_WORDS),
        }
    }

    /// Values that the schema does not allow, as JSON.
    fn bad_values(&self) -> Vec<String> {
        let mut bad = Vec::new();
        for sample in SAMPLES.split('|').filter(|_| !self.types.is_empty()) {
            let (kind, value) = sample.trim().split_once(' ').unwrap();
            let allowed = self.is(kind) || (kind == "integer" && self.is("number"));
            bad.extend((!allowed).then(|| value.to_owned()));
        }
        if self.is("integer") {
            bad.extend(NUMBERS.split('|').map(str::to_owned));
            let (least, most) = (self.limit("minimum"), self.limit("maximum"));
            bad.extend(least.map(|least| (i128::from(least) - 1).to_string()));
            bad.extend(least.map(|_| i64::MIN.to_string()));
            bad.extend(most.map(|most| (i128::from(most) + 1).to_string()));
            bad.extend(most.map(|_| "18446744073709551615".to_owned()));
        }
        if self.is("string") {
            bad.push(r#""\ud800""#.to_owned());
            bad.extend(self.no_texts().into_iter().flat_map(|list| list.split('|')).map(quoted));
        }
        if let Some(most) = self.limit("maxLength") {
            bad.extend(["x", "é", "\\n"].map(|c| format!("\"{}\"", c.repeat(most as usize + 1))));
        }
        bad.extend(self.limit("minLength").filter(|least| *least > 0).map(|_| "\"\"".to_owned()));
        bad.extend(self.limit("minItems").filter(|least| *least > 0).map(|_| "[]".to_owned()));
        bad.extend(self.limit("maxItems").map(|most| ids(most + 1)));
        bad
    }

    /// Large values that it must not have.
    fn heavy_values(&self, operation: &str, name: &str) -> Vec<Make> {
        let mut heavy: Vec<Make> = Vec::new();
        let choosy = self.no_texts().is_some() || self.limit("maxLength").is_some();
        if self.is("integer") {
            heavy.push(|rng| "9".repeat(rng.random_range(1_000..100_000)));
        } else if self.is("string") && choosy {
            heavy.push(|rng| format!("\"{}\"", "x".repeat(rng.random_range(50_000..100_000))));
        }
        if !self.types.is_empty() && !self.is("array") {
            heavy.push(|_| nested("[", "", "]", 100_000));
        }
        if has("schedules|schedule_ids", name) || (name == "tags" && has(STORING, operation)) {
            heavy.push(|rng| ids(rng.random_range(101..20_000)));
        }
        if has("command_payload|override_payload", name) {
            heavy.push(|rng| nested("{\"a\":", "1", "}", rng.random_range(101..10_000)));
            heavy.push(|_| format!("{{\"a\":{}}}", nested("[", "", "]", 100_000)));
            // More than 512 KiB.
            heavy.push(|rng| {
                format!("{{\"a\":\"{}\"}}", "x".repeat(rng.random_range(524_288..900_000)))
            });
        }
        heavy
    }
}

/// An endpoint, and what its fields must not be.
struct Endpoint {
    operation: String,
    subject: String,
    names: Vec<String>,
    bad: Pairs,
    heavy: Vec<(String, Make)>,
}

impl Endpoint {
    fn new(info: &Value) -> Self {
        let subject = info["subject"].as_str().unwrap().to_owned();
        let operation = subject.strip_prefix("cmd.scheduler.").unwrap().to_owned();
        let schema = info["metadata"]["request_schema"].as_str().unwrap();
        let schema: Value = serde_json::from_str(schema).unwrap();
        let (mut names, mut bad, mut heavy) = (Vec::new(), Vec::new(), Vec::new());
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut field = Field::default();
            field.gather(property, &schema["$defs"]);
            let mut values = field.bad_values();
            values.extend(listed(TEXTS, &operation, name).map(quoted));
            values.extend(listed(OTHERS, &operation, name).map(str::to_owned));
            match name.as_str() {
                // As long as may be, and longer.
                "cron_expression" => values.extend([
                    quoted(&format!("{}61 * * * *", "0-59/1,".repeat(30))),
                    quoted(&format!("{}* * * * *", "*,".repeat(200))),
                ]),
                "tags" if has(STORING, &operation) => {
                    values.push(format!("[\"{}\"]", "x".repeat(101)))
                }
                "schedules" | "schedule_ids" => values.push(ids(101)),
                _ => {}
            }
            bad.extend(values.into_iter().map(|value| (quoted(name), value)));
            let makes = field.heavy_values(&operation, name).into_iter();
            heavy.extend(makes.map(|make| (quoted(name), make)));
            names.push(name.clone());
        }
        Self { operation, subject, names, bad, heavy }
    }

    /// A name that none of its fields has.
    fn unknown_name(&self, rng: &mut StdRng) -> String {
        let mut name = if rng.random() {
            any(rng, NAMES).to_owned()
        } else {
            (0..rng.random_range(0..60)).map(|_| rng.random::<char>()).collect()
        };
        while self.names.contains(&name) {
            name.push('~');
        }
        quoted(&name)
    }
}

/// All requests of a run.
struct Storm {
    seed: u64,
    endpoints: Vec<Endpoint>,
    /// Schedules that exist.
    schedules: Vec<String>,
    /// An execution that exists.
    execution: String,
    soon: String,
}

impl Storm {
    async fn new(nats: &Nats, schedules: Vec<String>, execution: String) -> Self {
        let endpoints: Vec<_> = discovered(nats, "INFO").await.iter().map(Endpoint::new).collect();
        assert!(endpoints.len() >= 13, "only {}", endpoints.len());
        let seed = setting("HOSTILE_SEED").unwrap_or_else(rand::random);
        Self { seed, endpoints, schedules, execution, soon: in_ms(3_600_000) }
    }

    /// A request that would be done, and the fields that it cannot do without.
    fn sound(&self, operation: &str, rng: &mut StdRng) -> (Pairs, Vec<&'static str>) {
        let id = self.schedules.choose(rng).unwrap();
        let (body, required) = match operation {
            "schedule.create" => self.creation(rng),
            "bulk.create" => (json!({ "schedules": [self.creation(rng).0] }), vec!["schedules"]),
            "bulk.operation" => {
                let body = json!({ "schedule_ids": [Uuid::nil()], "operation": "pause" });
                (body, vec!["schedule_ids", "operation"])
            }
            "schedule.update" => {
                (json!({ "schedule_id": id, "description": "hostile" }), vec!["schedule_id"])
            }
            "schedule.preview" if rng.random() => {
                let body = json!({ "schedule_type": "cron", "cron_expression": "0 3 * * *" });
                (body, vec!["schedule_type", "cron_expression"])
            }
            "schedule.list" => (json!({ "limit": 5, "sort": "name" }), vec![]),
            "execute.immediate" => {
                (json!({ "target_command": "cmd.example.hostile" }), vec!["target_command"])
            }
            "execution.get" => (json!({ "execution_id": self.execution }), vec!["execution_id"]),
            "execution.list" => (json!({ "schedule_id": id, "limit": 5 }), vec![]),
            _ if has(BY_ID, operation) || operation == "schedule.preview" => {
                (json!({ "schedule_id": id }), vec!["schedule_id"])
            }
            _ => (json!({}), vec![]),
        };
        let fields = body.as_object().unwrap().iter();
        let mut pairs: Vec<_> = fields.map(|(k, v)| (quoted(k), v.to_string())).collect();
        pairs.shuffle(rng);
        (pairs, required)
    }

    fn creation(&self, rng: &mut StdRng) -> (Value, Vec<&'static str>) {
        let (kind, field, value) = match rng.random_range(0..3) {
            0 => ("cron", "cron_expression", json!("0 3 * * *")),
            1 => ("interval", "interval_seconds", json!(3600)),
            _ => ("one_time", "scheduled_at", json!(self.soon)),
        };
        let mut body = json!({ "name": format!("hostile {}", rng.random::<u64>()),
            "schedule_type": kind, "target_command": "cmd.example.hostile", "tags": ["hostile"] });
        body[field] = value;
        (body, vec!["name", "schedule_type", "target_command", field])
    }

    /// The n-th request: subject, headers, body.
    fn request(&self, n: u64) -> (String, HeaderMap, Vec<u8>) {
        let rng = &mut StdRng::seed_from_u64(self.seed.wrapping_add(n));
        let endpoint = &self.endpoints[n as usize % self.endpoints.len()];
        let mut headers = HeaderMap::new();
        if rng.random_ratio(1, 20) {
            let (name, value) = any(rng, HEADERS).split_once(' ').unwrap();
            headers.insert(name, value);
        }
        let body = if rng.random_ratio(1, 20) {
            // Sound, but for a header of more than 255 bytes.
            let name = any(rng, "X-Created-By|X-Correlation-ID|X-Request-ID|Nats-Msg-Id");
            headers.insert(name, "é".repeat(rng.random_range(128..5_000)));
            object(&self.sound(&endpoint.operation, rng).0).into_bytes()
        } else {
            self.body(endpoint, rng)
        };
        assert!(body.len() < 1_000_000, "NATS itself would refuse it");
        (endpoint.subject.clone(), headers, body)
    }

    /// A body with a fault.
    fn body(&self, endpoint: &Endpoint, rng: &mut StdRng) -> Vec<u8> {
        let (mut pairs, required) = self.sound(&endpoint.operation, rng);
        match rng.random_range(0..200) {
            0 => return heavy(endpoint, pairs, rng).into_bytes(),
            1..=90 if !endpoint.bad.is_empty() => {
                let (name, value) = endpoint.bad.choose(rng).unwrap();
                set(&mut pairs, name, value);
            }
            91..=105 if !required.is_empty() => {
                let name = required.choose(rng).copied().map(quoted).unwrap();
                set(&mut pairs, &name, "null");
                if rng.random() {
                    pairs.pop();
                }
            }
            106..=125 => {
                let mut body = object(&pairs).into_bytes();
                body.truncate(rng.random_range(1..body.len()));
                return body;
            }
            126..=145 => return garbage(&pairs, rng),
            146..=160 => return (object(&pairs) + any(rng, TRAILERS)).into_bytes(),
            161..=175 if !pairs.is_empty() => {
                let (mut name, value) = pairs.choose(rng).cloned().unwrap();
                if rng.random() {
                    // The same name, written in another way.
                    name = format!("\"\\u{:04x}{}", name.as_bytes()[1], &name[2..]);
                }
                pairs.insert(rng.random_range(0..=pairs.len()), (name, value));
            }
            _ => {
                let pair = (endpoint.unknown_name(rng), any(rng, VALUES).to_owned());
                pairs.insert(rng.random_range(0..=pairs.len()), pair);
            }
        }
        object(&pairs).into_bytes()
    }

    /// Sends some of the requests; each must be refused.
    async fn rage(&self, client: &Client, requests: Range<u64>) {
        let sent = requests.map(|n| self.send(client, n));
        let mut replies = futures::stream::iter(sent).buffer_unordered(128);
        let mut faults = Vec::new();
        while let Some(result) = replies.next().await {
            faults.extend(result.err());
            if faults.len() == 10 {
                break;
            }
        }
        assert!(faults.is_empty(), "HOSTILE_SEED={}\n{}", self.seed, faults.join("\n"));
    }

    async fn send(&self, client: &Client, n: u64) -> Result<(), String> {
        let (subject, headers, body) = self.request(n);
        let request = Request::new().headers(headers).payload(body.into());
        let request = request.timeout(Some(Duration::from_secs(30)));
        let fault = match client.send_request(subject, request).await {
            Err(error) => error.to_string(),
            Ok(reply) => match refusal(&reply) {
                Ok(()) => return Ok(()),
                Err(fault) => format!("{fault}: {}", start(&reply.payload)),
            },
        };
        let (subject, headers, body) = self.request(n);
        let (headers, body) = (start(format!("{headers:?}").as_bytes()), start(&body));
        Err(format!("request {n} to {subject}: {fault}\n  body {body}\n  headers {headers}"))
    }
}

/// Whether a reply is an error, as all errors are.
fn refusal(reply: &Message) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&reply.payload).map_err(|error| error.to_string())?;
    let code: Code = serde_json::from_value(body["error"]["code"].clone())
        .map_err(|_| "is not refused".to_owned())?;
    let headers = reply.headers.as_ref().ok_or("has no headers")?;
    let number = headers.get("Nats-Service-Error-Code").map(ToString::to_string);
    if code == Code::Internal {
        return Err("is an internal error".to_owned());
    }
    if number != Some(code.status().to_string()) {
        return Err(format!("has the number {number:?}"));
    }
    let message = body["error"]["message"].as_str().unwrap_or_default();
    if message.is_empty() {
        return Err("says nothing".to_owned());
    }
    // Names and values of the request may stand in it, and none of those has such words.
    if ["invalid type", "unknown variant", "missing field", "premature", "parsing failed"]
        .iter()
        .any(|text| message.contains(text))
    {
        return Err("says what a library says".to_owned());
    }
    // Two ids and two of the error: nothing in a request becomes a header.
    if headers.len() != 4 {
        return Err(format!("has the headers {headers:?}"));
    }
    Ok(())
}

/// Large bodies.
fn heavy(endpoint: &Endpoint, mut pairs: Pairs, rng: &mut StdRng) -> String {
    let many = rng.random_range(500..20_000);
    match rng.random_range(0..10) {
        0..5 if !endpoint.heavy.is_empty() => {
            let (name, make) = endpoint.heavy.choose(rng).unwrap();
            set(&mut pairs, name, &make(rng));
        }
        5 => pairs.extend((0..many).map(|n| (format!("\"~{n}\""), "0".to_owned()))),
        6 => pairs.extend((0..many).map(|_| ("\"~\"".to_owned(), "0".to_owned()))),
        7 => pairs.push((format!("\"{}\"", "~".repeat(many * 20)), "0".to_owned())),
        8 => pairs.push(("\"~\"".to_owned(), nested("{\"a\":", "[]", "}", many))),
        _ => return nested("[", "", any(rng, "|]"), 100_000),
    }
    object(&pairs)
}

/// What is no JSON object.
fn garbage(pairs: &[(String, String)], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = object(pairs).into_bytes();
    match rng.random_range(0..4) {
        0 => return any(rng, FRAGMENTS).into(),
        1 => return format!("[{}]", object(pairs)).into_bytes(),
        2 if !pairs.is_empty() => {
            // No UTF-8, within the last string.
            let end = bytes.iter().rposition(|byte| *byte == b'"').unwrap();
            bytes.insert(end, 0xff);
        }
        _ => {
            bytes = (0..rng.random_range(1..300)).map(|_| rng.random()).collect();
            // Neither white space nor the beginning of an object.
            bytes[0] = *b"\xff\xfe\0}]x9\"-".choose(rng).unwrap();
        }
    }
    bytes
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    open.repeat(depth) + inner + &close.repeat(depth)
}

/// An array of so many different ids, of schedules that do not exist.
fn ids(count: u64) -> String {
    Value::from_iter((0..count).map(|n| Uuid::from_u128(n.into()).to_string())).to_string()
}

fn object(pairs: &[(String, String)]) -> String {
    let fields: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Gives a field a value; it is the last one then.
fn set(pairs: &mut Pairs, name: &str, value: &str) {
    pairs.retain(|(known, _)| known != name);
    pairs.push((name.to_owned(), value.to_owned()));
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// The items of a table that concern a field.
fn listed(
    table: &'static [(&'static str, &'static str, &'static str)],
    operation: &str,
    name: &str,
) -> impl Iterator<Item = &'static str> {
    let rows = table.iter().filter(move |row| has(row.0, operation) && has(row.1, name));
    rows.flat_map(|row| row.2.split('|'))
}

fn has(list: &str, text: &str) -> bool {
    list.split('|').any(|known| known == text)
}

fn any(rng: &mut StdRng, list: &'static str) -> &'static str {
    list.split('|').choose(rng).unwrap()
}

fn start(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(500)]);
    format!("{shown:?} ({} bytes)", bytes.len())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// The service's endpoints, as it tells of them.
async fn discovered(nats: &Nats, verb: &str) -> Vec<Value> {
    let subject = format!("$SRV.{verb}.scheduler");
    let reply = nats.client.request(subject, "".into()).await.unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    reply["endpoints"].as_array().unwrap().clone()
}

/// Schedules that do not fire while the test runs; the first is paused, the last deleted softly.
async fn stored(nats: &Nats) -> Vec<String> {
    let far = in_ms(300 * 86_400_000);
    let mut ids = Vec::new();
    for (name, mut body) in [
        ("a", json!({ "schedule_type": "cron", "cron_expression": "0 0 0 1 1 * 2190" })),
        ("b", json!({ "schedule_type": "interval", "interval_seconds": 60, "start_at": far })),
        ("c", json!({ "schedule_type": "one_time", "scheduled_at": far, "tags": ["x"] })),
        ("d", json!({ "schedule_type": "one_time", "scheduled_at": far })),
    ] {
        body["name"] = json!(name);
        body["target_command"] = json!("cmd.example.far");
        ids.push(nats.create(body).await);
    }
    nats.ask("schedule.pause", json!({ "schedule_id": ids[0], "reason": "a test" })).await;
    nats.ask("schedule.delete", json!({ "schedule_id": ids[3] })).await;
    ids
}

/// Runs a command at once; the execution's id.
async fn executed(nats: &Nats) -> String {
    let request = json!({ "target_command": "cmd.example.now", "wait_ms": 10_000 });
    let done = nats.ask("execute.immediate", request).await;
    assert_eq!(done["execution"]["status"], "success", "{done}");
    done["execution_id"].as_str().unwrap().to_owned()
}

/// Last sequence and count of every stream.
async fn streams(nats: &Nats) -> Vec<(u64, u64)> {
    let mut states = Vec::new();
    for name in ["KV_scheduler_schedules", "SCHEDULER_EXECUTIONS", "SCHEDULER_AUDIT", "COMMANDS"] {
        let stream = nats.js.get_stream(name).await.unwrap();
        let state = &stream.cached_info().state;
        states.push((state.last_sequence, state.messages));
    }
    states
}

/// What is stored, once nothing has been written for three seconds: the streams, and the schedules.
async fn settled(nats: &Nats, schedules: &[String]) -> (Vec<(u64, u64)>, Vec<Value>) {
    let (mut known, mut quiet) = (streams(nats).await, 0);
    while quiet < 30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = streams(nats).await;
        quiet = if now == known { quiet + 1 } else { 0 };
        known = now;
    }
    let mut shown = Vec::new();
    for id in schedules {
        shown.push(nats.ask("schedule.get", json!({ "schedule_id": id })).await);
    }
    (known, shown)
}

/// What the service holds in memory, in KiB, where the system says; the least of several looks, for
/// what is freed is given back late.
async fn resident(nats: &Nats, service: &Service) -> Option<u64> {
    let mut least = u64::MAX;
    for _ in 0..20 {
        nats.ask("status", json!({})).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        least = least.min(line.trim().strip_suffix(" kB")?.parse().ok()?);
    }
    Some(least)
}

#[tokio::test]
async fn a_hundred_thousand_hostile_requests_change_nothing() {
    let nats = Nats::start().await;
    // At level debug it would log each of them.
    let service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
    let storm = Storm::new(&nats, stored(&nats).await, executed(&nats).await).await;
    let before = settled(&nats, &storm.schedules).await;

    let total = setting("HOSTILE_REQUESTS").unwrap_or(100_000);
    let warm_up = total.min(20_000.max(total / 5));
    storm.rage(&nats.client, 0..warm_up).await;
    let held = resident(&nats, &service).await;
    storm.rage(&nats.client, warm_up..total).await;
    let holds = resident(&nats, &service).await;

    let seed = storm.seed;
    assert_eq!(settled(&nats, &storm.schedules).await, before, "HOSTILE_SEED={seed}");
    if let (Some(held), Some(holds)) = (held, holds) {
        assert!(holds <= held + MARGIN_KIB, "{held} KiB, then {holds} KiB, HOSTILE_SEED={seed}");
    }
    let counts = discovered(&nats, "STATS").await;
    let errors: u64 = counts.iter().map(|endpoint| endpoint["num_errors"].as_u64().unwrap()).sum();
    assert_eq!(errors, total);
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 3);
    assert_eq!(nats.ask("status", json!({})).await["set_aside"], json!([]));
    executed(&nats).await;
}
