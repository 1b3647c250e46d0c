//! `schema`: a JSON Schema of the files, for editors.

use clap::Args;
use nats_scheduler::client::CreateSchedule;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;

#[derive(Args, Debug)]
pub struct Schema {}

impl Schema {
    pub fn run(&self, out: &mut Output) -> Result<Exit, Failure> {
        out.raw(&(serde_json::to_string_pretty(&schema())? + "\n"))?;
        Ok(Exit::Done)
    }
}

/// A file is one schedule, or a list of several.
fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut schedule = generator.subschema_for::<CreateSchedule>().to_value();
    let mut definitions = Value::Object(generator.take_definitions(true));
    if let Some(of_schedule) = definitions.get_mut("CreateSchedule") {
        schedule = of_schedule.take();
    }
    if let Some(fields) = schedule.get_mut("properties").and_then(Value::as_object_mut) {
        // It belongs to a request, and a file is not sent once.
        fields.remove("idempotency_key");
    }
    schedule["description"] = json!("A schedule.");
    schedule["required"] = json!(["name", "schedule_type", "target_command"]);
    definitions["CreateSchedule"] = schedule;
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Schedules of nats-scheduler",
        "anyOf": [
            { "$ref": "#/$defs/CreateSchedule" },
            { "type": "array", "items": { "$ref": "#/$defs/CreateSchedule" } },
        ],
        "$defs": definitions,
    })
}
