//! Ordered readers of streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nats_scheduler::port::{Entry, Reading, Start};
use rand::RngExt as _;

use super::State;
use super::connection::{Down, Link, Shown};
use super::stream::is_shown;

/// How long a client takes to notice that nobody shows it anything: ten seconds without a sign of life.
const MISSED: Duration = Duration::from_secs(10);
/// Until it reads on; and between two tries.
const AGAIN: Duration = Duration::from_secs(4);

/// Who reads a stream.
pub struct Reader {
    /// The connection that it is read over.
    pub link: Arc<Link>,
    pub stream: String,
    what: Reading,
    shown: Arc<Shown>,
    /// Whether it is shown nothing more, and does not know.
    pub is_silent: bool,
    /// Whether the server has forgotten it, and its client has not noticed yet.
    is_lost: bool,
}

impl State {
    /// Begins to show a stream to somebody who has been shown what was there.
    pub fn begin(&mut self, link: &Arc<Link>, stream: String, what: Reading, shown: Arc<Shown>) {
        self.readers.retain(|_, reader| !reader.shown.to.is_closed());
        let (id, link) = (self.id(), Arc::clone(link));
        let reader = Reader { link, stream, what, shown, is_silent: false, is_lost: false };
        self.readers.insert(id, reader);
    }

    /// Shows a new message to those who read the stream.
    pub fn show(&mut self, name: &str, sequence: u64) {
        let Some(entry) = self.streams.get(name).and_then(|stream| stream.message(sequence)) else {
            return;
        };
        let readers = self.readers.values().filter(|reader| {
            reader.stream == name && reader.hears() && is_shown(&reader.what, &entry)
        });
        let shown: Vec<_> =
            readers.map(|reader| (Arc::clone(&reader.link), reader.down(entry.clone()))).collect();
        shown.into_iter().for_each(|(link, down)| self.answer(&link, down));
    }

    /// Shows those who read over a connection that was made again what they have missed.
    pub fn resume(&mut self, over: &Link) {
        let readers = self.readers.iter().filter(|(_, reader)| reader.link.id == over.id);
        let readers: Vec<u64> = readers.map(|(id, _)| *id).collect();
        readers.into_iter().for_each(|id| self.go_on(id));
    }

    /// Shows one who reads what it has not been shown yet.
    fn go_on(&mut self, id: u64) {
        let Some(reader) = self.readers.get(&id).filter(|reader| reader.hears()) else { return };
        let Some(stream) = self.streams.get(&reader.stream) else { return };
        let last = *reader.shown.last.lock().unwrap();
        let from = match last {
            0 => reader.what.from,
            last => Start::Sequence(last + 1),
        };
        let entries = stream.shown(&Reading { from, ..reader.what.clone() });
        let link = Arc::clone(&reader.link);
        let shown: Vec<_> = entries.into_iter().map(|entry| reader.down(entry)).collect();
        shown.into_iter().for_each(|down| self.answer(&link, down));
    }

    /// Forgets those who read some streams. Their clients notice when they have heard nothing for long.
    pub fn lose_readers(&mut self, of: impl Fn(&str) -> bool) {
        let readers = self.readers.iter_mut().filter(|(_, reader)| of(&reader.stream));
        let mut lost = Vec::new();
        for (id, reader) in readers {
            if !std::mem::replace(&mut reader.is_lost, true) {
                lost.push(*id);
            }
        }
        let at = self.moment + MISSED;
        lost.into_iter().for_each(|id| self.do_at(at, move |state| state.notice(id)));
    }

    /// The client of one who reads notices that it was forgotten, and asks for what follows until it is shown that.
    fn notice(&mut self, id: u64) {
        let Some(reader) = self.readers.get(&id).filter(|reader| !reader.shown.to.is_closed())
        else {
            return;
        };
        let missed = "missed idle heartbeat".to_owned();
        drop(reader.shown.to.unbounded_send(Err(missed)));
        let again = self.moment + self.chance.random_range(Duration::ZERO..AGAIN);
        self.do_at(again, move |state| state.read_again(id));
    }

    fn read_again(&mut self, id: u64) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        if reader.link.is_up() && self.streams.contains_key(&reader.stream) {
            reader.is_lost = false;
            self.go_on(id);
        } else if !reader.shown.to.is_closed() {
            self.do_at(self.moment + AGAIN, move |state| state.read_again(id));
        }
    }
}

impl Reader {
    /// Whether something that is sent to it is on its way.
    fn hears(&self) -> bool {
        !self.is_silent && !self.is_lost && self.link.is_up() && !self.shown.to.is_closed()
    }

    fn down(&self, entry: Entry) -> Down {
        Down::Entry(Arc::clone(&self.shown), cut(&self.what, entry))
    }
}

/// An entry as a reader wants it.
pub fn cut(what: &Reading, entry: Entry) -> Entry {
    Entry { body: if what.headers_only { Bytes::new() } else { entry.body }, ..entry }
}
