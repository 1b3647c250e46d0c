//! Steps of a storm, one after the other: actions of users, and faults.

use std::time::Duration;

use nats_scheduler::names;
use nats_scheduler::port::Permission;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{Instant, sleep_until};

use super::{Living, OURS, OVERHANG, Storm, schedules, source, targets};
use crate::checker::{Fault, FaultKind};
use crate::instance::DRAIN;
use crate::nats::{
    HostClock, Simulated, Trouble, Way, full, no_resources, no_storage, too_many_requests,
};

/// How long an instance that is deaf for long hears nothing. A client that is for longer gives its connection up.
const DEAF: Duration = Duration::from_secs(13);

/// Within which a cut comes.
const SOON: Duration = Duration::from_millis(200);

/// The parts of an instance that faults strike.
pub struct Struck {
    pub number: u64,
    pub nats: Simulated,
    clock: HostClock,
}

impl Storm {
    /// One change or fault by chance.
    pub fn step(&mut self, step: usize, chance: &mut StdRng) {
        if chance.random_bool(0.55) {
            self.change(step, chance);
        } else if chance.random_bool(0.7) {
            self.strike(step, chance);
        } else {
            self.strike_nats(step, chance);
        }
    }

    /// A fault of one instance, or of its connection.
    fn strike(&mut self, step: usize, chance: &mut StdRng) {
        let (time, on_its_way) = self.times(chance);
        let struck: Vec<_> = self.living.lock().unwrap().iter().map(Struck::of).collect();
        let Some(one) = struck.choose(chance) else { return };
        match chance.random_range(0..17) {
            0 | 1 => self.cut(step, one, time),
            2 => {
                for one in &struck {
                    self.cut(step, one, time);
                }
            }
            3 | 4 => {
                let way = if chance.random_bool(0.5) { Way::There } else { Way::Here };
                self.hold(step, one, way, on_its_way);
            }
            5 | 6 => self.suspend(step, one, on_its_way),
            7 => {
                self.wrong_with(step, FaultKind::Cut, one, "has no line", time);
                one.nats.cut_lines(time);
            }
            8 => {
                let way = if chance.random_bool(0.5) { Way::There } else { Way::Here };
                self.wrong_with(step, FaultKind::Cut, one, "has a line that holds", on_its_way);
                one.nats.hold_lines(way, on_its_way);
            }
            9 if self.is_early() => {
                self.wrong_with(step, FaultKind::Silence, one, "is shown nothing", Duration::ZERO);
                one.nats.silence();
            }
            10 => {
                let by = schedules::ms(chance.random_range(-3000..3000));
                let what = format!("has its clock set by {by}");
                self.wrong_with(step, FaultKind::Clock, one, &what, Duration::ZERO);
                one.clock.step(by);
            }
            11 => {
                let what = "may not publish to some targets";
                self.wrong_with(step, FaultKind::Refusals, one, what, time);
                let pattern =
                    *["cmd.example.>", "cmd.worker.>", "cmd.listener.>"].choose(chance).unwrap();
                one.nats.forbid(Permission::Publish, pattern, time);
            }
            // Longer than it takes until it is gone for the others.
            12 if self.lasts(DEAF) => self.hold(step, one, Way::Here, DEAF),
            13 | 14 => self.die(step, one.number),
            _ => self.stop(step, one.number),
        }
    }

    /// A fault of NATS, or of one of its streams.
    fn strike_nats(&mut self, step: usize, chance: &mut StdRng) {
        let time = self.how_long(chance);
        let server = self.server.clone();
        match chance.random_range(0..9) {
            0 | 1 => {
                let share = chance.random_range(0.1..1.0);
                self.wrong_with_all(step, FaultKind::Acks, "acknowledgements are lost", time);
                server.lose_acks(share, time);
            }
            2 => {
                let late = Duration::from_millis(chance.random_range(10..7000));
                let what = format!("acknowledgements are up to {late:?} late");
                // The last of them comes so much later.
                self.wrong_with_all(step, FaultKind::Acks, &what, time + late);
                server.delay_acks(late, time);
            }
            3 => {
                self.wrong_with_all(step, FaultKind::Outage, "NATS stalls", time);
                server.stall(time);
            }
            4 => {
                self.wrong_with_all(step, FaultKind::Outage, "NATS starts again", time);
                server.restart(time, Duration::ZERO, None);
            }
            5 if self.is_early() => {
                let stream =
                    *[names::SCHEDULES_STREAM, names::EXECUTIONS_STREAM].choose(chance).unwrap();
                let what = format!("who reads {stream} is shown nothing");
                self.wrong_with_all(step, FaultKind::Silence, &what, Duration::ZERO);
                server.silence_readers(stream);
            }
            6 => {
                let lag = Duration::from_millis(chance.random_range(0..2000));
                self.say(&format!("[{step}] replicas are behind by {lag:?}"));
                server.lag(lag);
            }
            _ => {
                let stream = *[&OURS[..], &targets::STREAMS].concat().choose(chance).unwrap();
                let (trouble, word) = match chance.random_range(0..6) {
                    0 => (full(), "is full"),
                    1 => (no_storage(), "has no storage"),
                    2 => (no_resources(), "has no resources"),
                    3 => (too_many_requests(), "has too much to do"),
                    4 => (Trouble::NoLeader, "has no leader"),
                    _ => (Trouble::Silent, "is silent"),
                };
                self.say(&format!("[{step}] {stream} {word} for {time:?}"));
                self.wrong_at(FaultKind::Refusals, None, targets::of(stream), time);
                server.trouble(Some(stream), trouble, time);
            }
        }
    }

