//! Placeholders in a command's payload, rendered when the command is sent.
//!
//! Inside the string values of the payload:
//!
//! | written                    | rendered as                                                     |
//! |----------------------------|-----------------------------------------------------------------|
//! | `${schedule.id}`           | the schedule's id                                               |
//! | `${schedule.name}`         | its name                                                        |
//! | `${execution_id}`          | the id of this execution                                        |
//! | `${correlation_id}`        | the id that follows the work through all systems                |
//! | `${attempt}`               | the number of the attempt, from 1                               |
//! | `${scheduled_for}`         | when it was due: RFC 3339 in UTC, with milliseconds and `Z`     |
//! | `${scheduled_for:%d.%m.%Y}`| the same on the schedule's wall clock, in a strftime format     |
//! | `$${`                      | a literal `${`                                                  |
//!
//! Every value stays the same however often one execution's command is sent, so a message that
//! was sent twice is the same message.
//!
//! Nothing else changes, byte for byte: not the keys (a `${` there means nothing), number formats,
//! whitespace or escapes, and not a `$` before anything but `{`. A rendered value is always part
//! of its string: `"${attempt}"` becomes `"1"`, never `1`.
//!
//! Placeholders are read from the JSON text as written. What is spelled with an escape
//! (`\u0024{`) is therefore no placeholder; `\u0024${attempt}` is how to put a dollar sign in
//! front of one. A format ends at the first `}`, and escapes in it are kept as they are.

use std::fmt::{self, Write};
use std::iter;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::Payload;

/// Placeholders of a payload and bytes of a date format. With names of at most 255 characters,
/// rendering adds no more than 160 KiB, so the largest payload still fits a NATS message.
const MAX_PLACEHOLDERS: usize = 100;
const MAX_FORMAT_BYTES: usize = 64;

/// What a faulty placeholder could have been.
const KNOWN: &str = "known are schedule.id, schedule.name, execution_id, correlation_id, attempt, \
                     scheduled_for, scheduled_for:%Y-%m-%d; $${ is a literal ${";

/// What placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `${schedule.id}`.
    pub schedule_id: Uuid,
    /// `${schedule.name}`: any text.
    pub schedule_name: &'a str,
    /// `${execution_id}`.
    pub execution_id: Uuid,
    /// `${correlation_id}`: any text.
    pub correlation_id: &'a str,
    /// `${attempt}`, from 1.
    pub attempt: u32,
    /// `${scheduled_for}`.
    pub scheduled_for: DateTime<Utc>,
    /// The schedule's time zone, for `${scheduled_for:FORMAT}`.
    pub zone: Tz,
}

/// Checks that everything in the payload that looks like a placeholder is one.
///
/// # Errors
/// The first fault: where it is in the JSON, what it is, and which placeholders there are.
pub fn check(payload: &Payload) -> Result<(), String> {
    let json = payload.as_str();
    let mut placeholders = 0;
    for mark in marks(json) {
        let reason = match mark.part {
            Err(reason) => reason.to_owned(),
            Ok(Part::Literal) => continue,
            Ok(Part::Date(format)) if format.len() > MAX_FORMAT_BYTES => {
                format!("has a format of more than {MAX_FORMAT_BYTES} bytes")
            }
            Ok(Part::Date(format)) if !is_strftime(format) => {
                "has a format that strftime does not know".to_owned()
            }
            Ok(_) if placeholders == MAX_PLACEHOLDERS => {
                format!("is one too many: {MAX_PLACEHOLDERS} placeholders are allowed")
            }
            Ok(_) => {
                placeholders += 1;
                continue;
            }
        };
        let (path, text) = (shortened(&path(json, mark.at), 80), shortened(mark.text, 40));
        return Err(format!("at {path}: {text} {reason}; {KNOWN}"));
    }
    Ok(())
}

