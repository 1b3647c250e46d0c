//! Reads JSON requests and reports every fault at once, each with its field and reason.
//!
//! A request without faults is read in one go. Otherwise each field is read on its own with the type's
//! `Deserialize`, so request types stay plain structs and still report several faults together. For a field
//! that cannot be read, the fault is derived from the schema of the request. No text of the parsing libraries
//! reaches the caller.

mod body;
mod explain;
mod near;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::object::Object;
pub use explain::unknown as unknown_name;
pub(crate) use near::slips;
use shape::Shape;

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldFault {
    /// The field's name; `body` for the request as a whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldFault {
    /// A fault in one field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: shown(field.into(), MAX_NAME), reason: shown(reason.into(), MAX_REASON) }
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// Maximum number of faults reported at once; a request with more is something else altogether.
pub const MAX_FAULTS: usize = 32;
/// Maximum number of characters of a field's name, and of a reason, in a fault.
const MAX_NAME: usize = 100;
const MAX_REASON: usize = 1500;
/// Reason for a field that appears twice.
const REPEATED: &str = "is given more than once";
/// Singular and plural by which error messages call the names in a request.
const FIELD: (&str, &str) = ("field of this request", "fields");

/// Shortens a text for display.
fn shown(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Reads an optional object. Deserializing a struct would accept an array too, in the order of its fields.
pub fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let Some(raw) = Option::<Box<RawValue>>::deserialize(deserializer)? else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return Err(serde::de::Error::custom("must be a JSON object"));
    }
    serde_json::from_str(raw.get()).map(Some).map_err(serde::de::Error::custom)
}

/// A request that could not be read.
#[derive(Clone, Debug)]
pub struct Unread<T> {
    /// The request without the faulty fields, so that its other fields can be checked too; `None` if hardly
    /// anything could be read.
    pub rest: Option<T>,
    /// Faults in the form of the request.
    pub faults: Vec<FieldFault>,
}

/// Reads a request body into `T`, a struct whose fields are all optional
/// (`#[serde(default, deny_unknown_fields)]`). No body at all means no fields.
///
/// # Errors
/// Every unknown, repeated or wrong-typed field; or one fault of `body` if it is no JSON object.
pub fn parse<T>(body: &[u8]) -> Result<T, Unread<T>>
where
    T: DeserializeOwned + Default + JsonSchema + 'static,
{
    parse_with(&[], body)
}

/// Like [`parse`], for a request with fields beside its body: their names, and their values as JSON.
///
/// # Errors
/// See [`parse`]; a field that is also in the body is repeated.
pub fn parse_with<T>(given: &[(String, Box<RawValue>)], body: &[u8]) -> Result<T, Unread<T>>
where
    T: DeserializeOwned + Default + JsonSchema + 'static,
{
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let Ok(object) = serde_json::from_slice::<Object>(body) else {
        let faults = vec![FieldFault::new("body", body::fault(body))];
        return Err(Unread { rest: None, faults });
    };
    let pairs = || given.iter().chain(&object.0).map(|(key, value)| (key.as_str(), &**value));
    // By far the most frequent case: nothing is wrong. This finds repeated keys as well.
    if let Ok(value) = from_pairs(pairs()) {
        return Ok(value);
    }
    let (faults, sound) = sift::<T>(pairs());
    // If the limit of faults was reached, not all fields were looked at.
    let rest = if faults.len() < MAX_FAULTS { from_pairs(sound).ok() } else { None };
    match rest {
        Some(value) if faults.is_empty() => Ok(value),
        rest => Err(Unread { rest, faults }),
    }
}

type Pair<'a> = (&'a str, &'a RawValue);

/// Separates the fields of a request into faults and sound fields.
fn sift<'a, T>(pairs: impl Iterator<Item = Pair<'a>>) -> (Vec<FieldFault>, Vec<Pair<'a>>)
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    let shape = Shape::of::<T>();
    let (mut faults, mut sound) = (Vec::new(), Vec::new());
    let (mut seen, mut listed) = (HashSet::new(), false);
    for (key, value) in pairs {
        let known = shape.fields().and_then(|fields| fields.get(key));
        if !seen.insert(key) {
            faults.push(FieldFault::new(key, REPEATED));
        } else if from_pairs::<T>([(key, value)]).is_ok() {
            sound.push((key, value));
        } else if let Some(field) = known {
            explain::explain(field, key, value, &mut faults);
        } else {
            let names = shape.fields().into_iter().flat_map(shape::Fields::names);
            let all = !std::mem::replace(&mut listed, true);
            faults.push(FieldFault::new(key, unknown_name(key, FIELD, names, all)));
        }
        if faults.len() >= MAX_FAULTS {
            break;
        }
    }
    (faults, sound)
}

fn from_pairs<'a, T: DeserializeOwned>(
    pairs: impl IntoIterator<Item = Pair<'a>>,
) -> Result<T, serde_json::Error> {
    let mut text = String::from("{");
    for (index, (key, value)) in pairs.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(key)?);
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    serde_json::from_str(&text)
}
