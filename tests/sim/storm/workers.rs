//! Receivers of commands: responders, listeners, and workers of jobs, good and bad.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use futures::StreamExt as _;
use nats_scheduler::api::error::ApiError;
use nats_scheduler::api::reply::Reply;
use nats_scheduler::api::reports::{
    CompleteExecution, FailExecution, HeartbeatExecution, Reported,
};
use nats_scheduler::api::{Api, Caller};
use nats_scheduler::names;
use nats_scheduler::port::{Entry, Nats as _, Outgoing, Reading, Start, Wire as _};
use nats_scheduler::schedule::DeliveryMode;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::sleep;
use uuid::Uuid;

use super::evidence::{Book, answer_of, within_patience};
use super::targets::{NOBODY, SHORT};
use super::{Reachable, Storm, any, source};
use crate::checker::{Heard, Wish};
use crate::nats::{Server, Simulated};

/// Opens all of them for a storm.
pub fn open(storm: &Storm) {
    let (server, book) = (storm.server.clone(), storm.book());
    let chance = |n| source(storm.seed, usize::MAX - n);
    tokio::spawn(respond(server.clone(), book.clone(), chance(2)));
    tokio::spawn(listen(server.clone(), book.clone()));
    tokio::spawn(overhear(server.clone(), book.clone(), chance(6)));
    for (stream, filter, n) in
        [(names::COMMANDS_STREAM, "cmd.report.>", 3), (SHORT, "cmd.short.>", 7)]
    {
        let living = Arc::clone(&storm.living);
        tokio::spawn(work(server.clone(), stream, filter, living, book.clone(), chance(n)));
    }
}

fn heard(server: &Server, book: &Book, mode: DeliveryMode, message: &Message) {
    let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
    let Some(execution) = header(names::EXECUTION_ID).and_then(|id| id.parse().ok()) else {
        return;
    };
    let claim = header(names::REVISION).and_then(|revision| revision.parse().ok());
    let (subject, body) = (message.subject.to_string(), message.payload.to_vec());
    let heard = Heard { execution, claim, mode, subject, body, at: server.now() };
    book.evidence().heard.push(heard);
}

/// Notes `core` commands.
async fn listen(server: Server, book: Book) {
    let nats = server.connect();
    let mut commands = nats.subscribe("cmd.listener.>".to_owned()).await.unwrap();
    while let Some(command) = commands.next().await {
        heard(&server, &book, DeliveryMode::Core, &command);
    }
}

/// Hears what is published where no stream takes it, and says something to some of it.
async fn overhear(server: Server, book: Book, mut chance: StdRng) {
    let nats = server.connect();
    let mut commands = nats.subscribe(NOBODY.to_owned()).await.unwrap();
    while let Some(command) = commands.next().await {
        heard(&server, &book, DeliveryMode::Publish, &command);
        let Some(reply) = command.reply.filter(|_| chance.random_bool(0.5)) else { continue };
        let body = "it has nothing to do with it".into();
        let answer = Outgoing { subject: reply.to_string(), body, ..Outgoing::default() };
        nats.publish(answer).await.unwrap();
    }
}

/// Answers requests: at once, late, twice, with an error, or not.
async fn respond(server: Server, book: Book, mut chance: StdRng) {
    let nats = server.connect();
    let mut commands = nats.subscribe("cmd.worker.>".to_owned()).await.unwrap();
    while let Some(command) = commands.next().await {
        heard(&server, &book, DeliveryMode::Request, &command);
        let Some(reply) = command.reply else { continue };
        let mut answer = Outgoing { subject: reply.to_string(), ..Outgoing::default() };
        let delay = match chance.random_range(0..10) {
            0 => continue,
            1 | 2 => chance.random_range(100..2500),
            3 => {
                let mut headers = HeaderMap::new();
                headers.insert(names::SERVICE_ERROR, "it does not like it");
                headers.insert(names::SERVICE_ERROR_CODE, "500");
                answer.headers = headers;
                0
            }
            4 => {
                nats.publish(answer.clone()).await.unwrap();
                chance.random_range(0..50)
            }
            _ => 0,
        };
        let nats = nats.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(delay)).await;
            nats.publish(answer).await.unwrap();
        });
    }
}

/// Takes jobs from their stream.
async fn work(
    server: Server,
    stream: &'static str,
    filter: &'static str,
    reachable: Reachable,
    book: Book,
    mut chance: StdRng,
) {
    let nats = server.connect();
    let what = Reading { from: Start::First, filter: filter.to_owned(), headers_only: false };
    let (mut jobs, _) = nats.read(stream, what).await.unwrap();
    while let Some(Ok(job)) = jobs.next().await {
        let Some(job) = Job::of(&job, &server, &reachable, &book, chance.random()) else {
            continue;
        };
        tokio::spawn(job.done(chance.random_range(0..12)));
    }
}

