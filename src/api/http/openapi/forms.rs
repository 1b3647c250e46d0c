//! Forms of the document: in words that generators of clients understand, and in those of OpenAPI 3.0.

use serde_json::{Map, Value, json};

/// Says the same in words that generators understand. The keywords `type` and `default` go where they are null, which
/// adds nothing. Words that a value may be are an `enum`: of that they make a type, and not of a choice between
/// constants. A schema is an object, also where anything goes.
pub(super) fn plain(value: &mut Value) {
    each_object(value, &|map| {
        map.retain(|name, value| !(value.is_null() && matches!(name.as_str(), "type" | "default")));
        for name in ["allOf", "anyOf", "oneOf"] {
            let choices = map.get_mut(name).and_then(Value::as_array_mut);
            let anything = choices.into_iter().flatten().filter(|one| **one == json!(true));
            anything.for_each(|one| *one = json!({}));
        }
        if let Some(Value::Object(fields)) = map.get_mut("properties") {
            let anything = fields.values_mut().filter(|one| **one == json!(true));
            anything.for_each(|one| *one = json!({}));
        }
        enumerate(map);
    });
}

/// Rewrites a document of OpenAPI 3.1 in 3.0, for generators that read no other.
///
/// Its schemas have no `null` as a type, no constants, one example at most, and nothing beside a reference; a license
/// has no identifier, and only OAuth has scopes: which roles a route needs is said in its description.
pub(super) fn older(mut document: Value) -> Value {
    each_object(&mut document, &|map| {
        without_null(map);
        without_constants(map);
        alone(map);
    });
    document["openapi"] = json!("3.0.3");
    document["info"]["license"] =
        json!({ "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" });
    for operation in operations(&mut document) {
        if operation["security"].as_array().is_some_and(|needed| !needed.is_empty()) {
            operation["security"] = json!([{ "token": [] }]);
        }
    }
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut)
}

/// Applies a function to all objects of a document, the inner ones first. Examples are no words of the document: they stay
/// as they are.
fn each_object(value: &mut Value, rewrite: &impl Fn(&mut Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            let own = map.iter_mut().filter(|(name, value)| !is_example(name, value));
            own.for_each(|(_, value)| each_object(value, rewrite));
            rewrite(map);
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| each_object(value, rewrite));
        }
        _ => {}
    }
}

/// Merges a choice between words into one `enum`, and what is said of each word into the description.
fn enumerate(map: &mut Map<String, Value>) {
    let Some(choices) = map.get("oneOf").and_then(Value::as_array) else { return };
    let (mut words, mut said) = (Vec::new(), String::new());
    for choice in choices {
        let text = choice["description"].as_str().unwrap_or_default();
        let named = match (choice.get("const"), choice["enum"].as_array()) {
            (Some(word @ Value::String(_)), _) => vec![word.clone()],
            (None, Some(words)) if words.iter().all(Value::is_string) => words.clone(),
            _ => return,
        };
        for word in named.iter().filter_map(Value::as_str).filter(|_| !text.is_empty()) {
            said.push_str(&format!("\n- `{word}`: {text}"));
        }
        words.extend(named);
    }
    if !said.is_empty() {
        let text = map.get("description").and_then(Value::as_str).unwrap_or_default();
        map.insert("description".to_owned(), json!(format!("{text}\n{said}").trim_start()));
    }
    map.remove("oneOf");
    map.insert("type".to_owned(), json!("string"));
    map.insert("enum".to_owned(), Value::Array(words));
}

