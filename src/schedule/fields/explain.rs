//! Explains faulty values in our own words: what was expected, with an example.
//!
//! The types that read a value decide whether it is faulty. Their messages are written for programmers and
//! change with the libraries, so the value is compared with the [`Shape`] of the field instead.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::near::nearest;
use super::shape::{Bounds, Fields, Shape, Takes};
use super::{FieldFault, MAX_FAULTS, Object, REPEATED};
use crate::schedule::Days;
use crate::schedule::instant;
use crate::schedule::payload::depth;

/// Reason for a string that cannot be decoded.
const BAD_ESCAPE: &str = "has an escape, such as \\ud800, that stands for no character";

/// Adds at least one fault for the value of the field at `path`.
pub(super) fn explain(shape: &Shape, path: &str, raw: &RawValue, faults: &mut Vec<FieldFault>) {
    let before = faults.len();
    look(shape, path, raw, faults);
    if faults.len() == before {
        faults.push(FieldFault::new(path, expected(shape, raw)));
    }
}

/// Reason for a name that is not one of `known`; `all` lists them.
pub fn unknown<'a>(
    name: &str,
    (one, many): (&str, &str),
    known: impl Iterator<Item = &'a str> + Clone,
    all: bool,
) -> String {
    let mut reason = format!("is not a {one}");
    if let Some(meant) = nearest(name, known.clone()) {
        let _ = write!(reason, "; did you mean {meant}?");
    }
    let list = known.collect::<Vec<_>>().join(", ");
    let _ = match (all, list.is_empty()) {
        (true, true) => write!(reason, "; there are none"),
        (true, false) => write!(reason, "; the {many} are {list}"),
        (false, _) => Ok(()),
    };
    reason
}

/// Adds a fault for each part that does not match its shape.
fn look(shape: &Shape, path: &str, raw: &RawValue, faults: &mut Vec<FieldFault>) {
    if faults.len() >= MAX_FAULTS || (shape.nullable && raw.get() == "null") {
        return;
    }
    let sound = match &shape.takes {
        Takes::Anything => true,
        Takes::Bool => decoded::<bool>(raw).is_some(),
        Takes::Whole(bounds) => {
            let number = raw.get().parse().ok();
            number.is_some_and(|number| (bounds.least..=bounds.most).contains(&number))
        }
        Takes::Number(bounds) => {
            decoded(raw).is_some_and(|number| (bounds.least..=bounds.most).contains(&number))
        }
        Takes::Text => text(raw).is_some(),
        Takes::Id => text(raw).is_some_and(|text| Uuid::try_parse(&text).is_ok()),
        Takes::Instant => text(raw).is_some_and(|text| instant::parse(&text).is_ok()),
        Takes::Days => text(raw).is_some_and(|text| text.parse::<Days>().is_ok()),
        Takes::Words(words) => text(raw).is_some_and(|text| words.contains(&text)),
        Takes::List(items) => match decoded::<Vec<Box<RawValue>>>(raw) {
            Some(values) => {
                for (index, value) in values.iter().enumerate() {
                    look(items, &format!("{path}[{index}]"), value, faults);
                }
                true
            }
            None => false,
        },
        Takes::Open { deepest } => {
            let deep = deepest.is_some_and(|deepest| depth(raw.get()) > deepest);
            raw.get().starts_with('{') && !deep
        }
        Takes::Object(fields) if raw.get().starts_with('{') => {
            look_inside(fields, path, raw, faults);
            true
        }
        Takes::Object(_) => false,
    };
    if !sound {
        faults.push(FieldFault::new(path, expected(shape, raw)));
    }
}

fn look_inside(fields: &Fields, path: &str, raw: &RawValue, faults: &mut Vec<FieldFault>) {
    let Some(Object(pairs)) = decoded(raw) else {
        return faults.push(FieldFault::new(path, BAD_ESCAPE));
    };
    let (mut seen, mut listed) = (Vec::new(), false);
    for (name, value) in &pairs {
        let inner = format!("{path}.{name}");
        if seen.contains(&name.as_str()) {
            faults.push(FieldFault::new(inner, REPEATED));
        } else if let Some(shape) = fields.get(name) {
            look(shape, &inner, value, faults);
        } else {
            let of = format!("field of {path}");
            let all = !std::mem::replace(&mut listed, true);
            let reason = unknown(name, (&of, "fields"), fields.names(), all);
            faults.push(FieldFault::new(inner, reason));
        }
        if faults.len() >= MAX_FAULTS {
            return;
        }
        seen.push(name.as_str());
    }
    for name in fields.required.iter().filter(|name| !seen.contains(&name.as_str())) {
        faults.push(FieldFault::new(format!("{path}.{name}"), "is required"));
    }
}

