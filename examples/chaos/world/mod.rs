//! One run: real nats-servers, real instances, users, workers, and faults.
//!
//! The seed determines schedules, wishes and faults. What real processes make of them differs from run to run; the run
//! looks for an order of events that breaks a promise.

mod cluster;
mod faults;
mod instance;
mod jobs;
mod lateness;
mod proxy;
mod settle;
mod stalls;
mod streams;
mod strike;
mod users;
mod workers;
mod workload;

use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use nats_scheduler::client::BulkAction;
use nats_scheduler::dev::server::find;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until};

use cluster::Cluster;
use faults::Trouble;
use instance::Place;
use settle::Seen;
use stalls::Stalls;
use streams::Streams;
use strike::{INSTANCES, STREAMS};
use users::{User, Users};
use workers::Workers;

/// Quiet time before the first fault.
const CALM: Duration = Duration::from_secs(6);
/// Quiet time after the last fault, in which workers behave and users keep still, so long that what is late by itself
/// is seen. After that nothing may be left to do.
const AFTERWARDS: Duration = Duration::from_secs(18);
/// Creations at once.
const AT_ONCE: usize = 16;

/// Parameters of a run.
pub struct Plan {
    pub seed: u64,
    /// Duration of the faults.
    pub faults: Duration,
    /// Whether each kind of fault first comes alone.
    pub one_by_one: bool,
    pub schedules: usize,
    /// The program of the service.
    pub service: PathBuf,
    /// Folder for stores and logs.
    pub folder: PathBuf,
}

/// Result of a run.
pub struct Report {
    pub violations: Vec<String>,
    pub summary: String,
}

/// Everything that exists during a run.
struct World {
    cluster: Cluster,
    places: Vec<Place>,
    workers: Workers,
    user: User,
}

impl Plan {
    /// Approximate duration of the run.
    fn length(&self) -> Duration {
        2 * CALM + self.faults + 2 * AFTERWARDS
    }

    /// Carries out the run.
    pub async fn run(&self) -> Report {
        let began = Instant::now();
        let progress = tokio::spawn(show_progress(self.seed, began, self.length()));
        let report = self.run_all().await;
        progress.abort();
        report
    }

    async fn run_all(&self) -> Report {
        let stalls = Stalls::watch();
        let World { cluster, places, workers, user } = self.begin().await;
        let users = Users::start(&user, self.seed);
        sleep(CALM).await;
        let trouble = Trouble::new(&cluster, &places).await;
        self.cause(&trouble).await;
        users.stop().await;
        workers.behave();
        let (mut faults, mut violations) = trouble.into_parts();
        for place in &places {
            violations.extend(place.is_ready().await.and(place.lives().await).err());
        }
        cluster.heals(&STREAMS).await;
        let streams = Streams::of(&cluster.urls()).await;
        violations.extend(settle(&user, &streams).await);
        for place in &places {
            violations.extend(place.stop().await.err());
        }
        faults.extend(stalls.seen());
        Seen { streams, workers, user, faults }.look(violations, &self.folder).await
    }

    /// Starts everything, and creates the schedules.
    async fn begin(&self) -> World {
        let binary = find(&mut |line| eprintln!("{line}")).unwrap();
        let cluster = Cluster::start(&binary, &self.folder).await;
        let mut places = Vec::new();
        for n in 0..INSTANCES {
            let place = Place::start(&self.service, &self.folder, n, cluster.ports());
            places.push(place.await);
        }
        for place in &places {
            place.is_ready().await.unwrap();
        }
        cluster.heals(&STREAMS).await;
        let listeners = cluster.client_of_each().await;
        let workers = Workers::start(cluster.client.clone(), listeners, self.seed).await;
        let user = User::new(cluster.client.clone());
        self.create(&user).await;
        World { cluster, places, workers, user }
    }

    async fn create(&self, user: &User) {
        let seeds = (0..self.schedules as u64).map(|n| self.seed ^ n << 32);
        let creations = seeds.map(|seed| async move {
            user.create(&mut StdRng::seed_from_u64(seed)).await;
        });
        futures::stream::iter(creations).buffer_unordered(AT_ONCE).count().await;
    }

    async fn cause(&self, trouble: &Trouble<'_>) {
        let mut chance = StdRng::seed_from_u64(self.seed);
        let until = Instant::now() + self.faults;
        if self.one_by_one {
            trouble.one_by_one(&mut chance).await;
        }
        trouble.at_once(&mut chance, until).await;
    }
}

/// Resumes everything and lets it finish, then pauses everything, so that nothing is under way during the check.
async fn settle(user: &User, streams: &Streams) -> Vec<String> {
    let mut violations = user.insist_on(BulkAction::Resume).await;
    sleep(AFTERWARDS).await;
    violations.extend(settle::nothing_waits(streams).await);
    violations.extend(settle::nothing_is_left(streams, user).await);
    violations
}

async fn show_progress(seed: u64, began: Instant, length: Duration) {
    let is_terminal = stderr().is_terminal();
    let pause = Duration::from_secs(if is_terminal { 1 } else { 30 });
    for n in 1.. {
        sleep_until(began + pause * n).await;
        let left = length.saturating_sub(began.elapsed()).as_secs();
        let line =
            format!("seed {seed}: {:>4} s, about {left:>4} s left", began.elapsed().as_secs());
        let end = if is_terminal { "\r" } else { "\n" };
        let _ = write!(stderr(), "{line}{end}");
    }
}

/// Folder for stores and logs of a run; removed with this value, unless it is kept for inspection.
pub struct Folder(Option<tempfile::TempDir>);

impl Folder {
    /// Creates a folder.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("chaos-").tempdir();
        Self(Some(folder.unwrap()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }

    /// Keeps the folder.
    pub fn keep(mut self) -> PathBuf {
        self.0.take().unwrap().keep()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take_if(|_| std::thread::panicking()) {
            eprintln!("stores and logs are in {}", folder.keep().display());
        }
    }
}
