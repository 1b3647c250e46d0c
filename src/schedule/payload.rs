//! Body of a command: the user's JSON object, kept byte for byte.

use std::borrow::Cow;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::object::same_json;

/// Our own schema keyword: how deep an object may nest, itself included.
pub(super) const DEPTH_KEYWORD: &str = "x-max-depth";
/// Largest payload, whatever the server accepts; see [`Room::payload`](super::Room::payload).
pub const MAX_PAYLOAD_BYTES: usize = 512 * 1024;

/// Deepest nesting, counting the object itself: the limit of most JSON readers is not far above.
const MAX_DEPTH: usize = 100;

/// A JSON object as its author wrote it: number formats and the order of keys survive.
#[derive(Clone, Debug)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// The JSON of any value that is an object: a struct, a map, a `serde_json::Value`.
    ///
    /// # Errors
    /// The value cannot be written as JSON, is not an object, or is nested too deeply.
    pub fn from_object(object: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&serde_json::to_string(object)?)
    }

    /// A payload of JSON text; `None` if the text is not that of an object.
    pub(crate) fn from_text(text: String) -> Option<Self> {
        RawValue::from_string(text)
            .ok()
            .map(Self)
            .filter(|payload| payload.as_str().starts_with('{'))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether two payloads say the same: white space, the order of keys and the way in which letters are written do not
    /// matter. Numbers are compared as they are written, since whoever reads them may make a difference.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self == other || same_json(&self.0, &other.0)
    }

    /// The JSON text as a message body.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.get().as_bytes())
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self(RawValue::from_string("{}".to_owned()).unwrap_or_default())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(serde::de::Error::custom("must be a JSON object"));
        }
        if depth(raw.get()) > MAX_DEPTH {
            return Err(serde::de::Error::custom(format!(
                "is nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Self(raw))
    }
}

/// How deep well-formed JSON text nests.
pub(super) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl JsonSchema for Payload {
    fn schema_name() -> Cow<'static, str> {
        "Payload".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let description = "sent as the command's body, untouched unless `payload_template` is set";
        json_schema!({ "type": "object", "description": description, DEPTH_KEYWORD: MAX_DEPTH })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_survives_untouched() {
        let text = r#"{"z": 1.0, "a": 12345678901234567890123,  "b": "\u0041"}"#;
        let payload: Payload = serde_json::from_str(text).unwrap();
        assert_eq!(payload.as_str(), text);
        assert_eq!(serde_json::to_string(&payload).unwrap(), text);
    }

    #[test]
    fn payloads_that_are_written_differently_may_say_the_same() {
        let text = r#"{"a": 1.50, "b": [true, {"x": "é", "y": null}], "c": 9007199254740993}"#;
        let payload = |text: &str| serde_json::from_str::<Payload>(text).unwrap();
        for same in [text, r#"{"c":9007199254740993,"b":[true,{"y":null,"x":"\u00e9"}],"a":1.50}"#]
        {
            assert!(payload(same).says_the_same(&payload(text)), "{same}");
        }
        for other in [
            r#"{"a": 1.5, "b": [true, {"x": "é", "y": null}], "c": 9007199254740993}"#,
            r#"{"a": 1.50, "b": [true, {"x": "é", "y": null}], "c": 9007199254740992}"#,
            r#"{"a": 1.50, "b": [{"x": "é", "y": null}, true], "c": 9007199254740993}"#,
            r#"{"a": 1.50, "b": [true, {"x": "e", "y": null}], "c": 9007199254740993}"#,
            r#"{"a": 1.50, "b": [true, {"x": "é"}], "c": 9007199254740993}"#,
            r#"{"a": 1.50, "b": [true, {"x": "é", "y": null}], "c": "9007199254740993"}"#,
            r#"{"a": 1.50, "b": [true, {"x": "é", "y": null}], "c": 9007199254740993, "d": 1}"#,
            "{}",
        ] {
            assert!(!payload(other).says_the_same(&payload(text)), "{other}");
        }
        let twice = |a: &str| payload(&format!(r#"{{"k":1,"k":{a}}}"#));
        assert!(twice("2").says_the_same(&twice("2")));
        assert!(!payload(r#"{"k":1,"k":2}"#).says_the_same(&payload(r#"{"k":2,"k":1}"#)));
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert_eq!(depth(r#"{"a": "[[[\"{{", "b": [1]}"#), 2);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert!(serde_json::from_str::<Payload>(&deep).is_err());
        assert!(serde_json::from_str::<Payload>(&deep.replace("[]", "1")).is_ok());
    }

    #[test]
    fn only_objects_are_payloads() {
        for text in ["[]", "1", "\"x\"", "null"] {
            assert!(serde_json::from_str::<Payload>(text).is_err(), "{text}");
        }
        assert!(Payload::from_object(&[1]).is_err());
        let object = std::collections::BTreeMap::from([("text", "hi")]);
        assert_eq!(Payload::from_object(&object).unwrap().as_str(), r#"{"text":"hi"}"#);
    }
}
