//! Fires schedules: one compare-and-swap per occurrence.
//!
//! # The protocol
//!
//! 1. **Decide.** [`plan`](crate::plan::plan) derives from the record and the time what is due, and what the record
//!    should look like next.
//! 2. **Claim.** The record is written at the revision that the decision was based on. The attempt is in it, in flight,
//!    with its execution id, our instance id and a lease. Of all instances that try, one is accepted: safety is this
//!    write and nothing else. An occurrence is claimed [`LEAD`] before its time, or up to
//!    [`MAX_LEAD`](crate::plan::MAX_LEAD) when too many are due to be claimed in less. The instance then holds the claim
//!    until the time has come. The occurrence is acted on under the state that it was claimed under, so the reply to a
//!    pause, an update or a deletion waits until that time has passed.
//! 3. **Deliver.** The command goes out with the execution id as `Nats-Msg-Id`, and only while the claim is trusted:
//!    this instance has heard itself ever since it sent the claim (`membership`), and the lease has not expired.
//!    Otherwise another instance may have taken the attempt over, and it is claimed again.
//! 4. **Record.** The outcome goes into the history, under one message id for all outcomes of the execution.
//! 5. **Settle.** The next write folds the outcome into the record: the next claim if one is near, otherwise a write of
//!    its own.
//!
//! # When an instance dies
//!
//! | after | what is left | what happens |
//! |---|---|---|
//! | decide | nothing | another instance claims the occurrence |
//! | claim | a claimed attempt | it is taken over, and delivered under the same id |
//! | deliver | the same, and the command | it is taken over and delivered again under the same id; the target stream drops the copy |
//! | record | the same, and the outcome | it is taken over, the outcome is found in the history, and only settled |
//! | settle | nothing | |
//!
//! Taking over is the same write as claiming, with the execution id unchanged. It happens when the attempt's instance
//! has been silent for `GONE_AFTER`, or its lease has expired. Where the target's stream drops copies, it happens sooner:
//! after `SILENT_AFTER`, or as soon as nobody listens at the instance's inbox. There a wrong guess costs a delivery that
//! the stream drops, never a second command. A `request` or `core` command has no such stream and would be sent twice,
//! so those wait for the longer silence.
//!
//! # When NATS is out of reach
//!
//! If the acknowledgement of a claim is lost, a read from the leader settles whether it was stored (`Store::write`). If
//! that of a publish or of an outcome is lost, the message is sent again under the same id until it is acknowledged.
//! What came due in the meantime is decided when NATS is back, by the schedule's misfire grace.
//!
//! # Many instances
//!
//! All instances hold the same timers. A rendezvous hash over the instances that are heard gives each schedule an order
//! of preference: the first fires at once, each later one waits another `TAKEOVER_DELAY`, counted from when the work
//! became visible. Liveness does not need the instances to agree on that order: whatever each believes about the
//! others, one of them tries, and the claim decides.
//!
//! # The modules
//!
//! `core` decides; `run` waits and starts what `core` decided; `tasks` carries it out, with `claim` and `deliver`, or
//! `finish` for an attempt that a report ended; `outcomes` has what ended recorded by `record`, and `urgency` lets
//! claims that are due go first. `announce`, `follow` and `correct` do what a record asks for besides its times.
//!
//! `membership` says which instances there are. `holds` is what a task holds, and `running` the executions that
//! an instance acts on or is about to claim. `slots` takes and frees the slots of groups. `give_up` ends what a stream refused,
//! `dead_letter` sends what failed for good, and `rewrite` changes a record outside of a claim. `retries` limits warnings,
//! and `spans` sends traces.

mod announce;
mod claim;
mod core;
mod correct;
mod dead_letter;
mod deliver;
mod finish;
mod follow;
mod give_up;
mod holds;
pub(crate) mod membership;
mod outcomes;
mod record;
mod retries;
mod rewrite;
mod run;
mod running;
mod slots;
#[cfg(feature = "otlp")]
mod spans;
mod tasks;
mod urgency;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::engine::EngineConfig;
use crate::execution::Claim;
use crate::guards::{Guard, Guards as _};
use crate::index::{Entry, Index};
use crate::jetstream::adapter::JetStream;
use crate::jetstream::deliver::CommandSender;
use crate::jetstream::history::History;
use crate::jetstream::schedules::Store;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::plan::{LEAD, View, lease_for};
use crate::port::Nats;
use crate::schedule::{Attempt, DeliveryMode, Halt, Phase, Schedule, Spec, Writer};
use claim::Accepted;
use core::{MAX_ARMED, Outlook};
use membership::Members;
pub(crate) use run::Engine;
use urgency::Urgency;

