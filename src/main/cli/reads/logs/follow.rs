//! What happens, as it happens.

use std::collections::{HashSet, VecDeque};
use std::fmt::Display;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Subscriber;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use nats_scheduler::client::ExecutionStatus;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::chosen::Chosen;
use super::event::Event;
use super::past::{Newest, newest};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::cli::text::note;

/// Events that are remembered, since one may come twice.
const REMEMBERED: usize = 40_000;
/// Most events that are made up for at once.
const MADE_UP: usize = 10_000;
/// Interval between checks whether something has to be made up for.
const LOOK: Duration = Duration::from_secs(1);
/// Time after which the service lists what happened before we listened.
const LISTED: Duration = Duration::from_secs(2);
/// How much earlier than the last event one may be that we have missed.
const OVERLAP: TimeDelta = TimeDelta::seconds(5);

/// A plan to look in the lists for what may have been missed.
#[derive(Clone, Copy)]
struct MakeUp {
    at: Instant,
    /// How many times more: what happened a moment ago is listed in a moment.
    more: u8,
}

/// A follower, who hears what happens.
pub(super) struct Following<'a> {
    session: &'a Session,
    chosen: Chosen,
    heard: Subscriber,
    seen: Seen,
    /// The time of the latest event that is known, by the clock of the service.
    latest: DateTime<Utc>,
    /// Everything from here on is known.
    floor: Option<DateTime<Utc>>,
    /// When to make up for what was not heard.
    make_up: Option<MakeUp>,
    connects: u64,
}

impl<'a> Following<'a> {
    /// Listens, before anything else is asked.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn begin(session: &'a Session, chosen: Chosen) -> Result<Self, Failure> {
        let of = chosen.one().map_or_else(|| "*".to_owned(), |id| id.to_string());
        // One subscription for both kinds keeps their order.
        let heard = session.nats.subscribe(format!("evt.scheduler.*.*.{of}")).await;
        let heard = heard.map_err(|error| lost(&error))?;
        session.nats.flush().await.map_err(|error| lost(&error))?;
        let connects = connects(session);
        Ok(Self {
            session,
            chosen,
            heard,
            seen: Seen::default(),
            latest: Utc::now(),
            floor: None,
            make_up: Some(MakeUp { at: Instant::now() + LISTED, more: 0 }),
            connects,
        })
    }

    pub(super) fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// Remembers the past, of which no more is shown.
    pub(super) fn knows(&mut self, found: &Newest) {
        for event in &found.events {
            self.seen.is_new(event);
        }
        self.latest = found.events.last().map_or(self.latest, Event::time);
        self.floor =
            found.events.first().filter(|_| found.is_more || found.is_cut).map(Event::time);
    }

    /// Shows what happens until somebody ends it.
    ///
    /// # Errors
    /// `Unavailable` if the connection is closed for good, and those of the output.
    pub(super) async fn go_on(mut self, out: &mut Output) -> Result<Exit, Failure> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unheard = pin!(self.session.unheard());
        loop {
            tokio::select! {
                failure = &mut unheard => return Err(failure),
                message = self.heard.next() => {
                    let Some(message) = message else { return Err(lost(&"it is closed")) };
                    if let Some(event) = Event::read(&message.subject, &message.payload) {
                        self.take(event, out).await?;
                    }
                }
                _ = looks.tick() => self.look(out).await?,
            }
        }
    }

    async fn take(&mut self, event: Event, out: &mut Output) -> Result<(), Failure> {
        if let Err(failure) = self.chosen.learn(&event, self.session).await {
            failure.about("whether a schedule matches now is not known").report();
        }
        if self.chosen.has(&event) && self.seen.is_new(&event) {
            self.latest = self.latest.max(event.time());
            event.show(out)?;
            out.flush()?;
        }
        Ok(())
    }

    /// Makes up for what could not be heard, once there is something.
    async fn look(&mut self, out: &mut Output) -> Result<(), Failure> {
        let connects = connects(self.session);
        if connects != self.connects {
            self.connects = connects;
            self.make_up = Some(MakeUp { at: Instant::now(), more: 1 });
        }
        let due = self.make_up.filter(|it| it.at <= Instant::now());
        let Some(MakeUp { more, .. }) = due else { return Ok(()) };
        let since = self.latest.checked_sub_signed(OVERLAP).max(self.floor);
        let found = newest(self.session, &self.chosen, since, MADE_UP).await;
        let Ok(found) = found else {
            // The service may be away just then: the next look is soon.
            return Ok(());
        };
        if found.is_more || found.is_cut {
            note("more happened meanwhile than is shown here: see `history` and `audit`");
        }
        for event in found.events {
            self.take(event, out).await?;
        }
        let again = more.checked_sub(1);
        self.make_up = again.map(|more| MakeUp { at: Instant::now() + LISTED, more });
        Ok(())
    }
}

fn connects(session: &Session) -> u64 {
    session.nats.statistics().connects.load(Ordering::Relaxed)
}

fn lost(error: &dyn Display) -> Failure {
    Failure::new(Exit::Unavailable, format!("the connection to NATS is lost: {error}"))
}

/// The latest events that are known.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Whether it is seen for the first time. The begin of an execution whose end is known is nothing new.
    fn is_new(&mut self, event: &Event) -> bool {
        let Event::Execution(execution) = event else { return self.add(event.id()) };
        if execution.status == ExecutionStatus::Running {
            return !self.ids.contains(&execution.id.to_string()) && self.add(event.id());
        }
        self.add(execution.id.to_string());
        self.add(event.id())
    }

    fn add(&mut self, id: String) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.ids.remove(&oldest));
        }
        true
    }
}
