//! Whether we hear, proved by an echo: a message to an inbox of our own, which nobody counts as a heartbeat.
//!
//! A connection that is up may be cut in one direction, or lack our subscriptions; NATS may stand still, and so may
//! this process. In all these cases the echo does not come back. For this instance follows:
//!
//! - **It sends heartbeats that count, and makes claims, only while the last echo is [young](Hearing::is_young).**
//! - **It acts on a claim only while the claim is [trusted](Hearing::trusts):** ever since it was sent there has been
//!   an echo younger than [`TRUST`].
//!
//! An echo goes out right after a heartbeat, on the same connection. So once it has come back, the server has dealt
//! with a heartbeat sent no earlier than the echo, and the others count us as gone no sooner than
//! [`GONE_AFTER`](super::GONE_AFTER) after that. [`TRUST`] is shorter, by the time that sending a command takes. After
//! a break the first echo goes alone; it allows the next heartbeat, and only the echo after that heartbeat counts.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Age of the latest returned echo, from when it was sent, up to which claims are acted on.
pub(super) const TRUST: Duration = Duration::from_secs(4);
/// Age up to which heartbeats are sent and claims made.
pub(super) const YOUNG: Duration = Duration::from_millis(2500);
/// Longest prompt echo. A slower one shows that something stood still, and messages of others may still be under way.
const PROMPT: Duration = Duration::from_millis(500);
/// Time since the last echo came after which the silence of others means nothing.
const CURRENT: Duration = Duration::from_millis(1500);
/// Time since the last echo came after which a late heartbeat means nothing: a tick, and a little for its way.
const WELL: Duration = Duration::from_millis(400);
/// Most echoes under way; if there are more, some have been lost.
const MAX_UNDER_WAY: usize = 64;

/// The echoes that we sent, and what their return proves.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    next: u64,
    under_way: VecDeque<Echo>,
    /// When the latest echo that came back was sent.
    proved: Option<Instant>,
    /// The same for echoes after a heartbeat.
    heard: Option<Instant>,
    /// Since when there has always been an echo within [`TRUST`].
    since: Option<Instant>,
    /// When the latest echo came.
    came: Option<Instant>,
    /// Since when all echoes have come promptly.
    prompt_since: Option<Instant>,
}

#[derive(Debug)]
struct Echo {
    number: u64,
    sent: Instant,
    /// Whether it was sent after a heartbeat.
    is_behind_beat: bool,
}

impl Hearing {
    /// Notes an echo that is sent now, after a heartbeat or alone; returns its number.
    pub(super) fn send(&mut self, is_behind_beat: bool, now: Instant) -> u64 {
        if self.under_way.len() == MAX_UNDER_WAY {
            self.under_way.pop_front();
        }
        self.next += 1;
        self.under_way.push_back(Echo { number: self.next, sent: now, is_behind_beat });
        self.next
    }

    /// Notes an echo that came back; returns whether more is allowed than before.
    pub(super) fn hear(&mut self, number: u64, now: Instant) -> bool {
        let Some(index) = self.under_way.iter().position(|echo| echo.number == number) else {
            return false;
        };
        let Some(Echo { sent, is_behind_beat, .. }) = self.under_way.drain(..=index).next_back()
        else {
            return false;
        };
        let before = (self.may_beat(now), self.is_young(now));
        if !self.is_current(now) || now.duration_since(sent) > PROMPT {
            self.prompt_since = Some(now);
        }
        self.came = Some(now);
        self.proved = self.proved.max(Some(sent));
        if is_behind_beat {
            let is_unbroken = self.heard.is_some_and(|heard| now.duration_since(heard) < TRUST);
            self.heard = self.heard.max(Some(sent));
            if !is_unbroken {
                self.since = Some(sent);
            }
        }
        before != (self.may_beat(now), self.is_young(now))
    }

    /// Whether a heartbeat would count, because we hear.
    pub(super) fn may_beat(&self, now: Instant) -> bool {
        self.proved.is_some_and(|proved| now.duration_since(proved) <= YOUNG)
    }

