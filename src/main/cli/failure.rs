//! Why a command failed: what is said on standard error, and the exit code.

use std::fmt::Display;
use std::io;

use nats_scheduler::client::{ApiError, ClientError, Code, FieldFault};

use super::text::note;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was done.
    Done = 0,
    /// The service refused something, or what was waited for has failed.
    Refused = 1,
    /// The arguments, a file or a setting cannot be used; nothing was asked.
    Usage = 2,
    /// Nothing has that id or name.
    NotFound = 3,
    /// Somebody else was first: it has changed, the name is taken, or another owner has it.
    Conflict = 4,
    /// No answer: from NATS, or from the service.
    Unavailable = 5,
    /// `--detailed-exitcode`: there is something to change.
    Changes = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// How a command ends of which one part ended so and another otherwise: as the part that was not done, and with 1 if both
    /// were not, for different reasons.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done, exit) | (exit, Self::Done) => exit,
            (one, other) if one == other => one,
            _ => Self::Refused,
        }
    }
}

/// A failure, with what would help.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    faults: Vec<FieldFault>,
    hint: Option<String>,
    /// Nobody reads the output any more.
    is_unread: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), faults: Vec::new(), hint: None, is_unread: false }
    }

    /// Something that the caller wrote cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what would help, unless there is a hint already.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says what it is about.
    #[must_use]
    pub fn about(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Settings that cannot be used.
    pub fn settings(faults: Vec<FieldFault>) -> Self {
        Self { faults, ..Self::usage("settings cannot be used") }
    }

    /// Fields that cannot be used.
    pub fn fields(mut faults: Vec<FieldFault>) -> Self {
        match faults.len() {
            1 => Self::usage(faults.remove(0).to_string()),
            _ => Self { faults, ..Self::usage("these fields cannot be used") },
        }
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints it, with each fault and the hint on a line of its own.
    pub fn report(&self) {
        if self.is_unread {
            return;
        }
        note(&format!("error: {}", self.message));
        for fault in &self.faults {
            note(&format!("  {}: {}", fault.field, fault.reason));
        }
        if let Some(hint) = &self.hint {
            note(&format!("hint: {hint}"));
        }
    }

    fn refused(error: ApiError) -> Self {
        let exit = match error.code {
            Code::NotFound => Exit::NotFound,
            Code::Conflict | Code::AlreadyExists => Exit::Conflict,
            Code::Unavailable => Exit::Unavailable,
            _ => Exit::Refused,
        };
        let detail = |field: &str| {
            let found = error.details.iter().find(|fault| fault.field == field);
            found.map(|fault| fault.reason.clone())
        };
        let hint = match error.code {
            Code::NotFound => detail("creator").map(|other| {
                format!("{other:?} has one of that name: --creator says whose is meant")
            }),
            Code::Conflict if detail("revision").is_some() => {
                Some("look at what it is now, and decide again".to_owned())
            }
            Code::Conflict if detail("owner").is_some() => {
                Some("another owner keeps it; --owner names the owner that you act for".to_owned())
            }
            Code::Unavailable => Some("try again in a moment".to_owned()),
            _ => None,
        };
        let is_list = error.code == Code::Invalid && error.details.len() > 1;
        let (message, faults) = if is_list {
            ("the service refuses these fields".to_owned(), error.details)
        } else {
            (error.message, Vec::new())
        };
        Self { faults, hint, ..Self::new(exit, message) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        let hint = match error {
            ClientError::Refused(error) => return Self::refused(error),
            ClientError::TooLarge { .. } => return Self::new(Exit::Refused, message),
            ClientError::NoService { .. } => {
                "`nats-scheduler serve` starts one; --server and --context say which NATS is meant"
            }
            ClientError::Timeout { .. } => {
                "--timeout waits longer; a user without permission to send requests gets no reply either"
            }
            ClientError::Captured { .. } => {
                "remove cmd.scheduler.> from the subjects of the stream"
            }
            ClientError::Connection(_) | ClientError::Malformed { .. } => {
                return Self::new(Exit::Unavailable, message);
            }
        };
        Self::new(Exit::Unavailable, message).hint(hint)
    }
}

/// Of a refused item of many.
impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::refused(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is_unread = error.kind() == io::ErrorKind::BrokenPipe;
        let exit = if is_unread { Exit::Done } else { Exit::Refused };
        Self { is_unread, ..Self::new(exit, error.to_string()) }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Exit::Refused, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit::{Conflict, Done, NotFound, Refused};

    #[test]
    fn several_failures_are_one_exit_code() {
        for (one, other, both) in [
            (Done, Done, Done),
            (Done, NotFound, NotFound),
            (NotFound, Done, NotFound),
            (NotFound, NotFound, NotFound),
            (NotFound, Conflict, Refused),
        ] {
            assert_eq!(one.and(other), both);
        }
    }
}
