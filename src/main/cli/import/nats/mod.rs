//! Message schedules of nats-server: messages of a stream that say when the server publishes their body, and where.
//!
//! The stream is only read, message by message and without a consumer, so that it does not matter how it keeps them.

mod message;

use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures::TryStreamExt as _;

use super::Entry;
use crate::cli::failure::{Exit, Failure};
use crate::cli::progress::Progress;
use crate::cli::session::Session;

/// Messages that are fetched at once.
const AT_ONCE: usize = 32;
/// What JetStream answers of a stream that does not exist.
const NO_STREAM: usize = 404;

/// An entry for each subject whose last message has a schedule, in the order of the subjects.
///
/// # Errors
/// `NotFound` if there is no such stream; `Unavailable` if it cannot be read.
pub(super) async fn entries(
    name: &str,
    filter: &str,
    rule: Option<&str>,
    session: &Session,
) -> Result<Vec<Entry>, Failure> {
    let stream = stream(name, session).await?;
    let max_age = stream.cached_info().config.max_age;
    let subjects = stream.info_with_subjects(filter).await.map_err(|it| unread(name, &it))?;
    let messages = subjects
        .map_err(|error| unread(name, &error))
        .map_ok(|(subject, _)| last(&stream, name, subject))
        .try_buffer_unordered(AT_ONCE);
    let mut messages = std::pin::pin!(messages);
    let mut found = Vec::new();
    let mut progress = Progress::beside_output("read");
    while let Some(message) = messages.try_next().await? {
        progress.add(1);
        // Most messages of a stream may be others: no more of them is kept than is needed.
        if let Some(message) = message.filter(message::is_schedule) {
            let made = message::schedule(&message, max_age, rule);
            found.push(Entry { place: message.subject.to_string(), made });
        }
    }
    found.sort_by(|one, other| one.place.cmp(&other.place));
    Ok(found)
}

async fn stream(name: &str, session: &Session) -> Result<Stream, Failure> {
    let mut context = jetstream::new(session.nats.clone());
    context.set_timeout(session.timeout());
    context.get_stream(name).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(refusal) if refusal.code() == NO_STREAM => {
            Failure::new(Exit::NotFound, format!("there is no stream {name:?}"))
        }
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName => {
            Failure::usage(format!("{name:?} is not the name of a stream"))
        }
        _ => unread(name, &error),
    })
}

/// The last message of a subject; none if it is gone meanwhile, as one that has been due is.
async fn last(
    stream: &Stream,
    name: &str,
    subject: String,
) -> Result<Option<StreamMessage>, Failure> {
    match stream.get_last_raw_message_by_subject(&subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(unread(name, &error)),
    }
}

fn unread(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, format!("the stream {name} cannot be read: {error}"))
}
