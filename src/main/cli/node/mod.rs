//! JSON and YAML as they were written: numbers keep their digits, and keys their order.

mod read;
mod yaml;

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text::quoted;
pub use read::read_yaml;

/// Deepest nesting.
const MAX_DEPTH: usize = 128;
const TOO_DEEP: &str = "is nested too deeply";

/// A value of JSON or YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Null,
    Bool(bool),
    /// The digits, as JSON writes numbers.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The node of a value that JSON can hold.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        Self::of_json(&serde_json::to_string(value)?)
    }

    /// The node of a JSON text.
    pub fn of_json(json: &str) -> Result<Self, serde_json::Error> {
        Self::nested(json, 0)
    }

    fn nested(json: &str, depth: usize) -> Result<Self, serde_json::Error> {
        if depth > MAX_DEPTH {
            return Err(serde_json::Error::custom(TOO_DEEP));
        }
        let json = json.trim_ascii();
        Ok(match json.as_bytes().first() {
            Some(b'{') => {
                let entries = serde_json::from_str::<Entries>(json)?.0.into_iter();
                let entries = entries
                    .map(|(key, value)| Ok((key, Self::nested(value.get(), depth + 1)?)))
                    .collect::<Result<_, serde_json::Error>>();
                Self::Map(entries?)
            }
            Some(b'[') => {
                let items = serde_json::from_str::<Vec<Box<RawValue>>>(json)?;
                let items = items.iter().map(|item| Self::nested(item.get(), depth + 1));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(json)?),
            Some(b't' | b'f') => Self::Bool(serde_json::from_str(json)?),
            Some(b'n') => serde_json::from_str::<()>(json).map(|()| Self::Null)?,
            _ => Self::Number(serde_json::from_str::<Box<RawValue>>(json)?.get().to_owned()),
        })
    }

    /// A field of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A field of a map, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A key that some map has twice. JSON can say that, and YAML cannot.
    pub fn repeated(&self) -> Option<&str> {
        match self {
            Self::List(items) => items.iter().find_map(Self::repeated),
            Self::Map(entries) => {
                let mut seen = HashSet::new();
                let own = entries.iter().find(|(key, _)| !seen.insert(key));
                let own = own.map(|(key, _)| key.as_str());
                own.or_else(|| entries.iter().find_map(|(_, value)| value.repeated()))
            }
            _ => None,
        }
    }

    /// The text that a field of a map has.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Takes a field out of a map.
    pub fn take(&mut self, name: &str) -> Option<Self> {
        let Self::Map(entries) = self else { return None };
        let place = entries.iter().position(|(key, _)| key == name)?;
        Some(entries.remove(place).1)
    }

    /// The JSON on several lines.
    pub fn pretty(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, Some(0));
        text
    }

    /// Writes JSON: with line breaks from an indent on, or on one line.
    fn write(&self, text: &mut String, indent: Option<usize>) {
        let (begin, end, count) = match self {
            Self::List(items) => ('[', ']', items.len()),
            Self::Map(entries) => ('{', '}', entries.len()),
            scalar => return text.push_str(&scalar.scalar()),
        };
        let inner = indent.map(|indent| indent + 2);
        text.push(begin);
        for n in 0..count {
            text.push_str(if n > 0 { "," } else { "" });
            break_line(text, inner);
            match self {
                Self::List(items) => items[n].write(text, inner),
                Self::Map(entries) => {
                    text.push_str(&quoted(&entries[n].0));
                    text.push_str(if indent.is_some() { ": " } else { ":" });
                    entries[n].1.write(text, inner);
                }
                _ => {}
            }
        }
        if count > 0 {
            break_line(text, indent);
        }
        text.push(end);
    }

    /// The JSON of what holds nothing else.
    fn scalar(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(digits) => digits.clone(),
            Self::Text(text) => quoted(text),
            Self::Null | Self::List(_) | Self::Map(_) => "null".to_owned(),
        }
    }
}

/// JSON on one line.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text, None);
        f.write_str(&text)
    }
}

fn break_line(text: &mut String, indent: Option<usize>) {
    if let Some(indent) = indent {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', indent));
    }
}

/// The fields of an object in their order, each as it was written.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}
