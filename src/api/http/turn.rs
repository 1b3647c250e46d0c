//! Whose turn it is on a connection, and how long its client may take. Values and times only.
//!
//! A connection either waits for its client, or its client waits for us. While it waits for its client, the client is
//! in one of four states, each of which is limited:
//!
//! | state | ends after |
//! |---|---|
//! | it has not sent the whole head of its first request | [`HEAD`], from when it connected; TLS counts too |
//! | it has begun the head of a further request | [`HEAD`], from its first byte |
//! | it is between requests | [`IDLE`] |
//! | it reads an answer | [`PATIENCE`], and longer by what it reads, see [`Pace`] |
//!
//! A body that arrives too slowly is the concern of its reader, who applies the same [`Pace`]: such a request gets an
//! answer.
//!
//! Over HTTP/1.1, a client has read what the socket has taken. Over HTTP/2, it may take frames and leave an answer
//! where it is, so each answer has a pace of its own. Bytes that arrive between requests begin no head there: they may
//! acknowledge a ping.
//!
//! A stream of events has no pace, since it has no end. It is between requests, and each event that its client takes
//! begins that time anew, so one that stalls is cut as idle.

use crate::every::every;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time for the head of a request.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// Time that a connection may be idle. It is longer than that of proxies, so that they close connections and not we,
/// while a request is on its way.
pub(super) const IDLE: Duration = Duration::from_secs(75);
/// Time that a body, or the reading of an answer, is allowed in any case.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that extend this time by one second.
pub(super) const BYTES_A_SECOND: u64 = 64 << 10;

/// Minimum speed of a long transfer: done within [`PATIENCE`], or at [`BYTES_A_SECOND`] after that. A byte now and then
/// is no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Starts a transfer.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// Records that `bytes` were transferred.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// When the transfer becomes too slow.
    pub(super) fn deadline(&self) -> Instant {
        self.since + PATIENCE + Duration::from_secs(self.bytes / BYTES_A_SECOND)
    }
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The head of a request did not arrive in time.
    SlowHead,
    /// No further request arrived.
    Idle,
    /// The client did not read its answers.
    SlowReader,
    /// Another connection took its place.
    Crowded,
    /// No place was free.
    Full,
}

impl Cut {
    /// All causes.
    pub(super) const ALL: [Self; 5] = every!(Cut: SlowHead, Idle, SlowReader, Crowded, Full);

    /// Its label in the metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::Crowded => "crowded",
            Self::Full => "full",
        }
    }
}

/// State of a connection.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// Whether it uses HTTP/2; known from its first request on.
    is_http2: bool,
    /// Whether it has ever sent a whole head.
    has_asked: bool,
    /// When it began to wait for its client, while it does.
    since: Instant,
    /// When the head of a further request began.
    head_since: Option<Instant>,
    /// Requests whose heads have arrived and whose answers have not begun.
    open: usize,
    /// Those of them that have arrived whole and are being worked on.
    working: usize,
    /// Pace of what the socket does not take at once.
    writing: Option<Pace>,
    /// Paces of the answers over HTTP/2 that are being read.
    answers: HashMap<u64, Pace>,
    next_answer: u64,
}