/// A job and its worker.
struct Job {
    execution: Uuid,
    token: String,
    server: Server,
    reachable: Reachable,
    book: Book,
    chance: StdRng,
}

impl Job {
    fn of(
        entry: &Entry,
        server: &Server,
        reachable: &Reachable,
        book: &Book,
        seed: u64,
    ) -> Option<Self> {
        let header = |name: &str| Some(entry.headers.get(name)?.as_str());
        Some(Self {
            execution: header(names::EXECUTION_ID)?.parse().ok()?,
            token: header(names::TOKEN)?.to_owned(),
            server: server.clone(),
            reachable: Arc::clone(reachable),
            book: book.clone(),
            chance: source(seed, 0),
        })
    }

    /// Does it, in one of several ways.
    async fn done(mut self, way: u32) {
        let ms = self.chance.random_range(0..1500);
        match way {
            // It dies before anybody hears of it.
            0 => {}
            // It dies in the middle.
            1 => {
                self.heartbeat().await;
            }
            2 => {
                self.fail(true).await;
            }
            3 => {
                self.fail(false).await;
            }
            // It says more than once that it is done.
            4 => {
                self.complete().await;
                self.complete().await;
                self.fail(true).await;
            }
            5 => {
                self.forge().await;
                self.complete().await;
            }
            6 | 7 => {
                for _ in 0..4 {
                    sleep(Duration::from_millis(ms / 2)).await;
                    if !self.heartbeat().await {
                        return;
                    }
                }
                self.complete().await;
            }
            8 => {
                sleep(Duration::from_millis(ms)).await;
                self.complete().await;
            }
            _ => self.complete().await,
        }
    }

    async fn complete(&mut self) {
        self.tell(Word::Done).await;
    }

    async fn forge(&mut self) {
        self.tell(Word::Forged).await;
    }

    async fn fail(&mut self, retryable: bool) {
        self.tell(Word::Failed { retryable }).await;
    }

    async fn heartbeat(&mut self) -> bool {
        self.tell(Word::Lives).await
    }

    /// Tells one of the instances, and another where there is no answer, as workers do; whether it was noted.
    async fn tell(&mut self, word: Word) -> bool {
        for _ in 0..3 {
            let Some(api) = any(&self.reachable, &mut self.chance) else { return false };
            let caller = Book::caller(&mut self.chance);
            let wish = word.wish(self.execution);
            let asked = self.book.asks(&caller, wish, Vec::new(), self.server.now());
            let telling = word.tell(api, self.execution, self.token.clone(), caller);
            let done = within_patience(telling).await;
            self.book.hears(asked, answer_of(done.as_ref(), self.server.now()));
            match done {
                Some(Ok(_)) => return true,
                Some(Err(_)) => return false,
                None => {}
            }
        }
        false
    }
}

/// What a worker says of a job.
#[derive(Clone, Copy)]
enum Word {
    Done,
    /// The same of somebody who has no right to it.
    Forged,
    Failed {
        retryable: bool,
    },
    Lives,
}

impl Word {
    fn wish(self, execution: Uuid) -> Wish {
        match self {
            Self::Done => Wish::Complete { execution },
            Self::Forged => Wish::Forged { execution },
            Self::Failed { .. } => Wish::Fail { execution },
            Self::Lives => Wish::Heartbeat { execution },
        }
    }

    async fn tell(
        self,
        api: Arc<Api<Simulated>>,
        execution: Uuid,
        token: String,
        caller: Caller,
    ) -> Result<Reply<Reported>, ApiError> {
        let token = match self {
            Self::Forged => format!("{token}0"),
            _ => token,
        };
        let (execution_id, token) = (Some(execution), Some(token));
        match self {
            Self::Done | Self::Forged => {
                let request = CompleteExecution { execution_id, token, response: None };
                api.complete_execution(request, &caller).await
            }
            Self::Failed { retryable } => {
                let retryable = Some(retryable);
                let request =
                    FailExecution { execution_id, token, retryable, ..FailExecution::default() };
                api.fail_execution(request, &caller).await
            }
            Self::Lives => {
                let request = HeartbeatExecution { execution_id, token, progress: Some(50) };
                api.heartbeat_execution(request, &caller).await
            }
        }
    }
}
