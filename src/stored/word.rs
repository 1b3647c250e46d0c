//! Words of enumerations that this version does not know.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

/// Longest word, in bytes.
const MAX_LENGTH: usize = 64;
/// Maximum number of words kept: they are never forgotten.
const MAX_WORDS: usize = 1024;

/// A value that a newer version has added to an enumeration. Only for enumerations that inform people: a
/// value that must be understood to act on a record raises what the record needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Word(&'static str);

impl Word {
    /// A word of letters, digits and `_`. `None` for anything else, or if there are too many words.
    pub fn new(text: &str) -> Option<Self> {
        static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.is_empty() || text.len() > MAX_LENGTH || !text.bytes().all(sound) {
            return None;
        }
        let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = words.get(text) {
            return Some(Self(known));
        }
        if words.len() >= MAX_WORDS {
            return None;
        }
        // Leaked, so that enumerations with such a word stay plain values; hence the bound.
        let kept: &'static str = Box::leak(Box::from(text));
        words.insert(kept);
        Some(Self(kept))
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("must be a word"))
    }
}

impl schemars::JsonSchema for Word {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "one that a newer version has added" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_once_and_nothing_else_is_one() {
        let word = Word::new("bank_holiday").unwrap();
        assert_eq!(word, serde_json::from_str("\"bank_holiday\"").unwrap());
        assert_eq!(serde_json::to_string(&word).unwrap(), "\"bank_holiday\"");
        for odd in ["", "two words", "a.b", &"x".repeat(65)] {
            assert_eq!(Word::new(odd), None, "{odd}");
        }
    }
}