impl Turn {
    /// A client has connected.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_http2: false,
            has_asked: false,
            since: now,
            head_since: None,
            open: 0,
            working: 0,
            writing: None,
            answers: HashMap::new(),
            next_answer: 0,
        }
    }

    /// Bytes have arrived.
    pub(super) fn received(&mut self, now: Instant) {
        if self.has_asked && self.open == 0 && !self.is_http2 {
            self.head_since.get_or_insert(now);
        }
    }

    /// The head of a request has arrived.
    pub(super) fn asked(&mut self, now: Instant, is_http2: bool) {
        (self.has_asked, self.is_http2) = (true, is_http2);
        (self.since, self.head_since) = (now, None);
        self.open += 1;
    }

    /// A request has arrived whole and is being worked on.
    pub(super) fn works(&mut self) {
        self.working += 1;
    }

    /// Work on a request has finished.
    pub(super) fn has_worked(&mut self, now: Instant) {
        self.working = self.working.saturating_sub(1);
        self.since = now;
    }

    /// A request has its answer, or will not get one.
    pub(super) fn answered(&mut self, now: Instant) {
        self.open = self.open.saturating_sub(1);
        self.since = now;
    }

    /// An answer over HTTP/2 begins; returns a number that identifies it.
    pub(super) fn answers(&mut self, now: Instant) -> u64 {
        self.next_answer += 1;
        self.answers.insert(self.next_answer, Pace::new(now));
        self.next_answer
    }

    /// The client took `bytes` of an answer.
    pub(super) fn took(&mut self, answer: u64, bytes: usize) {
        if let Some(pace) = self.answers.get_mut(&answer) {
            pace.moved(bytes);
        }
    }

    /// An answer was taken whole or given up.
    pub(super) fn has_answered(&mut self, now: Instant, answer: u64) {
        self.answers.remove(&answer);
        self.since = now;
    }

    /// The client took a piece of a stream of events.
    pub(super) fn streamed(&mut self, now: Instant) {
        self.since = now;
    }

    /// The socket has taken `bytes`.
    pub(super) fn sent(&mut self, now: Instant, bytes: usize) {
        if let Some(writing) = &mut self.writing {
            writing.moved(bytes);
        }
        // Over HTTP/2 the bytes may be pings.
        if self.has_asked && !self.is_http2 {
            self.since = now;
        }
    }

    /// The socket takes nothing, because the client does not read.
    pub(super) fn blocked(&mut self, now: Instant) {
        self.writing.get_or_insert(Pace::new(now));
    }

    /// The socket has taken everything.
    pub(super) fn flushed(&mut self) {
        self.writing = None;
    }

    /// Whether data is waiting that the client does not read.
    pub(super) fn is_blocked(&self) -> bool {
        self.writing.is_some()
    }

    /// Why the connection has to be cut now, if it has to be.
    pub(super) fn overdue(&self, now: Instant) -> Option<Cut> {
        let mut readings = self.writing.iter().chain(self.answers.values());
        if readings.any(|pace| pace.deadline() <= now) {
            return Some(Cut::SlowReader);
        }
        if self.open > 0 || self.writing.is_some() || !self.answers.is_empty() {
            return None;
        }
        let head_since = if self.has_asked { self.head_since } else { Some(self.since) };
        match head_since {
            Some(since) if since + HEAD <= now => Some(Cut::SlowHead),
            None if self.since + IDLE <= now => Some(Cut::Idle),
            _ => None,
        }
    }

    /// Rank among the connections that can make room: the lowest goes first, and one that is being worked on has no
    /// rank. The lowest is the one that has kept us waiting longest; a client that has never sent a request counts as
    /// waiting longer by [`HEAD`].
    pub(super) fn rank(&self) -> Option<Instant> {
        let since = if self.has_asked { self.since + HEAD } else { self.since };
        (self.working == 0).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When a turn is cut, in whole seconds after `from`, and why.
    fn cut(turn: &Turn, from: Instant) -> Option<(u32, Cut)> {
        (0..1000).find_map(|s| Some((s, turn.overdue(from + SECOND * s)?)))
    }

    #[test]
    fn each_way_to_keep_us_waiting_has_an_end() {
        let start = Instant::now();
        let at = |seconds: u32| start + SECOND * seconds;
        let mut turn = Turn::new(start);
        turn.received(at(9));
        turn.sent(at(9), 500);
        assert_eq!(cut(&turn, start), Some((10, Cut::SlowHead)), "of TLS, and of the first head");

        let mut asked = turn.clone();
        asked.asked(at(9), false);
        assert_eq!(cut(&asked, start), None, "who reads the body sees to that");
        asked.works();
        assert_eq!(cut(&asked, start), None, "it is our turn");
        asked.has_worked(at(30));
        asked.answered(at(30));
        assert_eq!(cut(&asked, start), Some((105, Cut::Idle)));
        asked.sent(at(31), 9);
        assert_eq!(cut(&asked, start), Some((106, Cut::Idle)));

        let mut second = asked.clone();
        second.received(at(60));
        second.received(at(69));
        assert_eq!(cut(&second, start), Some((70, Cut::SlowHead)), "one byte is no progress");
        second.asked(at(69), false);
        assert_eq!(cut(&second, start), None);

        let mut reader = asked.clone();
        reader.blocked(at(40));
        reader.sent(at(50), 1);
        reader.blocked(at(59));
        assert_eq!(cut(&reader, start), Some((60, Cut::SlowReader)), "one byte is no progress");
        reader.sent(at(59), 640 << 10);
        assert_eq!(cut(&reader, start), Some((70, Cut::SlowReader)), "ten seconds' worth");
        reader.flushed();
        assert_eq!(cut(&reader, start), Some((134, Cut::Idle)));
    }

    #[test]
    fn over_http2_each_answer_has_a_pace_and_pings_are_none() {
        let start = Instant::now();
        let at = |seconds: u32| start + SECOND * seconds;
        let mut turn = Turn::new(start);
        turn.asked(at(1), true);
        turn.answered(at(1));
        let (one, other) = (turn.answers(at(1)), turn.answers(at(5)));
        turn.took(one, 640 << 10);
        turn.received(at(20));
        assert_eq!(cut(&turn, start), Some((25, Cut::SlowReader)), "the other");
        turn.has_answered(at(6), other);
        assert_eq!(cut(&turn, start), Some((31, Cut::SlowReader)));
        turn.has_answered(at(7), one);
        turn.received(at(32));
        turn.sent(at(32), 17);
        assert_eq!(cut(&turn, start), Some((82, Cut::Idle)));
    }

    #[test]
    fn a_stream_of_events_lasts_as_long_as_they_are_taken() {
        let start = Instant::now();
        let at = |seconds: u32| start + SECOND * seconds;
        for is_http2 in [false, true] {
            let mut turn = Turn::new(start);
            turn.asked(start, is_http2);
            turn.answered(start);
            turn.streamed(at(15));
            turn.streamed(at(30));
            assert_eq!(cut(&turn, start), Some((105, Cut::Idle)), "{is_http2}");
            turn.blocked(at(40));
            assert_eq!(cut(&turn, start), Some((60, Cut::SlowReader)), "{is_http2}");
        }
    }

    #[test]
    fn room_is_made_by_who_makes_us_wait_longest() {
        let start = Instant::now();
        let at = |seconds: u32| start + SECOND * seconds;
        let (mut old, young) = (Turn::new(start), Turn::new(at(9)));
        assert!(old.rank() < young.rank());
        old.asked(at(1), false);
        assert!(young.rank() < old.rank(), "who has never asked goes first");
        assert!(old.rank() < Turn::new(at(12)).rank(), "but not if he has only just come");
        old.works();
        assert_eq!(old.rank(), None);
        let mut idle = old.clone();
        idle.has_worked(at(5));
        let mut later = idle.clone();
        later.sent(at(6), 1);
        assert!(idle.rank() < later.rank());
    }
}
