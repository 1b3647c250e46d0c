//! Fields that this version does not know.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

/// The fields of a stored value that this version does not know, byte for byte.
#[derive(Clone, Debug, Default)]
pub struct Unknown(Option<Box<Fields>>);

type Fields = Vec<(String, Box<RawValue>)>;

impl Unknown {
    /// Whether there are none, which is nearly always so.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Their names, in the order in which they were read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|fields| fields.iter()).map(|(name, _)| name.as_str())
    }

    /// Removes a field and returns its value.
    pub(crate) fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let fields = self.0.as_deref_mut()?;
        let index = fields.iter().position(|(known, _)| known == name)?;
        let (_, value) = fields.remove(index);
        if fields.is_empty() {
            self.0 = None;
        }
        Some(value)
    }

    fn add(&mut self, name: String, value: Box<RawValue>) {
        let fields = self.0.get_or_insert_default();
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => fields.push((name, value)),
        }
    }

    /// Writes the `known` fields, followed by these.
    ///
    /// # Errors
    /// The known fields cannot be written, or are not an object.
    pub(crate) fn write_behind<S: Serializer>(
        &self,
        known: &impl Serialize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let fields = self.0.iter().flat_map(|fields| fields.iter());
        write_behind(known, fields.map(|(name, value)| (name.as_str(), &**value)), serializer)
    }
}

/// Writes a `known` object with more fields behind its own.
///
/// # Errors
/// The known object cannot be written, or is not an object.
pub(crate) fn write_behind<'a, S: Serializer>(
    known: &impl Serialize,
    fields: impl Iterator<Item = (&'a str, &'a RawValue)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut text = serde_json::to_string(known).map_err(S::Error::custom)?;
    if text.pop() != Some('}') {
        return Err(S::Error::custom("not an object"));
    }
    for (name, value) in fields {
        if !text.ends_with('{') {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name).map_err(S::Error::custom)?);
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
}

impl PartialEq for Unknown {
    fn eq(&self, other: &Self) -> bool {
        let texts = |unknown: &Self| -> Vec<_> {
            let fields = unknown.0.iter().flat_map(|fields| fields.iter());
            fields.map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
        };
        match (self.is_empty(), other.is_empty()) {
            (true, true) => true,
            (false, false) => texts(self) == texts(other),
            _ => false,
        }
    }
}

impl Eq for Unknown {}

impl Hash for Unknown {
    fn hash<H: Hasher>(&self, to: &mut H) {
        for (name, value) in self.0.iter().flat_map(|fields| fields.iter()) {
            (name, value.get()).hash(to);
        }
    }
}

/// Reads and writes structs that have a field `unknown` and derive both traits with
/// `#[serde(remote = "Self")]`. What is derived becomes inherent functions, which ignore that field: always go
/// by the trait.
macro_rules! keeps_unknown {
    ($($type:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut unknown = $crate::stored::Unknown::default();
                let capture = $crate::stored::Capture::new(deserializer, &mut unknown);
                let mut value = <$type>::deserialize(capture)?;
                value.unknown = unknown;
                Ok(value)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                struct Known<'a>(&'a $type);
                impl serde::Serialize for Known<'_> {
                    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                        <$type>::serialize(self.0, to)
                    }
                }
                if self.unknown.is_empty() {
                    return <$type>::serialize(self, serializer);
                }
                self.unknown.write_behind(&Known(self), serializer)
            }
        }
    )+};
}

pub(crate) use keeps_unknown;

/// A deserializer of structs that sets fields aside which the struct does not know.
pub(crate) struct Capture<'a, D> {
    inner: D,
    unknown: &'a mut Unknown,
}

impl<'a, D> Capture<'a, D> {
    pub(crate) fn new(inner: D, unknown: &'a mut Unknown) -> Self {
        Self { inner, unknown }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Capture<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let struct_visitor = StructVisitor { visitor, fields, unknown: self.unknown };
        self.inner.deserialize_struct(name, fields, struct_visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct StructVisitor<'a, V> {
    visitor: V,
    fields: &'static [&'static str],
    unknown: &'a mut Unknown,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for StructVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Self { visitor, fields, unknown } = self;
        visitor.visit_map(KnownFields { map, fields, next: 0, unknown })
    }
}

/// The known fields of an object.
struct KnownFields<'a, A> {
    map: A,
    fields: &'static [&'static str],
    /// The field that is expected next: fields are written in their order.
    next: usize,
    unknown: &'a mut Unknown,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for KnownFields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.map.next_key_seed(Name { fields: self.fields, next: self.next })? {
                None => return Ok(None),
                Some(Found::Known(index)) => {
                    self.next = index + 1;
                    return seed.deserialize(self.fields[index].into_deserializer()).map(Some);
                }
                Some(Found::Unknown(name)) => {
                    let value = self.map.next_value()?;
                    self.unknown.add(name, value);
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Looks a field's name up.
struct Name {
    fields: &'static [&'static str],
    next: usize,
}

enum Found {
    Known(usize),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Found, E> {
        let ahead = self.fields.iter().enumerate().skip(self.next);
        let behind = self.fields.iter().enumerate().take(self.next);
        let found = ahead.chain(behind).find(|(_, field)| **field == name);
        Ok(found.map_or_else(|| Found::Unknown(name.to_owned()), |(index, _)| Found::Known(index)))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::stored::Kept;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(remote = "Self")]
    struct Outer {
        id: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        inner: Vec<Kept<Inner>>,
        #[serde(skip)]
        unknown: Unknown,
    }

    keeps_unknown!(Outer);

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        n: u8,
    }

    #[test]
    fn unknown_fields_are_kept_byte_for_byte_at_every_level() {
        let text = r#"{"new":{"a":1.0, "a":[1e99]},"id":1,"inner":[{"n":2,"\u00e4":12345678901234567890123},{"n":3}],"last":null}"#;
        let value: Outer = serde_json::from_str(text).unwrap();
        assert_eq!(value.unknown.names().collect::<Vec<_>>(), ["new", "last"]);
        let written = serde_json::to_string(&value).unwrap();
        assert_eq!(
            written,
            r#"{"id":1,"inner":[{"n":2,"ä":12345678901234567890123},{"n":3}],"new":{"a":1.0, "a":[1e99]},"last":null}"#
        );
        assert_eq!(serde_json::from_str::<Outer>(&written).unwrap(), value);
    }

    #[test]
    fn of_a_field_that_is_given_twice_the_last_counts() {
        let value: Outer = serde_json::from_str(r#"{"x":1,"id":1,"inner":[],"x":2}"#).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"id":1,"inner":[],"x":2}"#);
        assert!(serde_json::from_str::<Outer>(r#"{"id":1,"inner":[],"id":2}"#).is_err());
    }

    #[test]
    fn an_object_of_nothing_but_unknown_fields_can_be_written() {
        #[derive(Serialize, Deserialize)]
        #[serde(remote = "Self")]
        struct Empty {
            #[serde(skip)]
            unknown: Unknown,
        }
        keeps_unknown!(Empty);
        let value: Empty = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"a":1,"b":2}"#);
    }
}
