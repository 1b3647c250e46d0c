//! Table of the subscriptions by subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Message;
use futures::channel::mpsc::UnboundedSender;
use nats_scheduler::names::covers;

use super::connection::Link;

/// All who listen: to one subject, or to what a pattern covers.
#[derive(Default)]
pub struct Subscriptions {
    exact: BTreeMap<String, Vec<Subscription>>,
    patterns: Vec<(String, Subscription)>,
}

/// One who listens.
#[derive(Clone)]
pub struct Subscription {
    pub link: Arc<Link>,
    pub heard: UnboundedSender<Message>,
}

impl Subscription {
    /// Whether it has not been given up.
    fn lives(&self) -> bool {
        !self.heard.is_closed() && !self.link.state().is_dead
    }
}

impl Subscriptions {
    pub fn add(&mut self, subject: String, one: Subscription) {
        if subject.contains(['*', '>']) {
            self.patterns.push((subject, one));
        } else {
            self.exact.entry(subject).or_default().push(one);
        }
    }

    /// Those who listen to a subject and have a connection.
    pub fn to(&mut self, subject: &str) -> Vec<Subscription> {
        let mut to = Vec::new();
        if let Some(exact) = self.exact.get_mut(subject) {
            exact.retain(Subscription::lives);
            if exact.is_empty() {
                self.exact.remove(subject);
            } else {
                to.extend(exact.iter().filter(|one| one.link.is_up()).cloned());
            }
        }
        self.patterns.retain(|(_, one)| one.lives());
        let covering = self.patterns.iter().filter(|(pattern, _)| covers(pattern, subject));
        to.extend(covering.map(|(_, one)| one.clone()).filter(|one| one.link.is_up()));
        to
    }
}
