//! An example of a request for each operation.

use std::sync::LazyLock;

use serde_json::{Map, Value};

static EXAMPLES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());

/// The fields of a request, as somebody might send it; nothing if the operation has no example.
pub(crate) fn example(operation: &str) -> Option<&'static Value> {
    EXAMPLES.get(operation)
}

#[cfg(test)]
mod tests {
    use schemars::SchemaGenerator;

    use super::super::operations;
    use super::*;

    #[test]
    fn every_operation_has_an_example_with_fields_that_it_takes() {
        assert_eq!(EXAMPLES.len(), operations().len());
        for operation in operations() {
            let example = example(operation.name).unwrap_or_else(|| panic!("{}", operation.name));
            let mut generator = SchemaGenerator::default();
            let schema = (operation.request_schema)(&mut generator).to_value();
            let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()).unwrap();
            let known = &generator.definitions()[name]["properties"];
            for field in example.as_object().unwrap().keys() {
                assert!(known.get(field).is_some(), "{} has no {field}", operation.name);
            }
        }
    }
}
