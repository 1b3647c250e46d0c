//! What an instance hears: heartbeats of others, its own echoes, refusals, and silence.

use super::*;

impl Members {
    /// Notes an echo that came back; returns whether more is allowed than before.
    pub(super) fn hear_echo<G: Guards>(&self, echo: &Message) -> bool {
        let number = echo.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(number) = number else { return false };
        let hears_again = self.write(|roster| {
            let now = Instant::now();
            roster.note_deafness::<G>(now);
            let hears_again = roster.hearing.hear(number, now);
            if roster.hearing.is_young(now) {
                roster.introduced_at.get_or_insert(now + INTRODUCTION);
            }
            hears_again
        });
        if hears_again {
            self.changed.notify_one();
        }
        hears_again
    }

    /// Notes that nobody listens where an instance did; returns whether the message says that.
    pub(super) fn hear_nobody(&self, answer: &Message) -> bool {
        let id = answer.subject.rsplit('.').next().and_then(|id| Uuid::try_parse(id).ok());
        let Some(id) = id.filter(|_| answer.status == Some(StatusCode::NO_RESPONDERS)) else {
            return false;
        };
        let is_news = self.write(|roster| {
            // It may have been heard since.
            let peer = roster.heard.get_mut(&id).filter(|peer| peer.is_asked_after);
            peer.is_some_and(|peer| !std::mem::replace(&mut peer.is_silent, true))
        });
        if is_news {
            debug!(instance = %id, "it has no connection");
            self.changed.notify_one();
        }
        true
    }

    /// When the next instance is asked after, or counts as silent or gone, unless it is heard before; or when all
    /// instances are known.
    pub(super) fn next_silent(&self) -> Instant {
        let now = Instant::now();
        self.read(|roster| {
            let heard = roster.heard.values().map(|peer| peer.heard_at.max(roster.listening));
            let unsettled = (!roster.settled).then_some(roster.listening);
            let silent = heard.chain(unsettled).map(|heard| heard + GONE_AFTER);
            let introduced = roster.introduced_at.filter(|_| !*roster.is_introduced.borrow());
            let frequent = roster.heard.values().filter(|peer| peer.is_frequent);
            let late =
                frequent.flat_map(|peer| [LATE, SILENT_AFTER].map(|late| peer.heard_at + late));
            let late = late.filter(|at| *at > now);
            let first = silent.chain(introduced).chain(late).min();
            first.unwrap_or_else(|| Instant::now() + GONE_AFTER)
        })
    }

    /// Notes a heartbeat that came by the old subject if `by_old`, otherwise by the present one. Returns whether it is
    /// the first of an instance that has just come and waits to hear of us.
    pub(in crate::engine) fn hear(&self, beat: &Message, by_old: bool) -> bool {
        let id = beat.subject.rsplit('.').next().and_then(|id| Uuid::try_parse(id).ok());
        let (Some(id), now) = (id, Instant::now()) else { return false };
        if id == self.me {
            if self.write(|roster| roster.paths.hear_ourselves(by_old, now)) {
                self.load.old_heartbeats.store(false, Ordering::Relaxed);
                info!(subject = names::INSTANCE_WILDCARD, "heartbeats are permitted now");
            }
            return false;
        }
        let heard = Heard::read(&beat.payload, by_old);
        let changed = self.write(|roster| {
            roster.paths.hear(id, &heard, now);
            if heard.leaving {
                roster.heard.remove(&id).is_some()
            } else {
                // Earlier instances say nothing by the old subject that they do not say by the present one.
                let known = roster.heard.get(&id).map_or(0, |peer| peer.acts_on);
                let peer = Peer {
                    heard_at: now,
                    acts_on: heard.acts_on.max(known),
                    time_error_ms: heard.time_error_ms,
                    is_frequent: heard.is_frequent,
                    listens_on: heard.listens_on.clone().filter(|inbox| roster.is_inbox(inbox)),
                    is_asked_after: false,
                    is_silent: false,
                    about: paths::about(&beat.payload),
                };
                let before = roster.heard.insert(id, peer);
                if before.as_ref().is_some_and(|peer| peer.is_silent) {
                    self.changed.notify_one();
                }
                before.is_none()
            }
        });
        if changed {
            info!(instance = %id, leaving = heard.leaving, "another instance");
            self.changed.notify_one();
        }
        changed && !heard.leaving
    }

    pub(super) fn refused(&self, refusal: &Refusal, inbox: &str) {
        let subject = refusal.subject.as_str();
        if refusal.operation == Permission::Publish {
            self.write(|roster| {
                roster.echoes_by_asking |= subject.starts_with(inbox);
                let is_theirs =
                    roster.heard.values().any(|peer| peer.listens_on.as_deref() == Some(subject));
                roster.may_ask_after &= !is_theirs;
            });
        }
        if subject != names::INSTANCE_WILDCARD && subject != names::instance_subject(self.me) {
            return;
        }
        if self.write(|roster| roster.paths.refuse(Instant::now())) {
            self.load.old_heartbeats.store(true, Ordering::Relaxed);
            warn!(
                operation = refusal.operation.as_str(),
                subject,
                "NATS refuses heartbeats on their subject; they go by {} meanwhile: let the user of this service \
                 publish and subscribe to {}, see docs/nats-permissions.md",
                names::OLD_INSTANCE_WILDCARD,
                names::INSTANCE_WILDCARD,
            );
        }
    }

    pub(super) fn forget_silent<G: Guards>(&self) {
        let (gone, changed) = self.write(|roster| {
            let (before, now) = (roster.heard.len(), Instant::now());
            roster.note_deafness::<G>(now);
            let long_enough = now.duration_since(roster.listening) >= GONE_AFTER;
            if long_enough {
                roster.heard.retain(|_, peer| now.duration_since(peer.heard_at) < GONE_AFTER);
            }
            let settled = long_enough && !std::mem::replace(&mut roster.settled, long_enough);
            let mut silent = false;
            for peer in roster.heard.values_mut().filter(|peer| peer.is_frequent && !peer.is_silent)
            {
                let is_late = now.duration_since(peer.heard_at) >= SILENT_AFTER;
                peer.is_silent = is_late && roster.hearing.hears_well_since(peer.heard_at, now);
                silent |= peer.is_silent;
            }
            let introduced = roster.introduced_at.is_some_and(|at| at <= now)
                && !roster.is_introduced.send_replace(true);
            (before - roster.heard.len(), settled || silent || introduced)
        });
        if gone > 0 {
            warn!(gone, "instances silent; taking over what they left");
        }
        let (acts_on, time_error_ms) = self.read(|roster| {
            let peers = roster.heard.values();
            (
                peers.clone().map(|peer| peer.acts_on).max(),
                peers.map(|peer| peer.time_error_ms).max(),
            )
        });
        self.load.others_act_on.store(usize::from(acts_on.unwrap_or(0)), Ordering::Relaxed);
        self.load.time_error_ms.store(i64::from(time_error_ms.unwrap_or(0)), Ordering::Relaxed);
        if gone > 0 || changed {
            self.changed.notify_one();
        }
    }
}
