//! One connection to the simulated server, behind the service's port.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use nats_scheduler::jetstream::answers::Answers;
use nats_scheduler::port::{
    Append, Appended, Deaf, Entry, Info, Nats, Outgoing, Reading, Refusal, Server as Introduced,
    Unanswered, Unpublished, Unstored, Wire,
};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Frame, MAX_PAYLOAD, NotStored, Server};

/// How long an answer is waited for, as the adapter does.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection. Clones are the same one.
#[derive(Clone)]
pub struct Simulated {
    server: Server,
    up: mpsc::UnboundedSender<Frame>,
    refusals: Arc<broadcast::Sender<Refusal>>,
    name: Arc<str>,
}

/// What comes down a connection.
pub enum Down {
    /// A message of a subscription.
    Message(UnboundedSender<Message>, Message),
    /// An entry of a stream that is read.
    Entry(UnboundedSender<Entry>, Entry),
    /// An answer.
    Answer(Box<dyn FnOnce() + Send>),
}

impl Down {
    pub fn answer<T: Send + 'static>(to: oneshot::Sender<T>, what: T) -> Self {
        Self::Answer(Box::new(move || drop(to.send(what))))
    }

    /// Hands it to whom it is for, who may have gone.
    fn arrive(self) {
        match self {
            Self::Message(to, message) => drop(to.unbounded_send(message)),
            Self::Entry(to, entry) => drop(to.unbounded_send(entry)),
            Self::Answer(tell) => tell(),
        }
    }
}

impl Server {
    /// Connects.
    pub fn connect(&self) -> Simulated {
        let (up, up_there) = mpsc::unbounded_channel();
        let (down, down_here) = mpsc::unbounded_channel();
        let server = self.clone();
        let serve = move |frame| server.state().serve(&down, frame);
        tokio::spawn(carry(self.clone(), up_there, serve));
        tokio::spawn(carry(self.clone(), down_here, Down::arrive));
        let name = format!("{}", self.state().id()).into();
        Simulated { server: self.clone(), up, refusals: Arc::new(broadcast::channel(16).0), name }
    }
}

/// Carries what is sent one way: each takes its time, and nothing overtakes.
async fn carry<T>(server: Server, mut sent: mpsc::UnboundedReceiver<T>, mut arrive: impl FnMut(T)) {
    let mut under_way: VecDeque<(Instant, T)> = VecDeque::new();
    loop {
        let next = under_way.front().map(|(at, _)| *at);
        tokio::select! {
            biased;
            () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {
                if let Some((_, one)) = under_way.pop_front() {
                    arrive(one);
                }
            }
            one = sent.recv() => {
                let Some(one) = one else { break };
                let at = Instant::now() + server.state().latency();
                let at = under_way.back().map_or(at, |(last, _)| at.max(*last));
                under_way.push_back((at, one));
            }
        }
    }
    for (at, one) in under_way {
        sleep_until(at).await;
        arrive(one);
    }
}

impl Simulated {
    async fn ask<T>(&self, frame: impl FnOnce(oneshot::Sender<T>) -> Frame) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.up.send(frame(sender)).ok()?;
        timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

fn lost() -> Unanswered {
    Unanswered::Lost("no answer".to_owned())
}

impl Wire for Simulated {
    type Messages = UnboundedReceiver<Message>;

    fn new_inbox(&self) -> String {
        let id = self.server.state().id();
        format!("_INBOX.{}.{id}", self.name)
    }

    fn is_connected(&self) -> bool {
        true
    }

    async fn publish(&self, message: Outgoing) -> Result<(), Unpublished> {
        if message.body.len() > MAX_PAYLOAD {
            return Err(Unpublished::Refused("maximum payload exceeded".to_owned()));
        }
        self.up.send(Frame::Publish(message)).map_err(|_| Unpublished::Gone("closed".to_owned()))
    }

    async fn subscribe(&self, subject: String) -> Result<Self::Messages, Deaf> {
        let (heard, messages) = unbounded();
        let sent = self.up.send(Frame::Subscribe { subject, heard });
        sent.map_err(|_| Deaf("closed".to_owned()))?;
        Ok(messages)
    }
}

impl Nats for Simulated {
    type Line = Self;
    type Entries =
        futures::stream::Map<UnboundedReceiver<Entry>, fn(Entry) -> Result<Entry, String>>;

    fn connects(&self) -> u64 {
        1
    }

    async fn reconnected(&self, known: u64) {
        while self.connects() <= known {
            std::future::pending::<()>().await;
        }
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

        let (shown, entries) = unbounded();
        let stream = stream.to_owned();
        let asked = self.ask(|answer| Frame::Read { stream, what, shown, answer }).await;
        let pending = asked.ok_or("no answer")?.map_err(|error| error.to_string())?;
        Ok((entries.map(Ok as fn(_) -> _), pending))
    }

    async fn line(&self, _: &str, _: Answers, _: CancellationToken) -> Result<Self, String> {
        Ok(self.server.connect())
    }
}
