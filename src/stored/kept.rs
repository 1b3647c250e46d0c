//! Values that records share with requests and replies, as records hold them.

use std::ops::{Deref, DerefMut};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Capture, Unknown};

/// A value and the fields of its stored form that this version does not know.
///
/// For values that also appear in requests, which refuse unknown fields, and for small ones that are copied:
/// a record wraps them, and the value stays what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kept<T> {
    /// The value.
    pub known: T,
    /// Other fields of its stored form.
    pub unknown: Unknown,
}

impl<T> From<T> for Kept<T> {
    fn from(known: T) -> Self {
        Self { known, unknown: Unknown::default() }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.known
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.known
    }
}

impl<T: Serialize> Serialize for Kept<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.unknown.is_empty() {
            return self.known.serialize(serializer);
        }
        self.unknown.write_behind(&self.known, serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Kept<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut unknown = Unknown::default();
        let known = T::deserialize(Capture::new(deserializer, &mut unknown))?;
        Ok(Self { known, unknown })
    }
}

impl<T: JsonSchema> JsonSchema for Kept<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
