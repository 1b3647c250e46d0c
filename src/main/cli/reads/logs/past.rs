//! What has happened: the lists of executions and of changes, put together.

use std::pin::pin;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, TryStreamExt as _, stream};
use nats_scheduler::client::{ClientError, ListAudit, ListExecutions};

use super::chosen::Chosen;
use super::event::Event;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::text::note;

/// Events per request.
const PART: u64 = 100;
/// Events of each kind that are looked through for those that are wanted.
const SEARCHED: usize = 20_000;
/// Instances may record what they did in another order than they did it in.
const DISORDER: TimeDelta = TimeDelta::minutes(1);

/// The newest events, oldest first.
pub(super) struct Newest {
    pub(super) events: Vec<Event>,
    /// Whether there are more that match.
    pub(super) is_more: bool,
    /// Whether some were not looked at.
    pub(super) is_cut: bool,
}

impl Newest {
    /// Says what is not shown.
    pub(super) fn tell_rest(&self) {
        if self.is_cut {
            note(&format!("only the newest {SEARCHED} events of each kind were searched"));
        } else if self.is_more {
            note("there are earlier events: --last shows more");
        }
    }
}

/// The newest events of the schedules that are chosen. Of an execution it is the latest event.
///
/// # Errors
/// Those of the requests.
pub(super) async fn newest(
    session: &Session,
    chosen: &Chosen,
    since: Option<DateTime<Utc>>,
    most: usize,
) -> Result<Newest, Failure> {
    let mut found = Newest { events: Vec::new(), is_more: false, is_cut: false };
    collect(executions(session, chosen), chosen, since, most, &mut found).await?;
    collect(changes(session, chosen, since), chosen, since, most, &mut found).await?;
    let Newest { events, is_more, .. } = &mut found;
    events.sort_by_key(|event| (event.time(), event.id()));
    events.dedup_by_key(|event| event.id());
    *is_more |= events.len() > most;
    events.drain(..events.len().saturating_sub(most));
    Ok(found)
}

/// Adds those of the newest events that are wanted.
async fn collect(
    events: impl Stream<Item = Result<Event, ClientError>>,
    chosen: &Chosen,
    since: Option<DateTime<Utc>>,
    most: usize,
    found: &mut Newest,
) -> Result<(), Failure> {
    let mut events = pin!(events);
    let (mut searched, mut taken) = (0, 0);
    while let Some(event) = events.try_next().await? {
        let time = event.time();
        if since.is_some_and(|since| time.checked_add_signed(DISORDER).is_some_and(|it| it < since))
        {
            break;
        }
        searched += 1;
        if searched > SEARCHED {
            found.is_cut = true;
            break;
        }
        if chosen.has(&event) && since.is_none_or(|since| time >= since) {
            if taken == most {
                found.is_more = true;
                break;
            }
            taken += 1;
            found.events.push(event);
        }
    }
    Ok(())
}

/// The executions, newest first. What happens meanwhile moves others to later pages: they come twice then.
fn executions<'a>(
    session: &'a Session,
    chosen: &Chosen,
) -> impl Stream<Item = Result<Event, ClientError>> + use<'a> {
    let one = chosen.one();
    let pages = stream::try_unfold(Some(1), move |page| async move {
        let Some(page) = page else { return Ok(None) };
        let (page, limit) = (Some(page), Some(PART));
        let request = ListExecutions { schedule_id: one, page, limit, ..ListExecutions::default() };
        let executions = session.client.executions(&request).await?.data;
        let next = (executions.len() as u64 == PART).then(|| page.map(|page| page + 1)).flatten();
        let events = executions.into_iter().map(|it| Ok(Event::Execution(Box::new(it))));
        Ok::<_, ClientError>(Some((stream::iter(events), next)))
    });
    pages.try_flatten()
}

/// The changes, in the same way.
fn changes<'a>(
    session: &'a Session,
    chosen: &Chosen,
    since: Option<DateTime<Utc>>,
) -> impl Stream<Item = Result<Event, ClientError>> + use<'a> {
    let one = chosen.one();
    let pages = stream::try_unfold(Some(1), move |page| async move {
        let Some(page) = page else { return Ok(None) };
        let (page, limit) = (Some(page), Some(PART));
        let request = ListAudit { schedule_id: one, since, page, limit, ..ListAudit::default() };
        let changes = session.client.audit(&request).await?.data;
        let next = (changes.len() as u64 == PART).then(|| page.map(|page| page + 1)).flatten();
        let events = changes.into_iter().map(|it| Ok(Event::Change(Box::new(it))));
        Ok::<_, ClientError>(Some((stream::iter(events), next)))
    });
    pages.try_flatten()
}