/// The payload's JSON text with its placeholders replaced. What cannot be read as one (records can
/// be written by hand, unchecked) stays as it is.
pub fn render(payload: &Payload, values: &Values<'_>) -> String {
    let json = payload.as_str();
    let mut out = String::with_capacity(json.len() + 128);
    let mut done = 0;
    for mark in marks(json) {
        let Ok(part) = mark.part else { continue };
        out.push_str(&json[done..mark.at]);
        let start = out.len();
        if put(&mut out, &part, values).is_err() {
            out.truncate(start);
            out.push_str(mark.text);
        }
        done = mark.at + mark.text.len();
    }
    out.push_str(&json[done..]);
    out
}

/// A `${…}` or `$${` in the JSON text.
struct Mark<'a> {
    at: usize,
    text: &'a str,
    part: Result<Part<'a>, &'static str>,
}

/// What stands in a mark's place.
enum Part<'a> {
    Literal,
    ScheduleId,
    ScheduleName,
    ExecutionId,
    CorrelationId,
    Attempt,
    ScheduledFor,
    Date(&'a str),
}

fn put(out: &mut String, part: &Part<'_>, values: &Values<'_>) -> fmt::Result {
    match part {
        Part::Literal => out.write_str("${"),
        Part::ScheduleId => write!(out, "{}", values.schedule_id),
        Part::ScheduleName => put_escaped(out, values.schedule_name),
        Part::ExecutionId => write!(out, "{}", values.execution_id),
        Part::CorrelationId => put_escaped(out, values.correlation_id),
        Part::Attempt => write!(out, "{}", values.attempt),
        Part::ScheduledFor => {
            out.write_str(&values.scheduled_for.to_rfc3339_opts(SecondsFormat::Millis, true))
        }
        Part::Date(format) => {
            put_date(out, format, values.scheduled_for.with_timezone(&values.zone))
        }
    }
}

/// Text as the inside of a JSON string.
fn put_escaped(out: &mut String, text: &str) -> fmt::Result {
    for char in text.chars() {
        match char {
            '"' | '\\' => write!(out, "\\{char}")?,
            '\0'..' ' => write!(out, "\\u{:04x}", u32::from(char))?,
            _ => out.push(char),
        }
    }
    Ok(())
}

/// The literal text of a format is JSON already. Of what specifiers yield, only the characters
/// that `%n` and `%t` stand for need an escape.
fn put_date(out: &mut String, format: &str, at: DateTime<Tz>) -> fmt::Result {
    let items = StrftimeItems::new(format).map(|item| match item {
        Item::Space("\n") => Item::Literal("\\n"),
        Item::Space("\t") => Item::Literal("\\t"),
        item => item,
    });
    at.format_with_items(items).write_to(out)
}

/// Tried out, as there are specifiers that can be parsed but not written.
fn is_strftime(format: &str) -> bool {
    put_date(&mut String::new(), format, DateTime::UNIX_EPOCH.with_timezone(&Tz::UTC)).is_ok()
}

/// All marks in string values, in order.
fn marks(json: &str) -> impl Iterator<Item = Mark<'_>> {
    let mut at = 0;
    let strings = iter::from_fn(move || {
        loop {
            let start = at + json.get(at..)?.find('"')? + 1;
            let end = string_end(json, start);
            at = end + 1;
            if !is_key(json, at) {
                return Some((start, &json[start..end]));
            }
        }
    });
    strings.flat_map(|(start, text)| marks_in(start, text))
}

/// The marks in the inside of a string that starts at `offset`.
fn marks_in(offset: usize, text: &str) -> impl Iterator<Item = Mark<'_>> {
    let mut at = 0;
    iter::from_fn(move || {
        let found = at + text[at..].find("${")?;
        let body = found + 2;
        let (start, end, part) = if text[at..found].ends_with('$') {
            (found - 1, body, Ok(Part::Literal))
        } else if let Some(length) = text[body..].find('}') {
            (found, body + length + 1, read(&text[body..body + length]))
        } else {
            (found, text.len(), Err("is not closed"))
        };
        at = end;
        Some(Mark { at: offset + start, text: &text[start..end], part })
    })
}

