//! An example of a request for each operation, and replies that a service gave.

use std::sync::LazyLock;

use serde_json::{Map, Value};

static EXAMPLES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());

/// The fields of a request, as somebody might send it; nothing if the operation has no example.
pub(crate) fn example(operation: &str) -> Option<&'static Value> {
    EXAMPLES.get(operation)
}

static REPLIES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("replies.json")).unwrap_or_default());

/// Replies of an operation, each with its name; nothing if there is no example of one.
pub(crate) fn replies(operation: &str) -> Option<&'static Map<String, Value>> {
    REPLIES.get(operation)?.as_object()
}

#[cfg(test)]
mod tests {
    use schemars::SchemaGenerator;

    use super::super::operations;
    use super::*;

    #[test]
    fn the_main_operations_have_replies() {
        let is_one = |name: &str| operations().iter().any(|operation| operation.name == name);
        let strangers: Vec<_> = REPLIES.keys().filter(|name| !is_one(name)).collect();
        assert_eq!(strangers, [""; 0], "are no operations");
        for name in [
            "schedule.create",
            "schedule.get",
            "schedule.list",
            "schedule.apply",
            "schedule.trigger",
            "schedule.explain",
            "schedule.upcoming",
            "execution.get",
            "execution.list",
            "execution.retry",
            "bulk.apply",
            "calendar.put",
            "group.put",
            "status",
        ] {
            assert!(replies(name).is_some_and(|replies| !replies.is_empty()), "{name}");
        }
    }

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
