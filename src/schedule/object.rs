//! JSON values as they are written.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A JSON object as its pairs in order, repeated keys included.
pub(super) struct Object(pub(super) Vec<(String, Box<RawValue>)>);

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

/// Whether two well-formed values say the same. White space, the order of keys and the way in which letters are written
/// do not matter; numbers are compared as they are written.
pub(super) fn same_json(a: &RawValue, b: &RawValue) -> bool {
    let (a, b) = (a.get(), b.get());
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => {
            let read = |text| serde_json::from_str::<Object>(text);
            let (Ok(Object(mut a)), Ok(Object(mut b))) = (read(a), read(b)) else { return false };
            // Stable, so that keys that are there twice keep their order.
            a.sort_by(|(x, _), (y, _)| x.cmp(y));
            b.sort_by(|(x, _), (y, _)| x.cmp(y));
            a.len() == b.len() && a.iter().zip(&b).all(|((x, v), (y, w))| x == y && same_json(v, w))
        }
        (Some(b'['), Some(b'[')) => {
            let read = |text| serde_json::from_str::<Vec<Box<RawValue>>>(text);
            let (Ok(a), Ok(b)) = (read(a), read(b)) else { return false };
            a.len() == b.len() && a.iter().zip(&b).all(|(v, w)| same_json(v, w))
        }
        (Some(b'"'), Some(b'"')) => {
            let read = |text| serde_json::from_str::<String>(text).ok();
            a == b || read(a).is_some_and(|text| Some(text) == read(b))
        }
        _ => a == b,
    }
}
