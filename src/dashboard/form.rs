//! What a form of a page sends, as the fields of an operation.
//!
//! Names that begin with an underscore are the page's own; all others are fields of the operation, and a dot in a name
//! stands for a field within a field. What is empty is left out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::api::error::{ApiError, Code};
use crate::api::http::{Http, Kind, kinds, whole_body};
use crate::api::operations::{Input, Operation};
use crate::schedule::FieldFault;

/// Fields whose text is JSON.
const JSON: [&str; 3] = ["command_payload", "override_payload", "filter"];
/// Fields that are instants. A browser sends them without a zone, and the label says that it is UTC.
const INSTANTS: [&str; 7] =
    ["scheduled_at", "start_at", "end_at", "resume_at", "from", "to", "started_after"];
/// A field that is a list of spans of time, each a line.
const SPANS: &str = "spans";
/// Parts of a field that are numbers.
const NUMBERS: [&str; 2] = ["timeout_seconds", "heartbeat_seconds"];

/// Controls at which stands what is wrong with a field that has several.
const FIRST_PARTS: [&str; 2] = ["delivery.mode", "after.schedule_id"];

/// A form as it was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    all: Vec<(String, String)>,
    /// What is wrong with it.
    faults: Vec<FieldFault>,
}

/// A field of an operation, and its value as JSON.
pub(super) type Field = (String, Box<RawValue>);

impl Form {
    /// A form that is filled in.
    pub(super) fn of(fields: &[(&str, &str)]) -> Self {
        Self::new(
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    /// A form of these texts by the names of their controls.
    pub(super) fn new(all: Vec<(String, String)>) -> Self {
        Self { all, faults: Vec::new() }
    }

    /// The same with what is wrong with it.
    pub(super) fn refused(mut self, error: &ApiError) -> Self {
        // The details of others are hints.
        if error.code == Code::Invalid {
            self.faults.clone_from(&error.details);
        }
        self
    }

    /// The same with another text for a control.
    pub(super) fn with(mut self, name: &str, text: String) -> Self {
        self.all.retain(|(key, _)| key != name);
        self.all.push((name.to_owned(), text));
        self
    }

    /// All that a control has, in one text: of a list each item.
    pub(super) fn joined(&self, name: &str) -> Option<String> {
        let all: Vec<&str> =
            self.all.iter().filter(|(key, _)| key == name).map(|(_, text)| &**text).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// The control of a field, or of the field that it is a part of.
    pub(super) fn control_of<'a>(&self, field: &'a str) -> Option<&'a str> {
        let has = |name: &str| self.all.iter().any(|(key, _)| key == name);
        let ends = field.match_indices(['.', '[']).map(|(end, _)| end);
        let wholes = ends.collect::<Vec<_>>().into_iter().rev().map(|end| &field[..end]);
        let whole = std::iter::once(field).chain(wholes).find(|name| has(name));
        let part = || FIRST_PARTS.into_iter().find(|part| part.split('.').next() == Some(field));
        whole.or_else(part)
    }

    /// Why what a control has is refused.
    pub(super) fn faults_of(&self, name: &str) -> Vec<&str> {
        let here = self.faults.iter().filter(|fault| self.control_of(&fault.field) == Some(name));
        here.map(|fault| &*fault.reason).collect()
    }

    /// Reads a form from the body of a request.
    pub(super) async fn read(http: &Arc<Http>, body: Body) -> Result<Self, ApiError> {
        let body = whole_body(Request::new(body), http.max_body()).await?;
        Ok(Self::new(form_urlencoded::parse(&body).into_owned().collect()))
    }

    /// The text of a control; empty if the form has none of that name.
    pub(super) fn control(&self, name: &str) -> &str {
        self.all.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Where to go once it is done: a page of ours, whatever the form says.
    pub(super) fn next(&self) -> &str {
        safe_path(self.control("_next"))
    }

    /// The fields of the operation, as texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.all.iter().map(|(name, value)| (&**name, &**value));
        all.filter(|(name, _)| !name.starts_with('_'))
    }

    /// The fields of the operation.
    ///
    /// # Errors
    /// Texts that are not what their fields need.
    pub(super) fn fields(&self, operation: &Operation) -> Result<Vec<Field>, ApiError> {
        let kinds = kinds(operation);
        let (mut fields, mut faults) = (Vec::<Field>::new(), Vec::new());
        let mut lists: Vec<(String, Vec<String>)> = Vec::new();
        let mut objects: Vec<(String, Map<String, Value>)> = Vec::new();
        for (name, text) in self.texts() {
            // A browser sends line ends as two characters.
            let text = text.replace("\r\n", "\n");
            if text.trim().is_empty() {
                continue;
            }
            if let Some((whole, part)) = name.split_once('.') {
                let value = part_value(part, text.trim());
                match objects.iter_mut().find(|(known, _)| known == whole) {
                    Some((_, object)) => drop(object.insert(part.to_owned(), value)),
                    None => objects
                        .push((whole.to_owned(), [(part.to_owned(), value)].into_iter().collect())),
                }
                continue;
            }
            if name == SPANS {
                fields.push((name.to_owned(), raw(&spans(&text))));
                continue;
            }
            if kinds.get(name) == Some(&Kind::List) {
                let items = text.split([',', '\n']).map(|item| item.trim().to_owned());
                let items = items.filter(|item| !item.is_empty());
                match lists.iter_mut().find(|(known, _)| known == name) {
                    Some((_, list)) => list.extend(items),
                    None => lists.push((name.to_owned(), items.collect())),
                }
                continue;
            }
            match value(name, &text, kinds.get(name).copied()) {
                Ok(value) => fields.push((name.to_owned(), value)),
                Err(fault) => faults.push(fault),
            }
        }
        fields.extend(lists.iter().map(|(name, items)| (name.clone(), raw(items))));
        fields.extend(objects.iter().map(|(name, object)| (name.clone(), raw(object))));
        if faults.is_empty() { Ok(fields) } else { Err(ApiError::invalid(faults)) }
    }
}

/// Where to go after an action: a path of ours, whatever the form says.
pub(super) fn safe_path(path: &str) -> &str {
    let is_ours = path.starts_with('/')
        && !path.starts_with("//")
        // Browsers take a backslash for a slash, and leave out tabs and line ends.
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours { path } else { "/" }
}

/// What an operation is given.
pub(super) fn input(fields: &[Field]) -> Input {
    Input { given: fields.to_vec(), body: Bytes::new() }
}

/// A value as JSON.
pub(super) fn raw<T: serde::Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn value(name: &str, text: &str, kind: Option<Kind>) -> Result<Box<RawValue>, FieldFault> {
    let trimmed = text.trim();
    if JSON.contains(&name) {
        // Byte for byte what was written.
        let parsed = RawValue::from_string(trimmed.to_owned());
        return parsed.map_err(|error| FieldFault::new(name, format!("must be JSON: {error}")));
    }
    if INSTANTS.contains(&name) {
        return Ok(raw(&instant(trimmed)));
    }
    Ok(match kind {
        Some(Kind::Number) => match trimmed.parse::<u64>() {
            Ok(number) => raw(&number),
            // The operation says what it must be.
            Err(_) => raw(trimmed),
        },
        Some(Kind::Bool) if matches!(trimmed, "true" | "on") => raw(&true),
        Some(Kind::Bool) if trimmed == "false" => raw(&false),
        _ => raw(trimmed),
    })
}

fn part_value(part: &str, text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if NUMBERS.contains(&part) => number.into(),
        _ => text.into(),
    }
}