/// Says `nullable` in place of a type `null`.
fn without_null(map: &mut Map<String, Value>) {
    let is_null = |schema: &Value| schema["type"] == "null";
    if let Some(Value::Array(types)) = map.get("type")
        && types.iter().any(|one| one == "null")
    {
        let mut types: Vec<Value> = types.iter().filter(|one| *one != "null").cloned().collect();
        map.remove("type");
        if types.len() == 1 {
            map.insert("type".to_owned(), types.swap_remove(0));
        }
        map.insert("nullable".to_owned(), json!(true));
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf")
        && choices.iter().any(is_null)
    {
        choices.retain(|choice| !is_null(choice));
        if choices.len() == 1
            && let Some(only) = map.remove("anyOf")
        {
            map.insert("allOf".to_owned(), only);
        }
        map.insert("nullable".to_owned(), json!(true));
    }
    if let Some(Value::Array(examples)) = map.get("examples") {
        let first = examples.first().cloned();
        map.remove("examples");
        map.extend(first.map(|example| ("example".to_owned(), example)));
    }
}

fn without_constants(map: &mut Map<String, Value>) {
    if let Some(value) = map.get("const").filter(|value| !value.is_object()).cloned() {
        map.remove("const");
        map.insert("enum".to_owned(), json!([value]));
    }
}

/// Moves a reference that has anything beside it into an `allOf`. A default that is an object goes: generators of the
/// time take none.
fn alone(map: &mut Map<String, Value>) {
    if map.contains_key("$ref") && map.get("default").is_some_and(Value::is_object) {
        map.remove("default");
    }
    if map.len() > 1
        && let Some(Value::String(_)) = map.get("$ref")
        && let Some(to) = map.remove("$ref")
    {
        map.insert("allOf".to_owned(), json!([{ "$ref": to }]));
    }
}

/// Whether this is an example, or several by their names. Those of a schema are a list, and values already.
fn is_example(name: &str, value: &Value) -> bool {
    match name {
        "example" | "x-example" => true,
        "examples" => value.is_object(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_stay_as_they_are() {
        let odd = json!({ "type": null, "default": null, "const": 1, "oneOf": [{ "const": "a" }], "$ref": "x" });
        let content = json!({ "example": odd, "examples": { "one": { "value": odd } } });
        let mut document =
            json!({ "info": {}, "paths": { "/a": { "get": { "content": content } } } });
        plain(&mut document);
        assert_eq!(document["paths"]["/a"]["get"]["content"], content);
        assert_eq!(older(document)["paths"]["/a"]["get"]["content"], content);
    }

    #[test]
    fn words_are_an_enum_and_what_is_said_of_each_stays() {
        let mut schema = json!({ "description": "How.", "oneOf": [
            { "const": "a", "type": "string", "description": "First." }, { "enum": ["b", "c"], "type": "string" },
        ] });
        plain(&mut schema);
        let text = "How.\n\n- `a`: First.";
        assert_eq!(
            schema,
            json!({ "description": text, "type": "string", "enum": ["a", "b", "c"] })
        );
        let mut other = json!({ "oneOf": [{ "type": "integer", "default": null }] });
        plain(&mut other);
        assert_eq!(other, json!({ "oneOf": [{ "type": "integer" }] }));
        let mut any =
            json!({ "properties": { "a": true, "b": { "anyOf": [true, { "type": "null" }] } } });
        plain(&mut any);
        let b = json!({ "anyOf": [{}, { "type": "null" }] });
        assert_eq!(any, json!({ "properties": { "a": {}, "b": b } }));
    }

    #[test]
    fn the_older_form_says_the_same_in_other_words() {
        let document = json!({
            "openapi": "3.1.0", "info": { "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
            "paths": { "/a": { "get": { "security": [{ "token": ["full"] }, { "token": ["read"] }] },
                               "put": { "security": [] } } },
            "components": { "schemas": { "A": { "properties": {
                "type": { "type": ["string", "null"], "examples": ["x", "y"] },
                "on": { "anyOf": [{ "$ref": "#/B" }, { "type": "null" }], "description": "d" },
                "any": { "anyOf": [{ "type": "string" }, { "type": "integer" }, { "type": "null" }] },
                "beside": { "$ref": "#/B", "description": "d" },
                "alone": { "$ref": "#/B" },
                "one": { "const": 1 },
            } } } },
        });
        let older = older(document);
        let fields = &older["components"]["schemas"]["A"]["properties"];
        let string = json!({ "type": "string", "nullable": true, "example": "x" });
        assert_eq!(fields["type"], string);
        let reference = || json!([{ "$ref": "#/B" }]);
        assert_eq!(
            fields["on"],
            json!({ "allOf": reference(), "nullable": true, "description": "d" })
        );
        let any =
            json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }], "nullable": true });
        assert_eq!(fields["any"], any);
        assert_eq!(fields["beside"], json!({ "allOf": reference(), "description": "d" }));
        assert_eq!(fields["alone"], json!({ "$ref": "#/B" }));
        assert_eq!(fields["one"], json!({ "enum": [1] }));
        assert_eq!(older["paths"]["/a"]["get"]["security"], json!([{ "token": [] }]));
        assert_eq!(older["paths"]["/a"]["put"]["security"], json!([]));
    }
}
