//! What `calendar`, `group` and `rerun` have in common.

use serde::Serialize;

use nats_scheduler::client::{ClientError, PutOutcome, Reply};

use super::changes::each;
use super::failure::{Exit, Failure};
use super::output::{Listed, Output};
use super::reads::tell_rest;

/// Shows a page of them.
///
/// # Errors
/// Those of the output.
pub fn list<T: Listed + Serialize>(
    reply: &Reply<Vec<T>>,
    none: &str,
    out: &mut Output,
) -> Result<Exit, Failure> {
    out.list(&reply.data, none)?;
    out.flush()?;
    if out.format.is_table() {
        tell_rest(reply.pagination.as_ref());
    }
    Ok(Exit::Done)
}

/// What became of one that was put, in a word.
pub fn word(outcome: PutOutcome) -> &'static str {
    match outcome {
        PutOutcome::Created => "created",
        PutOutcome::Changed => "changed",
        PutOutcome::Unchanged => "unchanged",
    }
}

/// Deletes each of them, and says so.
///
/// # Errors
/// Those of the output; others are reported one by one.
pub async fn remove<T: Serialize, F>(
    kind: &str,
    names: &[String],
    out: &mut Output,
    act: impl Fn(String) -> F,
    name_of: impl Fn(&T) -> &str,
) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Reply<T>, ClientError>>,
{
    each(names, out, act, |reply, out| {
        let deleted = reply.data;
        let name = name_of(&deleted);
        if !out.format.is_table() {
            return out.thing(&deleted, name, &[]);
        }
        out.line(&format!("{kind} {name} deleted"))
    })
    .await
}
