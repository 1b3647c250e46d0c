//! `export`: schedules as files. Applied again, they change nothing.

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use nats_scheduler::client::{
    ClientError, Code, GetSchedule, ListSchedules, ScheduleType, ScheduleView, Sort,
};
use uuid::Uuid;

use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::filter::{FILTERS, Filter, filtered, listed_creator};
use crate::cli::node::Node;
use crate::cli::options::{Format, Options};
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::session::{Session, about};
use crate::cli::text::note;

/// Schedules that are fetched at once.
const AT_ONCE: usize = 32;
/// The fields, in the order of a file.
const FIELDS: [&str; 37] = [
    "name",
    "created_by",
    "owner",
    "description",
    "schedule_type",
    "cron_expression",
    "interval_seconds",
    "scheduled_at",
    "after",
    "timezone",
    "start_at",
    "end_at",
    "max_runs",
    "jitter_seconds",
    "dst_gap",
    "dst_overlap",
    "exclude",
    "only",
    "target_command",
    "command_payload",
    "payload_template",
    "delivery",
    "tags",
    "priority",
    "max_retries",
    "retry_delay_seconds",
    "retry",
    "dead_letter",
    "misfire_grace_seconds",
    "catch_up",
    "overlap",
    "max_instances",
    "group",
    "expect_success_within_seconds",
    "failing_after",
    "pause_on_failure",
    "is_active",
];
/// Defaults that files leave out. Those that settings of the service can change are written.
const DEFAULTS: [(&str, &str); 13] = [
    ("jitter_seconds", "0"),
    ("dst_gap", "\"next_valid\""),
    ("dst_overlap", "\"first\""),
    ("exclude", "[]"),
    ("only", "[]"),
    ("command_payload", "{}"),
    ("payload_template", "false"),
    ("delivery", r#"{"mode":"publish","timeout_seconds":30}"#),
    ("tags", "[]"),
    ("priority", "5"),
    ("overlap", "\"skip\""),
    ("failing_after", "1"),
    ("is_active", "true"),
];
/// Paused schedules that are named.
const NAMED: usize = 5;

#[derive(Args, Debug)]
pub struct Export {
    /// The schedules: names or ids [default: all that the filters select].
    #[arg(value_name = "SCHEDULE", conflicts_with_all = FILTERS, value_parser = some_name, add = Name::Schedule.completer())]
    schedules: Vec<String>,
    #[command(flatten)]
    filter: Filter,
}

impl Export {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let (mut written, mut exit) = (Written::new(), Exit::Done);
        if self.schedules.is_empty() {
            let creator = listed_creator(session, common.creator.is_some());
            let request =
                filtered!(ListSchedules { sort: Some(Sort::Name) }, &self.filter, creator);
            let listed = session.client.all_schedules(request);
            let views = listed.map_ok(|it| session.client.get(it.id)).try_buffered(AT_ONCE);
            let mut views = std::pin::pin!(views);
            while let Some(reply) = views.next().await {
                // One that is deleted for good between the list and this is not there any more.
                let reply = match reply {
                    Err(error) if error.code() == Some(Code::NotFound) => continue,
                    reply => reply?,
                };
                exit = exit.and(write(&reply.data, session, out, &mut written).await?);
            }
        } else {
            let get = |name: &String| {
                let request = about!(GetSchedule {}, session.which(name));
                async move { session.client.get_with(&request).await }
            };
            let views = stream::iter(&self.schedules).map(get).buffered(AT_ONCE);
            let mut views = std::pin::pin!(views.zip(stream::iter(&self.schedules)));
            while let Some((reply, name)) = views.next().await {
                let done = match reply {
                    Ok(reply) => write(&reply.data, session, out, &mut written).await?,
                    // One that is missing hides no other.
                    Err(error) if self.schedules.len() > 1 => {
                        let failure = Failure::from(error).about(name);
                        failure.report();
                        failure.exit()
                    }
                    Err(error) => return Err(error.into()),
                };
                exit = exit.and(done);
            }
        }
        match (out.format, written.count) {
            (Format::Json, 0) => out.raw("[]\n")?,
            (Format::Json, _) => out.raw("\n]\n")?,
            _ => {}
        }
        out.flush()?;
        written.note_paused();
        Ok(exit)
    }
}

/// What was exported so far.
struct Written {
    count: usize,
    progress: Progress,
    /// How many of them are paused, and the first of them.
    paused: usize,
    named: Vec<String>,
}

impl Written {
    fn new() -> Self {
        let progress = Progress::beside_output("exported");
        Self { count: 0, progress, paused: 0, named: Vec::new() }
    }

