//! `edit`: a schedule in an editor, applied under the revision at which it was read.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use nats_scheduler::client::{
    ApplyOutcome, ApplySchedule, Difference, GetSchedule, ScheduleView, UpdateSchedule,
};
use nats_scheduler::schedule::parse_fields;
use serde_json::Value;
use uuid::Uuid;

use super::create::{field, read};
use super::{confirm, show_changed};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::files::export::{declaration, unsayable};
use crate::cli::files::plan::Plan;
use crate::cli::files::read::read_all;
use crate::cli::files::send::Became;
use crate::cli::files::set::{Declared, declared, linked};
use crate::cli::node::Node;
use crate::cli::output::Output;
use crate::cli::session::{Session, about};
use crate::cli::text::note;

/// Fields of the request that arguments and options say.
const BY_ARGUMENT: [&str; 4] = ["schedule_id", "schedule_name", "creator", "dry_run"];
/// The editor if neither VISUAL nor EDITOR is set.
const EDITOR: &str = "vi";

#[derive(Args, Debug)]
pub struct Edit {
    /// The schedule: its name or id.
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    schedule: String,
    /// Change this field, as JSON or text, without an editor: --set priority=7. Can be repeated.
    #[arg(long = "set", value_name = "FIELD=VALUE", value_parser = field)]
    fields: Vec<(String, Node)>,
    /// With --set: change nothing, and show what would change.
    #[arg(long, requires = "fields")]
    dry_run: bool,
    /// Do not ask after showing what changes.
    #[arg(long, short, conflicts_with = "fields")]
    yes: bool,
}

impl Edit {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        if !self.fields.is_empty() {
            return self.set(session, out).await;
        }
        let request = about!(GetSchedule {}, session.which(&self.schedule));
        let view = session.client.get_with(&request).await?.data;
        let declaration = declaration(&view, session).await?;
        if let Some(key) = declaration.repeated() {
            let hint = "`export -o json` prints it, and `apply -f` takes it";
            return Err(Failure::usage(unsayable(key)).hint(hint));
        }
        let mut file = Draft::new(declaration.yaml())?;
        let opened = open(&file.path);
        if !file.is_edited()? {
            opened?;
            note("nothing has changed");
            return Ok(Exit::Done);
        }
        let done = match opened {
            Ok(()) => self.apply(&view, &file, session, out).await,
            Err(failure) => Err(failure),
        };
        if !done.as_ref().is_ok_and(|exit| *exit == Exit::Done) {
            file.is_kept = true;
            note(&format!("your text is kept in {}", file.path.display()));
        }
        done
    }

    /// Changes the fields that are given, and no others.
    async fn set(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let given = Node::Map(self.fields.clone()).to_string();
        if let Err(unread) = parse_fields::<UpdateSchedule>(given.as_bytes()) {
            return Err(Failure::fields(unread.faults));
        }
        if let Some((name, _)) =
            self.fields.iter().find(|(name, _)| BY_ARGUMENT.contains(&name.as_str()))
        {
            return Err(Failure::usage(format!("{name}: is said by an argument, not with --set")));
        }
        let which = session.which(&self.schedule);
        let named = [
            ("schedule_id", which.id.map(|id| id.to_string())),
            ("schedule_name", which.name),
            ("creator", which.creator),
        ];
        let named = named.into_iter().filter_map(|(name, text)| Some((name, Node::Text(text?))));
        let mut fields = self.fields.clone();
        fields.extend(named.map(|(name, node)| (name.to_owned(), node)));
        fields.push(("dry_run".to_owned(), Node::Bool(self.dry_run)));
        let reply = session.client.update(&read::<UpdateSchedule>(fields)?).await?;
        let is_nothing = |difference: &Difference| difference.changes.is_empty();
        let done = match (self.dry_run, reply.difference.as_deref().is_some_and(is_nothing)) {
            (true, true) => "would change nothing of",
            (true, false) => "would update",
            (false, _) => "updated",
        };
        show_changed(done, &reply, out)?;
        let difference = reply.difference.filter(|_| out.format.is_table());
        for change in difference.iter().flat_map(|difference| &difference.changes) {
            let told = |value: &Option<Value>| value.clone().unwrap_or_default().to_string();
            let (old, new) = (told(&change.old), told(&change.new));
            out.line(&format!("    {}: {old} -> {new}", change.field))?;
        }
        Ok(Exit::Done)
    }

    async fn apply(
        &self,
        view: &ScheduleView,
        file: &Draft,
        session: &Session,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let written = read_all(std::slice::from_ref(&file.path))?;
        let mut set = linked(declared(written, Some(&view.created_by), None)?)?;
        let Some(one) = set.pop().filter(|_| set.is_empty()) else {
            return Err(Failure::usage("the file must have one schedule"));
        };
        if (&one.name, &one.creator) != (&view.name, &view.created_by) {
            let fault = "the name and the creator say which schedule is meant, and stay";
            return Err(Failure::usage(fault));
        }
        let client = &session.client;
        let dry = client.apply(&request(&one, view.revision, true)?).await?;
        let outcome = dry.difference.as_ref().map(|difference| difference.outcome);
        let mut plan = Plan::new(out);
        let payload = Some(Node::of(&view.command_payload)?);
        let difference = dry.difference;
        plan.add(&one, &Became { outcome, difference, payload, ..Became::default() })?;
        plan.end()?;
        if outcome == Some(ApplyOutcome::Unchanged) {
            return Ok(Exit::Done);
        }
        if !self.yes && !confirm("Apply it?")? {
            return Ok(Exit::Refused);
        }
        let reply = client.apply(&request(&one, view.revision, false)?).await?;
        show_changed("updated", &reply, out)?;
        Ok(Exit::Done)
    }
}

