//! The JSON Schema of files: what `export` prints is what it describes.

use serde_json::{Value, json};

use super::cli;
use super::exports::of_all_kinds;
use crate::harness::Nats;
use crate::json_schema::faults;

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
