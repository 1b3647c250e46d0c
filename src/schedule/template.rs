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
//! Every value stays the same however often one execution's command is sent, so a message that is sent twice
//! is the same message.
//!
//! Nothing else changes, byte for byte: not the keys (a `${` there means nothing), number formats,
//! whitespace or escapes, and not a `$` before anything but `{`. A rendered value is always part
//! of its string: `"${attempt}"` becomes `"1"`, never `1`.
//!
//! Placeholders are read from the JSON text as written, so text spelled with an escape (`\u0024{`) is not a
//! placeholder; write `\u0024${attempt}` to put a dollar sign in front of one. A format ends at the first
//! `}`, and escapes in it are kept as they are.

use std::fmt::{self, Write};
use std::iter;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::Payload;

/// Maximum number of placeholders in a payload, and of bytes in a date format. With names of at most 255
/// characters, rendering adds no more than 160 KiB, so the largest payload still fits a NATS message.
const MAX_PLACEHOLDERS: usize = 100;
const MAX_FORMAT_BYTES: usize = 64;

/// The valid placeholders, for the report of a faulty one.
const KNOWN: &str = "known are schedule.id, schedule.name, execution_id, correlation_id, attempt, \
                     scheduled_for, scheduled_for:%Y-%m-%d; $${ is a literal ${";

/// Values of the placeholders.
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
/// The first fault: where it is in the JSON, what it is, and the valid placeholders.
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

/// The payload's JSON text with its placeholders replaced. Text that cannot be read as a placeholder (records
/// can be written by hand, unchecked) stays as it is.
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

/// What replaces a mark.
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

/// Writes text as the inside of a JSON string.
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

/// Writes a date. The literal text of a format is JSON already; of what specifiers yield, only the characters
/// for `%n` and `%t` need an escape.
fn put_date(out: &mut String, format: &str, at: DateTime<Tz>) -> fmt::Result {
    let items = StrftimeItems::new(format).map(|item| match item {
        Item::Space("\n") => Item::Literal("\\n"),
        Item::Space("\t") => Item::Literal("\\t"),
        item => item,
    });
    at.format_with_items(items).write_to(out)
}

/// Tries the format out, because some specifiers can be parsed but not written.
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

/// The marks inside a string that starts at `offset`.
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

/// Reads what is between `${` and `}`.
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

/// Position of the closing quote of the string whose inside starts at `start`.
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

/// Path to the value that spans `target`, like `items[2].text`.
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
mod tests;
