//! The operations as endpoints of the NATS service.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator};

use super::super::operations::{Operation, operations};
use crate::names::COMMAND_PREFIX;

/// One endpoint of the service.
pub struct Endpoint {
    /// Its name in `nats micro`: noun and verb.
    pub name: String,
    /// The subject that it listens on.
    pub subject: String,
    /// `description`, `request_schema`, `response_schema`.
    pub metadata: BTreeMap<String, String>,
    pub(super) operation: &'static Operation,
}

/// All endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    operations().iter().map(Endpoint::new).collect()
}

impl Endpoint {
    fn new(operation: &'static Operation) -> Self {
        Self {
            name: operation.name.replace('.', "-"),
            subject: format!("{COMMAND_PREFIX}.{}", operation.name),
            metadata: BTreeMap::from([
                ("description".to_owned(), operation.description.to_owned()),
                ("request_schema".to_owned(), schema(operation.request_schema)),
                ("response_schema".to_owned(), schema(operation.reply_schema)),
            ]),
            operation,
        }
    }
}

/// A self-contained schema.
fn schema(of: fn(&mut SchemaGenerator) -> Schema) -> String {
    let mut generator = SchemaGenerator::default();
    // Referenced schemas are placed beside it.
    let mut schema = of(&mut generator);
    let mut definitions = generator.take_definitions(true);
    if let Some(name) = schema.get("$ref").and_then(|name| name.as_str()) {
        let name = name.trim_start_matches("#/$defs/").to_owned();
        if let Some(Ok(root)) = definitions.remove(&name).map(Schema::try_from) {
            schema = root;
        }
    }
    if !definitions.is_empty() {
        schema.insert("$defs".to_owned(), definitions.into());
    }
    schema.to_value().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_describes_itself() {
        let endpoints = endpoints();
        let mut names: Vec<_> = endpoints.iter().map(|endpoint| &endpoint.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), endpoints.len(), "names are unique");
        for endpoint in &endpoints {
            for (key, text) in &endpoint.metadata {
                assert!(!text.is_empty(), "{} {key}", endpoint.name);
                if key.ends_with("schema") {
                    let schema: serde_json::Value = serde_json::from_str(text).unwrap();
                    assert_eq!(schema["type"], "object", "{} {key}", endpoint.name);
                }
            }
        }
    }
}
