//! One thing after the other: what users do, and what goes wrong.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use super::{Living, OVERHANG, Storm};
use crate::checker::FaultKind;
use crate::nats::Way;

impl Storm {
    /// One change or fault by chance.
    pub async fn step(&mut self, step: usize, chance: &mut StdRng) {
        if chance.random_bool(0.55) {
            self.change(step, chance);
        } else {
            self.strike(step, chance).await;
        }
    }

    /// One fault by chance.
    async fn strike(&mut self, step: usize, chance: &mut StdRng) {
        let which = chance.random_range(0..self.living.len());
        let time = self.how_long(chance);
        match chance.random_range(0..12) {
            0..=2 => self.cut(step, which, time),
            3 | 4 => {
                let way = if chance.random_bool(0.5) { Way::There } else { Way::Here };
                self.hold(step, which, &[way], time);
            }
            5 | 6 => self.hold(step, which, &[Way::There, Way::Here], time),
            7 => self.cut_all(step, time, chance),
            8 | 9 => self.die(step, which).await,
            _ => self.stop(step, which).await,
        }
    }

    /// How long something goes wrong: for a moment, or until others take over, and not for long behind the end.
    fn how_long(&self, chance: &mut StdRng) -> Duration {
        let most = if chance.random_bool(0.5) { 1000 } else { 9000 };
        let time = Duration::from_millis(chance.random_range(100..most));
        time.min(self.ends + OVERHANG - Instant::now())
    }

    fn cut(&mut self, step: usize, which: usize, time: Duration) {
        let Living { nats, number, .. } = &self.living[which];
        let (nats, number) = (nats.clone(), *number);
        self.say(&format!("[{step}] instance {number} is cut off for {time:?}"));
        self.wrong(FaultKind::Cut, Some(number), time);
        nats.cut();
        tokio::spawn(async move {
            sleep(time).await;
            nats.reconnect();
        });
    }

    fn cut_all(&mut self, step: usize, time: Duration, chance: &mut StdRng) {
        for which in 0..self.living.len() {
            let late = Duration::from_millis(chance.random_range(0..800));
            self.cut(step, which, time + late);
        }
    }

    fn hold(&mut self, step: usize, which: usize, ways: &[Way], time: Duration) {
        let Living { nats, number, .. } = &self.living[which];
        let (nats, number) = (nats.clone(), *number);
        let word = match ways {
            [Way::There] => "says",
            [Way::Here] => "hears",
            _ => "says and hears",
        };
        self.say(&format!("[{step}] instance {number} {word} nothing for {time:?}"));
        self.wrong(FaultKind::Cut, Some(number), time);
        ways.iter().for_each(|way| nats.hold(*way, time));
    }

    async fn die(&mut self, step: usize, which: usize) {
        let Living { instance, nats, number } = self.take(which);
        self.say(&format!("[{step}] instance {number} dies"));
        self.wrong(FaultKind::Death, Some(number), Duration::ZERO);
        nats.kill();
        instance.die();
        self.start().await;
    }

    async fn stop(&mut self, step: usize, which: usize) {
        let Living { instance, number, .. } = self.take(which);
        self.say(&format!("[{step}] instance {number} stops, and another starts"));
        self.wrong(FaultKind::Stop, Some(number), Duration::ZERO);
        self.stopping.push(tokio::spawn(instance.stop()));
        self.start().await;
    }
}
