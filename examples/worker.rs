//! A worker that answers commands and carries out each of them once.
//!
//! Start `nats-scheduler dev` in one terminal, and `cargo run --example worker` in another. `NATS_URL` names another
//! server.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures::StreamExt as _;
use nats_scheduler::client::{
    BulkAction, BulkOperation, Client, ClientError, CreateSchedule, Delivery, DeliveryMode,
    ExecutionStatus, ScheduleFilter, TriggerSchedule,
};
use nats_scheduler::names;
use serde_json::{Value, json};

/// The name that this example acts under; names of schedules are unique per creator.
const ME: &str = "example-worker";
/// Target of the commands. No stream may capture it: its acknowledgement would be the reply.
const TARGET: &str = "cmd.example-worker.greet";

#[tokio::main]
async fn main() -> Result<(), async_nats::Error> {
    let url = std::env::var("NATS_URL").unwrap_or_else(|_| "nats://localhost:4222".to_owned());
    let nats = async_nats::connect(url).await?;
    let scheduler = Client::new(nats.clone()).actor(ME);
    clean_up(&scheduler).await?;

    // In a queue group, each command goes to one of the workers that listen.
    let commands = nats.queue_subscribe(TARGET, "greeters".to_owned()).await?;
    let worker = tokio::spawn(work(nats.clone(), commands));

    let greet = CreateSchedule::one_time("greet", Utc::now() + TimeDelta::hours(1), TARGET)
        .payload(&json!({ "name": "Ada" }))?
        .delivery(Delivery {
            mode: DeliveryMode::Request,
            timeout_seconds: 5,
            ..Delivery::default()
        })
        .retries(0, 0);
    let id = scheduler.create(&greet).await?.data.id;

    // Run it now, beside its own time, and wait for the outcome.
    let request = TriggerSchedule {
        schedule_id: Some(id),
        wait_ms: Some(10_000),
        ..TriggerSchedule::default()
    };
    let run = scheduler.trigger_with(&request).await?.data;
    let execution = run.execution.ok_or("it has no outcome in time")?;
    if execution.status != ExecutionStatus::Success {
        return Err(format!("it failed: {:?}", execution.error_message).into());
    }
    let answer = execution.response_payload.ok_or("the history has no answer")?;
    println!("execution {} was answered: {answer}", execution.id);

    // An instance that takes over from a dead one sends the command again, under the same id. This plays that case: the
    // worker answers as before and does nothing.
    let mut headers = HeaderMap::new();
    headers.insert(names::EXECUTION_ID, execution.id.to_string());
    let body = json!({ "name": "Ada" }).to_string();
    let again = nats.request_with_headers(TARGET, headers, body.into()).await?;
    let again = String::from_utf8(again.payload.to_vec())?;
    println!("sent again, it was answered: {again}");
    if answer.get() != again {
        return Err("the same command was answered differently".into());
    }

    worker.abort();
    clean_up(&scheduler).await?;
    Ok(())
}

/// Answers commands, one after the other.
///
/// A real worker stores the ids together with its results, in the same transaction, and forgets them after a day. In
/// memory they protect against copies, but not against the worker's own crash.
async fn work(
    nats: async_nats::Client,
    mut commands: Subscriber,
) -> Result<(), async_nats::PublishError> {
    let mut answers: HashMap<String, Result<Bytes, String>> = HashMap::new();
    while let Some(command) = commands.next().await {
        let Some(reply) = command.reply.clone() else { continue };
        let id = header(&command, names::EXECUTION_ID).to_owned();
        let answer = answers.entry(id).or_insert_with_key(|id| {
            println!("worker: doing {id}");
            greet(&command.payload)
        });
        match answer {
            Ok(answer) => nats.publish(reply, answer.clone()).await?,
            // A reply with this header makes the execution fail, and its schedule try again.
            Err(reason) => {
                let mut headers = HeaderMap::new();
                headers.insert(names::SERVICE_ERROR, reason.as_str());
                nats.publish_with_headers(reply, headers, Bytes::new()).await?;
            }
        }
    }
    Ok(())
}

/// What the command asks for.
fn greet(payload: &[u8]) -> Result<Bytes, String> {
    let request: Value =
        serde_json::from_slice(payload).map_err(|_| "the payload is no JSON".to_owned())?;
    let name = request["name"].as_str().ok_or("the payload has no name")?;
    Ok(json!({ "text": format!("hello {name}"), "at": Utc::now() }).to_string().into())
}

/// The text of a header; empty where there is none.
fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    let headers = message.headers.as_ref();
    headers.and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
}

/// Deletes the schedules of this example, including those that an interrupted run may have left.
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
