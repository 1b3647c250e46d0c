//! The source of faults: one after another, and several at once.

use std::cell::RefCell;
use std::time::Duration;

use chrono::Utc;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::cluster::Cluster;
use super::instance::Place;
use super::proxy::Proxy;
use super::strike::{Fault, Kind, Strike, Victim};

/// Time between the beginnings of two faults, when they come at random.
const BETWEEN_MS: std::ops::Range<u64> = 300..3500;
/// How long faults come at random before a pause: the pause shows what is late by itself.
const ROUND: Duration = Duration::from_secs(60);
const LULL: Duration = Duration::from_secs(20);
/// How long the effects of a fault last.
pub const AFTER: Duration = Duration::from_secs(10);

/// The source of faults.
pub struct Trouble<'a> {
    cluster: &'a Cluster,
    places: &'a [Place],
    kinds: Vec<Kind>,
    done: RefCell<Vec<Fault>>,
    violations: RefCell<Vec<String>>,
}

impl<'a> Trouble<'a> {
    /// Creates a source of faults for servers and instances.
    pub async fn new(cluster: &'a Cluster, places: &'a [Place]) -> Self {
        let mut kinds = Kind::ALL.to_vec();
        if !places[0].has_clock().await {
            eprintln!("clocks are not set: the program is a release without debug assertions");
            kinds.retain(|kind| *kind != Kind::ClockSet);
        }
        Self { cluster, places, kinds, done: RefCell::default(), violations: RefCell::default() }
    }

    /// The faults that took place, and the violations seen meanwhile.
    pub fn into_parts(self) -> (Vec<Fault>, Vec<String>) {
        (self.done.into_inner(), self.violations.into_inner())
    }

    /// Causes one fault of each kind, alone until its effects have ended, so that each is measured by itself.
    pub async fn one_by_one(&self, chance: &mut StdRng) {
        for kind in &self.kinds {
            self.strike(Strike::draw(chance, *kind)).await;
            sleep(AFTER).await;
        }
    }

    /// Causes faults at random until a given time; the last ones have ended when this returns.
    pub async fn at_once(&self, chance: &mut StdRng, until: Instant) {
        while Instant::now() < until {
            self.round(chance, until.min(Instant::now() + ROUND)).await;
            sleep_until(until.min(Instant::now() + LULL)).await;
        }
    }

    async fn round(&self, chance: &mut StdRng, until: Instant) {
        let (mut strikes, mut victims) = (FuturesUnordered::new(), Vec::new());
        let mut next = Instant::now();
        while next < until || !strikes.is_empty() {
            tokio::select! {
                biased;
                Some(victim) = strikes.next() => victims.retain(|one| *one != victim),
                () = sleep_until(next), if next < until => {
                    let kind = *self.kinds.choose(chance).unwrap();
                    let strike = Strike::draw(chance, kind);
                    if !victims.contains(&strike.victim) {
                        victims.push(strike.victim);
                        strikes.push(self.strike(strike));
                    }
                    next += Duration::from_millis(chance.random_range(BETWEEN_MS));
                }
            }
        }
    }

    async fn strike(&self, strike: Strike) -> Victim {
        let began_at = Utc::now();
        let done = self.act(&strike).await;
        let (kind, instance, what) = (strike.kind, strike.victim.instance(), strike.what());
        let fault = Fault { kind, instance, what, began_at, ended_at: Utc::now() };
        self.done.borrow_mut().push(fault);
        self.violations.borrow_mut().extend(done.err());
        strike.victim
    }

    /// Carries out a fault; fails with what an instance did wrong.
    async fn act(&self, strike: &Strike) -> Result<(), String> {
        let Strike { time, server, .. } = *strike;
        let place = &self.places[strike.victim.instance().unwrap_or_default()];
        match strike.kind {
            Kind::InstanceKilled => return place.kill(time).await,
            Kind::InstanceFrozen => return place.freeze(time).await,
            Kind::InstanceReplaced => return place.replace(strike.at_once).await,
            Kind::ServerKilled => self.cluster.kill(server, time).await,
            Kind::ServerFrozen => self.cluster.freeze(server, time).await,
            Kind::StreamMoved => self.cluster.step_down(strike.stream).await,
            Kind::ClusterMoved => self.cluster.step_down_meta().await,
            Kind::Cut | Kind::Slow | Kind::Mute | Kind::Deaf => bar(place, strike).await,
            Kind::ClockSet => {
                place.set_clock(strike.off_ms);
                sleep(time).await;
            }
            Kind::Stall => {}
        }
        Ok(())
    }
}

/// Disturbs an instance's way to all servers, or to one.
async fn bar(place: &Place, strike: &Strike) {
    let is_meant = |n: usize| strike.only.is_none_or(|only| only == n);
    let proxies: Vec<&Proxy> =
        (0..).zip(&place.proxies).filter(|(n, _)| is_meant(*n)).map(|(_, proxy)| proxy).collect();
    for proxy in &proxies {
        match strike.kind {
            Kind::Cut => proxy.cut(true),
            Kind::Mute => proxy.up().swallow(true),
            Kind::Deaf => proxy.down().swallow(true),
            _ => {
                proxy.up().delay(strike.delays[0]);
                proxy.down().delay(strike.delays[1]);
            }
        }
    }
    sleep(strike.time).await;
    proxies.into_iter().for_each(Proxy::heal);
}
