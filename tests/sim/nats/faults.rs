//! Faults, caused on request.
//!
//! All of them can happen to a real server, its disk, its clock or the way to it. A fault that lasts ends by itself.
//! The storm calls these functions; clients see the effects only through the port.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Error;
use chrono::TimeDelta;
use nats_scheduler::port::Permission;
use rand::RngExt as _;
use tokio::time::Instant;

use super::connection::{Link, Simulated, Way};
use super::stream::refusal;
use super::{Server, State};

/// For how long a connection is silent before its client gives it up: pings of five seconds, of which three have
/// no answer.
const PINGS: Duration = Duration::from_secs(15);
/// How long clients take to find a server again.
const FINDS: Duration = Duration::from_millis(800);

/// What goes wrong with the server now.
#[derive(Default)]
pub struct Faults {
    /// Until when it serves nothing.
    pub stalled: Option<Instant>,
    lost_acks: Option<(f64, Instant)>,
    late_acks: Option<(Duration, Instant)>,
    /// With the share of questions and writes that each concerns.
    troubles: Vec<(Option<String>, Trouble, f64, Instant)>,
    /// By how much replicas may be behind.
    pub lag: Duration,
}

/// What is the matter with a stream.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It refuses all writes, with the text and the codes of [`full`], [`no_storage`] and others.
    Refuses(Error),
    /// It has no leader: nobody hears what is written, and questions are refused.
    NoLeader,
    /// It answers nothing at all, and stores nothing.
    Silent,
}

/// A stream that has reached its limit and takes nothing that is new.
pub fn full() -> Trouble {
    Trouble::Refuses(refusal(503, 10077, "maximum messages exceeded"))
}

/// A disk that is full.
pub fn no_storage() -> Trouble {
    Trouble::Refuses(refusal(500, 10047, "insufficient storage resources available"))
}

/// An account that has used up what it may have.
pub fn no_resources() -> Trouble {
    Trouble::Refuses(refusal(503, 10023, "insufficient resources"))
}

/// A stream with more to do than it can.
pub fn too_many_requests() -> Trouble {
    Trouble::Refuses(refusal(429, 10167, "too many requests"))
}

/// What becomes of an acknowledgement.
pub enum Ack {
    Comes,
    Late(Duration),
    Lost,
}

impl Server {
    /// For a time, this share of all acknowledgements is lost. What they are of is stored.
    pub fn lose_acks(&self, share: f64, time: Duration) {
        let mut state = self.state();
        state.faults.lost_acks = Some((share, state.moment + time));
    }

    /// For a time, acknowledgements come late, by up to `late`: perhaps when nobody waits for them any more. What
    /// they are of is stored at once.
    pub fn delay_acks(&self, late: Duration, time: Duration) {
        let mut state = self.state();
        state.faults.late_acks = Some((late, state.moment + time));
    }

    /// Serves nothing for a time, as a process that is stopped, or a machine that does nothing but swap. Connections
    /// stay until their clients give them up, and what was sent over them is served in the end all the same.
    pub fn stall(&self, time: Duration) {
        let mut state = self.state();
        let (now, until) = (state.moment, state.moment + time);
        state.faults.stalled = state.faults.stalled.max(Some(until));
        if time > PINGS {
            for link in state.all() {
                state.do_at(now + PINGS, move |_| give_up(&link));
            }
            state.find_again(until);
        }
    }

    /// Goes away for a time, and comes back without what it did in the `forgets` before that, in one stream or all:
    /// the machine lost it before it was on the disk. Nothing is forgotten where that is zero, and never more than
    /// of ten seconds. Sequences go back; ids are known of what is there; who reads is shown nothing more for a
    /// while, and then goes on behind what it has seen.
    pub fn restart(&self, away: Duration, forgets: Duration, stream: Option<&str>) {
        let mut state = self.state();
        let now = state.now();
        for (name, one) in &mut state.streams {
            let forgets =
                if stream.is_none_or(|stream| stream == name) { forgets } else { Duration::ZERO };
            one.restart(forgets, now);
        }
        for link in state.all() {
            link.change(|state| state.is_left = true);
        }
        state.faults.stalled = None;
        state.lose_readers(|_| true);
        let back = state.moment + away;
        state.find_again(back);
    }

    /// For a time there is trouble with one stream, or all.
    pub fn trouble(&self, stream: Option<&str>, trouble: Trouble, time: Duration) {
        self.trouble_mostly(stream, trouble, 1.0, time);
    }

    /// The same for a share of all questions and writes.
    pub fn trouble_mostly(
        &self,
        stream: Option<&str>,
        trouble: Trouble,
        share: f64,
        time: Duration,
    ) {
        let mut state = self.state();
        let until = state.moment + time;
        state.faults.troubles.push((stream.map(str::to_owned), trouble, share, until));
    }

    /// Removes a stream with all that it holds. Who reads it is shown nothing more, until [`Server::create_stream`]
    /// makes another of the same name and its sequences reach what was seen of this one.
    pub fn delete_stream(&self, name: &str) {
        let mut state = self.state();
        state.streams.remove(name);
        state.lose_readers(|stream| stream == name);
    }

    /// A worker has acknowledged a message: a work queue does not keep it.
    pub fn acknowledge(&self, stream: &str, sequence: u64) {
        let mut state = self.state();
        let now = state.now();
        if let Some(stream) = state.streams.get_mut(stream) {
            stream.acknowledge(sequence, now);
        }
    }

    /// From now on replicas are behind by up to as much: [`message_of_any`](nats_scheduler::port::Nats) is answered
    /// by any of three.
    pub fn lag(&self, lag: Duration) {
        self.state().faults.lag = lag;
    }

