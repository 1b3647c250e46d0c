//! Health of the service: whether it is ready, and what is wrong if something is.
//!
//! A task asks NATS every few seconds and keeps the answers. Readers get the latest ones at once, together
//! with what is known without asking.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::watch as state;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::streams::StreamOptions;
use crate::index::Index;
use crate::jetstream::adapter::JetStream;
use crate::jetstream::observe::{Observation, last_revision, observe};
use crate::jetstream::reminder::Reminder;
use crate::jetstream::writes::{OurStream, Writes};
use crate::load::Load;
use crate::names;
use crate::plan::MAX_CLAIMED;
use crate::port::Nats;

/// How long before the end of the grace period pending requests are answered.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Interval between questions to NATS.
const INTERVAL: Duration = Duration::from_secs(5);
/// Offset between the host's clock and NATS's beyond which the host's clock needs mending; what is due goes
/// by NATS's clock.
pub const MAX_CLOCK_OFFSET: TimeDelta = TimeDelta::milliseconds(500);
/// Lag beyond which the engine is late.
pub const MAX_TIMER_LAG: Duration = Duration::from_secs(5);
/// How long the bucket may be unwritable before the instance is not ready: longer than an election of a
/// leader takes.
pub const MAX_UNWRITTEN: Duration = Duration::from_secs(10);

/// Stage of an instance's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for NATS, or loads.
    Starting,
    /// It fires and replies.
    Running,
    /// It finishes what it has begun.
    Stopping,
}

/// Everything known about the health of the service.
#[derive(Debug)]
pub struct Health<N = JetStream> {
    stage: AtomicU8,
    /// When work under way must be answered.
    ends_at: state::Sender<Option<Instant>>,
    nats: OnceLock<N>,
    /// Connection over which requests arrive; `None` while it is being replaced.
    requests: RwLock<Option<N>>,
    /// Whether the index follows the bucket, and whether the history has been read.
    following: OnceLock<[state::Receiver<bool>; 2]>,
    seen: RwLock<Seen>,
    /// Settings whose files cannot be used at present, each with a sentence about it.
    broken: Mutex<BTreeMap<&'static str, String>>,
    /// The instance's clock.
    pub clock: Clock,
    /// The load that the engine reports.
    pub load: Arc<Load>,
    /// State of writes to our streams.
    pub writes: Arc<Writes>,
}

/// Latest observations of NATS.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Answers from NATS.
    pub nats: Observation,
    /// Records that were written but not yet seen by this instance.
    pub watch_lag: Option<u64>,
    /// Whether records written by the time of the previous observation have still not been seen.
    pub is_behind: bool,
}

