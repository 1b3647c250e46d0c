//! Examples of requests and replies, where generators and other readers of the document look for them.

use serde_json::{Map, Value, json};

use super::super::super::operations::{example, replies};

/// Gives a route what the examples of its operation say of its parameters, its body and its replies.
pub(super) fn add(described: &mut Value, operation: &str) {
    add_request(described, example(operation));
    add_replies(&mut described["responses"], replies(operation));
}

/// Gives what is answered, if it has a body, the replies that there are.
fn add_replies(responses: &mut Value, replies: Option<&Map<String, Value>>) {
    let Some(replies) = replies else { return };
    let done = responses.as_object_mut().into_iter().flatten();
    for (_, answer) in done.filter(|(status, _)| status.starts_with('2')) {
        if let Some(content) = answer.pointer_mut("/content/application~1json") {
            let shown =
                replies.iter().map(|(name, reply)| (name.clone(), json!({ "value": reply })));
            content["examples"] = Value::Object(shown.collect());
        }
    }
}

fn add_request(described: &mut Value, example: Option<&Value>) {
    let Some(Value::Object(example)) = example else { return };
    let has_body = described["requestBody"].is_object();
    for parameter in described["parameters"].as_array_mut().into_iter().flatten() {
        let is_taken = parameter["in"] == "path" || parameter["in"] == "query" && !has_body;
        let value = parameter["name"].as_str().and_then(|name| example.get(name));
        if let Some(value) = value.filter(|_| is_taken) {
            parameter["example"] = value.clone();
        }
    }
    if has_body {
        let content = &mut described["requestBody"]["content"]["application/json"];
        let properties = content["schema"]["properties"].as_object();
        let has = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
        let own = example.iter().filter(|(name, _)| has(name));
        let own: Map<_, _> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        content["example"] = Value::Object(own);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::routes::routes;
    use super::super::{document, older};

    #[test]
    fn requests_have_examples_that_their_schemas_take() {
        let present = document(routes(), true);
        for document in [present.clone(), older(present)] {
            let mut bodies = 0;
            for (path, methods) in document["paths"].as_object().unwrap() {
                for described in methods.as_object().unwrap().values() {
                    let content = &described["requestBody"]["content"]["application/json"];
                    if let Some(example) = content["example"].as_object() {
                        bodies += 1;
                        let needed = content["schema"]["required"].as_array();
                        let mut needed =
                            needed.into_iter().flatten().map(|name| name.as_str().unwrap());
                        assert!(
                            needed.all(|name| example.contains_key(name)),
                            "{path}: {example:?}"
                        );
                    } else {
                        assert!(content.is_null(), "{path} has a body without an example");
                    }
                    let ids = described["parameters"].as_array().into_iter().flatten();
                    for id in ids.filter(|one| one["in"] == "path" && one["name"] == "schedule_id")
                    {
                        assert_eq!(
                            id["example"], described["x-example"]["schedule_id"],
                            "{path}: {id}"
                        );
                    }
                }
            }
            assert!(bodies > 25, "{bodies}");
            let words = |schema: &str| {
                document["components"]["schemas"][schema]["properties"]["status"]["enum"].clone()
            };
            assert_eq!(words("ServiceStatus"), json!(["ok", "degraded"]));
            assert_eq!(words("Probe"), json!(["ok", "degraded", "unavailable"]));
        }
    }
}
