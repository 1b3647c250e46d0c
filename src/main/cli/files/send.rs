//! Sends the parts of a set, and says what became of each schedule.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use nats_scheduler::client::{
    ApiError, ApplyOutcome, ApplySchedule, BulkApply, Client, ClientError, Code, Difference,
    GetSchedule, ItemRefused, ListSchedules, Prune, ScheduleSummary, Warning,
};

use super::set::{Declared, Key, Limits, Part, parts};
use crate::cli::failure::Failure;
use crate::cli::node::Node;
use crate::cli::progress::Progress;
use crate::cli::session::{Session, Which, about};

/// A part of a hundred takes far less.
const PATIENCE: Duration = Duration::from_secs(60);
/// Schedules that are declared at once, if nobody owns them.
const AT_ONCE: usize = 16;
/// Bytes of a request beside the schedules.
const ENVELOPE: usize = 16 * 1024;

/// How a set is applied.
#[derive(Clone, Copy)]
pub struct How {
    pub adopt: bool,
    pub dry_run: bool,
    /// How many coming times a dry run shows.
    pub count: u64,
    /// Most schedules of a request.
    pub part: usize,
    /// Whether a dry run asks for the payloads that would change.
    pub shows_payloads: bool,
}

/// What became of a declared schedule, or would.
#[derive(Default)]
pub struct Became {
    pub outcome: Option<ApplyOutcome>,
    pub difference: Option<Box<Difference>>,
    pub error: Option<ApiError>,
    /// The revision that it has.
    pub revision: Option<u64>,
    /// Warnings of the service, although it was done.
    pub warnings: Vec<Warning>,
    /// The payload that it has, if that changes and may be shown.
    pub payload: Option<Node>,
}

impl Became {
    /// The revision at which what was shown is true.
    pub fn expected(&self) -> Option<u64> {
        if self.outcome == Some(ApplyOutcome::Created) { Some(0) } else { self.revision }
    }

    fn changes_payload(&self) -> bool {
        let changes = self.difference.iter().flat_map(|difference| &difference.changes);
        changes.into_iter().any(|change| change.field == PAYLOAD)
    }
}

/// The field that is shown path by path.
pub const PAYLOAD: &str = "command_payload";

/// Applies a set, in parts. `done` hears of each as soon as it is known.
///
/// # Errors
/// Those of a request as a whole; parts before it are applied.
pub async fn send(
    session: &Session,
    set: &[Declared],
    how: How,
    mut done: impl FnMut(usize, Became) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bytes = session.nats.server_info().max_payload.saturating_sub(ENVELOPE);
    let mut rooms = Rooms::default();
    let what = if how.dry_run { "planned" } else { "applied" };
    let mut progress = Progress::new(what, Some(set.len()));
    for part in parts(set, Limits { items: how.part, bytes }) {
        let client = session.patient(PATIENCE);
        let mut became = Vec::new();
        // What was applied is reported at once: the rest may fail or be interrupted.
        let mut known = |n, one| match how.dry_run {
            true => {
                became.push((n, one));
                Ok(())
            }
            false => done(n, one),
        };
        match &part.owner {
            Some(owner) => {
                let applied = apply_owned(&client, set, &part, owner, how).await?;
                applied.into_iter().try_for_each(|(n, one)| known(n, one))?;
            }
            None => apply_each(&client, set, &part, how, known).await?,
        }
        if how.shows_payloads {
            read_payloads(&client, set, &mut became).await?;
        }
        for (n, became) in became {
            let became = coming(session, &set[n], became, how).await?;
            done(n, rooms.admit(&set[n], became))?;
        }
        progress.add(part.items.len());
    }
    Ok(())
}

