//! Asks the server where a message to a subject would go, without sending one.
//!
//! JetStream names the stream whose subjects cover a subject. If the account maps or imports the subject, or the stream
//! transforms it, the message is stored elsewhere, or under another subject. The server's message tracing (nats-server
//! 2.11) knows: a message with the headers `Nats-Trace-Dest` and `Nats-Trace-Only` passes mappings, imports and servers
//! like any other, but is delivered to nobody and stored nowhere. Each server on its way reports to `Nats-Trace-Dest`
//! what it would have done.
//!
//! Needs the permission to publish to our own inbox. Without it, and from older servers, there is no answer.

use std::time::Duration;

use futures::StreamExt as _;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::inbox::Inbox;
use crate::names;
use crate::port::headers::Headers;
use crate::port::{Nats, Outgoing};

/// How long to wait for the servers on the way.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a message to a subject goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Traced {
    /// Into a stream, under a subject that need not be its own.
    Stream { name: String, stored: String },
    /// Into another account, which says no more.
    Elsewhere,
    /// The account maps it to another subject, which no stream captures.
    To(String),
    /// To no stream.
    Nowhere,
    /// We may not publish to it.
    Denied,
    /// There was no answer.
    Unknown,
}

/// Traces a subject.
pub(crate) async fn trace<N: Nats>(nats: &N, inbox: &Inbox<N>, subject: &str) -> Traced {
    if !traces(&nats.server().version) {
        return Traced::Unknown;
    }
    let to = nats.new_inbox();
    let Ok(mut reports) = nats.subscribe(to.clone()).await else {
        return Traced::Unknown;
    };
    let (awaited, itself) = (inbox.await_for(&to), inbox.await_for(subject));
    let mut headers = Headers::default();
    headers.line(names::TRACE_DEST, to.as_str());
    headers.line(names::TRACE_ONLY, "true");
    let (subject, headers) = (subject.to_owned(), headers.into());
    if nats.publish(Outgoing { subject, headers, ..Outgoing::default() }).await.is_err() {
        return Traced::Unknown;
    }
    // A refusal of the trace must not count as one of a command to the same subject.
    itself.sent();
    let until = Instant::now() + PATIENCE;
    let mut way = Way::default();
    loop {
        tokio::select! {
            biased;
            () = awaited.denied() => return Traced::Unknown,
            () = itself.denied() => return Traced::Unknown,
            report = reports.next() => match report {
                Some(report) => way.add(&report.payload),
                None => return Traced::Unknown,
            },
            () = sleep_until(until) => return Traced::Unknown,
        }
        if let Some(traced) = way.end() {
            return traced;
        }
    }
}

/// Whether a server knows tracing. An older one would deliver the message.
fn traces(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    version >= (Some(2), Some(11))
}

/// The report of one server.
#[derive(Deserialize)]
struct Report {
    /// How many servers it would have sent the message on to.
    #[serde(default)]
    hops: usize,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    error: Option<String>,
    to: Option<String>,
    stream: Option<String>,
    subject: Option<String>,
}

/// What the servers have reported so far.
#[derive(Default)]
struct Way {
    reports: usize,
    hops: usize,
    found: Option<Traced>,
    mapped: Option<String>,
    imported: bool,
}

impl Way {
    fn add(&mut self, report: &[u8]) {
        let Ok(report) = serde_json::from_slice::<Report>(report) else { return };
        self.reports += 1;
        self.hops += report.hops;
        for event in report.events {
            match event.kind.as_str() {
                // The reason is given only as text, which names the subject after a mapping.
                "in" if event.error.is_some_and(|text| text.starts_with("Permissions")) => {
                    self.found = Some(Traced::Denied);
                }
                "sm" => self.mapped = event.to,
                "si" => self.imported = true,
                "js" if self.imported => self.found = Some(Traced::Elsewhere),
                "js" => {
                    if let (Some(name), Some(stored)) = (event.stream, event.subject) {
                        self.found = Some(Traced::Stream { name, stored });
                    }
                }
                _ => {}
            }
        }
    }

    /// Where the message goes, once that is known.
    fn end(&self) -> Option<Traced> {
        if let Some(found) = &self.found {
            return Some(found.clone());
        }
        if self.reports <= self.hops {
            return None;
        }
        Some(match &self.mapped {
            _ if self.imported => Traced::Elsewhere,
            Some(to) => Traced::To(to.clone()),
            None => Traced::Nowhere,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(reports: &[&str]) -> Option<Traced> {
        let mut way = Way::default();
        for report in reports {
            way.add(report.as_bytes());
        }
        way.end()
    }

    #[test]
    fn reports_of_a_server_tell_where_a_message_goes() {
        let stream = |name: &str, stored: &str| Traced::Stream {
            name: name.to_owned(),
            stored: stored.to_owned(),
        };
        let into = r#"{"type":"in","subj":"cmd.a.b","acc":"A"}"#;
        for (events, expected) in [
            (r#"{"type":"js","stream":"S","subject":"cmd.a.b"}"#, stream("S", "cmd.a.b")),
            (r#"{"type":"js","stream":"S","subject":"kept.b"}"#, stream("S", "kept.b")),
            (
                r#"{"type":"sm","to":"x"},{"type":"js","stream":"S","subject":"x"}"#,
                stream("S", "x"),
            ),
            (r#"{"type":"sm","to":"x"}"#, Traced::To("x".to_owned())),
            (r#"{"type":"si","acc":"B","from":"cmd.a.b","to":"a.b"}"#, Traced::Elsewhere),
            (
                r#"{"type":"si","to":"a.b"},{"type":"js","stream":"S","subject":"a.b"}"#,
                Traced::Elsewhere,
            ),
            (r#"{"type":"eg","kind":0}"#, Traced::Nowhere),
        ] {
            let report = format!(r#"{{"server":{{}},"events":[{into},{events}]}}"#);
            assert_eq!(traced(&[&report]), Some(expected), "{events}");
        }
        let denied = r#"{"events":[{"type":"in","error":"Permissions Violation for Publish to \"x\""},
                         {"type":"sm","to":"x"}]}"#;
        assert_eq!(traced(&[denied]), Some(Traced::Denied));
        assert_eq!(traced(&["no report"]), None);
    }

    #[test]
    fn the_servers_that_it_is_sent_on_to_are_waited_for() {
        let first = r#"{"hops":2,"events":[{"type":"in"},{"type":"eg"},{"type":"eg"}]}"#;
        let none = r#"{"events":[{"type":"in"}]}"#;
        let stream = r#"{"events":[{"type":"in"},{"type":"js","stream":"S","subject":"a"}]}"#;
        assert_eq!(traced(&[first]), None);
        assert_eq!(traced(&[first, none]), None);
        assert_eq!(traced(&[first, none, none]), Some(Traced::Nowhere));
        assert!(matches!(traced(&[first, stream]), Some(Traced::Stream { .. })));
    }

    #[test]
    fn servers_that_would_deliver_the_question_are_not_asked() {
        for (version, expected) in [
            ("2.15.1", true),
            ("2.11.0-dev", true),
            ("2.10.29", false),
            ("3.0.0", true),
            ("", false),
        ] {
            assert_eq!(traces(version), expected, "{version}");
        }
    }
}