/// What a faulty value should be.
fn expected(shape: &Shape, raw: &RawValue) -> String {
    let given = text(raw);
    if given.is_none() && raw.get().starts_with('"') && !matches!(shape.takes, Takes::Object(_)) {
        return BAD_ESCAPE.to_owned();
    }
    match &shape.takes {
        Takes::Bool => match given.as_deref() {
            Some("true" | "false") => "must be true or false, without quotes".to_owned(),
            _ => "must be true or false".to_owned(),
        },
        Takes::Whole(bounds) => whole(shape, bounds, raw, given.as_deref()),
        Takes::Number(Bounds { least, most, said }) => {
            let range = if *said { format!(" from {least} to {most}") } else { String::new() };
            format!("must be a number{range}, such as {}", shape.example())
        }
        Takes::Words(words) => {
            let mut reason = format!("must be one of {}", words.join(", "));
            let meant = given.and_then(|given| nearest(&given, words.iter().map(String::as_str)));
            if let Some(meant) = meant {
                let _ = write!(reason, "; did you mean {meant}?");
            }
            reason
        }
        Takes::Id => format!("must be a UUID, such as {}", bare(shape)),
        Takes::Instant
            if text(raw).map(|text| instant::parse(&text)) == Some(Err(instant::RANGE)) =>
        {
            instant::RANGE.to_owned()
        }
        Takes::Instant => format!("must be a time in RFC 3339, such as {}", bare(shape)),
        Takes::Days => match text(raw).map(|text| text.parse::<Days>()) {
            Some(Err(reason)) => reason,
            _ => format!("must be a day as a text, such as {}", shape.example()),
        },
        // Probably a number, or a word without quotes.
        Takes::Text if !raw.get().starts_with(['{', '[', 'n']) => {
            format!("must be a text, such as \"{}\"", raw.get())
        }
        Takes::Text => format!("must be a text, such as {}", shape.example()),
        Takes::List(_) => format!("must be a list, such as {}", shape.example()),
        Takes::Open { deepest: Some(deepest) } if raw.get().starts_with('{') => {
            format!("is nested deeper than {deepest} levels")
        }
        Takes::Object(_) | Takes::Open { .. } => {
            format!("must be a JSON object, such as {}", shape.example())
        }
        // The schema gives no hint.
        Takes::Anything => "is not a value that this field takes".to_owned(),
    }
}

fn whole(shape: &Shape, bounds: &Bounds<i128>, raw: &RawValue, given: Option<&str>) -> String {
    let Bounds { least, most, said } = bounds;
    let fits = |number: &i128| (least..=most).contains(&number);
    let digits = raw.get().strip_prefix('-').unwrap_or(raw.get());
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    // The library does not read `-0` as a whole number.
    if is_whole && !raw.get().parse().is_ok_and(|number| fits(&number)) {
        return match (said, raw.get().starts_with('-')) {
            (true, _) => format!("must be {least} to {most}"),
            (false, true) => format!("must be at least {least}"),
            (false, false) => format!("must be at most {most}"),
        };
    }
    let range = if *said { format!(" from {least} to {most}") } else { String::new() };
    // The value that was meant, if it is valid.
    let meant = given.unwrap_or_else(|| match raw.get().split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => raw.get(),
    });
    let meant = meant.parse().ok().filter(fits);
    match meant {
        Some(number) if given.is_some() => {
            format!("must be a whole number{range}, such as {number}, without quotes")
        }
        Some(number) => format!("must be a whole number{range}, such as {number}"),
        None => format!("must be a whole number{range}, such as {}", shape.example()),
    }
}

/// The example of a string, without quotes.
fn bare(shape: &Shape) -> String {
    shape.example().as_str().unwrap_or_default().to_owned()
}

fn text(raw: &RawValue) -> Option<String> {
    decoded(raw)
}

fn decoded<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}
