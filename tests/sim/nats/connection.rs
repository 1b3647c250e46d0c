//! One connection to the simulated server, behind the service's port.
//!
//! What the client has taken waits in its queue while there is no connection, and is sent over the next one, as
//! async-nats does. What was under way when a connection broke is lost, both ways, and nobody says so. Subscriptions
//! are made again with the connection, and what they missed is missed; who reads a stream goes on behind what it was
//! shown last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::Message;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use nats_scheduler::jetstream::answers::Answers;
use nats_scheduler::port::{
    Append, Appended, Deaf, Entry, Info, Nats, Outgoing, Reading, Refusal, Server as Introduced,
    Unanswered, Unpublished, Unstored, Wire,
};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::guards::AllBut;

use super::{Frame, MAX_PAYLOAD, NotStored, Server};

/// How long an answer is waited for, as the adapter does.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection. Clones are the same one.
#[derive(Clone)]
pub struct Simulated {
    server: Server,
    up: mpsc::UnboundedSender<Frame>,
    refusals: Arc<broadcast::Sender<Refusal>>,
    link: Arc<Link>,
}

/// How a connection is.
pub struct Link {
    pub id: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy)]
struct State {
    is_up: bool,
    /// How often it has been made.
    made: u64,
    /// Nothing arrives before these times: there, and here.
    held: [Option<Instant>; 2],
    /// Whether its process is no more: nothing is taken, nothing arrives, and whoever waits waits for ever.
    is_dead: bool,
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
    /// An answer.
    Answer(Box<dyn FnOnce() + Send>),
}

/// Who reads a stream.
pub struct Shown {
    pub to: UnboundedSender<Entry>,
    /// The last that arrived.
    pub last: Mutex<u64>,
}

impl Down {
    pub fn answer<T: Send + 'static>(to: oneshot::Sender<T>, what: T) -> Self {
        Self::Answer(Box::new(move || drop(to.send(what))))
    }

    /// Hands it to whom it is for, who may have gone.
    fn arrive(self) {
        match self {
            Self::Message(to, message) => drop(to.unbounded_send(message)),
            Self::Entry(shown, entry) => {
                let mut last = shown.last.lock().unwrap();
                // What is shown again after a break may have arrived before it.
                if entry.sequence > *last {
                    *last = entry.sequence;
                    drop(shown.to.unbounded_send(entry));
                }
            }
            Self::Answer(tell) => tell(),
        }
    }
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
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
}

impl Server {
    /// Connects.
    pub fn connect(&self) -> Simulated {
        let state = State { is_up: true, made: 1, held: [None; 2], is_dead: false };
        let (id, state) = (self.state().id(), Mutex::new(state));
        let link = Arc::new(Link { id, state, changed: Notify::new() });
        let (up, up_there) = mpsc::unbounded_channel();
        let (down, down_here) = mpsc::unbounded_channel();
        let (server, over) = (self.clone(), Arc::clone(&link));
        let serve = move |frame| server.state().serve(&over, &down, frame);
        tokio::spawn(carry(self.clone(), Arc::clone(&link), Way::There, up_there, serve));
        tokio::spawn(carry(self.clone(), Arc::clone(&link), Way::Here, down_here, Down::arrive));
        Simulated { server: self.clone(), up, refusals: Arc::new(broadcast::channel(16).0), link }
    }
}

/// Carries what is sent one way: each takes its time, and nothing overtakes.
async fn carry<T>(
    server: Server,
    link: Arc<Link>,
    way: Way,
    mut sent: mpsc::UnboundedReceiver<T>,
    mut arrive: impl FnMut(T),
) {
    // Over which connection it goes, and when it arrives.
    let mut under_way: VecDeque<(u64, Instant, T)> = VecDeque::new();
    loop {
        let held = link.state().held[way as usize];
        let next = under_way.front().map(|(_, at, _)| held.map_or(*at, |held| held.max(*at)));
        tokio::select! {
            biased;
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let Some((made, _, one)) = under_way.pop_front() else { continue };
                let state = *link.state();
                // What a dead process has sent still arrives.
                let is_heard = way == Way::There || !state.is_dead;
                if state.is_up && state.made == made && is_heard {
                    arrive(one);
                }
            }
            () = link.changed.notified() => {}
            one = take(&link, way, &mut sent) => {
                let Some(one) = one else { return };
                let at = Instant::now() + server.state().latency();
                let at = under_way.back().map_or(at, |(_, last, _)| at.max(*last));
                under_way.push_back((link.state().made, at, one));
            }
        }
    }
}