    /// Sets the server's clock, by so much.
    pub fn step_clock(&self, by: TimeDelta) {
        self.state().clock_is_off += by;
    }

    /// Those who read a stream over any connection hear no more of it, and no error, until they read it anew.
    pub fn silence_readers(&self, stream: &str) {
        let mut state = self.state();
        for reader in state.readers.values_mut().filter(|reader| reader.stream == stream) {
            reader.is_silent = true;
        }
    }
}

impl Simulated {
    /// Breaks all connections of the process, until [`Self::reconnect`].
    pub fn cut(&self) {
        self.cut_main();
        self.cut_lines(Duration::ZERO);
    }

    /// Waits until the process sends a command or an event, or for so long.
    pub async fn sends(&self, within: Duration) {
        let _ = tokio::time::timeout(within, self.link.sends.notified()).await;
    }

    /// Breaks this connection, and none of its lines.
    pub fn cut_main(&self) {
        self.link.change(|state| state.is_cut_off = true);
    }

    /// Breaks its lines alone; there are no new ones for a time.
    pub fn cut_lines(&self, time: Duration) {
        let lines = {
            let mut state = self.link.state();
            state.no_line_before = Some(Instant::now() + time);
            std::mem::take(&mut state.lines)
        };
        for line in lines {
            line.change(|state| state.is_cut_off = true);
        }
    }

    /// Lets it be made again.
    pub fn reconnect(&self) {
        let mut there = self.server.state();
        if self.link.change(|state| state.is_cut_off = false) {
            there.came_up(&self.link);
        }
    }

    /// Holds up all that goes one way over this connection. The client does not give it up, so it should be less
    /// than the fifteen seconds after which a real one does.
    pub fn hold(&self, way: Way, time: Duration) {
        let until = Instant::now() + time;
        self.link.change(|state| state.held[way as usize] = Some(until));
    }

    /// The same for its lines.
    pub fn hold_lines(&self, way: Way, time: Duration) {
        let until = Instant::now() + time;
        let lines = self.link.state().lines.clone();
        for line in lines {
            line.change(|state| state.held[way as usize] = Some(until));
        }
    }

    /// Has its process not run for a time: it goes no further than to what it asks NATS for next, and nothing that is
    /// sent to it is heard before it is over.
    pub fn suspend(&self, time: Duration) {
        self.hold(Way::Here, time);
        self.hold_lines(Way::Here, time);
        let until = Some(Instant::now() + time);
        self.link.change(|state| state.suspended = until);
        let lines = self.link.state().lines.clone();
        for line in lines {
            line.change(|state| state.suspended = until);
        }
    }

    /// Ends the process behind it: from the next thing on that it asks of NATS nothing of it happens any more.
    pub fn kill(&self) {
        self.link.change(|state| state.is_dead = true);
        let lines = self.link.state().lines.clone();
        for line in lines {
            line.change(|state| state.is_dead = true);
        }
    }

    /// Those who read a stream over it hear no more, and no error, until they read it anew.
    pub fn silence(&self) {
        let mut state = self.server.state();
        for reader in state.readers.values_mut().filter(|reader| reader.link.id == self.link.id) {
            reader.is_silent = true;
        }
    }

    /// For a time its user may not publish or subscribe to what a pattern covers. Each try is refused, and the
    /// connection is told so; see [`Self::tells`].
    pub fn forbid(&self, operation: Permission, pattern: &str, time: Duration) {
        let until = Instant::now() + time;
        self.link.change(|state| state.forbidden.push((operation, pattern.to_owned(), until)));
    }
}

/// The client has no answer to its pings. What it has sent is with the server all the same.
fn give_up(link: &Link) {
    link.change(|state| (state.is_left, state.lands) = (true, state.made));
}

impl State {
    fn all(&self) -> Vec<Arc<Link>> {
        self.links.iter().filter_map(std::sync::Weak::upgrade).collect()
    }

    /// Clients find the server again from a time on, each when it next looks.
    fn find_again(&mut self, from: Instant) {
        for link in self.all() {
            let at = from + self.chance.random_range(Duration::ZERO..FINDS);
            self.do_at(at, move |state| {
                if link.change(|state| state.is_left = false) {
                    state.came_up(&link);
                }
            });
        }
    }

    /// What becomes of an acknowledgement now.
    pub fn ack(&mut self) -> Ack {
        let now = self.moment;
        if let Some((share, until)) = self.faults.lost_acks
            && until > now
            && self.chance.random_bool(share)
        {
            return Ack::Lost;
        }
        match self.faults.late_acks {
            Some((late, until)) if until > now => {
                Ack::Late(self.chance.random_range(Duration::ZERO..=late))
            }
            _ => Ack::Comes,
        }
    }

    /// What is the matter with a stream now.
    pub fn trouble(&mut self, stream: &str) -> Option<Trouble> {
        let now = self.moment;
        let troubles = &mut self.faults.troubles;
        troubles.retain(|(.., until)| *until > now);
        let mut troubles = troubles.iter();
        let of = troubles.find(|(of, ..)| of.as_deref().is_none_or(|of| of == stream));
        let (_, trouble, share, _) = of?;
        // A run without such shares is the same as ever.
        let strikes = *share >= 1.0 || self.chance.random_bool(*share);
        strikes.then(|| trouble.clone())
    }

    /// By how much the replica is behind that answers now.
    pub fn lag(&mut self) -> Duration {
        if self.faults.lag.is_zero() || self.chance.random_bool(1.0 / 3.0) {
            return Duration::ZERO;
        }
        self.chance.random_range(Duration::ZERO..self.faults.lag)
    }
}
