//! One request of many.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::super::error::ApiError;
use super::super::super::{Api, Checked};
use crate::port::Nats;
use crate::schedule::parse_fields;

/// One request of many, parsed when its turn comes so that its faults are its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct BulkItem<T>(Box<RawValue>, #[serde(skip)] PhantomData<fn() -> T>);

impl<T: Serialize> From<&T> for BulkItem<T> {
    fn from(request: &T) -> Self {
        Self(serde_json::value::to_raw_value(request).unwrap_or_default(), PhantomData)
    }
}

/// Parses one request of many.
pub(super) fn read_item<T: Checked + DeserializeOwned + Default + JsonSchema + 'static>(
    api: &Api<impl Nats>,
    item: &BulkItem<T>,
) -> Result<T, ApiError> {
    parse_fields(item.0.get().as_bytes()).map_err(|unread| ApiError::unread(api, unread))
}

/// A request of its own; anything else fails by itself.
impl<T: JsonSchema> JsonSchema for BulkItem<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("BulkItem_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), true] })
    }
}
