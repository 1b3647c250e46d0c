//! What a JSON Schema says of a value.

use serde_json::{Value, json};

/// What a value has that a schema does not allow, by its place. It knows the keywords that our schema uses, and no others.
pub fn faults(value: &Value, schema: &Value, root: &Value, place: &str) -> Vec<String> {
    let Value::Object(keywords) = schema else {
        return if *schema == json!(true) {
            Vec::new()
        } else {
            vec![format!("{place}: is refused")]
        };
    };
    let mut found = Vec::new();
    for (keyword, rule) in keywords {
        let fits = match keyword.as_str() {
            "x-max-depth" | "title" | "description" | "$schema" | "$defs" | "default"
            | "examples" | "pattern" => true,
            "format" => value.as_str().is_none_or(|text| match rule.as_str().unwrap() {
                "uuid" => text.parse::<uuid::Uuid>().is_ok(),
                "date-time" => text.parse::<chrono::DateTime<chrono::Utc>>().is_ok(),
                _ => true,
            }),
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                found.extend(faults(value, target, root, place));
                true
            }
            "type" => is_of_type(value, rule),
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "anyOf" | "oneOf" => {
                let mut of =
                    rule.as_array().unwrap().iter().map(|it| faults(value, it, root, place));
                of.any(|faults| faults.is_empty())
            }
            "allOf" => {
                let of = rule.as_array().unwrap().iter();
                found.extend(of.flat_map(|it| faults(value, it, root, place)));
                true
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        found.extend(faults(value, rule, root, &format!("{place}.{name}")));
                    }
                }
                true
            }
            "required" => {
                let mut names = rule.as_array().unwrap().iter();
                names.all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "additionalProperties" if *rule == json!(false) => {
                let known = &keywords["properties"];
                value
                    .as_object()
                    .is_none_or(|fields| fields.keys().all(|name| known.get(name).is_some()))
            }
            "additionalProperties" => {
                let known = keywords.get("properties");
                let is_other = |name: &str| known.is_none_or(|known| known.get(name).is_none());
                let others = value.as_object().into_iter().flatten();
                found.extend(
                    others
                        .filter(|(name, _)| is_other(name))
                        .flat_map(|(name, it)| faults(it, rule, root, &format!("{place}.{name}"))),
                );
                true
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                found.extend(
                    items.flat_map(|(n, it)| faults(it, rule, root, &format!("{place}[{n}]"))),
                );
                true
            }
            "minimum" => value.as_f64().is_none_or(|it| it >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|it| it <= rule.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|it| it > rule.as_f64().unwrap()),
            "minLength" | "minItems" => length(value).is_none_or(|it| it >= rule.as_u64().unwrap()),
            "maxLength" | "maxItems" => length(value).is_none_or(|it| it <= rule.as_u64().unwrap()),
            "uniqueItems" => true,
            other => panic!(
                "{place}: the schema has the keyword {other:?}, which this test does not know"
            ),
        };
        if !fits {
            found.push(format!("{place}: {value} breaks {keyword}: {rule}"));
        }
    }
    found
}

fn length(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => Some(text.chars().count() as u64),
        Value::Array(items) => Some(items.len() as u64),
        _ => None,
    }
}

fn is_of_type(value: &Value, rule: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other:?}"),
    };
    match rule {
        Value::String(name) => is(name),
        names => names.as_array().unwrap().iter().any(|name| is(name.as_str().unwrap())),
    }
}

/// The fields of a value that its schema does not name, by their places. Where a schema says nothing of other fields they
/// are allowed, and yet somebody may have meant one that has gone.
pub fn strangers(value: &Value, schema: &Value, root: &Value, place: &str) -> Vec<String> {
    if let Some(to) = schema["$ref"].as_str() {
        let target = root.pointer(to.trim_start_matches('#')).unwrap();
        return strangers(value, target, root, place);
    }
    let mut found = Vec::new();
    for choices in ["anyOf", "oneOf"].iter().filter_map(|of| schema[*of].as_array()) {
        let taken = choices.iter().find(|one| faults(value, one, root, place).is_empty());
        found.extend(taken.into_iter().flat_map(|one| strangers(value, one, root, place)));
    }
    if let Some(known) = schema["properties"].as_object() {
        for (name, value) in value.as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            match known.get(name) {
                Some(rule) => found.extend(strangers(value, rule, root, &place)),
                None => found.push(place),
            }
        }
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    if schema["items"].is_object() {
        found.extend(
            items.flat_map(|(n, it)| {
                strangers(it, &schema["items"], root, &format!("{place}[{n}]"))
            }),
        );
    }
    found
}
