//! Whoever may send requests may send anything. Whatever it is, it is refused with an error, changes
//! nothing, and leaves nothing in memory.
//!
//! Every request here is made invalid on purpose: a sound one of its endpoint, as the schemas that the
//! service publishes have it, and then a fault. `HOSTILE_REQUESTS` says how many (100,000), and
//! `HOSTILE_SEED` repeats a run.

use std::ops::Range;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request};
use futures::StreamExt as _;
use nats_scheduler::api::error::Code;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::harness::{Nats, Service, in_ms};

const PATIENCE: Duration = Duration::from_secs(30);
/// Memory that may stay after a warm-up: what the allocator keeps in reserve moves by some.
const MARGIN_KIB: u64 = 32 * 1024;

/// Operations on an existing schedule.
const BY_ID: &[&str] = &[
    "schedule.get",
    "schedule.update",
    "schedule.delete",
    "schedule.pause",
    "schedule.resume",
    "schedule.trigger",
    "schedule.restore",
];
/// Operations that take the fields of a command.
const STORING: &[&str] = &["schedule.create", "schedule.update", "execute.immediate"];

/// A value of each type. An array for an object is one too: serde reads structs from both.
#[rustfmt::skip]
const SAMPLES: &[(&str, &str)] = &[
    ("boolean", "true"), ("integer", "7"), ("number", "1.5"), ("string", "\"x\""), ("string", "\"true\""),
    ("array", "[]"), ("array", "[7]"), ("object", "{}"), ("object", r#"{"a":[1]}"#),
];
#[rustfmt::skip]
const NUMBERS: &[&str] = &[
    "18446744073709551616", "-9223372036854775809", "1e400", "-1e400", "1.0", "1.5", "01", "0x10", "+1",
    "NaN", "Infinity", "\"5\"",
];
#[rustfmt::skip]
const UUIDS: &[&str] = &[
    "", "x", "*", ">", "schedule.*", "../../x", "00000000-0000-0000-0000-00000000000",
    "00000000-0000-0000-0000-0000000000000", "0000000g-0000-0000-0000-000000000000",
    "018f0000-0000-7000-8000-000000000000\r\nX-Injected: 1", "018f0000-0000-7000-8000-000000000000\0",
];
#[rustfmt::skip]
const ABSENT: &[&str] = &[
    "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "018f0000-0000-7000-8000-000000000000",
];
#[rustfmt::skip]
const TIMES: &[&str] = &[
    "", "soon", "1e9", "2030-01-01", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", "2030-02-30T00:00:00Z",
    "2030-01-01T25:00:00Z", "+9999999-01-01T00:00:00Z", "2030-01-01T00:00:00Z\0",
    "2030-01-01T00:00:00Z\r\nX-Injected: 1",
];
const FAR: &[&str] = &["9999-12-31T23:59:59Z", "+262000-01-01T00:00:00Z"];
const PAST: &[&str] = &["2001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "-262000-01-01T00:00:00Z"];
const WORDS: &[&str] = &["", "bogus", "ACTIVE", "cron ", "cron\0", "\u{202e}norc"];
const CONTROLS: &[&str] = &["\0", "a\u{1b}[31m", "\u{7f}", "\u{85}", "a\r\n\u{1}b"];
#[rustfmt::skip]
const TARGETS: &[&str] = &[
    "", "cmd", "cmd.", "cmd..a", ".cmd.a", "cmd.a.", "CMD.a", "cmd.A", "cmd.é", "cmd.a b", "cmd.a\0", ">", "*",
    "cmd.*", "cmd.>", "cmd.a.*.b", "cmd.a/../scheduler", "cmd.scheduler", "cmd.scheduler.schedule.delete",
    "cmd.scheduler.>", "$JS.API.>", "$JS.API.STREAM.DELETE.KV_scheduler_schedules", "$SYS.REQ.SERVER.PING",
    "$KV.scheduler_schedules.schedule.x", "_INBOX.x", "evt.scheduler.instance.x", "cmd.a\r\nPUB cmd.b 0\r\n\r\n",
];
#[rustfmt::skip]
const CRONS: &[&str] = &[
    "", " ", "* * * *", "* * * * * * * *", "61 * * * *", "-1 * * * *", "*/0 * * * *", "5-1 * * * *",
    "1,,2 * * * *", "0 24 * * *", "0 0 32 * *", "0 0 30 2 *", "0 0 * 13 *", "0 0 * * 8", "0 0 0 1 1 * 1969",
    "0 0 0 1 1 * 2200", "@reboot", "@daily x", "１ * * * *", "99999999999999999999 * * * *", "0 3 * * *\0",
    "$(reboot) * * * *", "0 3 * * *\r\nPUB x y z 0",
];
#[rustfmt::skip]
const ZONES: &[&str] = &[
    "", " UTC", ":UTC", "UTC+25", "Mars/Base", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\0",
    "Europe/Berlin\r\nX-Injected: 1", "Europe/../UTC", "\u{202e}CTU",
];
/// Base64 of nothing, of JSON that is no place in a list, and of one in a list of another order.
#[rustfmt::skip]
const CURSORS: &[&str] = &[
    "", "x", "!", "../../x", "e30", "bnVsbA", "eyJzb3J0IjoibmFtZSJ9", "W1tbW1tbW1tb",
    "eyJzb3J0IjoiY3JlYXRlZF9hdCIsIm5hbWUiOm51bGwsInRpbWUiOm51bGwsImlkIjoiMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwIn0",
];
const NOT_TAGS: &[&str] = &["[7]", "[null]", "[[\"a\"]]", "[\"a\",{}]"];
const TAGS: &[&str] = &["[\"\"]", "[\"a\",\"a\"]", "[\"\\u0000\"]"];
#[rustfmt::skip]
const DELIVERIES: &[&str] = &[
    r#"{"mode":"pigeon"}"#, r#"{"mode":null}"#, r#"{"mode":7}"#, r#"{"timeout_seconds":0}"#,
    r#"{"timeout_seconds":3601}"#, r#"{"timeout_seconds":4294967296}"#, r#"{"timeout_seconds":-1}"#,
    r#"{"timeout_seconds":1.5}"#, r#"{"x":1}"#, r#"{"mode":"core","mode":"core"}"#,
];
/// Names of no field, those among them that records have.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "__proto__", "constructor", "", "\0", "\u{1b}]0;x\u{7}", "名前", "\u{202e}di", "schedule_id ",
    "schedule_id\0", "SCHEDULE_ID", "scheduleId", "id", "purge", "writer", "revision", "run_count", "$where",
    "x\r\nX-Injected: 1\r\n\r\n", "x\r\nNats-Service-Error-Code: 200",
];
#[rustfmt::skip]
const VALUES: &[&str] = &["null", "1", "1e400", "\"x\"", "\"\\ud800\"", "{}", "[]", r#"{"a":[{"b":null}]}"#];
#[rustfmt::skip]
const FRAGMENTS: &[&str] = &[
    "[]", "[{}]", "null", "true", "\"{}\"", "0", "1e400", "NaN", "\u{feff}{}", "{]", "{,}", "{\"a\"}", "{a:1}",
    "{'a':1}", "{\"a\":1,}", "{\"a\":.5}", "{\"a\":\"\n\"}", "{\"\\ud800\":1}", "\0", "}{", "//{}", "<x/>",
];
const TRAILERS: &[&str] = &["x", "{}", "\0", ",", "}", "]", " null", "\u{feff}", "//", "\n[]"];
#[rustfmt::skip]
const HEADERS: &[(&str, &str)] = &[
    ("Nats-Rollup", "all"), ("Nats-Msg-Id", "x"), ("Nats-Expected-Last-Sequence", "0"), ("X-Injected", "1"),
    ("Nats-Service-Error-Code", "200"),
];

/// A request's fields in order: names and values as JSON text, so that both can be malformed.
type Pairs = Vec<(String, String)>;
/// Makes a large value, as JSON text.
type Make = fn(&mut StdRng) -> String;

/// What the schema says of a field.
struct Field {
    types: Vec<String>,
    /// `format`, `minimum`, `maxLength` and the like.
    limits: Map<String, Value>,
}

impl Field {
    fn new(schema: &Value, definitions: &Value) -> Self {
        let mut field = Self { types: Vec::new(), limits: Map::new() };
        field.gather(schema, definitions);
        field
    }

    /// Follows references and alternatives.
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

    fn format(&self) -> &str {
        self.limits.get("format").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it takes some strings only.
    fn is_enum(&self) -> bool {
        self.limits.contains_key("enum") || self.limits.contains_key("const")
    }

    /// Values that the schema does not allow, as JSON.
    fn bad_values(&self, name: &str) -> Vec<String> {
        let mut bad = Vec::new();
        let wrong = |kind| !self.is(kind) && !(kind == "integer" && self.is("number"));
        let typed = !self.types.is_empty();
        let samples = SAMPLES.iter().filter(|(kind, _)| typed && wrong(*kind));
        bad.extend(samples.map(|(_, json)| (*json).to_owned()));
        if self.is("integer") {
            bad.extend(NUMBERS.iter().map(|&json| json.to_owned()));
            bad.extend(self.limit("minimum").map(|least| (i128::from(least) - 1).to_string()));
            bad.extend(self.limit("minimum").map(|_| i64::MIN.to_string()));
            bad.extend(self.limit("maximum").map(|most| (most + 1).to_string()));
            bad.extend(self.limit("maximum").map(|_| u64::MAX.to_string()));
        }
        if self.is("string") {
            bad.push("\"\\ud800\"".to_owned());
            let texts = match self.format() {
                "uuid" => UUIDS,
                "date-time" => TIMES,
                _ if self.is_enum() => WORDS,
                _ => &[],
            };
            bad.extend(texts.iter().map(|text| quoted(text)));
        }
        if let Some(most) = self.limit("maxLength") {
            bad.extend(["x", "é", "\\n"].map(|c| format!("\"{}\"", c.repeat(most as usize + 1))));
        }
        if self.limit("minLength").is_some_and(|least| least > 0) {
            bad.push("\"\"".to_owned());
        }
        if name == "schedules" || self.limit("minItems").is_some_and(|least| least > 0) {
            bad.push("[]".to_owned());
        }
        bad.extend(self.limit("maxItems").map(|most| self.items(most + 1)));
        bad
    }

    /// An array of so many sound items.
    fn items(&self, count: u64) -> String {
        let items = self.limits.get("items").cloned().unwrap_or_default();
        let item = |n: u64| match (items["type"].as_str(), items["format"].as_str()) {
            (_, Some("uuid")) => json!(Uuid::from_u128(n.into())),
            (Some("string"), _) => json!(format!("t{n}")),
            _ => json!({ "name": n.to_string(), "schedule_type": "interval", "interval_seconds": 60,
                         "target_command": "cmd.example.hostile" }),
        };
        Value::from_iter((0..count).map(item)).to_string()
    }

    /// Large values that it must not have.
    fn heavy_values(&self, operation: &str, name: &str) -> Vec<Make> {
        let mut heavy: Vec<Make> = Vec::new();
        let closed = !self.format().is_empty() || self.is_enum() || name == "cursor";
        if self.is("integer") {
            heavy.push(|rng| "9".repeat(rng.random_range(1_000..100_000)));
        } else if self.is("string") && (closed || self.limit("maxLength").is_some()) {
            heavy.push(|rng| format!("\"{}\"", "x".repeat(rng.random_range(50_000..100_000))));
        }
        if !self.types.is_empty() && !self.is("array") {
            heavy.push(|_| nested("[", "", "]", 100_000));
        }
        let stores = STORING.contains(&operation);
        if name == "command_payload" && stores || operation == "schedule.trigger" && name == "override_payload" {
            heavy.push(|rng| nested("{\"a\":", "1", "}", rng.random_range(101..10_000)));
            heavy.push(|_| format!("{{\"a\":{}}}", nested("[", "", "]", 100_000)));
            heavy.push(|rng| format!("{{\"a\":\"{}\"}}", "x".repeat(rng.random_range(524_288..900_000))));
        }
        if name == "tags" && stores {
            heavy.push(|rng| Value::from_iter((0..rng.random_range(21..100_000)).map(|n| n.to_string())).to_string());
        }
        heavy
    }
}

/// Values that the schema allows and the service does not, as JSON.
fn forbidden(operation: &str, name: &str) -> Vec<String> {
    let stores = STORING.contains(&operation);
    let plans = stores || operation == "schedule.preview";
    let lists = ["schedule.list", "execution.list"].contains(&operation);
    let by_id = BY_ID.contains(&operation);
    let texts: &[&[&str]] = match name {
        "schedule_id" if by_id || operation == "schedule.preview" => &[ABSENT],
        "execution_id" if operation == "execution.get" => &[ABSENT],
        "name" if stores => &[CONTROLS, &["taken"]],
        "description" | "created_by" if stores => &[CONTROLS],
        "target_command" if stores => &[TARGETS],
        "cron_expression" if plans => &[CRONS],
        "timezone" if plans => &[ZONES],
        "scheduled_at" if plans => &[FAR, PAST],
        "start_at" if plans => &[FAR],
        "cursor" if lists => &[CURSORS],
        _ => &[],
    };
    let values: &[&[&str]] = match name {
        "tags" if stores => &[TAGS, NOT_TAGS],
        "tags" if lists => &[NOT_TAGS],
        "delivery" if stores => &[DELIVERIES],
        "page" if lists => &[&["1000000001", "18446744073709551615"]],
        "expected_revision" if by_id => &[&["0", "18446744073709551615"]],
        _ => &[],
    };
    let mut bad: Vec<_> = texts.iter().copied().flatten().map(|text| quoted(text)).collect();
    bad.extend(values.iter().copied().flatten().map(|&json| json.to_owned()));
    match name {
        // As long as may be, and longer.
        "cron_expression" if plans => {
            bad.push(quoted(&format!("{}61 * * * *", "0-59/1,".repeat(30))));
            bad.push(quoted(&format!("{}* * * * *", "*,".repeat(200))));
        }
        "tags" if stores => bad.push(format!("[\"{}\"]", "x".repeat(101))),
        _ => {}
    }
    bad
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
            let field = Field::new(property, &schema["$defs"]);
            let values = field.bad_values(name).into_iter().chain(forbidden(&operation, name));
            bad.extend(values.map(|value| (quoted(name), value)));
            let makes = field.heavy_values(&operation, name);
            heavy.extend(makes.into_iter().map(|make| (quoted(name), make)));
            names.push(name.clone());
        }
        Self { operation, subject, names, bad, heavy }
    }

    /// A name that none of its fields has.
    fn unknown_name(&self, rng: &mut StdRng) -> String {
        let length = rng.random_range(0..60);
        let mut name = match rng.random() {
            true => (*pick(rng, NAMES)).to_owned(),
            false => (0..length).map(|_| rng.random::<char>()).collect(),
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
    /// Schedules and an execution that exist.
    schedules: Vec<String>,
    execution: String,
    soon: String,
}

impl Storm {
    async fn new(nats: &Nats, schedules: &[String], execution: String) -> Self {
        let info = nats.client.request("$SRV.INFO.scheduler", "".into()).await.unwrap();
        let info: Value = serde_json::from_slice(&info.payload).unwrap();
        let endpoints: Vec<_> =
            info["endpoints"].as_array().unwrap().iter().map(Endpoint::new).collect();
        assert!(endpoints.len() >= 13, "{info}");
        let seed = std::env::var("HOSTILE_SEED").ok().map(|text| text.parse().unwrap());
        let (seed, schedules) = (seed.unwrap_or_else(rand::random), schedules.to_vec());
        Self { seed, endpoints, schedules, execution, soon: in_ms(3_600_000) }
    }

    /// A request that would be done, and the fields that it cannot do without.
    fn sound(&self, operation: &str, rng: &mut StdRng) -> (Pairs, Vec<&'static str>) {
        let id = pick(rng, &self.schedules);
        let (body, required) = match operation {
            "schedule.create" => self.creation(rng),
            "bulk.create" => (json!({ "schedules": [self.creation(rng).0] }), vec!["schedules"]),
            "bulk.operation" => {
                (json!({ "schedule_ids": [ABSENT[0]], "operation": "pause" }), vec!["operation"])
            }
            "schedule.update" => (
                json!({ "schedule_id": id, "description": "hostile", "priority": 7 }),
                vec!["schedule_id"],
            ),
            "schedule.preview" if rng.random() => (
                json!({ "schedule_type": "cron", "cron_expression": "0 3 * * *" }),
                vec!["schedule_type", "cron_expression"],
            ),
            "schedule.list" => (json!({ "limit": 5, "sort": "name" }), vec![]),
            "execute.immediate" => {
                (json!({ "target_command": "cmd.example.hostile" }), vec!["target_command"])
            }
            "execution.get" => (json!({ "execution_id": self.execution }), vec!["execution_id"]),
            "execution.list" => (json!({ "schedule_id": id, "limit": 5 }), vec![]),
            _ if BY_ID.contains(&operation) || operation == "schedule.preview" => {
                (json!({ "schedule_id": id }), vec!["schedule_id"])
            }
            _ => (json!({}), vec![]),
        };
        let fields = body.as_object().unwrap().iter();
        let mut pairs: Pairs =
            fields.map(|(name, value)| (quoted(name), value.to_string())).collect();
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
    fn request(&self, n: usize) -> (String, HeaderMap, Vec<u8>) {
        let rng = &mut StdRng::seed_from_u64(self.seed.wrapping_add(n as u64));
        let endpoint = &self.endpoints[n % self.endpoints.len()];
        let mut headers = HeaderMap::new();
        if rng.random_ratio(1, 20) {
            let &(name, value) = pick(rng, HEADERS);
            headers.insert(name, value);
        }
        let body = if rng.random_ratio(1, 20) {
            // Sound but for a header of more than 255 bytes.
            let name = *pick(rng, &["X-Created-By", "X-Correlation-ID", "X-Request-ID"]);
            headers.insert(name, "é".repeat(rng.random_range(128..5_000)));
            object(&self.sound(&endpoint.operation, rng).0).into_bytes()
        } else {
            self.body(endpoint, rng)
        };
        assert!(body.len() < 1_000_000, "the server would refuse it");
        (endpoint.subject.clone(), headers, body)
    }

    /// A body with a fault.
    fn body(&self, endpoint: &Endpoint, rng: &mut StdRng) -> Vec<u8> {
        let (mut pairs, required) = self.sound(&endpoint.operation, rng);
        match rng.random_range(0..200) {
            0 => return heavy(endpoint, pairs, rng).into_bytes(),
            1..=90 if !endpoint.bad.is_empty() => {
                let (name, value) = pick(rng, &endpoint.bad);
                set(&mut pairs, name, value);
            }
            91..=105 if !required.is_empty() => {
                let name = quoted(pick(rng, &required));
                match rng.random() {
                    true => pairs.retain(|(known, _)| *known != name),
                    false => set(&mut pairs, &name, "null"),
                }
            }
            106..=125 => {
                let mut body = object(&pairs).into_bytes();
                body.truncate(rng.random_range(1..body.len()));
                return body;
            }
            126..=145 => return garbage(&pairs, rng),
            146..=160 => return (object(&pairs) + pick(rng, TRAILERS)).into_bytes(),
            161..=175 if !pairs.is_empty() => {
                let (mut name, value) = pick(rng, &pairs).clone();
                if rng.random() {
                    // The same name, written in another way.
                    name = format!("\"\\u{:04x}{}", name.as_bytes()[1], &name[2..]);
                }
                pairs.insert(rng.random_range(0..=pairs.len()), (name, value));
            }
            _ => {
                let pair = (endpoint.unknown_name(rng), (*pick(rng, VALUES)).to_owned());
                pairs.insert(rng.random_range(0..=pairs.len()), pair);
            }
        }
        object(&pairs).into_bytes()
    }

    /// Sends some of the requests; each must be refused.
    async fn rage(&self, client: &Client, requests: Range<usize>) {
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

    async fn send(&self, client: &Client, n: usize) -> Result<(), String> {
        let (subject, headers, body) = self.request(n);
        let mut request = Request::new().payload(body.into()).timeout(Some(PATIENCE));
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let fault = match client.send_request(subject, request).await {
            Err(error) => error.to_string(),
            Ok(reply) => match refusal(&reply) {
                Ok(()) => return Ok(()),
                Err(fault) => format!("{fault}: {}", start(&reply.payload)),
            },
        };
        let (subject, headers, body) = self.request(n);
        let headers = start(format!("{headers:?}").as_bytes());
        Err(format!("request {n} to {subject}: {fault}\n  body {}\n  headers {headers}", start(&body)))
    }
}

/// Whether a reply is an error as all errors are.
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
    if body["error"]["message"].as_str().is_none_or(str::is_empty) {
        return Err("says nothing".to_owned());
    }
    // The two ids and the two of the error: nothing in the request becomes a header.
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
            let (name, make) = pick(rng, &endpoint.heavy);
            set(&mut pairs, name, &make(rng));
        }
        5 => pairs.extend((0..many).map(|n| (format!("\"~{n}\""), "0".to_owned()))),
        6 => pairs.extend((0..many).map(|_| ("\"~\"".to_owned(), "0".to_owned()))),
        7 => pairs.push((format!("\"{}\"", "~".repeat(many * 20)), "0".to_owned())),
        8 => pairs.push(("\"~\"".to_owned(), nested("{\"a\":", "[]", "}", many))),
        _ => return nested("[", "", *pick(rng, &["", "]"]), 100_000),
    }
    object(&pairs)
}

/// What is no JSON object.
fn garbage(pairs: &Pairs, rng: &mut StdRng) -> Vec<u8> {
    let mut sound = object(pairs).into_bytes();
    match rng.random_range(0..4) {
        0 => (*pick(rng, FRAGMENTS)).into(),
        1 => [b"[", &sound[..], b"]"].concat(),
        2 if !pairs.is_empty() => {
            // No UTF-8, within the last string.
            let end = sound.iter().rposition(|byte| *byte == b'"').unwrap();
            sound.insert(end, 0xff);
            sound
        }
        _ => {
            let length = rng.random_range(0..300);
            // Begins like no object.
            let first = *pick(rng, b"\xff\xfe\0}]x9\"-");
            std::iter::once(first).chain((0..length).map(|_| rng.random())).collect()
        }
    }
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    open.repeat(depth) + inner + &close.repeat(depth)
}

fn object(pairs: &Pairs) -> String {
    let fields: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn set(pairs: &mut Pairs, name: &str, value: &str) {
    pairs.retain(|(known, _)| known != name);
    pairs.push((name.to_owned(), value.to_owned()));
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn pick<'a, T>(rng: &mut StdRng, from: &'a [T]) -> &'a T {
    from.choose(rng).unwrap()
}

fn start(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(500)]);
    format!("{shown:?} ({} bytes)", bytes.len())
}