/// In a dry run nothing can follow what another part would create: then it says only whether the follower is there.
async fn coming(
    session: &Session,
    one: &Declared,
    became: Became,
    how: How,
) -> Result<Became, Failure> {
    let follows_new = how.dry_run
        && one.upstream.is_some()
        && became.error.as_ref().is_some_and(|error| error.code == Code::NotFound);
    if !follows_new {
        return Ok(became);
    }
    let which = Which::named(one.name.clone(), one.creator.clone());
    match session.client.get_with(&about!(GetSchedule {}, which)).await {
        Ok(there) => {
            let revision = Some(there.data.revision);
            Ok(Became { outcome: Some(ApplyOutcome::Updated), revision, ..Became::default() })
        }
        Err(ClientError::Refused(error)) if error.code == Code::NotFound => {
            Ok(Became { outcome: Some(ApplyOutcome::Created), ..Became::default() })
        }
        Err(error) => Err(error.into()),
    }
}

/// How many schedules creators may still have, and how many a dry run has given them. Each of its requests knows only
/// itself.
#[derive(Default)]
struct Rooms(HashMap<String, (Option<usize>, usize)>);

impl Rooms {
    /// Refuses what would be created beyond the room.
    fn admit(&mut self, one: &Declared, became: Became) -> Became {
        if became.error.is_some() || became.outcome != Some(ApplyOutcome::Created) {
            return became;
        }
        let (room, taken) = self.0.entry(one.creator.clone()).or_default();
        *room = became.difference.as_ref().and_then(|difference| difference.room).or(*room);
        if room.is_none_or(|room| *taken < room) {
            *taken += 1;
            return became;
        }
        let error = Some(ApiError::beyond_room(&one.creator, room.unwrap_or_default()));
        Became { error, ..Became::default() }
    }
}

/// Asks for the payloads that would be replaced.
async fn read_payloads(
    client: &Client,
    set: &[Declared],
    became: &mut [(usize, Became)],
) -> Result<(), Failure> {
    let changed = became.iter_mut().filter(|(_, became)| became.changes_payload());
    let requests = changed.map(|(n, became)| {
        let (name, creator) = (set[*n].name.clone(), set[*n].creator.clone());
        let request = about!(GetSchedule {}, Which::named(name, creator));
        async move {
            match client.get_with(&request).await {
                Ok(reply) => became.payload = Some(Node::of(&reply.data.command_payload)?),
                // It has just been deleted: its hash has to do.
                Err(ClientError::Refused(error)) if error.code != Code::Unavailable => {}
                Err(error) => return Err(error.into()),
            }
            Ok(())
        }
    });
    let requests: Vec<_> = requests.collect();
    stream::iter(requests).buffered(AT_ONCE).try_collect::<()>().await
}

async fn apply_owned(
    client: &Client,
    set: &[Declared],
    part: &Part,
    owner: &str,
    how: How,
) -> Result<Vec<(usize, Became)>, Failure> {
    let schedules = part.items.iter().map(|n| serde_json::from_str(&set[*n].request().to_string()));
    let request = BulkApply {
        owner: Some(owner.to_owned()),
        created_by: Some(part.creator.clone()),
        schedules: Some(schedules.collect::<Result<_, _>>()?),
        adopt: Some(how.adopt),
        dry_run: Some(how.dry_run),
        count: Some(if how.dry_run { how.count } else { 0 }),
        ..BulkApply::default()
    };
    let results = client.bulk_apply(&request).await?.data.results.into_iter();
    let became = results.filter_map(|result| {
        let (outcome, difference, error) = (result.outcome, result.difference, result.error);
        let (revision, warnings) = (result.revision, result.warnings);
        let became = Became { outcome, difference, error, revision, warnings, payload: None };
        Some((*part.items.get(result.index)?, became))
    });
    Ok(became.collect())
}

