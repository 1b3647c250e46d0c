//! One connection to the simulated server, behind the service's port.
//!
//! Without a connection, what the client has accepted waits in its queue and is sent over the next one, as async-nats
//! does. What was under way when a connection broke is lost, both ways, without notice; or the client had not sent it
//! yet, and sends it over the next one too. Subscriptions are renewed with
//! the connection, and what they missed is missed; a reader of a stream continues after the last message that it was
//! shown.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::Message;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use nats_scheduler::port::answers::Answers;
use nats_scheduler::port::{
    Append, Appended, Deaf, Entry, Info, Nats, Outgoing, Permission, Reading, Refusal,
    Server as Introduced, Unanswered, Unpublished, Unstored, Wire,
};
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Frame, MAX_PAYLOAD, NotStored, Server};
use crate::guards::AllBut;

/// How long an answer is waited for, and a new connection, as the adapter does.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection. Clones are the same one.
#[derive(Clone)]
pub struct Simulated {
    pub(super) server: Server,
    pub(super) link: Arc<Link>,
}

/// A connection as both ends see it.
pub struct Link {
    pub id: u64,
    state: Mutex<State>,
    changed: Notify,
    /// Notified when the process sends a message with an id, over whichever of its connections.
    pub sends: Arc<Notify>,
    refusals: broadcast::Sender<Refusal>,
    /// What is told of refusals too.
    answers: Mutex<Answers>,
}

/// How a connection is.
#[derive(Default)]
pub struct State {
    pub is_up: bool,
    /// Whether something is between it and the server.
    pub is_cut_off: bool,
    /// Whether the server is away, or does not answer its pings.
    pub is_left: bool,
    /// How often it has been made.
    pub made: u64,
    /// What was sent over it that often or less arrives although it is gone: the server has it in its buffers.
    pub lands: u64,
    /// Nothing arrives before these times: there, and here.
    pub held: [Option<Instant>; 2],
    /// When what was sent last arrives: there, and here.
    pub last: [Option<Instant>; 2],
    /// What the client took before the connection broke, and has not sent.
    pub kept: Vec<Frame>,
    /// What the client has taken while there was no connection.
    pub waiting: VecDeque<Frame>,
    /// Subscriptions that the server does not have: the client asks for them again with the next connection.
    pub missing: Vec<Frame>,
    /// Whether its process is no more: nothing is taken, nothing arrives, and whoever waits waits for ever.
    pub is_dead: bool,
    /// Until when its process does not run, at whatever it asks NATS for next.
    pub suspended: Option<Instant>,
    /// Connections of the same process that end when they break.
    pub lines: Vec<Arc<Link>>,
    /// Before this time there is no new one of them.
    pub no_line_before: Option<Instant>,
    /// What its user may not do, and until when.
    pub forbidden: Vec<(Permission, String, Instant)>,
}

impl State {
    /// When something arrives that would at a time: not before what was sent before it.
    pub fn arrival(&mut self, way: Way, at: Instant) -> Instant {
        let last = &mut self.last[way as usize];
        let at = last.map_or(at, |last| last.max(at));
        *last = Some(at);
        at
    }

    /// Whether what was sent when it had been made so often arrives here.
    pub fn carries(&self, made: u64) -> bool {
        self.is_up && self.made == made
    }

    /// The same for what was sent to the server.
    pub fn reaches(&self, made: u64) -> bool {
        self.carries(made) || made <= self.lands
    }
}

/// A way over a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    There,
    Here,
}

/// What comes down a connection.
pub enum Down {
    /// A message of a subscription.
    Message(UnboundedSender<Message>, Message),
    /// An entry of a stream that is read.
    Entry(Arc<Shown>, Entry),
    /// Something is not allowed.
    Refused(Arc<Link>, Refusal),
    /// An answer.
    Answer(Box<dyn FnOnce() + Send>),
}

/// Who reads a stream.
pub struct Shown {
    pub to: UnboundedSender<Result<Entry, String>>,
    /// The last that arrived.
    pub last: Mutex<u64>,
}

impl Down {
    pub fn answer<T: Send + 'static>(to: oneshot::Sender<T>, what: T) -> Self {
        Self::Answer(Box::new(move || drop(to.send(what))))
    }

    /// Hands it to whom it is for, who may have gone.
    pub fn arrive(self) {
        match self {
            Self::Message(to, message) => drop(to.unbounded_send(message)),
            Self::Entry(shown, entry) => {
                let mut last = shown.last.lock().unwrap();
                // What is shown again after a break may have arrived before it.
                if entry.sequence > *last {
                    *last = entry.sequence;
                    drop(shown.to.unbounded_send(Ok(entry)));
                }
            }
            Self::Refused(link, refusal) => {
                if refusal.operation == Permission::Publish {
                    link.answers.lock().unwrap().denied(&refusal.subject);
                }
                drop(link.refusals.send(refusal));
            }
            Self::Answer(tell) => tell(),
        }
    }
}

