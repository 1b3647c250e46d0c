//! `cancel`: stops executions that are under way or wait.

use clap::Args;
use nats_scheduler::client::CancelExecution;

use super::each;
use super::retry::id;
use crate::cli::completion::Name;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::cli::words::word;

#[derive(Args, Debug)]
pub struct Cancel {
    /// The executions.
    #[arg(required = true, value_name = "EXECUTION", value_parser = id, add = Name::Execution.completer())]
    executions: Vec<String>,
    /// The reason, for people.
    #[arg(long, short)]
    reason: Option<String>,
}

impl Cancel {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let act = |id: String| {
            let request = CancelExecution {
                execution_id: id.parse().ok(),
                reason: self.reason.clone(),
                ..CancelExecution::default()
            };
            async move { session.client.cancel_with(&request).await }
        };
        each(&self.executions, out, act, |reply, out| {
            let reported = reply.data;
            if !out.format.is_table() {
                return out.thing(&reported, &reported.execution_id.to_string(), &[]);
            }
            out.line(&format!("execution {}: {}", reported.execution_id, word(&reported.status)))
        })
        .await
    }
}