/// The request that makes a schedule what was edited, unless it has changed since.
fn request(one: &Declared, revision: u64, dry_run: bool) -> Result<ApplySchedule, Failure> {
    let mut node = one.node.clone();
    if let Node::Map(fields) = &mut node {
        let owner = one.owner.clone().map(|owner| ("owner".to_owned(), Node::Text(owner)));
        fields.extend(owner);
        fields.push(("created_by".to_owned(), Node::Text(one.creator.clone())));
        fields.push(("dry_run".to_owned(), Node::Bool(dry_run)));
        fields.push(("expected_revision".to_owned(), Node::Number(revision.to_string())));
        fields.push(("count".to_owned(), Node::Number("3".to_owned())));
    }
    serde_json::from_str(&node.to_string()).map_err(|error| Failure::usage(error.to_string()))
}

/// Opens an editor and waits until it has ended.
fn open(path: &std::path::Path) -> Result<(), Failure> {
    let set = ["VISUAL", "EDITOR"].into_iter().find_map(|name| env::var(name).ok());
    let editor = set.filter(|editor| !editor.trim().is_empty()).unwrap_or(EDITOR.to_owned());
    let mut words = editor.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(EDITOR));
    let status = command.args(words).arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::usage(format!("{editor} ended with {status}"))),
        Err(error) => {
            Err(Failure::usage(format!("{editor}: {error}"))
                .hint("EDITOR says which editor to open"))
        }
    }
}

/// A file of its own, which only this user can read: payloads may be secret. It is removed unless it is kept.
struct Draft {
    path: PathBuf,
    /// What was written to it.
    text: String,
    is_kept: bool,
}

impl Draft {
    fn new(text: String) -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("nats-scheduler-{}.yaml", Uuid::new_v4()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        let draft = Self { path, text, is_kept: false };
        file.write_all(draft.text.as_bytes())?;
        Ok(draft)
    }

    /// Whether it says something else than before.
    fn is_edited(&self) -> Result<bool, Failure> {
        Ok(std::fs::read(&self.path)? != self.text.as_bytes())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