/// What is between `${` and `}`.
fn read(body: &str) -> Result<Part<'_>, &'static str> {
    let (name, format) = match body.split_once(':') {
        Some((name, format)) => (name, Some(format)),
        None => (body, None),
    };
    match (name, format) {
        ("scheduled_for", Some(format)) if format.contains('%') => Ok(Part::Date(format)),
        ("scheduled_for", Some(_)) => Err("has a format without a % specifier"),
        ("scheduled_for", None) => Ok(Part::ScheduledFor),
        ("schedule.id", None) => Ok(Part::ScheduleId),
        ("schedule.name", None) => Ok(Part::ScheduleName),
        ("execution_id", None) => Ok(Part::ExecutionId),
        ("correlation_id", None) => Ok(Part::CorrelationId),
        ("attempt", None) => Ok(Part::Attempt),
        ("", _) => Err("has no name"),
        _ => Err("is not a placeholder"),
    }
}

/// Where the string whose inside starts at `start` has its closing quote.
fn string_end(json: &str, start: usize) -> usize {
    let mut escaped = false;
    let length = json.as_bytes()[start..].iter().position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    length.map_or(json.len(), |length| start + length)
}

/// Whether the string that ended before `end` is a key.
fn is_key(json: &str, end: usize) -> bool {
    json.get(end..).is_some_and(|rest| rest.trim_start().starts_with(':'))
}

