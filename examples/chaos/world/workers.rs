//! Receivers of commands: good ones, slow ones, silent ones, and ones that make mistakes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use chrono::Utc;
use futures::StreamExt as _;
use nats_scheduler::client::Client;
use nats_scheduler::names;
use nats_scheduler::schedule::DeliveryMode;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::workload::{ASKED, TOLD};
use crate::checker::{Asked, Heard};

/// How long a worker waits for the answer to a report.
const ANSWER: Duration = Duration::from_secs(5);

/// What workers have heard and said.
#[derive(Default)]
pub struct Seen {
    /// Commands of mode `request`.
    pub asked: Vec<Heard>,
    /// Commands of mode `core`, by listener.
    pub told: Vec<Vec<Heard>>,
    /// Reports, and the answers to them.
    pub reports: Vec<Asked>,
}

/// All workers. They end with it.
pub struct Workers {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// State shared by all workers.
pub struct Shared {
    seed: u64,
    pub nats: async_nats::Client,
    pub scheduler: Client,
    pub seen: Mutex<Seen>,
    /// Whether they make no mistakes.
    behave: AtomicBool,
}

/// How a command is handled.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    Well,
    Slow,
    Silent,
    Fails,
    Twice,
    /// Shows a foreign token first, and then the right one.
    Wrong,
    Dies,
}

impl Workers {
    /// Starts them; they listen when this returns. Each listener is connected to another server, so that one hears what
    /// another misses while its server is down.
    pub async fn start(
        nats: async_nats::Client,
        listeners: Vec<async_nats::Client>,
        seed: u64,
    ) -> Self {
        let scheduler = Client::new(nats.clone()).timeout(ANSWER).actor("worker");
        let (seen, behave) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { seed, nats, scheduler, seen, behave });
        let mut tasks = JoinSet::new();
        let asked = shared.nats.subscribe(format!("{ASKED}.>")).await.unwrap();
        shared.nats.flush().await.unwrap();
        tasks.spawn(Arc::clone(&shared).answer(asked));
        for (n, listener) in listeners.into_iter().enumerate() {
            let told = listener.subscribe(format!("{TOLD}.>")).await.unwrap();
            listener.flush().await.unwrap();
            shared.seen.lock().unwrap().told.push(Vec::new());
            tasks.spawn(Arc::clone(&shared).listen(n, told));
        }
        let consumer = shared.consumer().await;
        tasks.spawn(Arc::clone(&shared).work(consumer));
        Self { shared, _tasks: tasks }
    }

    /// Stops all mistakes from now on.
    pub fn behave(&self) {
        self.shared.behave.store(true, Ordering::Relaxed);
    }

    /// What they have seen.
    pub fn seen(&self) -> Seen {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

impl Shared {
    /// Manner drawn from the seed, so that a command that comes again is handled in the same way.
    pub fn manner(&self, execution: Uuid) -> Manner {
        if self.behave.load(Ordering::Relaxed) {
            return Manner::Well;
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, execution).hash(&mut hasher);
        match hasher.finish() % 100 {
            0..8 => Manner::Slow,
            8..12 => Manner::Silent,
            12..18 => Manner::Fails,
            18..22 => Manner::Twice,
            22..24 => Manner::Wrong,
            24..26 => Manner::Dies,
            _ => Manner::Well,
        }
    }

    async fn listen(self: Arc<Self>, listener: usize, mut commands: Subscriber) {
        while let Some(command) = commands.next().await {
            let heard = heard(&command, DeliveryMode::Core);
            if let Some(own) = self.seen.lock().unwrap().told.get_mut(listener) {
                own.extend(heard);
            }
        }
    }

    async fn answer(self: Arc<Self>, mut commands: Subscriber) {
        let mut answers = JoinSet::new();
        while let Some(command) = commands.next().await {
            while answers.try_join_next().is_some() {}
            let Some(heard) = heard(&command, DeliveryMode::Request) else { continue };
            let manner = self.manner(heard.execution);
            self.seen.lock().unwrap().asked.push(heard);
            answers.spawn(Arc::clone(&self).reply(command, manner));
        }
    }

    async fn reply(self: Arc<Self>, command: Message, manner: Manner) {
        let Some(inbox) = command.reply else { return };
        let send = || self.nats.publish(inbox.clone(), "{}".into());
        let sent = match manner {
            Manner::Silent | Manner::Dies => Ok(()),
            Manner::Slow => {
                sleep(Duration::from_secs(3)).await;
                send().await
            }
            Manner::Fails | Manner::Wrong => {
                let mut headers = HeaderMap::new();
                headers.insert(names::SERVICE_ERROR, "out of paper");
                headers.insert(names::SERVICE_ERROR_CODE, "500");
                self.nats.publish_with_headers(inbox, headers, "{}".into()).await
            }
            Manner::Twice => send().await.and(send().await),
            Manner::Well => send().await,
        };
        // The connection re-establishes itself.
        drop(sent);
    }
}

/// A command that arrived without a stream.
fn heard(command: &Message, mode: DeliveryMode) -> Option<Heard> {
    Some(Heard {
        execution: header(command, names::EXECUTION_ID)?.parse().ok()?,
        claim: header(command, names::REVISION).and_then(|revision| revision.parse().ok()),
        mode,
        subject: command.subject.to_string(),
        body: command.payload.to_vec(),
        at: Utc::now(),
    })
}

/// The value of a header.
pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}
