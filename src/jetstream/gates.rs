//! Bounds on the commands that wait for each target's stream: for its answer, or for the result of a search of it.
//!
//! Every stream has a bound of its own, so one that answers nothing costs only those that send to it. A stream that has
//! had a command for [`SILENT`] without taking any is *silent*: then only a few commands at a time find out whether it
//! is back, and the others wait at its gate, at no cost to other streams. The first command that it takes opens the
//! gate again.
//!
//! A command whose answer does not come is asked about again before its time is over, if that is likely to help: either
//! the stream has taken one that was sent later, so ours or its answer is lost; or it is silent, and a few commands at
//! a time must find out when it is back. A stream that is only slow is asked nothing twice.
//!
//! While nobody knows which stream a subject goes to, the subject has a gate of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::timeout;

/// Most commands that wait for one stream at once: servers limit what they hold of unanswered ones.
const MOST: usize = 4096;
/// Most commands that wait for a stream while it is silent.
const FEW: usize = 64;
/// Time for which a stream may take nothing of what it is sent before it counts as silent.
pub(crate) const SILENT: Duration = Duration::from_secs(1);
/// A command sent this long before one that was taken will not be taken any more: both go the same way.
const OVERTAKEN: Duration = Duration::from_millis(250);
/// Longest wait at a gate before the command is checked for whether it still makes sense.
const LOOK: Duration = Duration::from_secs(1);
/// Most gates that are remembered while nobody uses them.
const MOST_IDLE: usize = 10_000;

/// The gates of all streams.
#[derive(Default)]
pub(crate) struct Gates(Mutex<HashMap<String, Arc<Gate>>>);

/// The gate of one stream.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Commands that hold a place.
    inside: usize,
    /// Since when the stream has had a command and taken none.
    untaken_since: Option<Instant>,
    /// When the latest of the commands that it has taken was sent.
    taken: Option<Instant>,
    /// When commands began to ask it again while it is silent, and how many have since.
    asked_again: Option<(Instant, usize)>,
}

impl State {
    fn is_silent(&self, now: Instant) -> bool {
        self.untaken_since.is_some_and(|since| now.duration_since(since) >= SILENT)
    }
}

impl Gates {
    /// The gate of a stream, or of a subject whose stream is not known.
    pub(crate) fn of(&self, name: &str) -> Arc<Gate> {
        let mut gates = lock(&self.0);
        if let Some(gate) = gates.get(name) {
            return Arc::clone(gate);
        }
        if gates.len() >= MOST_IDLE {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        Arc::clone(gates.entry(name.to_owned()).or_default())
    }

    /// Whether a stream is silent.
    pub(crate) fn is_silent(&self, name: &str) -> bool {
        lock(&self.0).get(name).is_some_and(|gate| gate.is_silent())
    }
}

impl Gate {
    /// Waits for a place for as long as a condition holds.
    pub(crate) async fn enter_while(self: &Arc<Self>, may: &impl Fn() -> bool) -> Option<Pass> {
        let mut entering = std::pin::pin!(self.enter());
        loop {
            if let Ok(pass) = timeout(LOOK, &mut entering).await {
                return Some(pass);
            }
            if !may() {
                return None;
            }
        }
    }

    /// Waits for a place.
    async fn enter(self: &Arc<Self>) -> Pass {
        loop {
            // Registered before the check, so that no change is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(pass) = self.try_enter() {
                return pass;
            }
            changed.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        let mut state = lock(&self.state);
        let most = if state.is_silent(Instant::now()) { FEW } else { MOST };
        (state.inside < most).then(|| {
            state.inside += 1;
            Pass { gate: Arc::clone(self) }
        })
    }

    fn is_silent(&self) -> bool {
        lock(&self.state).is_silent(Instant::now())
    }

    /// Notes that the stream was sent a command.
    pub(crate) fn sent(&self, at: Instant) {
        let mut state = lock(&self.state);
        let since = state.untaken_since.get_or_insert(at);
        *since = at.min(*since);
    }