impl<N: Nats> Health<N> {
    /// The health of an instance that starts, with its clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            stage: AtomicU8::default(),
            ends_at: state::Sender::default(),
            nats: OnceLock::new(),
            requests: RwLock::default(),
            following: OnceLock::new(),
            seen: RwLock::default(),
            broken: Mutex::default(),
            clock,
            load: Arc::default(),
            writes: Arc::default(),
        }
    }

    /// Stage of the instance's life.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Starting,
            1 => Stage::Running,
            _ => Stage::Stopping,
        }
    }

    /// Notes that the instance fires and replies.
    pub fn note_running(&self) {
        self.stage.fetch_max(Stage::Running as u8, Ordering::SeqCst);
    }

    /// Notes that the instance stops, and how long it waits for work under way.
    pub fn note_stopping(&self, grace: Duration) {
        let ends_at = Instant::now() + grace.saturating_sub(LAST_ANSWERS);
        self.ends_at.send_if_modified(|known| known.replace(ends_at).is_none());
        self.stage.store(Stage::Stopping as u8, Ordering::SeqCst);
    }

    /// Returns once the instance stops and the time to answer work under way has come.
    pub async fn last_answers(&self) {
        let mut ends_at = self.ends_at.subscribe();
        let stopping = ends_at.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        match stopping {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Notes the channels that tell whether the schedules, and the history, are loaded and followed.
    pub fn note_following(&self, schedules: state::Receiver<bool>, history: state::Receiver<bool>) {
        let _ = self.following.set([schedules, history]);
    }

    fn is_following(&self) -> [bool; 2] {
        let following = self.following.get();
        following.map_or([false; 2], |parts| [*parts[0].borrow(), *parts[1].borrow()])
    }

    /// Whether there is a connection to NATS.
    pub fn is_connected(&self) -> bool {
        self.nats.get().is_some_and(N::is_connected)
    }

    /// Notes the connection over which requests are heard; `None` if they are not.
    pub fn note_hearing(&self, over: Option<N>) {
        *self.requests.write().unwrap_or_else(PoisonError::into_inner) = over;
    }

    /// Whether requests over NATS are heard.
    pub fn is_hearing(&self) -> bool {
        let requests = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        requests.as_ref().is_some_and(N::is_connected)
    }

    /// Whether NATS answers over the connection that requests use.
    pub async fn asks_as_requests_come(&self) -> bool {
        let nats = self.requests.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(nats) = nats.filter(|_| self.is_hearing()) else { return false };
        nats.request(names::SCHEDULES_INFO.to_owned()).await.is_ok()
    }

    /// Why the instance is not ready, if it is not.
    pub fn not_ready(&self) -> Option<&'static str> {
        match self.stage() {
            Stage::Stopping => Some("the service is stopping"),
            Stage::Starting => Some("the service is starting"),
            Stage::Running if !self.is_connected() => Some("NATS is out of reach"),
            Stage::Running if !self.is_hearing() => Some("requests over NATS are not heard"),
            Stage::Running if !self.is_following()[0] => Some("the schedules are being read anew"),
            Stage::Running if self.is_missing(names::SCHEDULES_STREAM) => {
                Some("the bucket of schedules does not exist")
            }
            Stage::Running if self.is_behind() => Some("changes of schedules are not seen"),
            Stage::Running if self.is_unwritten() => {
                Some("nothing can be written to the bucket of schedules")
            }
            Stage::Running => None,
        }
    }

    fn is_missing(&self, stream: &str) -> bool {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.nats.streams.iter().any(|one| one.name == stream && one.exists == Some(false))
    }

    /// Whether the bucket has been unwritable for so long that the instance neither fires nor changes
    /// anything.
    fn is_unwritten(&self) -> bool {
        let trouble = self.writes.trouble(OurStream::Schedules);
        trouble.is_some_and(|trouble| trouble.lasting >= MAX_UNWRITTEN)
    }

    fn is_behind(&self) -> bool {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).is_behind
    }

    /// The latest observations of NATS.
    pub fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Current problems, each as a sentence for people; empty if all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems_of_nats();
        problems.extend(self.problems_of_clocks());
        problems.extend(self.problems_of_watches());
        let timer_lag = self.load.timer_lag(self.clock.now());
        if timer_lag > MAX_TIMER_LAG {
            let seconds = timer_lag.as_secs();
            problems.push(format!("what is due has not been acted on for {seconds} s"));
        }
        for place in OurStream::ALL {
            if let Some(trouble) = self.writes.trouble(place) {
                let (stream, error) = (place.stream(), trouble.error);
                let seconds = trouble.lasting.as_secs();
                let text = format!(
                    "writes to stream {stream} fail, for {seconds} s: {error}; the log says why"
                );
                problems.push(text);
            }
        }
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        problems.extend(broken.values().cloned());
        problems
    }

    /// What is the matter with NATS, and with the ways to it.
    fn problems_of_nats(&self) -> Vec<String> {
        let nats = self.seen().nats;
        let mut problems = Vec::new();
        if !self.is_connected() {
            problems.push("NATS is out of reach".to_owned());
        } else if self.stage() == Stage::Running && !self.is_hearing() {
            problems.push("requests over NATS are not heard: their connection is lost".to_owned());
        }
        if self.load.mute.load(Ordering::Relaxed) {
            let text =
                "there is no connection for commands, so others do its work: the log says why";
            problems.push(text.to_owned());
        }
        problems.extend(self.heartbeat_problem());
        if let Some(error) = &nats.jetstream_error {
            problems.push(format!("JetStream does not answer: {error}; the log says why"));
        }
        for stream in &nats.streams {
            if stream.exists == Some(false) {
                let lacks = format!("stream {} does not exist", stream.name);
                // What follows is nothing that the name would say.
                let follows = (stream.name == names::EXECUTIONS_STREAM)
                    .then(|| format!(": outcomes wait, and a schedule with {MAX_CLAIMED} of them skips what is due; an instance creates it when it starts"));
                problems.push(lacks + &follows.unwrap_or_default());
            }
            if !stream.drift.is_empty() {
                let drift = stream.drift.join("; ");
                problems.push(format!("stream {} differs from ours: {drift}", stream.name));
            }
        }
        problems
    }

    /// What is the matter with the time, here and at NATS.
    fn problems_of_clocks(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.stage() == Stage::Running && !self.clock.is_sure() {
            let text = "the time of NATS is not known: nothing is claimed until it is";
            problems.push(text.to_owned());
        }
        if let Some((by, since)) = self.clock.nats_jumped() {
            let (ms, since) = (by.num_milliseconds(), since.as_secs());
            problems.push(format!("the clock of NATS jumped by {ms} ms, {since} s ago"));
        }
        if let Some((offset, error)) = self.clock.host_offset()
            && offset.abs() - error > MAX_CLOCK_OFFSET
        {
            let side = if offset > TimeDelta::zero() { "ahead of" } else { "behind" };
            let ms = offset.num_milliseconds().abs();
            problems.push(format!("the clock of this host is {ms} ms {side} that of NATS"));
        }
        problems
    }

    /// What is not followed, or too slowly.
    fn problems_of_watches(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.stage() == Stage::Running {
            let [schedules, history] = self.is_following();
            if !schedules {
                problems.push("the schedules are being read anew".to_owned());
            } else if self.is_behind() {
                let seconds = INTERVAL.as_secs();
                problems.push(format!("changes of {seconds} s ago and more are not seen"));
            }
            if !history {
                problems.push("the history is being read".to_owned());
            }
        }
        problems
    }

    fn heartbeat_problem(&self) -> Option<String> {
        let (present, old) = (names::INSTANCE_WILDCARD, names::OLD_INSTANCE_WILDCARD);
        if self.load.deaf.load(Ordering::Relaxed) {
            let text = "its own heartbeats do not come back, so it takes nothing over from other instances: let the \
                        user of the service publish and subscribe to";
            return Some(format!("{text} {present}, see docs/nats-permissions.md"));
        }
        self.load.old_heartbeats.load(Ordering::Relaxed).then(|| {
            let text = "let the user of the service publish and subscribe to it, see docs/nats-permissions.md";
            format!("NATS refuses heartbeats on {present}, and they go by {old} meanwhile: {text}")
        })
    }

    /// Notes that the files of a setting cannot be used at present; the sentence is for people.
    pub fn note_broken(&self, setting: &'static str, sentence: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).insert(setting, sentence);
    }

    /// Notes that the files of a setting can be used.
    pub fn note_mended(&self, setting: &'static str) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).remove(setting);
    }

    /// Notes the connection to NATS.
    pub fn note_connected(&self, nats: N) {
        let _ = self.nats.set(nats);
    }

    /// Asks NATS every few seconds, until `stop`.
    pub async fn watch(
        self: Arc<Self>,
        nats: N,
        index: Arc<Index>,
        options: StreamOptions,
        stop: CancellationToken,
    ) {
        let (mut known, mut before, mut said) = (Vec::new(), None, Reminder::default());
        loop {
            if self.is_connected() {
                let nats = observe(&nats, options, &self.clock).await;
                let seen = index.seen();
                let last = last_revision(&nats.streams);
                let watch_lag = last.map(|last| last.saturating_sub(seen));
                // A recreated bucket counts from the start.
                let is_behind = self.is_following()[0]
                    && before.zip(last).is_some_and(|(before, last)| seen < last.min(before));
                before = last;
                if let Some(cause) = &nats.jetstream_cause
                    && said.is_due(cause, Instant::now())
                {
                    warn!(cause, "JetStream does not answer");
                }
                *self.seen.write().unwrap_or_else(PoisonError::into_inner) =
                    Seen { nats, watch_lag, is_behind };
            }
            let problems = self.problems();
            if is_news(&known, &problems) && self.stage() != Stage::Stopping {
                if problems.is_empty() {
                    info!("healthy again");
                } else {
                    warn!(problems = problems.join("; "), "degraded");
                }
            }
            known = problems;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.clock.wants_asking() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}

/// Whether a problem began or ended. The figures in the sentences change all the time.
fn is_news(known: &[String], problems: &[String]) -> bool {
    let without_figures = |text: &String| text.replace(|c: char| c.is_ascii_digit(), "");
    !known.iter().map(without_figures).eq(problems.iter().map(without_figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_takes_the_place_of_another_is_news() {
        let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (late, later) = (all(&["not acted on for 9 s"]), all(&["not acted on for 12 s"]));
        let other = all(&["NATS is out of reach"]);
        assert!(!is_news(&late, &later) && !is_news(&[], &[]));
        assert!(is_news(&late, &other) && is_news(&late, &[]) && is_news(&[], &other));
    }
}