/// Time before the end of a lease in which nothing is sent: sending takes time, and clocks differ.
const MARGIN: chrono::Duration = chrono::Duration::seconds(2);

/// The parts that an engine is built on.
pub(crate) struct Parts<N: Nats = JetStream> {
    /// Sends commands.
    pub sender: CommandSender<N>,
    /// The bucket of schedules.
    pub store: Store<N>,
    /// The history.
    pub history: History<N>,
    /// The schedules, in memory.
    pub index: Arc<Index>,
    /// The other instances.
    pub members: Members,
    /// The time.
    pub clock: Clock,
    /// The source of random values.
    pub chance: Chance,
}

/// Where the engine reports what it does.
#[derive(Clone)]
pub(crate) struct Watched {
    /// Gauges of how busy it is.
    pub load: Arc<Load>,
    /// Counters of what it has done.
    pub metrics: Arc<Metrics>,
    /// Sends spans, if an exporter is configured.
    #[cfg(feature = "otlp")]
    pub spans: Option<crate::otlp::Exporter>,
}

/// What all parts of the engine share.
pub(crate) struct Shared<N: Nats> {
    pub(crate) nats: N,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) sender: CommandSender<N>,
    pub(crate) store: Store<N>,
    pub(crate) history: History<N>,
    pub(crate) index: Arc<Index>,
    pub(crate) members: Members,
    pub(crate) config: EngineConfig,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Arc<Metrics>,
    #[cfg(feature = "otlp")]
    pub(crate) spans: Option<crate::otlp::Exporter>,
    /// Says whether bookkeeping should wait.
    pub(crate) urgency: Arc<Urgency>,
    /// Outcomes that wait to be recorded.
    outcomes: outcomes::Outcomes,
    /// Places for dead letters under way.
    dead_letters: dead_letter::Places,
    /// Limits the warnings of writes that are tried again.
    retries: retries::Retries,
    /// All tasks that carry out what the core decided.
    tasks: TaskTracker,
    /// Requests to groups for their slots.
    pub(crate) slots: slots::Slots,
    /// Executions that this instance acts on.
    running: running::Executions,
}

impl<N: Nats> Shared<N> {
    /// The writer of a record that is written now: this instance, with a fresh token.
    pub(crate) fn writer(&self) -> Writer {
        Writer { instance: self.members.me(), token: self.chance.number() }
    }

    /// Whether an attempt may be acted on: this instance has heard itself ever since it sent the claim, and the lease
    /// has not expired, so nobody else has taken it over, nor will before a reply to it is late.
    pub(crate) fn trusts(&self, accepted: &Accepted, attempt: &Attempt) -> bool {
        let Phase::Claimed { until, .. } = *attempt.phase else { return true };
        if !self.holds(Guard::Trust) {
            return true;
        }
        let delivery = accepted.schedule.sends(attempt).delivery;
        let takes = match delivery.mode {
            DeliveryMode::Request => i64::from(delivery.timeout_seconds),
            DeliveryMode::Publish | DeliveryMode::Job | DeliveryMode::Core => 0,
        };
        let settled_by = self.clock.now() + chrono::Duration::seconds(takes) + MARGIN;
        settled_by < until && self.members.trusts(accepted.written.sent)
    }

    /// Lets the instances that come before this one in a schedule's order of preference act first.
    pub(crate) async fn let_others_go_first(&self, schedule: Uuid) {
        if let Ok(delay) = self.delay(schedule, 0).to_std() {
            tokio::time::sleep(delay).await;
        }
    }

    /// Whether this instance hears the others, and has seen everything that was written while it did not.
    pub(crate) fn is_up_to_date(&self) -> bool {
        let since = self.members.hears_since();
        self.members.hears() && since.is_some_and(|since| self.index.is_fresh_since(since))
    }

    /// The claim that a write of this instance made.
    pub(crate) fn claim_of(&self, revision: u64) -> Claim {
        Claim { instance: self.members.me(), revision }
    }

    /// Whether a guard holds.
    #[allow(clippy::unused_self, reason = "said by the type, which callers need not name")]
    pub(crate) fn holds(&self, guard: Guard) -> bool {
        N::Guards::hold(guard)
    }

    /// Whether there is a connection, and how many have been made so far.
    pub(crate) fn connection(&self) -> (bool, u64) {
        // In this order: a connection that is up has been counted.
        let is_connected = self.nats.is_connected();
        (is_connected, self.nats.connects())
    }
}