    /// Has a stream of targets take nothing for a while.
    pub fn silence_target(&mut self) {
        let (stream, time) = (targets::SHORT, self.size.storm);
        self.say(&format!("{stream} is silent for {time:?}"));
        self.wrong_at(FaultKind::Refusals, None, targets::of(stream), time);
        self.server.trouble(Some(stream), Trouble::Silent, time);
    }

    /// NATS is gone with all that it had not written to its disk, and comes back.
    pub fn lose_power(&mut self) {
        let mut chance = source(self.seed, usize::MAX - 8);
        let away = Duration::from_millis(chance.random_range(100..3000));
        let lost = Duration::from_millis(chance.random_range(100..3000));
        self.say(&format!(
            "NATS loses its power for {away:?}, and what it has done in the last {lost:?}"
        ));
        let now = self.server.now();
        let (from, until) = (now - lost, now + away);
        let fault = Fault { kind: FaultKind::Power, instance: None, targets: None, from, until };
        self.evidence.lock().unwrap().faults.push(fault);
        self.server.restart(away, lost, None);
    }

    /// How long something goes wrong: for a moment, or until others take over, and not for long behind the end.
    fn how_long(&self, chance: &mut StdRng) -> Duration {
        let most = if chance.random_bool(0.5) { 1000 } else { 9000 };
        let time = Duration::from_millis(chance.random_range(100..most));
        time.min(self.ends + OVERHANG - Instant::now())
    }

    /// How long something goes wrong, and how long it may keep messages on their way, by what streams remember.
    fn times(&self, chance: &mut StdRng) -> (Duration, Duration) {
        let time = self.how_long(chance);
        (time, if self.size.forgets { time.min(targets::ON_ITS_WAY) } else { time })
    }

    /// Whether something that takes so long is over in time.
    pub fn lasts(&self, time: Duration) -> bool {
        Instant::now() + time < self.ends + OVERHANG
    }

    /// Whether there is time to notice something that takes thirty seconds to be noticed and mended.
    fn is_early(&self) -> bool {
        Instant::now() + Duration::from_secs(9) < self.ends
    }

    fn wrong_with(
        &mut self,
        step: usize,
        kind: FaultKind,
        one: &Struck,
        what: &str,
        time: Duration,
    ) {
        let until = if time.is_zero() { String::new() } else { format!(" for {time:?}") };
        self.say(&format!("[{step}] instance {} {what}{until}", one.number));
        self.wrong(kind, Some(one.number), time);
    }

    fn wrong_with_all(&mut self, step: usize, kind: FaultKind, what: &str, time: Duration) {
        self.say(&format!("[{step}] {what} for {time:?}"));
        self.wrong(kind, None, time);
    }

    fn cut(&mut self, step: usize, one: &Struck, time: Duration) {
        self.wrong_with(step, FaultKind::Cut, one, "is cut off", time);
        let (nats, until) = (one.nats.clone(), Instant::now() + time);
        let soon = (time / 2).min(SOON);
        tokio::spawn(async move {
            // Just when something is on its way, which is when a cut does most harm.
            nats.sends(soon).await;
            nats.cut();
            sleep_until(until).await;
            nats.reconnect();
        });
    }

    fn hold(&mut self, step: usize, one: &Struck, way: Way, time: Duration) {
        let word = match way {
            Way::There => "says nothing",
            Way::Here => "hears nothing",
        };
        self.wrong_with(step, FaultKind::Cut, one, word, time);
        one.nats.hold(way, time);
        one.nats.hold_lines(way, time);
    }

    /// A process that does not run and then goes on.
    fn suspend(&mut self, step: usize, one: &Struck, time: Duration) {
        self.wrong_with(step, FaultKind::Suspension, one, "is suspended", time);
        one.nats.suspend(time);
    }

    fn die(&mut self, step: usize, number: u64) {
        let Some(Living { instance, nats, .. }) = self.take(number) else { return };
        self.say(&format!("[{step}] instance {number} dies, and another starts"));
        self.wrong(FaultKind::Death, Some(number), Duration::ZERO);
        nats.kill();
        instance.die();
        self.start();
    }

    fn stop(&mut self, step: usize, number: u64) {
        let Some(living) = self.take(number) else { return };
        self.say(&format!("[{step}] instance {number} stops, and another starts"));
        self.wrong(FaultKind::Stop, Some(number), DRAIN);
        let (book, server, began) = (self.book(), self.server.clone(), Instant::now());
        self.moving.push(tokio::spawn(async move {
            living.stop().await;
            // What it has not finished by then it leaves behind like one that dies.
            if began.elapsed() >= DRAIN {
                let (kind, at) = (FaultKind::Death, server.now());
                let instance = Some(number);
                let fault = Fault { kind, instance, targets: None, from: at, until: at };
                book.evidence().faults.push(fault);
            }
        }));
        self.start();
    }
}

impl Struck {
    pub fn of(living: &Living) -> Self {
        let Living { nats, clock, number, .. } = living;
        Self { number: *number, nats: nats.clone(), clock: clock.clone() }
    }
}