impl Link {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes something; whether it came up by that.
    pub fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state();
        change(&mut state);
        let is_up = !state.is_cut_off && !state.is_left;
        let comes_up = is_up && !state.is_up;
        state.is_up = is_up;
        state.made += u64::from(comes_up);
        drop(state);
        self.changed.notify_waiters();
        comes_up
    }

    /// Waits until something holds of the connection.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    pub fn is_up(&self) -> bool {
        self.state().is_up
    }

    /// Whether there is anything that may not be done over it.
    pub fn has_forbidden(&self) -> bool {
        !self.state().forbidden.is_empty()
    }

    /// Whether something may not be done over it.
    pub fn forbids(&self, operation: Permission, subject: &str) -> bool {
        let now = Instant::now();
        self.state().forbidden.iter().any(|(one, pattern, until)| {
            *one == operation && *until > now && nats_scheduler::names::covers(pattern, subject)
        })
    }
}

impl Server {
    /// Connects.
    pub fn connect(&self) -> Simulated {
        self.connect_for(Arc::default())
    }

    /// Connects for a process whose sending is noted.
    fn connect_for(&self, sends: Arc<Notify>) -> Simulated {
        let mut there = self.state();
        let state = State { is_up: true, made: 1, ..State::default() };
        let link = Arc::new(Link {
            id: there.id(),
            state: Mutex::new(state),
            changed: Notify::new(),
            sends,
            refusals: broadcast::channel(16).0,
            answers: Mutex::default(),
        });
        there.links.retain(|link| link.strong_count() > 0);
        there.links.push(Arc::downgrade(&link));
        drop(there);
        Simulated { server: self.clone(), link }
    }
}

impl Simulated {
    async fn ask<T>(&self, frame: impl FnOnce(oneshot::Sender<T>) -> Frame) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.send(frame(sender)).await;
        let answer = async {
            match answer.await {
                Ok(answer) => answer,
                // It was lost on its way, and nobody says so.
                Err(_) => std::future::pending().await,
            }
        };
        let answer = timeout(PATIENCE, answer).await.ok();
        self.lives().await;
        answer
    }

    async fn send(&self, frame: Frame) {
        self.lives().await;
        self.server.state().send(&self.link, frame);
    }

    /// Returns once the process runs, unless it is no more.
    async fn lives(&self) {
        loop {
            let (is_dead, suspended) = {
                let state = self.link.state();
                (state.is_dead, state.suspended)
            };
            if is_dead {
                std::future::pending().await
            }
            match suspended.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }
}

fn lost() -> Unanswered {
    Unanswered::Lost("no answer".to_owned())
}

impl Wire for Simulated {
    type Guards = AllBut;
    type Messages = UnboundedReceiver<Message>;

    fn new_inbox(&self) -> String {
        format!("_INBOX.{}", self.server.state().id())
    }

    fn is_connected(&self) -> bool {
        self.link.is_up()
    }

    async fn publish(&self, message: Outgoing) -> Result<(), Unpublished> {
        if message.body.len() > MAX_PAYLOAD {
            return Err(Unpublished::Refused("maximum payload exceeded".to_owned()));
        }
        self.send(Frame::Publish(message)).await;
        Ok(())
    }

    async fn subscribe(&self, subject: String) -> Result<Self::Messages, Deaf> {
        let (heard, messages) = unbounded();
        self.send(Frame::Subscribe { subject, heard }).await;
        Ok(messages)
    }
}

impl Nats for Simulated {
    type Line = Self;
    type Entries = UnboundedReceiver<Result<Entry, String>>;

    fn connects(&self) -> u64 {
        self.link.state().made
    }

    async fn reconnected(&self, known: u64) {
        self.link.until(|state| state.made > known).await;
    }

    fn max_payload(&self) -> usize {
        MAX_PAYLOAD
    }

    fn refusals(&self) -> broadcast::Receiver<Refusal> {
        self.link.refusals.subscribe()
    }

    fn server(&self) -> Introduced {
        Introduced { name: "simulated".to_owned(), version: "2.15.1".to_owned() }
    }

    async fn flush(&self) -> Result<(), Deaf> {
        self.lives().await;
        self.link.until(|state| state.is_up).await;
        Ok(())
    }

