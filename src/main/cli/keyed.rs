//! What `calendar`, `group` and `rerun` have in common.

use serde::Serialize;

use nats_scheduler::client::{ClientError, PutOutcome, Reply};

use super::changes::each;
use super::failure::{Exit, Failure};
use super::output::Output;

/// Implements `run` and `common` for a command with subcommands: those that only read, and those that run to their end
/// whether or not anybody reads their output.
macro_rules! subcommands {
    ($command:ident: while_read $($asks:ident)|+, to_the_end $($acts:ident)|+) => {
        impl $command {
            pub fn run(&self) -> Result<Exit, Failure> {
                match self {
                    $(Self::$asks(it) => {
                        super::while_read(&it.common, async |at, out| it.own.run(at, out).await)
                    })+
                    $(Self::$acts(it) => {
                        super::to_the_end(&it.common, async |at, out| it.own.run(at, out).await)
                    })+
                }
            }

            /// The common options of the command.
            pub fn common(&self) -> &Options {
                match self {
                    $(Self::$asks(it) => &it.common,)+
                    $(Self::$acts(it) => &it.common,)+
                }
            }
        }
    };
}
pub(super) use subcommands;

/// The outcome of a put, as a word.
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
