//! A schedule from its first command to its deletion.
//!
//! Start `nats-scheduler dev` in one terminal, and `cargo run --example quickstart` in another. `NATS_URL` names
//! another server, which must have the stream `COMMANDS`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::TryStreamExt as _;
use nats_scheduler::client::{
    BulkAction, BulkOperation, Client, ClientError, CreateSchedule, DeleteSchedule, ListExecutions,
    ScheduleFilter,
};
use nats_scheduler::names;
use serde_json::json;

/// The name that this example acts under; names of schedules are unique per creator.
const ME: &str = "example-quickstart";
/// Target of the commands. The stream COMMANDS captures `cmd.example.>`.
const TARGET: &str = "cmd.example.quickstart";
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), async_nats::Error> {
    let url = std::env::var("NATS_URL").unwrap_or_else(|_| "nats://localhost:4222".to_owned());
    let nats = async_nats::connect(url).await?;
    let scheduler = Client::new(nats.clone()).actor(ME);
    clean_up(&scheduler).await?;

    // A receiver: it reads the stream that the commands are published into, and acknowledges each command when it has
    // dealt with it. It starts with new messages only.
    let stream = async_nats::jetstream::new(nats).get_stream(names::COMMANDS_STREAM).await?;
    let consumer = stream
        .create_consumer(pull::Config {
            filter_subject: TARGET.to_owned(),
            deliver_policy: DeliverPolicy::New,
            ..pull::Config::default()
        })
        .await?;
    let mut commands = consumer.messages().await?;

    // A command every second, the first one at once.
    let hello = CreateSchedule::interval("quickstart", 1, TARGET)
        .description("made by an example")
        .payload(&json!({ "text": "hi" }))?;
    let reply = scheduler.create(&hello).await?;
    let id = reply.data.id;
    println!("created schedule {id}");
    for warning in reply.warnings {
        println!("warning: {}", warning.message);
    }

    for _ in 0..3 {
        let command = tokio::time::timeout(PATIENCE, commands.try_next()).await??;
        let command = command.ok_or("the consumer has ended")?;
        let due = header(command.headers.as_ref(), names::SCHEDULED_FOR);
        println!("received {} due {due}", String::from_utf8_lossy(&command.payload));
        command.ack().await?;

        // The command's id is that of the execution, whose outcome can be looked up.
        let execution = header(command.headers.as_ref(), names::EXECUTION_ID).parse()?;
        match scheduler.wait_for_outcome(execution, PATIENCE).await? {
            Some(execution) => println!("  recorded as {:?}", execution.status),
            None => return Err(format!("execution {execution} has no outcome").into()),
        }
    }

    // The history holds them all, newest first.
    let mine = ListExecutions { schedule_id: Some(id), ..ListExecutions::default() };
    for execution in scheduler.executions(&mine).await?.data {
        let took = execution.duration_ms.unwrap_or_default();
        println!("{} {:?} in {took} ms", execution.scheduled_for, execution.status);
    }

    // Without `hard_delete` the record would be kept for a while and could be restored.
    let request = DeleteSchedule {
        schedule_id: Some(id),
        hard_delete: Some(true),
        ..DeleteSchedule::default()
    };
    scheduler.delete_with(&request).await?;
    println!("deleted it");
    Ok(())
}

/// Deletes what an interrupted run may have left.
async fn clean_up(scheduler: &Client) -> Result<(), ClientError> {
    let mine = ScheduleFilter { creator: Some(ME.to_owned()), ..ScheduleFilter::default() };
    let request = BulkOperation {
        operation: Some(BulkAction::Delete),
        filter: Some(mine),
        hard_delete: Some(true),
        ..BulkOperation::default()
    };
    scheduler.bulk_operation(&request).await?;
    Ok(())
}

/// The text of a header; empty if there is none.
fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> &'a str {
    headers.and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
}
