//! What `calendar` and `group` have in common.

use serde::Serialize;

use nats_scheduler::client::{ClientError, PutOutcome, Reply};

use super::changes::each;
use super::failure::{Exit, Failure};
use super::output::Output;

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
