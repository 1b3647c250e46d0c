//! The connections of an instance: how many are allowed, which one makes room, and which are cut.
//!
//! They are limited in number. A further connection takes the place of the one that has kept us waiting longest. So
//! clients that open many connections and send nothing displace each other, while a probe or a request gets a place at
//! once. A connection whose request is being worked on keeps its place. Once a second, connections that take longer
//! than their [`Turn`] allows are cut.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::turn::{Cut, Turn};
use crate::metrics::{Counted, Metrics};

/// Interval between looks for connections that take too long.
const SWEEP: Duration = Duration::from_secs(1);
/// Interval between warnings about too many connections.
pub(super) const SAID: Duration = Duration::from_secs(60);

/// All connections of an instance.
pub(super) struct Connections {
    most: usize,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Connections that have a place. A cut connection loses its place at once.
    places: HashMap<u64, Arc<Connection>>,
    /// These, and those cut but not yet closed: the number of open files.
    held: usize,
    next: u64,
    /// Connections cut for lack of room since the last warning, and the time of that warning.
    crowded: u64,
    said: Option<Instant>,
}

/// One connection, as seen by the code that serves it.
pub(super) struct Connection {
    peer: Option<SocketAddr>,
    turn: Mutex<Turn>,
    cut: CancellationToken,
}

/// The place of a connection; freed when dropped.
pub(super) struct Seat {
    id: u64,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
    _counted: Counted,
}

impl Connections {
    /// Room for `most` connections.
    pub(super) fn new(most: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        for reason in Cut::ALL {
            metrics.http_cut(reason.as_str(), 0);
        }
        Arc::new(Self { most, metrics, open: Mutex::default() })
    }

    /// Gives one more connection a place. Returns none if all others are being worked on, or if, for lack of CPU time,
    /// as many as there may be are cut but not yet closed.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Option<Seat> {
        let mut open = self.open();
        if open.held >= self.most.saturating_mul(2) {
            self.metrics.http_cut(Cut::Full.as_str(), 1);
            return None;
        }
        if open.places.len() >= self.most {
            open.crowded += 1;
            let ranked = open.places.iter();
            let first = ranked.filter_map(|(id, one)| Some((one.turn().rank()?, *id))).min();
            let Some(connection) = first.and_then(|(_, id)| open.places.remove(&id)) else {
                self.metrics.http_cut(Cut::Full.as_str(), 1);
                return None;
            };
            self.cut(&connection, Cut::Crowded);
        }
        (open.next, open.held) = (open.next + 1, open.held + 1);
        let connection = Arc::new(Connection {
            peer,
            turn: Mutex::new(Turn::new(Instant::now())),
            cut: CancellationToken::new(),
        });
        let id = open.next;
        open.places.insert(id, Arc::clone(&connection));
        let connections = Arc::clone(self);
        Some(Seat { id, connection, connections, _counted: self.metrics.http_connection() })
    }

    /// Cuts connections that take too long, until `stop`.
    pub(super) async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            self.sweep_once(Instant::now());
        }
    }

    fn sweep_once(&self, now: Instant) {
        let mut open = self.open();
        open.places.retain(|_, connection| {
            let overdue = connection.turn().overdue(now);
            if let Some(reason) = overdue {
                self.cut(connection, reason);
            }
            overdue.is_none()
        });
        if open.crowded > 0 && open.said.is_none_or(|said| said + SAID <= now) {
            let cut = std::mem::take(&mut open.crowded);
            open.said = Some(now);
            let most = self.most;
            warn!(most, cut, "more HTTP connections than API_MAX_CONNECTIONS: closing the idlest");
        }
    }

    fn cut(&self, connection: &Connection, reason: Cut) {
        let (peer, reason) = (connection.peer, reason.as_str());
        debug!(?peer, reason, "HTTP connection cut");
        self.metrics.http_cut(reason, 1);
        connection.cut.cancel();
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// State of the connection.
    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a complete request as being worked on until the returned guard is dropped.
    pub(super) fn works(self: &Arc<Self>) -> Working {
        self.turn().works();
        Working(Arc::clone(self))
    }
}

impl Seat {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Token that is cancelled when the connection is cut.
    pub(super) fn is_cut(&self) -> CancellationToken {
        self.connection.cut.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.held -= 1;
        open.places.remove(&self.id);
    }
}

/// Guard of a request that is being worked on.
#[must_use]
pub(super) struct Working(Arc<Connection>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.turn().has_worked(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_takes_the_place_of_the_idlest_and_never_of_one_that_is_worked_on() {
        let connections = Connections::new(3, Arc::new(Metrics::new()));
        let admit = || connections.admit(None);
        let (busy, silent, asked) = (admit().unwrap(), admit().unwrap(), admit().unwrap());
        let working = busy.connection().works();
        asked.connection().turn().asked(Instant::now(), false);
        let fourth = admit().unwrap();
        assert!(silent.is_cut().is_cancelled(), "it has never asked");
        drop(silent);
        let fifth = admit().unwrap();
        assert!(fourth.is_cut().is_cancelled());
        let at_work: Vec<_> = [&asked, &fifth].map(|place| place.connection().works()).into();
        assert!(admit().is_none(), "all are worked on");
        assert!([&busy, &asked, &fifth].iter().all(|place| !place.is_cut().is_cancelled()));
        drop(at_work);
        assert!(admit().is_some());
        drop(working);
        drop((busy, asked, fourth, fifth));
        assert_eq!(connections.open().places.len(), 0, "places are given back");
    }

    #[test]
    fn those_that_are_cut_and_not_closed_yet_are_bounded_too() {
        let connections = Connections::new(2, Arc::new(Metrics::new()));
        let mut held: Vec<_> = (0..4).map(|_| connections.admit(None).unwrap()).collect();
        assert!(held[0].is_cut().is_cancelled() && held[1].is_cut().is_cancelled());
        assert!(connections.admit(None).is_none(), "two are to be closed first");
        held.remove(0);
        assert!(connections.admit(None).is_some());
    }

    #[test]
    fn a_sweep_cuts_who_takes_too_long_and_frees_the_place() {
        let connections = Connections::new(1, Arc::new(Metrics::new()));
        let place = connections.admit(None).unwrap();
        let soon = Instant::now() + Duration::from_secs(9);
        connections.sweep_once(soon);
        assert!(!place.is_cut().is_cancelled());
        connections.sweep_once(soon + Duration::from_secs(2));
        assert!(place.is_cut().is_cancelled());
        let next = connections.admit(None).unwrap();
        drop(place);
        assert_eq!(connections.open().places.len(), 1, "its place is another's by now");
        assert!(!next.is_cut().is_cancelled());
    }
}
