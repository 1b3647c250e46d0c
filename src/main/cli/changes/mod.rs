//! Commands that change schedules and executions.

pub mod backfill;
pub mod cancel;
pub mod create;
pub mod edit;
pub mod lifecycle;
pub mod retry;
pub mod run;
pub mod select;

use std::future::Future;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use futures::{StreamExt as _, stream};
use nats_scheduler::client::{ClientError, Difference, Payload, Reply, ScheduleView, Warning};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::input;
use super::moment;
use super::node::Node;
use super::options::Format;
use super::output::Output;
use super::progress;
use super::reads::get;
use super::text::{note, safe};

/// Requests under way at once.
const AT_ONCE: usize = 8;

/// Does the same to each of several, and shows what became of it in the order of the arguments. A failure stops no other.
///
/// # Errors
/// If the output cannot be written. Refusals are reported; the exit code is theirs, or 1 if they differ.
pub async fn each<T, F>(
    items: &[String],
    out: &mut Output,
    act: impl Fn(String) -> F,
    mut show: impl FnMut(T, &mut Output) -> Result<(), Failure>,
) -> Result<Exit, Failure>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut exit = Exit::Done;
    let mut done = stream::iter(items)
        .map(|item| {
            let acting = act(item.clone());
            async move { (item, acting.await) }
        })
        .buffered(AT_ONCE);
    while let Some((item, done)) = done.next().await {
        match done {
            Ok(done) => show(done, out)?,
            Err(error) => {
                out.flush()?;
                let failure = Failure::from(error);
                exit = exit.and(failure.exit());
                let failure = if items.len() > 1 { failure.about(item) } else { failure };
                failure.report();
            }
        }
    }
    Ok(exit)
}

/// A schedule as it would be, and what that would change.
#[derive(Serialize)]
struct Would<'a> {
    #[serde(flatten)]
    schedule: &'a ScheduleView,
    difference: &'a Difference,
}

/// Shows a schedule that was changed: a sentence in a table, and otherwise the whole, in a dry run with what would change.
pub fn show_changed(
    done: &str,
    reply: &Reply<ScheduleView>,
    out: &mut Output,
) -> Result<(), Failure> {
    tell_warnings(&reply.warnings);
    let view = &reply.data;
    let would = reply.difference.as_deref().filter(|difference| difference.dry_run);
    if let Some(difference) = would
        && matches!(out.format, Format::Json | Format::Yaml)
    {
        return out.thing(&Would { schedule: view, difference }, &view.name, &[]);
    }
    if out.format != Format::Table {
        return get::show(view, out);
    }
    let next = view.next_run_at.filter(|_| view.is_active && !view.is_paused).map(|next| {
        format!(", next at {} ({})", moment::absolute(next), moment::relative(next, out.now))
    });
    out.line(&format!("{done} {} ({}){}", view.name, view.id, next.unwrap_or_default()))
}

/// Says what should be known although a request succeeded.
pub fn tell_warnings(warnings: &[Warning]) {
    for warning in warnings {
        note(&format!("warning: {}", warning.message));
    }
}

/// Asks whether to go on. Without a terminal there is nobody to ask.
///
/// # Errors
/// `Usage` if nobody can be asked.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let fault = format!("cannot ask {question:?}: standard input is not a terminal");
        return Err(Failure::usage(fault).hint("--yes goes ahead without asking"));
    }
    progress::erase();
    write!(io::stderr(), "{} [y/N] ", safe(question))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A payload: JSON, `@FILE`, or `-` for standard input. Its digits and the order of its keys stay.
///
/// # Errors
/// `Usage`: it cannot be read, or is no JSON object.
pub fn payload(text: &str) -> Result<Payload, Failure> {
    let read;
    let json = if text == "-" {
        read = input::stdin()?;
        read.as_str()
    } else if let Some(path) = text.strip_prefix('@') {
        read = input::file(Path::new(path))?;
        read.as_str()
    } else {
        text
    };
    serde_json::from_str(json.trim())
        .map_err(|error| Failure::usage(format!("the payload: {error}")))
}

/// The node of a value that is certain to be JSON.
pub fn node_of(payload: &Payload) -> Result<Node, Failure> {
    Ok(Node::of_json(payload.as_str())?)
}