/// Schedules that do not fire while the test runs, the first of them paused.
async fn stored(nats: &Nats) -> Vec<String> {
    let far = in_ms(300 * 86_400_000);
    let mut ids = Vec::new();
    for (name, mut body) in [
        ("taken", json!({ "schedule_type": "cron", "cron_expression": "0 0 0 1 1 * 2190" })),
        ("b", json!({ "schedule_type": "interval", "interval_seconds": 60, "start_at": far })),
        ("c", json!({ "schedule_type": "one_time", "scheduled_at": far, "tags": ["x"] })),
    ] {
        body["name"] = json!(name);
        body["target_command"] = json!("cmd.example.far");
        ids.push(nats.create(body).await);
    }
    nats.ask("schedule.pause", json!({ "schedule_id": ids[0], "reason": "for the test" })).await;
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

/// Everything that is stored, once nothing has been written for three seconds.
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
    // Of refused requests it says something at level debug only.
    let service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
    let (schedules, execution) = (stored(&nats).await, executed(&nats).await);
    let storm = Storm::new(&nats, &schedules, execution).await;
    let before = settled(&nats, &schedules).await;

    let total = std::env::var("HOSTILE_REQUESTS").ok().map(|text| text.parse().unwrap());
    let total: usize = total.unwrap_or(100_000);
    let warm_up = total.min(20_000.max(total / 5));
    storm.rage(&nats.client, 0..warm_up).await;
    let held = resident(&nats, &service).await;
    storm.rage(&nats.client, warm_up..total).await;
    let holds = resident(&nats, &service).await;

    assert_eq!(settled(&nats, &schedules).await, before, "HOSTILE_SEED={}", storm.seed);
    if let (Some(held), Some(holds)) = (held, holds) {
        let seed = storm.seed;
        assert!(holds <= held + MARGIN_KIB, "{held} KiB, then {holds} KiB, HOSTILE_SEED={seed}");
    }
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 3);
    assert_eq!(nats.ask("status", json!({})).await["set_aside"], json!([]));
    executed(&nats).await;
}