    /// Whether we hear and the others have heard of it, so that claims may be made.
    pub(super) fn is_young(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.duration_since(heard) <= YOUNG)
    }

    /// Whether a claim sent at `claimed` may be acted on.
    pub(super) fn trusts(&self, claimed: Instant, now: Instant) -> bool {
        let is_heard = self.heard.is_some_and(|heard| now.duration_since(heard) < TRUST);
        is_heard && self.since.is_some_and(|since| since <= claimed)
    }

    /// Since when we would have heard anything that others said: their silence before that means nothing.
    pub(super) fn listening_since(&self, now: Instant) -> Instant {
        self.prompt_since.filter(|_| self.is_current(now)).unwrap_or(now)
    }

    /// Whether we would have heard anything that others said since `since`, including a heartbeat sent just now.
    pub(super) fn hears_well_since(&self, since: Instant, now: Instant) -> bool {
        let came = self.came.is_some_and(|came| now.duration_since(came) <= WELL);
        came && self.listening_since(now) <= since
    }

    fn is_current(&self, now: Instant) -> bool {
        self.came.is_some_and(|came| now.duration_since(came) <= CURRENT)
    }

    /// Since when there has always been an echo within [`TRUST`].
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// When the latest returned echo that followed a heartbeat was sent.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_claim_is_trusted_as_long_as_echoes_come_back() {
        let (start, mut hearing) = (Instant::now(), Hearing::default());
        assert!(!hearing.is_young(start) && !hearing.trusts(start, start));
        for second in 0..60 {
            let sent = after(start, f64::from(second));
            let number = hearing.send(true, sent);
            let came = after(start, f64::from(second) + 0.01);
            assert_eq!(hearing.hear(number, came), second == 0);
            assert!(hearing.trusts(start, came));
        }
        let claimed = after(start, 30.0);
        assert!(hearing.is_young(after(start, 61.5)) && !hearing.is_young(after(start, 61.6)));
        assert!(hearing.trusts(claimed, after(start, 62.9)));
        assert!(!hearing.trusts(claimed, after(start, 63.0)));
    }

    #[test]
    fn a_break_ends_trust_in_what_was_claimed_before_for_good() {
        let (start, mut hearing) = (Instant::now(), Hearing::default());
        let first = hearing.send(true, start);
        hearing.hear(first, after(start, 0.1));
        let (claimed, lost) = (after(start, 0.5), hearing.send(true, after(start, 1.0)));
        let later = hearing.send(true, after(start, 9.0));
        assert!(hearing.hear(later, after(start, 9.1)), "it hears again");
        assert!(!hearing.trusts(claimed, after(start, 9.2)));
        assert!(hearing.trusts(after(start, 9.0), after(start, 9.2)));
        assert!(!hearing.hear(lost, after(start, 9.3)), "one that comes too late says nothing");
    }

    #[test]
    fn an_echo_that_was_long_under_way_proves_only_that_it_was_heard_when_it_was_sent() {
        let (start, mut hearing) = (Instant::now(), Hearing::default());
        let first = hearing.send(true, start);
        assert!(!hearing.hear(first, after(start, 3.0)), "NATS stood still for three seconds");
        assert!(!hearing.is_young(after(start, 3.0)));
        assert!(hearing.trusts(start, after(start, 3.9)));
        assert!(!hearing.trusts(start, after(start, 4.0)));
    }

    #[test]
    fn the_silence_of_others_counts_only_while_echoes_come_promptly() {
        let (start, mut hearing) = (Instant::now(), Hearing::default());
        assert_eq!(hearing.listening_since(start), start);
        let first = hearing.send(true, start);
        hearing.hear(first, after(start, 0.1));
        assert_eq!(hearing.listening_since(after(start, 1.0)), after(start, 0.1));
        let second = hearing.send(true, after(start, 1.0));
        assert_eq!(hearing.listening_since(after(start, 2.0)), after(start, 2.0), "it is late");
        hearing.hear(second, after(start, 2.1));
        assert_eq!(hearing.listening_since(after(start, 2.2)), after(start, 2.1));
        let third = hearing.send(true, after(start, 3.0));
        hearing.hear(third, after(start, 3.1));
        assert_eq!(hearing.listening_since(after(start, 3.2)), after(start, 2.1));
    }

    #[test]
    fn after_a_break_a_heartbeat_comes_before_any_claim() {
        let (start, mut hearing) = (Instant::now(), Hearing::default());
        assert!(!hearing.may_beat(start));
        let alone = hearing.send(false, start);
        assert!(hearing.hear(alone, after(start, 0.1)));
        assert!(hearing.may_beat(after(start, 0.1)) && !hearing.is_young(after(start, 0.1)));
        let behind = hearing.send(true, after(start, 0.1));
        assert!(hearing.hear(behind, after(start, 0.2)));
        assert!(hearing.is_young(after(start, 0.2)));
    }
}
