//! Reading a JSON request so that every fault is named: field and reason, all of them at once.
//!
//! Each field is read by itself with the type's own `Deserialize`, so the request types stay
//! plain structs and still report several faults together.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldFault {
    /// The field's name; `body` for the request as a whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldFault {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: shown(field.into(), MAX_NAME), reason: shown(reason.into(), MAX_REASON) }
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// Faults that are named at once; who made so many sends something else altogether.
pub const MAX_FAULTS: usize = 32;
/// Characters of a field's name, and of a reason, in a fault.
const MAX_NAME: usize = 100;
const MAX_REASON: usize = 1500;

/// A text short enough to be shown.
fn shown(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Reads an optional object. A struct would take an array too, in the order of its fields.
pub fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let Some(raw) = Option::<Box<RawValue>>::deserialize(deserializer)? else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return Err(serde::de::Error::custom("must be a JSON object"));
    }
    serde_json::from_str(raw.get()).map(Some).map_err(serde::de::Error::custom)
}

/// Reads a request body into `T`, a struct whose fields are all optional
/// (`#[serde(default, deny_unknown_fields)]`). No body at all means no fields.
///
/// # Errors
/// Every unknown, repeated or wrong-typed field, with a `T` of all other fields so that those can
/// be checked too; or one fault of `body` if it is no JSON object.
pub fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, (T, Vec<FieldFault>)> {
    parse_with(&[], body)
}

/// The same, of a request that has fields beside its body: their names, and their values as JSON.
///
/// # Errors
/// See [`parse`]; a field that the body has too is repeated.
pub fn parse_with<T: DeserializeOwned + Default>(
    given: &[(String, Box<RawValue>)],
    body: &[u8],
) -> Result<T, (T, Vec<FieldFault>)> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let body_fault = |reason: String| (T::default(), vec![FieldFault::new("body", reason)]);
    let object: Object = serde_json::from_slice(body)
        .map_err(|error| body_fault(format!("not a JSON object: {error}")))?;
    let pairs = || given.iter().chain(&object.0).map(|(key, value)| (key.as_str(), &**value));
    // By far the most frequent: there is nothing wrong. A repeated key is found here as well.
    if let Ok(value) = from_pairs(pairs()) {
        return Ok(value);
    }
    let mut faults = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut sound = Vec::new();
    for (key, value) in pairs() {
        if faults.len() == MAX_FAULTS {
            // The rest is not read, so nothing can be said of it.
            return Err((T::default(), faults));
        }
        if !seen.insert(key) {
            faults.push(FieldFault::new(key, "is given more than once"));
        } else if let Err(error) = from_pairs::<T>([(key, value)]) {
            faults.push(FieldFault::new(key, reason(&error)));
        } else {
            sound.push((key, value));
        }
    }
    let value = from_pairs(sound).map_err(|error| body_fault(reason(&error)))?;
    if faults.is_empty() { Ok(value) } else { Err((value, faults)) }
}

fn from_pairs<'a, T: DeserializeOwned>(
    pairs: impl IntoIterator<Item = (&'a str, &'a RawValue)>,
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

/// serde's message without the position, which would be that in our own rearranged text.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // Twice where an object in a field was read by itself.
    let text = text.split_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if let Some((_, expected)) = text.split_once(", expected one of ")
        && text.starts_with("unknown field")
    {
        return format!(
            "is not a field of this request; the fields are {}",
            expected.replace('`', "")
        );
    }
    if text.starts_with("unknown field") {
        return "is not a field of this request".to_owned();
    }
    text.replace('`', "\"")
}

/// A JSON object as its pairs in order, repeated keys included.
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Request {
        name: Option<String>,
        count: Option<u8>,
    }

    fn faults(body: &str) -> Vec<String> {
        parse::<Request>(body.as_bytes()).unwrap_err().1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_faults_are_named_together() {
        let faults = faults(r#"{"name": 7, "count": 300, "nam": "x", "count": 1}"#);
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].starts_with("name: invalid type"), "{faults:?}");
        assert!(faults[1].starts_with("count: invalid value"), "{faults:?}");
        assert!(faults[2].starts_with("nam: is not a field"), "{faults:?}");
        assert_eq!(faults[3], "count: is given more than once");
    }

    #[test]
    fn bodies_that_are_no_object_are_one_fault() {
        for body in ["[]", "null", "{", "{\"a\":1} x", "\u{0}"] {
            assert!(faults(body)[0].starts_with("body: "), "{body}");
        }
        assert_eq!(parse::<Request>(b" ").unwrap(), Request::default());
    }

    #[test]
    fn sound_fields_survive_beside_faults() {
        let (request, faults) = parse::<Request>(br#"{"name": "n", "count": -1}"#).unwrap_err();
        assert_eq!(request.name.as_deref(), Some("n"));
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let body = format!("{{\"name\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse::<Request>(body.as_bytes()).is_err());
    }
}
