//! Manages many schedules: creates and finds them, changes them without undoing what others did, and pauses them
//! together.
//!
//! Start `nats-scheduler dev` in one terminal, and `cargo run --example manage` in another. `NATS_URL` names another
//! server.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use futures::TryStreamExt as _;
use nats_scheduler::client::{
    BulkAction, BulkOperation, Client, ClientError, Code, CreateSchedule, ListSchedules,
    PauseSchedule, PreviewSchedule, ScheduleFilter, ScheduleView, Sort, Status, UpdateSchedule,
};
use serde_json::json;

/// The name that this example acts under; names of schedules are unique per creator.
const ALICE: &str = "example-manage";

#[tokio::main]
async fn main() -> Result<(), async_nats::Error> {
    let url = std::env::var("NATS_URL").unwrap_or_else(|_| "nats://localhost:4222".to_owned());
    let nats = async_nats::connect(url).await?;
    let alice = Client::new(nats).actor(ALICE);
    let bob = alice.clone().actor("example-manage-bob");
    operate(&alice, BulkAction::Delete, false).await?;

    // Create many at once. Each stands alone, so look at each result.
    let mut reports = Vec::new();
    for (name, expression) in
        [("daily", "0 2 * * *"), ("weekly", "30 3 * * MON"), ("monthly", "H 4 LW * *")]
    {
        let report = CreateSchedule::cron(name, expression, "cmd.report.build")
            .timezone("Europe/Berlin")
            .payload(&json!({ "kind": name }))?
            .tags(["reports"])
            .retries(5, 60);
        reports.push(report);
    }
    let created = alice.bulk_create(&reports).await?.data;
    for result in &created.results {
        if let Some(error) = &result.error {
            return Err(format!("report {} was refused: {error}", result.index).into());
        }
    }
    println!("created {}", created.created);

    // When does the first of them fire?
    let id = *created.schedule_ids.first().ok_or("none was created")?;
    let request =
        PreviewSchedule { schedule_id: Some(id), count: Some(3), ..PreviewSchedule::default() };
    let preview = alice.preview(&request).await?.data;
    println!("{}: {:?}", preview.description, preview.occurrences);

    // One page of a list: the next three that are due.
    let list = ListSchedules {
        creator: Some(ALICE.to_owned()),
        tags: Some(vec!["reports".to_owned()]),
        sort: Some(Sort::NextRun),
        limit: Some(3),
        ..ListSchedules::default()
    };
    for schedule in alice.list(&list).await?.data {
        println!("{} is due {:?}", schedule.name, schedule.next_run_at);
    }

    // Alice reads the schedule, Bob changes it, and Alice's pause does not override that.
    let seen = alice.get(id).await?.data;
    let change =
        UpdateSchedule { schedule_id: Some(id), priority: Some(9), ..UpdateSchedule::default() };
    bob.update(&change).await?;
    let paused = pause_as_seen(&alice, seen).await?;
    println!("{} is {:?}, revision {}", paused.name, paused.status, paused.revision);

    // Pause all the others: first a dry run, then for real.
    println!("{} would be paused", operate(&alice, BulkAction::Pause, true).await?);
    println!("{} are paused", operate(&alice, BulkAction::Pause, false).await?);
    println!("{} are resumed", operate(&alice, BulkAction::Resume, false).await?);

    // Every schedule that matches, however many pages that takes.
    let active = ListSchedules { status: Some(Status::Active), limit: Some(2), ..list };
    let active: Vec<_> = alice.all_schedules(active).try_collect().await?;
    println!("{} are active", active.len());

    println!("{} are deleted", operate(&alice, BulkAction::Delete, false).await?);
    Ok(())
}

/// Pauses a schedule that was read before. If somebody has changed it since, reads it again and decides again whether
/// it should be paused: here, unless somebody else has paused it.
async fn pause_as_seen(
    client: &Client,
    mut seen: ScheduleView,
) -> Result<ScheduleView, ClientError> {
    while !seen.is_paused {
        let request = PauseSchedule {
            schedule_id: Some(seen.id),
            reason: Some("maintenance".to_owned()),
            expected_revision: Some(seen.revision),
            ..PauseSchedule::default()
        };
        match client.pause_with(&request).await {
            Ok(reply) => return Ok(reply.data),
            Err(error) if error.code() == Some(Code::Conflict) => {
                seen = client.get(seen.id).await?.data;
                let who = seen.updated_by.as_deref().unwrap_or("somebody");
                println!("changed by {who} meanwhile: look again");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

/// Applies an operation to all schedules of this example; returns for how many it succeeded.
async fn operate(
    client: &Client,
    operation: BulkAction,
    dry_run: bool,
) -> Result<usize, ClientError> {
    let filter = ScheduleFilter { creator: Some(ALICE.to_owned()), ..ScheduleFilter::default() };
    let request = BulkOperation {
        operation: Some(operation),
        filter: Some(filter),
        dry_run: Some(dry_run),
        hard_delete: (operation == BulkAction::Delete).then_some(true),
        ..BulkOperation::default()
    };
    let done = client.bulk_operation(&request).await?.data;
    for refused in &done.failed {
        println!("{} was refused: {}", refused.schedule_id, refused.error);
    }
    Ok(done.succeeded)
}