/// The way to the value that spans `target`, like `items[2].text`.
fn path(json: &str, target: usize) -> String {
    enum Step<'a> {
        Key(&'a str),
        Index(usize),
    }
    let (mut steps, mut at) = (Vec::new(), 0);
    while at < target {
        match json.as_bytes()[at] {
            b'{' => steps.push(Step::Key("")),
            b'[' => steps.push(Step::Index(0)),
            b'}' | b']' => drop(steps.pop()),
            b',' => {
                if let Some(Step::Index(index)) = steps.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let end = string_end(json, at + 1);
                if is_key(json, end + 1)
                    && let Some(step) = steps.last_mut()
                {
                    *step = Step::Key(&json[at + 1..end]);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Index(index) => path += &format!("[{index}]"),
            Step::Key(key) if key.is_empty() || key.contains([' ', '.', '[', '\\']) => {
                path += &format!("[\"{key}\"]");
            }
            Step::Key(key) if path.is_empty() => path += key,
            Step::Key(key) => path = path + "." + key,
        }
    }
    path
}

fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn payload(text: &str) -> Payload {
        serde_json::from_str(text).unwrap()
    }

    fn values(schedule_name: &str) -> Values<'_> {
        Values {
            schedule_id: Uuid::from_u128(1),
            schedule_name,
            execution_id: Uuid::from_u128(2),
            correlation_id: "c\\1",
            attempt: 3,
            scheduled_for: "2026-03-28T23:30:00.5Z".parse().unwrap(),
            zone: Tz::Europe__Berlin,
        }
    }

    #[test]
    fn placeholders_are_replaced_and_nothing_else() {
        for (written, rendered) in [
            ("${schedule.id}", "00000000-0000-0000-0000-000000000001"),
            ("${execution_id}", "00000000-0000-0000-0000-000000000002"),
            ("<${schedule.name}>", r#"<a "b" \ ü\u0001>"#),
            ("${correlation_id}", r"c\1"),
            ("${attempt}", "3"),
            ("${attempt}${attempt}/${attempt}", "33/3"),
            ("${scheduled_for}", "2026-03-28T23:30:00.500Z"),
            ("${scheduled_for:%Y-%m-%d}", "2026-03-29"),
            ("${scheduled_for:%H:%M %Z %:z %%}", "00:30 CET +01:00 %"),
            ("${scheduled_for:%d%n%m%t%y}", "29\n03\t26"),
            ("${scheduled_for:%-d日 \"%b\"\n}", "29日 \"Mar\"\n"),
            ("$ $x {x} $$ 5$", "$ $x {x} $$ 5$"),
            ("$${attempt}", "${attempt}"),
            ("$$${attempt}", "$${attempt}"),
            ("$${${attempt}$${", "${3${"),
            (r"\${attempt}", r"\3"),
            (r#"\"${attempt}\"#, r#"\"3\"#),
        ] {
            let rendered = rendered.replace("\\u0001", "\u{1}");
            let payload = Payload::from_object(&json!({ "a": ["x", { "b": written }] })).unwrap();
            assert_eq!(check(&payload), Ok(()), "{written}");
            let text = render(&payload, &values("a \"b\" \\ ü\u{1}"));
            let read: Value = serde_json::from_str(&text).expect(&text);
            assert_eq!(read, json!({ "a": ["x", { "b": rendered }] }), "{written}");
        }
    }

    #[test]
    fn keys_numbers_spaces_and_escapes_stay_as_written() {
        let text =
            r#"{ "${attempt}" : 1.0,"${" :{"$${":1e3 , "k":"\u0024{attempt} \u00e9\/${X}"}}"#;
        let written = payload(&text.replace("${X}", "${attempt}"));
        assert_eq!(check(&written), Ok(()));
        assert_eq!(render(&written, &values("n")), text.replace("${X}", "3"));
        let dollar = payload(r#"{"a":"\u0024${attempt} ${scheduled_for:\u65e5%d\"\\}"}"#);
        assert_eq!(check(&dollar), Ok(()));
        assert_eq!(render(&dollar, &values("n")), r#"{"a":"\u00243 \u65e529\"\\"}"#);
    }

    #[test]
    fn faults_are_named_with_their_place_and_left_alone_when_rendered() {
        for (text, fault) in [
            (r#"{"a":"${nam}"}"#, "at a: ${nam} is not a placeholder; known are schedule.id, "),
            (r#"{"a":"${}"}"#, "at a: ${} has no name; "),
            (r#"{"a":"${:%Y}"}"#, "at a: ${:%Y} has no name; "),
            (r#"{"a":"${ attempt}"}"#, "at a: ${ attempt} is not a placeholder; "),
            (r#"{"a":"${attempt:%d}"}"#, "at a: ${attempt:%d} is not a placeholder; "),
            (r#"{"a":"${attempt","b":"}"}"#, "at a: ${attempt is not closed; "),
            (r#"{"a":"\\${x\"}"}"#, r#"at a: ${x\"} is not a placeholder; "#),
            (r#"{"a":"${scheduled_for:}"}"#, "at a: ${scheduled_for:} has a format without a %"),
            (r#"{"a":"${scheduled_for:YYYY}"}"#, "at a: ${scheduled_for:YYYY} has a format wi"),
            (r#"{"a":"${scheduled_for:%Q}"}"#, "at a: ${scheduled_for:%Q} has a format that"),
            (r#"{"a":"${scheduled_for:%d%}"}"#, "at a: ${scheduled_for:%d%} has a format that"),
            (r#"{"a":"${scheduled_for:%d%#z}"}"#, "at a: ${scheduled_for:%d%#z} has a format"),
            (r#"{"a":"${scheduled_for:%d%\n}"}"#, r"at a: ${scheduled_for:%d%\n} has a format"),
            (r#"{"a":"${attempt $${"}"#, "at a: ${attempt $${ is not closed; "),
            (
                r#"{"z":[{}],"a":[1,[2,3],{"x":"]"},{"y":{"z":{}},"b c":["${"]}]}"#,
                r#"at a[3]["b c"][0]: ${ is not closed; "#,
            ),
            (r#"{"k":"${attempt","a":{"b":{"c":"${"}}}"#, "at k: ${attempt is not closed; "),
            (r#"{"a":{"b":{"c":"${"}}}"#, "at a.b.c: ${ is not closed; "),
        ] {
            let payload = payload(text);
            let reason = check(&payload).unwrap_err();
            assert!(reason.starts_with(fault), "{reason}");
            assert!(reason.ends_with(KNOWN), "{reason}");
            assert_eq!(render(&payload, &values("n")), text);
        }
    }

    #[test]
    fn a_rendered_payload_cannot_outgrow_a_message() {
        let many = |count: usize| {
            Payload::from_object(&json!({ "a": "${schedule.name}".repeat(count) })).unwrap()
        };
        assert!(check(&many(101)).unwrap_err().contains("} is one too many: 100 placeholders"));
        assert_eq!(check(&many(100)), Ok(()));
        let text = render(&many(100), &values(&"\u{1}".repeat(255)));
        assert!(text.len() < 160 * 1024, "{}", text.len());
        let date = |format: &str| format!(r#"{{"a":"${{scheduled_for:{format}}}"}}"#);
        assert_eq!(check(&payload(&date(&"%+".repeat(32)))), Ok(()));
        let reason = check(&payload(&date(&"%+".repeat(33)))).unwrap_err();
        assert!(reason.contains("… has a format of more than 64 bytes; "), "{reason}");
        let deep = format!(r#"{{"{}":["${{{}}}"]}}"#, "k".repeat(999), "x".repeat(999));
        assert!(check(&payload(&deep)).unwrap_err().chars().count() <= 300);
    }

    /// Text in which everything that means something here is likely.
    fn text() -> impl Strategy<Value = String> {
        let special = proptest::sample::select(vec![
            "$",
            "{",
            "}",
            "${",
            "$${",
            "${attempt}",
            "${schedule.name}",
            "${scheduled_for:",
            "%Y",
            "%n",
            "%",
            ":",
            ",",
            "[",
            "\"",
            "\\",
            "\n",
            "\\u0024{",
            "é",
            " ",
        ]);
        let part = prop_oneof![3 => special.prop_map(str::to_owned), 1 => any::<String>()];
        proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    /// An object with numbers, lists and objects in it.
    type Object = BTreeMap<String, (f64, Vec<String>, BTreeMap<String, String>)>;

    fn object() -> impl Strategy<Value = Object> {
        let texts = proptest::collection::vec(text(), 0..4);
        let inner = proptest::collection::btree_map(text(), text(), 0..4);
        proptest::collection::btree_map(text(), (any::<f64>(), texts, inner), 0..4)
    }

    /// With `change` made to all strings that are not keys.
    fn changed(object: &Object, change: impl Fn(&str) -> String) -> Object {
        let mut object = object.clone();
        for (_, texts, inner) in object.values_mut() {
            texts.iter_mut().chain(inner.values_mut()).for_each(|text| *text = change(text));
        }
        object
    }

    proptest! {
        #[test]
        fn payloads_without_placeholders_stay_byte_for_byte(object in object(), pretty: bool) {
            let object = changed(&object, |text| text.replace("${", "$ {"));
            let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let text = write(&object).unwrap();
            let payload = payload(&text);
            prop_assert_eq!(check(&payload), Ok(()));
            prop_assert_eq!(render(&payload, &values("n")), text);
        }

        #[test]
        fn whatever_is_rendered_is_json_of_the_same_shape(object in object(), name: String) {
            let text = render(&Payload::from_object(&object).unwrap(), &values(&name));
            let rendered: Object = serde_json::from_str(&text).unwrap();
            prop_assert!(rendered.keys().eq(object.keys()), "{}", text);
            for ((_, texts, inner), (_, texts_before, inner_before)) in
                rendered.values().zip(object.values())
            {
                prop_assert_eq!(texts.len(), texts_before.len());
                prop_assert!(inner.keys().eq(inner_before.keys()), "{}", text);
            }
        }

        #[test]
        fn text_is_protected_by_a_second_dollar_sign(object in object(), name: String) {
            let protected = changed(&object, |text| text.replace("${", "$${"));
            let payload = Payload::from_object(&protected).unwrap();
            prop_assert_eq!(check(&payload), Ok(()));
            let text = render(&payload, &values(&name));
            prop_assert_eq!(text, serde_json::to_string(&object).unwrap());
        }
    }
}