/// What nobody owns is declared one by one, and what is followed first. After a failure none is begun; those under way are
/// waited for.
async fn apply_each(
    client: &Client,
    set: &[Declared],
    part: &Part,
    how: How,
    mut known: impl FnMut(usize, Became) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut failure, is_over) = (None, Cell::new(false));
    let mut rest = part.items.clone();
    while !rest.is_empty() && !is_over.get() {
        let waits = |n: &usize| set[*n].upstream.is_some_and(|upstream| rest.contains(&upstream));
        let (later, now): (Vec<_>, Vec<_>) = rest.iter().partition(|n| waits(n));
        let mut applied = stream::iter(now)
            .take_while(|_| future::ready(!is_over.get()))
            .map(|n| async move { (n, apply_one(client, &set[n], how).await) })
            .buffered(AT_ONCE);
        while let Some((n, applied)) = applied.next().await {
            match applied {
                Ok(one) => known(n, one)?,
                Err(error) => {
                    is_over.set(true);
                    failure.get_or_insert(error);
                }
            }
        }
        drop(applied);
        rest = later;
    }
    failure.map_or(Ok(()), Err)
}

async fn apply_one(client: &Client, one: &Declared, how: How) -> Result<Became, Failure> {
    let mut node = one.request();
    if let Node::Map(fields) = &mut node {
        fields.push(("created_by".to_owned(), Node::Text(one.creator.clone())));
        fields.push(("dry_run".to_owned(), Node::Bool(how.dry_run)));
        fields.push(("adopt".to_owned(), Node::Bool(how.adopt)));
        fields.push(("count".to_owned(), Node::Number(how.count.to_string())));
    }
    let request: ApplySchedule = match serde_json::from_str(&node.to_string()) {
        Ok(request) => request,
        Err(error) => {
            let error = Some(ApiError::new(Code::Invalid, error.to_string()));
            return Ok(Became { error, ..Became::default() });
        }
    };
    match client.apply(&request).await {
        Ok(reply) => {
            let outcome = reply.difference.as_ref().map(|difference| difference.outcome);
            let (difference, revision) = (reply.difference, Some(reply.data.revision));
            let warnings = reply.warnings;
            Ok(Became { outcome, difference, revision, warnings, ..Became::default() })
        }
        Err(ClientError::Refused(error)) if error.code != Code::Unavailable => {
            Ok(Became { error: Some(error), ..Became::default() })
        }
        Err(error) => Err(error.into()),
    }
}

/// The schedules of an owner that a set does not have.
///
/// # Errors
/// Those of the list.
pub async fn surplus(
    session: &Session,
    owner: &str,
    keys: &std::collections::HashSet<Key>,
) -> Result<Vec<ScheduleSummary>, Failure> {
    let request = ListSchedules { owner: Some(owner.to_owned()), ..ListSchedules::default() };
    let mut all = session.client.all_schedules(request);
    let (mut found, mut progress) = (Vec::new(), Progress::new("compared", None));
    while let Some(schedule) = all.try_next().await? {
        progress.add(1);
        let key = (schedule.created_by.clone(), schedule.name.clone());
        if !keys.contains(&key) {
            found.push(schedule);
        }
    }
    Ok(found)
}

/// Deletes schedules of an owner, unless they have changed since they were listed. Returns how many were deleted, and
/// those that were not. One that somebody else has deleted meanwhile is neither.
///
/// # Errors
/// Those of the requests.
pub async fn prune(
    session: &Session,
    owner: &str,
    surplus: &[ScheduleSummary],
    part: usize,
) -> Result<(usize, Vec<ItemRefused>), Failure> {
    let (mut pruned, mut refused) = (0, Vec::new());
    let mut progress = Progress::new("deleted", Some(surplus.len()));
    for part in surplus.chunks(part.max(1)) {
        let prune = part
            .iter()
            .map(|it| Prune { schedule_id: it.id, expected_revision: it.revision })
            .collect();
        let request =
            BulkApply { owner: Some(owner.to_owned()), prune: Some(prune), ..BulkApply::default() };
        let done = session.patient(PATIENCE).bulk_apply(&request).await?.data;
        pruned += done.pruned.len();
        progress.add(part.len());
        refused.extend(done.not_pruned.into_iter().filter(|it| it.error.code != Code::NotFound));
    }
    Ok((pruned, refused))
}