    /// Whether to ask the stream again about a command sent at `sent` that had no answer for [`SILENT`] or longer.
    pub(crate) fn asks_again(&self, sent: Instant) -> bool {
        let (mut state, now) = (lock(&self.state), Instant::now());
        if !state.is_silent(now) {
            return state.taken.is_some_and(|taken| taken > sent + OVERTAKEN);
        }
        let (since, count) = state.asked_again.unwrap_or((now, 0));
        let (since, count) =
            if now.duration_since(since) >= SILENT { (now, 0) } else { (since, count) };
        state.asked_again = Some((since, (count + 1).min(FEW)));
        count < FEW
    }

    /// Notes that the stream has taken or refused a command sent at `sent`.
    pub(crate) fn answered(&self, sent: Instant) {
        let was_silent = {
            let mut state = lock(&self.state);
            let was_silent = state.is_silent(Instant::now());
            state.untaken_since = None;
            state.taken = state.taken.max(Some(sent));
            was_silent
        };
        if was_silent {
            self.changed.notify_waiters();
        }
    }
}

/// A place for a command; given back when dropped.
pub(crate) struct Pass {
    gate: Arc<Gate>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        lock(&self.gate.state).inside -= 1;
        self.gate.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn long_ago() -> Instant {
        Instant::now().checked_sub(SILENT).unwrap()
    }

    #[test]
    fn a_stream_that_takes_nothing_lets_few_in_and_the_others_as_before() {
        let gates = Gates::default();
        let (dead, alive) = (gates.of("DEAD"), gates.of("ALIVE"));
        dead.sent(long_ago());
        alive.sent(Instant::now());
        assert!(gates.is_silent("DEAD") && !gates.is_silent("ALIVE"));
        let inside: Vec<Pass> = std::iter::from_fn(|| dead.try_enter()).collect();
        assert_eq!(inside.len(), FEW);
        let others: Vec<Pass> = std::iter::from_fn(|| alive.try_enter()).take(FEW + 1).collect();
        assert_eq!(others.len(), FEW + 1);
        // Further commands do not make its silence any younger.
        dead.sent(Instant::now());
        assert!(gates.is_silent("DEAD"));
    }

    #[test]
    fn the_first_answer_lets_all_in_who_wait() {
        let gate = Gates::default().of("BACK");
        gate.sent(long_ago());
        let mut inside: Vec<Pass> = std::iter::from_fn(|| gate.try_enter()).collect();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(gate.enter())).collect();
        assert!(waiting.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        inside.pop();
        let entered = waiting.iter_mut().filter_map(|waiting| waiting.now_or_never());
        let entered: Vec<Pass> = entered.collect();
        assert_eq!(entered.len(), 1, "one left");
        gate.answered(Instant::now());
        assert!(!gate.is_silent());
        let entered: Vec<Pass> =
            waiting[1..].iter_mut().filter_map(|waiting| waiting.now_or_never()).collect();
        assert_eq!(entered.len(), 2);
    }

    #[test]
    fn a_few_ask_a_silent_stream_again_and_all_one_that_has_taken_what_came_later() {
        let gate = Gates::default().of("S");
        let sent = long_ago();
        gate.sent(sent);
        assert_eq!((0..1000).filter(|_| gate.asks_again(sent)).count(), FEW, "it is silent");
        gate.answered(sent + OVERTAKEN / 2);
        gate.sent(Instant::now());
        assert!(!gate.asks_again(sent), "it is slow");
        gate.answered(Instant::now());
        assert!((0..1000).all(|_| gate.asks_again(sent)), "ours is lost");
    }

    #[test]
    fn gates_that_nobody_uses_are_forgotten() {
        let gates = Gates::default();
        let used = gates.of("used");
        for n in 0..2 * MOST_IDLE {
            gates.of(&n.to_string());
        }
        assert!(lock(&gates.0).len() <= MOST_IDLE);
        assert!(Arc::ptr_eq(&used, &gates.of("used")));
    }
}