    fn add(&mut self, view: &ScheduleView) {
        self.count += 1;
        self.progress.add(1);
        if view.is_paused {
            self.paused += 1;
            if self.named.len() < NAMED {
                self.named.push(view.name.clone());
            }
        }
    }

    /// A pause is what somebody does for a while, and no part of what a schedule is declared to be.
    fn note_paused(&self) {
        if self.paused == 0 {
            return;
        }
        let (are, more) =
            (if self.paused == 1 { "is" } else { "are" }, self.paused - self.named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = self.named.join(", ");
        note(&format!(
            "{} {are} paused, which the files do not record: {names}{more}",
            self.paused
        ));
    }
}

/// Writes one schedule: JSON as an item of a list, and YAML as a document.
async fn write(
    view: &ScheduleView,
    session: &Session,
    out: &mut Output,
    written: &mut Written,
) -> Result<Exit, Failure> {
    if out.format == Format::Name {
        return out.schedule(view, &[]).map(|()| Exit::Done);
    }
    let declaration = declaration(view, session).await?;
    if out.format == Format::Json {
        written.add(view);
        out.raw(if written.count == 1 { "[\n" } else { ",\n" })?;
        return out.raw(&declaration.pretty()).map(|()| Exit::Done);
    }
    // A file with it could not be read, and none of the others in it.
    if let Some(key) = declaration.repeated() {
        out.flush()?;
        let left_out = Failure::new(Exit::Refused, format!("left out: {}", unsayable(key)));
        let left_out = left_out.about(format!("{} of {}", view.name, view.created_by));
        left_out.hint("-o json exports it").report();
        return Ok(Exit::Refused);
    }
    written.add(view);
    if written.count > 1 {
        out.raw("---\n")?;
    }
    out.raw(&declaration.yaml()).map(|()| Exit::Done)
}

/// Why something cannot be said in YAML.
pub fn unsayable(key: &str) -> String {
    format!("it has the key {key:?} twice in one object, which YAML cannot say")
}

/// What declares a schedule as it is.
///
/// # Errors
/// If the schedule that it follows cannot be asked for.
pub async fn declaration(view: &ScheduleView, session: &Session) -> Result<Node, Failure> {
    let mut node = Node::of(view)?;
    let mut fields = Vec::new();
    for name in FIELDS {
        let Some(value) = node.take(name).filter(|value| *value != Node::Null) else { continue };
        let is_default =
            DEFAULTS.iter().any(|(other, json)| *other == name && value.to_string() == *json);
        let value = match name {
            // Of others it is what their type and their creation made of it.
            "scheduled_at" => Some(value).filter(|_| view.schedule_type == ScheduleType::OneTime),
            "after" => named(value, session).await?,
            "retry" => own_retry(value, view.retry_delay_seconds),
            _ => Some(value),
        };
        fields.extend(value.filter(|_| !is_default).map(|value| (name.to_owned(), value)));
    }
    Ok(Node::Map(fields))
}

/// The schedule that another follows, by its name: ids differ from place to place.
async fn named(mut after: Node, session: &Session) -> Result<Option<Node>, Failure> {
    let Some(id) = after.text("schedule_id").and_then(|id| id.parse::<Uuid>().ok()) else {
        return Ok(Some(after));
    };
    let upstream = match session.client.get(id).await {
        Ok(reply) if reply.data.deleted_at.is_none() => reply.data,
        Ok(_) => return Ok(Some(after)),
        // The next try may find it.
        Err(ClientError::Refused(refused))
            if !matches!(refused.code, Code::Unavailable | Code::LimitExceeded) =>
        {
            return Ok(Some(after));
        }
        Err(error) => return Err(error.into()),
    };
    let mut fields = vec![
        ("schedule_name".to_owned(), Node::Text(upstream.name)),
        ("creator".to_owned(), Node::Text(upstream.created_by)),
    ];
    fields.extend(after.take("on").map(|on| ("on".to_owned(), on)));
    Ok(Some(Node::Map(fields)))
}

/// What is said of retries beside their delay; nothing if all of it follows from that.
fn own_retry(mut retry: Node, delay: u32) -> Option<Node> {
    if retry.get("initial_seconds") == Some(&Node::Number(delay.to_string())) {
        retry.take("initial_seconds");
    }
    let usual = r#"{"multiplier":2.0,"max_seconds":3600,"jitter":0.1,"non_retryable":[]}"#;
    Some(retry).filter(|retry| retry.to_string() != usual)
}
