//! `create`: a new schedule.

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args};
use nats_scheduler::client::{
    ApplySchedule, Code, CreateSchedule, DeliveryMode, Reply, ScheduleView,
};
use uuid::Uuid;

use super::{node_of, payload, show_changed};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::files::fields::faults;
use crate::cli::moment;
use crate::cli::node::Node;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::cli::words::{one_of, word};

/// Heading of the options that say when.
const WHEN: &str = "When";

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("when").required(true))]
pub struct Create {
    /// The name, unique among the schedules of the creator.
    name: String,
    /// The subject that commands are sent to, such as cmd.report.build.
    #[arg(long, short, value_name = "SUBJECT")]
    target: String,
    /// At the times of a cron expression.
    #[arg(long, group = "when", value_name = "EXPRESSION", help_heading = WHEN)]
    cron: Option<String>,
    /// At an interval, such as 30s or 1h30m.
    #[arg(long, group = "when", value_name = "SPAN", value_parser = moment::seconds, help_heading = WHEN)]
    every: Option<u64>,
    /// Once, at this time: in 2h, 2026-12-24T18:00:00Z, "2026-12-24 18:00" (local).
    #[arg(long, group = "when", value_name = "TIME", value_parser = moment::ahead, help_heading = WHEN)]
    at: Option<DateTime<Utc>>,
    /// Once, immediately.
    #[arg(long, group = "when", help_heading = WHEN)]
    now: bool,
    /// After another schedule: its name or id.
    #[arg(long, group = "when", value_name = "SCHEDULE", value_parser = some_name, add = Name::Schedule.completer(), help_heading = WHEN)]
    after: Option<String>,
    /// With --after: which outcomes of the other it follows.
    #[arg(long, requires = "after", conflicts_with_all = ["cron", "every", "at", "now"],
        value_parser = ["success", "failure", "completion"], help_heading = WHEN)]
    on: Option<String>,
    /// Time zone of the cron expression, such as Europe/Berlin [default: that of the service].
    #[arg(long, short = 'z', value_name = "ZONE", help_heading = WHEN)]
    timezone: Option<String>,
    /// The body of each command: a JSON object, @FILE, or - for standard input.
    #[arg(long, short, value_name = "JSON")]
    payload: Option<String>,
    /// Description for people.
    #[arg(long, short)]
    description: Option<String>,
    /// The owner: who maintains it, such as a repository.
    #[arg(long)]
    owner: Option<String>,
    /// A label to find it by; can be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// How commands are sent.
    #[arg(long, value_parser = one_of::<DeliveryMode>())]
    mode: Option<DeliveryMode>,
    /// Any other field of a creation, as JSON or text: --set overlap=allow --set max_runs=10.
    #[arg(long = "set", value_name = "FIELD=VALUE", value_parser = field)]
    fields: Vec<(String, Node)>,
    /// Makes it safe to send again: within a day a key of the creator creates one schedule.
    #[arg(long, value_name = "KEY", conflicts_with = "dry_run")]
    key: Option<String>,
    /// Create nothing, and show what would be created.
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let is_anothers = common.creator.is_some() && common.creator != common.actor();
        if self.key.is_some() && is_anothers {
            let fault = "--key cannot be used with --creator, unless that is the actor";
            let hint = "without it, sending it again creates no second schedule either";
            return Err(Failure::usage(fault).hint(hint));
        }
        if self.fields.iter().any(|(name, _)| name == "created_by") {
            return Err(Failure::usage("created_by: --creator says whose schedule it is"));
        }
        let fields = self.fields(session)?;
        let faults = faults(&Node::Map(fields.clone()));
        if !faults.is_empty() {
            return Err(Failure::fields(faults));
        }
        let reply = if self.dry_run || is_anothers {
            self.declare(fields, session).await?
        } else {
            session.client.create(&read::<CreateSchedule>(fields)?).await?
        };
        let done = if self.dry_run { "would create" } else { "created" };
        show_changed(done, &reply, out)?;
        Ok(Exit::Done)
    }

    /// Creates it by a declaration: a creation cannot be tried without doing it, and makes the actor's schedule.
    async fn declare(
        &self,
        mut fields: Vec<(String, Node)>,
        session: &Session,
    ) -> Result<Reply<ScheduleView>, Failure> {
        let creator = session.creator.as_deref().unwrap_or_default();
        fields.push(("created_by".to_owned(), Node::Text(creator.to_owned())));
        fields.push(("dry_run".to_owned(), Node::Bool(self.dry_run)));
        // There must be none of that name, as for a creation.
        fields.push(("expected_revision".to_owned(), Node::Number("0".to_owned())));
        let reply = session.client.apply(&read::<ApplySchedule>(fields)?).await;
        reply.map_err(|error| match error.code() {
            Some(Code::Conflict) => {
                let fault =
                    format!("creator {creator:?} already has a schedule named {:?}", self.name);
                Failure::new(Exit::Conflict, fault)
            }
            _ => error.into(),
        })
    }

    /// The fields of the request.
    fn fields(&self, session: &Session) -> Result<Vec<(String, Node)>, Failure> {
        let text = |text: &str| Node::Text(text.to_owned());
        let mut fields = vec![("name".to_owned(), text(&self.name))];
        let mut add = |name: &str, value: Option<Node>| {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("target_command", Some(text(&self.target)));
        add("schedule_type", Some(text(self.schedule_type())));
        add("cron_expression", self.cron.as_deref().map(text));
        add("interval_seconds", self.every.map(|every| Node::Number(every.to_string())));
        add("scheduled_at", self.at.map(|at| text(&moment::exact(at))));
        add("after", self.after.as_deref().map(|after| self.follows(after, session)));
        add("timezone", self.timezone.as_deref().map(text));
        let payload = self.payload.as_deref().map(payload).transpose()?;
        add("command_payload", payload.as_ref().map(node_of).transpose()?);
        add("description", self.description.as_deref().map(text));
        add("owner", self.owner.as_deref().map(text));
        let tags: Vec<_> = self.tags.iter().map(|tag| text(tag)).collect();
        add("tags", (!tags.is_empty()).then_some(Node::List(tags)));
        let mode = |mode: DeliveryMode| Node::Map(vec![("mode".to_owned(), text(&word(&mode)))]);
        add("delivery", self.mode.map(mode));
        add("idempotency_key", self.key.as_deref().map(text));
        fields.extend(self.fields.iter().cloned());
        Ok(fields)
    }

    fn schedule_type(&self) -> &'static str {
        match self {
            Self { cron: Some(_), .. } => "cron",
            Self { every: Some(_), .. } => "interval",
            Self { at: Some(_), .. } => "one_time",
            Self { after: Some(_), .. } => "dependent",
            _ => "immediate",
        }
    }

    fn follows(&self, after: &str, session: &Session) -> Node {
        let which = session.which(after);
        let id = which.id.as_ref().map(Uuid::to_string);
        let fields = [
            ("schedule_id", id.as_deref()),
            ("schedule_name", which.name.as_deref()),
            ("creator", which.creator.as_deref()),
            ("on", self.on.as_deref()),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Node::Map(given.map(|(name, it)| (name.to_owned(), Node::Text(it.to_owned()))).collect())
    }
}

/// A field and its value: JSON if it is some, or else a text.
pub(super) fn field(text: &str) -> Result<(String, Node), String> {
    let (name, value) = text.split_once('=').ok_or("must be FIELD=VALUE")?;
    let value = Node::of_json(value).unwrap_or_else(|_| Node::Text(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// The request with these fields.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    fields: Vec<(String, Node)>,
) -> Result<T, Failure> {
    serde_json::from_str(&Node::Map(fields).to_string())
        .map_err(|error| Failure::usage(error.to_string()))
}