/// The next that is sent. The client waits for a connection; what the server sends without one is lost.
async fn take<T>(link: &Link, way: Way, sent: &mut mpsc::UnboundedReceiver<T>) -> Option<T> {
    loop {
        if way == Way::There {
            link.until(|state| state.is_up && !state.is_dead).await;
        }
        let one = sent.recv().await?;
        if way == Way::There || link.is_up() {
            return Some(one);
        }
    }
}

impl Simulated {
    /// Breaks the connection.
    pub fn cut(&self) {
        self.link.change(|state| state.is_up = false);
    }

    /// Lets it be made again.
    pub fn reconnect(&self) {
        if self.link.is_up() {
            return;
        }
        self.link.change(|state| (state.is_up, state.made) = (true, state.made + 1));
        self.server.state().resume(self.link.id);
    }

    /// Holds up all that goes one way.
    pub fn hold(&self, way: Way, time: Duration) {
        let until = Instant::now() + time;
        self.link.change(|state| state.held[way as usize] = Some(until));
    }

    /// Ends the process behind it: from the next thing on that it asks of NATS nothing of it happens any more, and the
    /// server closes its connection.
    pub fn kill(&self) {
        self.link.change(|state| state.is_dead = true);
        self.server.state().close(self.link.id);
    }

    async fn ask<T>(&self, frame: impl FnOnce(oneshot::Sender<T>) -> Frame) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.send(frame(sender)).await?;
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

    async fn send(&self, frame: Frame) -> Option<()> {
        self.lives().await;
        self.up.send(frame).ok()
    }

    /// Returns unless the process is no more.
    async fn lives(&self) {
        if self.link.state().is_dead {
            std::future::pending().await
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
        let sent = self.send(Frame::Publish(message)).await;
        sent.ok_or_else(|| Unpublished::Gone("closed".to_owned()))
    }

    async fn subscribe(&self, subject: String) -> Result<Self::Messages, Deaf> {
        let (heard, messages) = unbounded();
        let sent = self.send(Frame::Subscribe { subject, heard }).await;
        sent.map(|()| messages).ok_or_else(|| Deaf("closed".to_owned()))
    }
}

impl Nats for Simulated {
    type Line = Self;
    type Entries =
        futures::stream::Map<UnboundedReceiver<Entry>, fn(Entry) -> Result<Entry, String>>;

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
        self.refusals.subscribe()
    }

    fn server(&self) -> Introduced {
        Introduced { name: "simulated".to_owned(), version: "2.15.1".to_owned() }
    }

    async fn flush(&self) -> Result<(), Deaf> {
        self.lives().await;
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

    async fn message_of_any(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<Entry>, Unanswered> {
        self.message(stream, sequence).await
    }

    async fn stream_of(&self, subject: &str) -> Result<Option<String>, Unanswered> {
        self.ask(|answer| Frame::StreamOf(subject.to_owned(), answer)).await.ok_or_else(lost)
    }

    async fn read(&self, stream: &str, what: Reading) -> Result<(Self::Entries, u64), String> {
        use futures::StreamExt as _;

        let (to, entries) = unbounded();
        let shown = Arc::new(Shown { to, last: Mutex::default() });
        let stream = stream.to_owned();
        let asked = self.ask(|answer| Frame::Read { stream, what, shown, answer }).await;
        let pending = asked.ok_or("no answer")?.map_err(|error| error.to_string())?;
        Ok((entries.map(Ok as fn(_) -> _), pending))
    }

    async fn line(&self, _: &str, _: Answers, broken: CancellationToken) -> Result<Self, String> {
        self.lives().await;
        if !self.link.is_up() {
            return Err("no connection".to_owned());
        }
        let line = self.server.connect();
        let (over, main) = (line.clone(), self.clone());
        // It shares the fate of the host's other connection, and is never made good.
        tokio::spawn(async move {
            let made = main.connects();
            tokio::select! {
                biased;
                () = broken.cancelled() => {}
                () = main.link.until(|state| !state.is_up || state.made != made || state.is_dead) => {}
            }
            over.cut();
            broken.cancel();
        });
        Ok(line)
    }
}
