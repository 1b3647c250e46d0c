use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Answers to give, in order, and what was asked for.
#[derive(Default)]
struct Script {
    sends: Mutex<VecDeque<Sent>>,
    found: Mutex<VecDeque<Earlier>>,
    searched: Mutex<Vec<DateTime<Utc>>>,
    /// How many tries were handed over.
    handed: AtomicUsize,
    /// Checks of the connection that find it down.
    down: AtomicUsize,
    lesser: usize,
    failures: usize,
}

impl Publishing for Script {
    type Place = ();

    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn enter(&self, _: &(impl Fn() -> bool + Sync)) -> Option<()> {
        Some(())
    }

    fn is_connected(&self) -> bool {
        self.down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
    }

    async fn search(&self, since: DateTime<Utc>) -> Earlier {
        self.searched.lock().unwrap().push(since);
        self.found.lock().unwrap().pop_front().unwrap_or(Earlier::Remembered)
    }

    async fn send(&self, may: &(impl Fn() -> bool + Sync)) -> Sent {
        if !may() {
            return Sent::Withheld;
        }
        self.handed.fetch_add(1, Ordering::SeqCst);
        self.sends.lock().unwrap().pop_front().expect("a try too many")
    }

    fn reduce(&mut self, _: &str) -> bool {
        self.lesser.checked_sub(1).map(|left| self.lesser = left).is_some()
    }

    fn failed(&mut self, _: &Sent) {
        self.failures += 1;
    }
}

fn script(sends: impl IntoIterator<Item = Sent>) -> Script {
    Script { sends: Mutex::new(sends.into_iter().collect()), ..Script::default() }
}

fn policy() -> Policy<fn() -> bool> {
    Policy { trusted: || true, since: None, patience: None, pause: Duration::from_millis(1) }
}

fn unknown() -> Sent {
    Sent::Unknown("no acknowledgement".to_owned())
}

fn passing() -> Sent {
    Sent::Passing("too many requests".to_owned())
}

const STORED: Sent = Sent::Stored { duplicate: false };

#[tokio::test]
async fn it_is_searched_before_every_try_after_one_of_unknown_fate() {
    let mut message = script([passing(), unknown(), unknown(), STORED]);
    let before = Utc::now();
    let known = until_known(&mut message, policy()).await.unwrap();
    assert_eq!(known, Known { fate: Fate::Stored { duplicate: false }, maybe_sent: true });
    let searched = message.searched.into_inner().unwrap();
    assert_eq!(searched.len(), 2, "not after a refusal, which left nothing behind");
    assert!(searched.iter().all(|since| *since >= before && *since == searched[0]));
    assert_eq!(message.failures, 3);
}

#[tokio::test]
async fn what_others_may_have_sent_is_searched_from_then_before_the_first_try() {
    let since = Utc::now() - chrono::Duration::hours(1);
    let mut message = Script::default();
    message.found.get_mut().unwrap().push_back(Earlier::Stored);
    let policy = Policy { since: Some(since), ..policy() };
    let known = until_known(&mut message, policy).await.unwrap();
    assert_eq!(known.fate, Fate::Stored { duplicate: true });
    assert_eq!(*message.searched.lock().unwrap(), [since]);
    assert_eq!(message.handed.into_inner(), 0);
}

#[tokio::test]
async fn while_a_search_has_no_answer_nothing_is_sent() {
    let mut message = script([STORED]);
    let silent = || Earlier::Unknown("no answer".to_owned());
    message.found.get_mut().unwrap().extend([silent(), silent()]);
    let policy = Policy { since: Some(Utc::now()), ..policy() };
    until_known(&mut message, policy).await.unwrap();
    assert_eq!((message.handed.into_inner(), message.failures), (1, 2));
}

#[tokio::test]
async fn trust_is_looked_at_after_every_wait_and_when_the_bytes_are_handed_over() {
    // The checks of the trust: before the try, after the search, at the hand-over, and so on.
    for (looks, handed) in [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)] {
        let left = AtomicUsize::new(looks);
        let spend = |n: usize| n.checked_sub(1);
        let trusted = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_ok();
        let mut message = script([unknown(), unknown()]);
        let policy = Policy { trusted, since: None, patience: None, pause: policy().pause };
        let lost = until_known(&mut message, policy).await.unwrap_err();
        assert_eq!(message.handed.into_inner(), handed, "{looks} looks");
        assert_eq!(lost.maybe_sent, handed > 0, "{looks} looks");
    }
}

#[tokio::test]
async fn trust_that_is_lost_while_the_connection_is_down_ends_the_wait() {
    let left = AtomicUsize::new(2);
    let spend = |n: usize| n.checked_sub(1);
    let trusted = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_ok();
    let mut message = Script { down: AtomicUsize::new(usize::MAX), ..Script::default() };
    let policy = Policy { trusted, since: None, patience: None, pause: policy().pause };
    let lost = until_known(&mut message, policy).await.unwrap_err();
    assert!(!lost.maybe_sent);
}

/// A connection that is down at the second check, which is the one at the hand-over.
struct GoneAtHandOver(Script, AtomicUsize);

impl Publishing for GoneAtHandOver {
    type Place = ();

    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn enter(&self, _: &(impl Fn() -> bool + Sync)) -> Option<()> {
        Some(())
    }

    fn is_connected(&self) -> bool {
        self.1.fetch_add(1, Ordering::SeqCst) != 1
    }

    async fn search(&self, since: DateTime<Utc>) -> Earlier {
        self.0.search(since).await
    }

    async fn send(&self, may: &(impl Fn() -> bool + Sync)) -> Sent {
        self.0.send(may).await
    }

    fn reduce(&mut self, reason: &str) -> bool {
        self.0.reduce(reason)
    }

    fn failed(&mut self, sent: &Sent) {
        self.0.failed(sent);
    }
}

#[tokio::test]
async fn a_connection_that_goes_before_the_bytes_are_handed_over_is_waited_for() {
    let mut message = GoneAtHandOver(script([STORED]), AtomicUsize::new(0));
    let known = until_known(&mut message, policy()).await.unwrap();
    assert_eq!(known, Known { fate: Fate::Stored { duplicate: false }, maybe_sent: false });
    assert_eq!(message.0.handed.into_inner(), 1);
    assert_eq!(message.1.into_inner(), 4, "two tries, the first of which was not made");
}

#[tokio::test]
async fn refusals_that_pass_are_tried_on_and_final_ones_in_lesser_forms() {
    let refused = || Sent::Refused("too large".to_owned());
    let mut message = script([passing(), passing(), refused(), STORED]);
    message.lesser = 1;
    let known = until_known(&mut message, policy()).await.unwrap();
    assert_eq!(known, Known { fate: Fate::Stored { duplicate: false }, maybe_sent: false });
    let mut message = script([refused(), unknown(), refused()]);
    message.lesser = 1;
    let known = until_known(&mut message, policy()).await.unwrap();
    assert_eq!(known, Known { fate: Fate::Refused("too large".to_owned()), maybe_sent: true });
}

#[tokio::test]
async fn what_is_given_up_says_whether_it_may_have_got_through() {
    for (sends, maybe_sent) in [([passing(), passing()], false), ([unknown(), passing()], true)] {
        let mut message = script(sends);
        let policy = Policy { patience: Some(Duration::from_millis(2)), ..policy() };
        let known = until_known(&mut message, policy).await.unwrap();
        assert!(matches!(known.fate, Fate::GivenUp(_)), "{known:?}");
        assert_eq!(known.maybe_sent, maybe_sent);
    }
}