impl<N: Nats> View for Shared<N> {
    fn me(&self) -> Uuid {
        self.members.me()
    }

    fn is_running(&self, execution: Uuid) -> bool {
        self.running.has(execution)
    }

    fn is_held_up(&self, execution: Uuid) -> bool {
        self.running.is_held_up(execution)
    }

    fn is_gone(&self, instance: Uuid) -> bool {
        self.members.is_gone::<N::Guards>(instance)
    }

    fn is_silent(&self, instance: Uuid) -> bool {
        self.members.is_silent(instance)
    }

    fn drops_copies(&self, target: &str) -> bool {
        self.sender.drops_copies(target)
    }

    fn has_ended(&self, execution: Uuid) -> bool {
        self.history.has_ended(execution)
    }

    fn lead(&self) -> chrono::Duration {
        let full = self.load.armed.load(Ordering::Relaxed) >= MAX_ARMED;
        if full { chrono::Duration::zero() } else { LEAD }
    }

    fn reach(&self, schedule: &Schedule) -> chrono::Duration {
        let (lead, target) = (self.lead(), &schedule.spec.target_command);
        // What is claimed for a target with a limited rate has been counted, by the usual lead.
        let is_limited = self.config.rates.iter().any(|(pattern, _)| pattern.allows(target));
        if lead.is_zero() || is_limited {
            return lead;
        }
        lead + chrono::Duration::milliseconds(self.load.extra_lead_ms.load(Ordering::Relaxed))
    }

    fn listening_since(&self) -> chrono::DateTime<chrono::Utc> {
        // Workers report by requests; what they told other instances arrives with the records.
        self.members.listening_since().max(self.load.heard_since())
    }

    fn deleted_retention(&self) -> chrono::Duration {
        self.config.deleted_retention
    }

    fn is_outdated(&self, schedule: &Schedule) -> bool {
        schedule.is_outdated(&self.index.overall().calendars)
    }

    fn halt(&self) -> Halt {
        self.index.overall().pauses.halt()
    }

    fn group_room_since(&self, schedule: &Schedule) -> Option<chrono::DateTime<chrono::Utc>> {
        self.index.groups().get(schedule.spec.group.as_ref()?)?.room_since
    }
}

impl<N: Nats> Outlook for Shared<N> {
    fn entry(&self, id: Uuid) -> Option<Arc<Entry>> {
        self.index.get(id)
    }

    fn is_time_sure(&self) -> bool {
        self.clock.is_sure()
    }

    fn delay(&self, schedule: Uuid, needs: u16) -> chrono::Duration {
        if !self.holds(Guard::Order) {
            return chrono::Duration::zero();
        }
        self.members.delay(schedule, needs)
    }

    fn lease(&self, spec: &Spec) -> chrono::Duration {
        let least = chrono::Duration::from_std(self.config.lease);
        lease_for(&spec.delivery.known, least.unwrap_or(chrono::Duration::MAX))
    }

    fn group_room(&self, group: &str) -> usize {
        self.index.group_room(group)
    }

    fn has_slot(&self, group: &str, schedule: Uuid) -> bool {
        let groups = self.index.groups();
        groups
            .get(group)
            .is_some_and(|group| group.slots.iter().any(|slot| slot.schedule_id == schedule))
    }

    fn holds_slot(&self, group: &str, execution: Uuid, revision: u64) -> bool {
        let groups = self.index.groups();
        let slot = groups.get(group).and_then(|group| group.slot(execution));
        slot.is_some_and(|slot| slot.revision <= revision)
    }

    fn instances(&self) -> usize {
        self.members.count()
    }

    fn shares_what_piled_up(&self) -> bool {
        self.holds(Guard::Visible)
    }
}

impl<N: Nats> Engine<N> {
    /// Creates an engine from its parts.
    pub fn new(parts: Parts<N>, config: EngineConfig, watched: Watched) -> Self {
        let Parts { sender, store, history, index, members, clock, chance } = parts;
        Self::over(Arc::new(Shared {
            nats: sender.nats().clone(),
            clock,
            chance,
            sender,
            store,
            history,
            index,
            members,
            config,
            load: watched.load,
            metrics: watched.metrics,
            #[cfg(feature = "otlp")]
            spans: watched.spans,
            urgency: Arc::default(),
            outcomes: outcomes::Outcomes::default(),
            dead_letters: dead_letter::Places::default(),
            retries: retries::Retries::default(),
            tasks: TaskTracker::new(),
            slots: slots::Slots::default(),
            running: running::Executions::default(),
        }))
    }
}
