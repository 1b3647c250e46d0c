//! The examples of replies in the OpenAPI document.

use crate::harness::Nats;
use crate::http::Http;
use crate::json_schema::{faults, strangers};

#[tokio::test]
async fn replies_have_examples_that_their_schemas_describe() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let present = http.get("/openapi.json").await.body;
    let older = http.get("/openapi-3.0.json").await.body;
    let mut shown = 0;
    for (path, methods) in present["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            for (status, answer) in described["responses"].as_object().unwrap() {
                let content = &answer["content"]["application/json"];
                let place = format!("{method} {path} {status}");
                let in_older = &older["paths"][path][method]["responses"][status];
                let in_older = &in_older["content"]["application/json"]["examples"];
                assert_eq!(&content["examples"], in_older, "{place}");
                for (name, example) in content["examples"].as_object().into_iter().flatten() {
                    let (reply, schema) = (&example["value"], &content["schema"]);
                    let place = format!("{place}: {name}");
                    assert_eq!(faults(reply, schema, &present, &place), [""; 0]);
                    assert_eq!(strangers(reply, schema, &present, &place), [""; 0]);
                    shown += 1;
                }
            }
        }
    }
    assert!(shown > 20, "{shown}");
}
