//! The JSON Schema of files: what `export` prints is what it describes.

use serde_json::{Value, json};

use super::cli;
use super::exports::of_all_kinds;
use crate::harness::Nats;

/// What a value has that a schema does not allow, by its place. It knows the keywords that our schema uses, and no others.
fn faults(value: &Value, schema: &Value, root: &Value, place: &str) -> Vec<String> {
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
            | "examples" | "format" => true,
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
            "additionalProperties" => *rule == json!(true),
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

#[tokio::test]
async fn what_is_exported_fits_the_schema_for_editors() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for request in of_all_kinds() {
        nats.create(request).await;
    }
    let off =
        ["create", "off", "--cron", "@daily", "-t", "cmd.example.x", "--set", "is_active=false"];
    cli(&nats, &off).await.done();
    let schema = cli(&nats, &["schema"]).await.json();
    let said = |file: &Value| faults(file, &schema, &schema, "file");
    let json = cli(&nats, &["export", "-o", "json"]).await.json();
    assert_eq!(json.as_array().unwrap().len(), 8);
    assert_eq!(said(&json), [""; 0]);
    // Documents of YAML are files of one schedule. A reader of YAML 1.1 takes a bare `on` for true.
    let yaml = cli(&nats, &["export"]).await.done();
    let documents = yaml.split("---\n").map(serde_saphyr::from_str::<Value>);
    for document in documents {
        let document = document.unwrap();
        assert_eq!(said(&document), [""; 0], "{document}");
    }
    for (field, value) in [
        ("priority", json!("high")),
        ("priority", json!(11)),
        ("dry_run", json!(true)),
        ("overlap", json!("never")),
        ("tags", json!([1])),
        ("name", json!("")),
        ("is_active", json!("no")),
    ] {
        let mut file = json[0].clone();
        file[field] = value;
        assert!(!said(&file).is_empty(), "{file}");
    }
}