/// Spans of time, each as its start and its end with a slash between them. The operation says what is wrong with one.
fn spans(text: &str) -> Vec<Value> {
    let span = |line: &str| {
        let (start, end) = line.split_once('/').unwrap_or((line, ""));
        serde_json::json!({ "start": instant(start.trim()), "end": instant(end.trim()) })
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(span).collect()
}

/// A time as an operation takes it: one without a zone is UTC.
pub(super) fn instant(text: &str) -> String {
    let has_zone =
        text.ends_with(['Z', 'z']) || text.get(10..).is_some_and(|time| time.contains(['+', '-']));
    let is_local = text.len() >= 16 && text.as_bytes().get(10) == Some(&b'T') && !has_zone;
    match text.len() {
        16 if is_local => format!("{text}:00Z"),
        _ if is_local => format!("{text}Z"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::visit::named_operation;

    #[test]
    fn one_is_led_to_our_own_pages_only() {
        for path in ["/", "/schedules?name_contains=a&page=2", "/executions/1#x"] {
            assert_eq!(safe_path(path), path);
        }
        for path in
            ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb", "/ä"]
        {
            assert_eq!(safe_path(path), "/", "{path:?}");
        }
        for left_out in ('\0'..=' ').chain(['\x7f']) {
            assert_eq!(safe_path(&format!("/{left_out}/evil.example")), "/", "{left_out:?}");
        }
    }

    fn fields(operation: &str, pairs: &[(&str, &str)]) -> Result<Value, ApiError> {
        let form = Form::of(pairs);
        let fields = form.fields(named_operation(operation).unwrap())?;
        let parsed = |(name, value): (String, Box<RawValue>)| {
            (name, serde_json::from_str(value.get()).unwrap())
        };
        Ok(Value::Object(fields.into_iter().map(parsed).collect()))
    }

    #[test]
    fn texts_become_what_the_fields_are() {
        let made = fields(
            "schedule.create",
            &[
                ("_next", "/"),
                ("name", " nightly "),
                ("interval_seconds", "60"),
                ("max_runs", ""),
                ("tags", "a, b,,c"),
                ("command_payload", "{\"n\": 1e2}"),
                ("delivery.mode", "job"),
                ("delivery.timeout_seconds", "5"),
                ("start_at", "2026-11-28T18:30"),
                ("end_at", "2026-12-28T18:30:05+01:00"),
                ("payload_template", "true"),
            ],
        );
        let expected = serde_json::json!({
            "name": "nightly", "interval_seconds": 60, "tags": ["a", "b", "c"],
            "command_payload": { "n": 1e2 }, "delivery": { "mode": "job", "timeout_seconds": 5 },
            "start_at": "2026-11-28T18:30:00Z", "end_at": "2026-12-28T18:30:05+01:00",
            "payload_template": true,
        });
        assert_eq!(made.unwrap(), expected);
        let made = fields(
            "calendar.put",
            &[
                ("days", "2026-12-24/2026-12-26\r\n2027-01-01\r\n"),
                ("spans", " 2026-12-31T12:00/2027-01-01T00:00:00Z\r\n\r\n"),
                ("expected_revision", "0"),
            ],
        );
        let expected = serde_json::json!({
            "days": ["2026-12-24/2026-12-26", "2027-01-01"], "expected_revision": 0,
            "spans": [{ "start": "2026-12-31T12:00:00Z", "end": "2027-01-01T00:00:00Z" }],
        });
        assert_eq!(made.unwrap(), expected);
        let error = fields("schedule.trigger", &[("override_payload", "{")]).unwrap_err();
        assert_eq!(error.details[0].field, "override_payload");
        let ids = fields(
            "bulk.operation",
            &[("schedule_ids", "1"), ("schedule_ids", "2"), ("dry_run", "true")],
        );
        assert_eq!(
            ids.unwrap(),
            serde_json::json!({ "schedule_ids": ["1", "2"], "dry_run": true })
        );
    }
}
