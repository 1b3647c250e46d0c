//! A message with a schedule, as a schedule.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::cli::import::span::kept_for;
use crate::cli::import::{checked, cron, number, target, text};
use crate::cli::node::Node;

const PATTERN: &str = "Nats-Schedule";
const TARGET: &str = "Nats-Schedule-Target";
const TIME_ZONE: &str = "Nats-Schedule-Time-Zone";
const SOURCE: &str = "Nats-Schedule-Source";
const ROLLUP: &str = "Nats-Schedule-Rollup";
const TTL: &str = "Nats-Schedule-TTL";
/// Fields of a cron expression: the first is that of seconds.
const FIELDS: usize = 6;
/// How long the message with the schedule is kept itself.
const OWN_TTL: &str = "Nats-TTL";
/// Headers of the server: what they do is done, or said, by the others.
const OF_THE_SERVER: &str = "Nats-";

/// When a schedule is due, as fields; and remarks.
type Timing = (Vec<(String, Node)>, Vec<String>);

/// Whether a message says when it is to be published.
pub(super) fn is_schedule(message: &StreamMessage) -> bool {
    header(&message.headers, PATTERN).is_some()
}

/// The schedule of a message, with remarks; or why there is none.
pub(super) fn schedule(
    message: &StreamMessage,
    max_age: Duration,
    rule: Option<&str>,
) -> Result<(Node, Vec<String>), String> {
    let headers = &message.headers;
    if let Some(source) = header(headers, SOURCE) {
        return Err(format!("sends what {source} holds by then: commands have their own payload"));
    }
    let stored = message.time;
    let mut fields = vec![text("name", message.subject.as_str())];
    let (timing, mut remarks) = timing(headers, stored)?;
    fields.extend(timing);
    let end = header(headers, OWN_TTL).and_then(kept_for);
    if let Some(end) = end.and_then(|span| stored.checked_add_signed(span)) {
        if !fields.iter().any(|(name, _)| name == "scheduled_at") {
            fields.push(text("end_at", absolute(end)));
        }
    } else if header(headers, OWN_TTL).is_none() && !max_age.is_zero() {
        let end = TimeDelta::from_std(max_age).ok().and_then(|it| stored.checked_add_signed(it));
        let end = end.map(absolute).unwrap_or_default();
        remarks.push(format!("the stream would drop it at {end} (max_age): it has no end here"));
    }
    let command = match (rule, header(headers, TARGET)) {
        (Some(rule), _) => target(rule, &message.subject)?,
        (None, Some(own)) => {
            let own = own.to_owned();
            checked(own).map_err(|fault| format!("{fault}; --target says another"))?
        }
        (None, None) => return Err(format!("has no {TARGET}")),
    };
    fields.push(text("target_command", command));
    let (payload, remark) = payload(&message.payload)?;
    fields.push(("command_payload".to_owned(), payload));
    remarks.extend(remark);
    remarks.extend(lost(headers));
    Ok((Node::Map(fields), remarks))
}

fn timing(headers: &HeaderMap, stored: DateTime<Utc>) -> Result<Timing, String> {
    let pattern = header(headers, PATTERN).unwrap_or_default();
    let zone = header(headers, TIME_ZONE);
    if let Some(at) = pattern.strip_prefix("@at ") {
        let at = DateTime::parse_from_rfc3339(at).map_err(|it| format!("{pattern:?}: {it}"))?;
        let at = at.to_utc();
        if at <= Utc::now() {
            return Err(format!("its time has passed: {}", absolute(at)));
        }
        let fields = vec![text("schedule_type", "one_time"), text("scheduled_at", absolute(at))];
        return Ok((fields, Vec::new()));
    }
    if let Some(every) = pattern.strip_prefix("@every ") {
        let every = cron::every(every)?;
        // The server counts from the second in which it got the message.
        let first = TimeDelta::seconds(every.into());
        let first = stored.round_subsecs(0).checked_add_signed(first);
        let first = first.map(absolute).unwrap_or_default();
        let fields = vec![
            text("schedule_type", "interval"),
            number("interval_seconds", every),
            text("start_at", first.as_str()),
        ];
        let remark = format!("counts from {first}: the server counts anew after it was away");
        return Ok((fields, vec![remark]));
    }
    let tz: Tz = match zone {
        Some(zone) => cron::zone(zone)?,
        None => Tz::UTC,
    };
    let mut fields = vec![
        text("schedule_type", "cron"),
        text("cron_expression", cron::of_go(pattern, FIELDS, tz)?),
        text("timezone", tz.name()),
    ];
    if tz != Tz::UTC {
        fields.extend([text("dst_gap", "skip"), text("dst_overlap", "both")]);
    }
    Ok((fields, Vec::new()))
}

/// The body, which must be an object.
fn payload(body: &[u8]) -> Result<(Node, Option<String>), String> {
    if body.is_empty() {
        return Ok((Node::Map(Vec::new()), Some("its body is empty: {} is sent".to_owned())));
    }
    let json = std::str::from_utf8(body).ok().and_then(|text| Node::of_json(text).ok());
    match json {
        Some(node @ Node::Map(_)) => Ok((node, None)),
        _ => Err("its body is no JSON object, as the payload of a command is".to_owned()),
    }
}

/// What commands do not have.
fn lost(headers: &HeaderMap) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(ttl) = header(headers, TTL) {
        remarks.push(format!(
            "its messages were kept for {ttl}: commands are kept as their stream says"
        ));
    }
    if header(headers, ROLLUP).is_some() {
        remarks.push("each message replaced the one before (rollup): commands do not".to_owned());
    }
    let mut others: Vec<_> = headers
        .iter()
        .map(|(name, _)| name.to_string())
        .filter(|name| !name.starts_with(OF_THE_SERVER))
        .collect();
    others.sort();
    if !others.is_empty() {
        remarks.push(format!("commands do not have its headers: {}", others.join(", ")));
    }
    remarks
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.as_str().trim()).filter(|value| !value.is_empty())
}

fn absolute(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