    async fn request(&self, subject: String) -> Result<Message, Unanswered> {
        use futures::StreamExt as _;

        let reply = self.new_inbox();
        let mut answers = self.subscribe(reply.clone()).await.map_err(|_| lost())?;
        let question = Outgoing { subject, reply: Some(reply), ..Outgoing::default() };
        self.publish(question).await.map_err(|_| lost())?;
        match timeout(PATIENCE, answers.next()).await {
            Ok(Some(message)) if message.status.is_none() => Ok(message),
            _ => Err(lost()),
        }
    }

    async fn append(&self, message: Append) -> Result<Appended, Unstored> {
        if message.body.len() > MAX_PAYLOAD {
            return Err(Unstored::TooLarge("maximum payload exceeded".to_owned()));
        }
        match self.ask(|answer| Frame::Append(message, answer)).await {
            Some(Ok(appended)) => Ok(appended),
            Some(Err(NotStored::NoStream)) => Err(Unstored::NoStream),
            Some(Err(NotStored::Refused(error))) => Err(Unstored::Refused(error)),
            None => Err(Unstored::Unknown("no acknowledgement".to_owned())),
        }
    }

    async fn info(&self, stream: &str) -> Result<Info, Unanswered> {
        let asked = self.ask(|answer| Frame::Info(stream.to_owned(), answer)).await;
        asked.ok_or_else(lost)?.map_err(Unanswered::Refused)
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Entry>, Unanswered> {
        let (stream, subject) = (stream.to_owned(), subject.to_owned());
        let asked = self.ask(|answer| Frame::Last { stream, subject, answer }).await;
        asked.ok_or_else(lost)?.map_err(Unanswered::Refused)
    }

    async fn message(&self, stream: &str, sequence: u64) -> Result<Option<Entry>, Unanswered> {
        let stream = stream.to_owned();
        let asked = self.ask(|answer| Frame::Message { stream, sequence, answer }).await;
        asked.ok_or_else(lost)?.map_err(Unanswered::Refused)
    }

    async fn next(
        &self,
        stream: &str,
        subjects: &str,
        sequence: u64,
    ) -> Result<Option<Entry>, Unanswered> {
        let (stream, subjects) = (stream.to_owned(), subjects.to_owned());
        let asked = self.ask(|answer| Frame::Next { stream, subjects, sequence, answer }).await;
        asked.ok_or_else(lost)?.map_err(Unanswered::Refused)
    }

    async fn message_of_any(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<Entry>, Unanswered> {
        let stream = stream.to_owned();
        let asked = self.ask(|answer| Frame::MessageOfAny { stream, sequence, answer }).await;
        asked.ok_or_else(lost)?.map_err(|_| lost())
    }

    async fn stream_of(&self, subject: &str) -> Result<Option<String>, Unanswered> {
        self.ask(|answer| Frame::StreamOf(subject.to_owned(), answer)).await.ok_or_else(lost)
    }

    async fn read(&self, stream: &str, what: Reading) -> Result<(Self::Entries, u64), String> {
        let (to, entries) = unbounded();
        let shown = Arc::new(Shown { to, last: Mutex::default() });
        let stream = stream.to_owned();
        let asked = self.ask(|answer| Frame::Read { stream, what, shown, answer }).await;
        let pending = asked.ok_or("no answer")?.map_err(|error| error.to_string())?;
        Ok((entries, pending))
    }

    async fn line(
        &self,
        _: &str,
        answers: Answers,
        broken: CancellationToken,
    ) -> Result<Self, String> {
        self.lives().await;
        // Who connects meanwhile is served when it goes on.
        let stalled = self.server.state().faults.stalled;
        let stalled = stalled.filter(|until| *until > Instant::now());
        if let Some(stall) = stalled.map(|until| until.duration_since(Instant::now())) {
            sleep(stall.min(PATIENCE)).await;
            if stall >= PATIENCE {
                return Err("the server does not answer".to_owned());
            }
        }
        let now = Instant::now();
        let is_out_of_reach = {
            let state = self.link.state();
            state.is_cut_off || state.is_left || state.no_line_before.is_some_and(|at| at > now)
        };
        if is_out_of_reach {
            return Err("no connection".to_owned());
        }
        let line = self.server.connect_for(Arc::clone(&self.link.sends));
        line.tells(&answers);
        let mut state = self.link.state();
        state.lines.retain(|line| line.is_up());
        state.lines.push(Arc::clone(&line.link));
        drop(state);
        // It is never made good.
        let over = Arc::clone(&line.link);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = broken.cancelled() => {}
                () = over.until(|state| !state.is_up) => {}
            }
            over.change(|state| (state.is_cut_off, state.waiting) = (true, VecDeque::new()));
            broken.cancel();
        });
        Ok(line)
    }
}

impl Simulated {
    /// Has `answers` hear what may not be published over it, as the service's connections do.
    pub fn tells(&self, answers: &Answers) {
        *self.link.answers.lock().unwrap() = answers.clone();
    }
}
