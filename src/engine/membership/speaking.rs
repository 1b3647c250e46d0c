//! What an instance sends: heartbeats, echoes, and questions to instances whose heartbeats are late.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::*;

impl Members {
    /// Sends a heartbeat by the subjects that need it, if it counts, and an echo after it. `sends` says whether there is
    /// a connection for commands: without one for a while, this instance falls silent, and others do its work.
    pub(super) async fn speak<W: Wire>(
        &self,
        nats: &W,
        sends: bool,
        inbox: &str,
        present: &mut W::Messages,
    ) {
        let now = Instant::now();
        let is_connected = nats.is_connected();
        let (way, deaf_for) = self.write(|roster| {
            let is_mute = roster.note_sending(sends, now);
            self.load.mute.store(is_mute && is_connected, Ordering::Relaxed);
            let is_able = is_connected && !is_mute;
            if !is_able {
                roster.paths.disconnect(now);
            }
            roster.note_deafness::<W::Guards>(now);
            let hears = roster.hearing.may_beat(now) || !W::Guards::hold(Guard::Hearing);
            ((is_able && hears).then(|| roster.paths.next(now)), roster.paths.deaf_for(now))
        });
        self.load.deaf.store(deaf_for >= GONE_AFTER, Ordering::Relaxed);
        if let Some(way) = &way {
            self.beat_by(nats, way, present).await;
        }
        if is_connected {
            self.echo(nats, inbox, way.is_some()).await;
        }
    }

    /// Sends an echo. If we may not publish to our own inbox, the echo is the answer to a request that we may make.
    pub(super) async fn echo(&self, nats: &impl Wire, inbox: &str, is_behind_beat: bool) {
        let (number, asks) = self.write(|roster| {
            (roster.hearing.send(is_behind_beat, Instant::now()), roster.echoes_by_asking)
        });
        let echo = format!("{inbox}{number}");
        let (subject, reply) = match asks {
            true => (names::SCHEDULES_INFO.to_owned(), Some(echo)),
            false => (echo, None),
        };
        let _ = nats.publish(Outgoing { subject, reply, ..Outgoing::default() }).await;
    }

    pub(super) async fn beat_by<W: Wire>(&self, nats: &W, way: &Way, present: &mut W::Messages) {
        if way.again {
            *present = subscribe(nats, names::INSTANCE_WILDCARD.to_owned()).await;
        }
        if way.present {
            publish(nats, names::instance_subject(self.me), self.beat().to_bytes()).await;
        }
        if way.old {
            let body = self.beat().old_subject_only(way.old_only).to_bytes();
            publish(nats, names::old_instance_subject(self.me), body).await;
        }
    }

    /// Asks after instances whose heartbeat is late, on subjects that nobody else listens to: if an instance has lost
    /// its connection, NATS says so at once.
    pub(super) async fn ask_after_late(&self, nats: &impl Wire, inbox: &str) {
        let now = Instant::now();
        let late = self.write(|roster| {
            if !roster.may_ask_after {
                return Vec::new();
            }
            let mut late = Vec::new();
            for (id, peer) in &mut roster.heard {
                let is_late = peer.is_frequent && now.duration_since(peer.heard_at) >= LATE;
                if is_late && !std::mem::replace(&mut peer.is_asked_after, true) {
                    late.extend(peer.listens_on.clone().map(|subject| (*id, subject)));
                }
            }
            late.sort_unstable();
            late
        });
        for (id, subject) in late {
            let reply = Some(format!("{inbox}{}", id.simple()));
            let _ = nats.publish(Outgoing { subject, reply, ..Outgoing::default() }).await;
        }
    }

    pub(super) fn beat(&self) -> Beat {
        let time_error_ms = self.clock.error().num_milliseconds().clamp(0, i64::from(u32::MAX));
        let time_error_ms = u32::try_from(time_error_ms).unwrap_or_default();
        let listens_on = self.read(|roster| roster.listens_on.clone());
        Beat::new(self.started_at, &self.load, time_error_ms, listens_on)
    }
}

/// Publishes a heartbeat; returns false if the connection is closed for good.
pub(super) async fn publish(nats: &impl Wire, subject: String, body: Bytes) -> bool {
    nats.publish(Outgoing { subject, body, ..Outgoing::default() }).await.is_ok()
}

/// Subscribes, however long it takes.
pub(super) async fn subscribe<W: Wire>(nats: &W, subject: String) -> W::Messages {
    loop {
        match nats.subscribe(subject.clone()).await {
            Ok(beats) => return beats,
            Err(error) => warn!(%error, "cannot listen to the other instances"),
        }
        tokio::time::sleep(RESUBSCRIBE).await;
    }
}
