//! Manifests of CronJobs. The container becomes the payload, for a worker that knows what to do with it.
//!
//! What Kubernetes does without being told is written out, since our defaults are others; where we cannot do the same, a
//! remark says so.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use nats_scheduler::schedule::{MAX_INTERVAL_SECONDS, Rules};

use super::{Entry, Names, cron, number, target, text};
use crate::cli::node::{Node, read_yaml};

/// Retries of a failed Job by Kubernetes, unless told otherwise.
const BACKOFF_LIMIT: u64 = 6;
/// Seconds that it waits before the first retry, and the most before a later one.
const BACKOFF_SECONDS: (u64, u64) = (10, 360);
/// Retries that we allow.
const RETRIES: RangeInclusive<u64> = 0..=10;
/// Seconds within which a job may have to end.
const TIMEOUT: RangeInclusive<u64> = 1..=86_400;
/// Seconds that a job may be late and still start.
const GRACE: RangeInclusive<u64> = 1..=MAX_INTERVAL_SECONDS as u64;
/// Fields of a cron expression.
const FIELDS: usize = 5;
/// Prefixes by which an expression names its time zone.
const ZONES: [&str; 2] = ["CRON_TZ=", "TZ="];

const JOB: [&str; 3] = ["spec", "jobTemplate", "spec"];

/// Fields of a schedule, and remarks.
type Part = (Vec<(String, Node)>, Vec<String>);

/// An entry for each manifest of a file, and for each item of a list.
///
/// # Errors
/// The file is no YAML.
pub(super) fn entries(manifests: &str, rule: &str) -> Result<Vec<Entry>, String> {
    let mut found = Vec::new();
    for (line, mut node) in read_yaml(manifests)? {
        let place = format!("line {line}");
        match node.take("items") {
            Some(Node::List(items)) => {
                let placed = items.into_iter().enumerate();
                found.extend(placed.map(|(n, item)| (item_place(&item, line, n), item)));
            }
            _ if node == Node::Null => {}
            _ => found.push((place, node)),
        }
    }
    let shared = shared(found.iter().map(|(_, manifest)| manifest));
    let mut names = Names::default();
    let entries = found.iter().map(|(place, manifest)| {
        let name = metadata(manifest, "name").filter(|_| place.starts_with("line"));
        let place = name.map_or_else(|| place.clone(), |name| format!("{place} ({name})"));
        Entry { place, made: schedule(manifest, rule, &shared, &mut names) }
    });
    Ok(entries.collect())
}

/// Where an item of a list is: all of it begins on one line, so its own name says more.
fn item_place(item: &Node, line: usize, n: usize) -> String {
    match (metadata(item, "namespace"), metadata(item, "name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        (_, None) => format!("line {line}, item {}", n + 1),
    }
}

/// The names that CronJobs of several namespaces have.
fn shared<'a>(manifests: impl Iterator<Item = &'a Node>) -> HashSet<&'a str> {
    let mut namespaces: HashMap<_, HashSet<_>> = HashMap::new();
    for manifest in manifests.filter(|it| it.text("kind") == Some("CronJob")) {
        let namespace = metadata(manifest, "namespace");
        namespaces.entry(metadata(manifest, "name")).or_default().insert(namespace);
    }
    let shared = namespaces.into_iter().filter(|(_, namespaces)| namespaces.len() > 1);
    shared.filter_map(|(name, _)| name).collect()
}

fn schedule(
    manifest: &Node,
    rule: &str,
    shared: &HashSet<&str>,
    names: &mut Names,
) -> Result<(Node, Vec<String>), String> {
    if manifest.text("kind") != Some("CronJob") {
        return Err(format!("is a {}, not a CronJob", manifest.text("kind").unwrap_or("thing")));
    }
    let name = metadata(manifest, "name").ok_or("has no metadata.name")?;
    let (timing, mut remarks) = timing(manifest)?;
    let (policies, more) = policies(manifest)?;
    remarks.extend(more);
    let name = match metadata(manifest, "namespace").filter(|_| shared.contains(name)) {
        Some(namespace) => names.unique(&format!("{namespace}/{name}")),
        None => names.unique(name),
    };
    let target = target(rule, &name)?;
    let is_suspended = path(manifest, &["spec", "suspend"]) == Some(&Node::Bool(true));
    if is_suspended {
        remarks.push("suspended: imported with is_active: false".to_owned());
    }
    let mut fields = vec![text("name", name)];
    fields.extend(timing);
    fields.push(text("target_command", target));
    let (payload, more) = payload(manifest);
    fields.push(("command_payload".to_owned(), payload));
    remarks.extend(more);
    fields.extend(policies);
    // Also where it is on: it may have been suspended when it was imported before.
    fields.push(("is_active".to_owned(), Node::Bool(!is_suspended)));
    Ok((Node::Map(fields), remarks))
}

/// When it runs.
fn timing(manifest: &Node) -> Result<Part, String> {
    let written = path(manifest, &["spec", "schedule"]).and_then(as_text);
    let written = written.ok_or("has no spec.schedule")?.trim();
    let own = path(manifest, &["spec", "timeZone"]).and_then(as_text);
    let within = ZONES.into_iter().find_map(|prefix| written.strip_prefix(prefix));
    let (zone, pattern) = match within.map(|it| it.split_once(' ').unwrap_or((it, ""))) {
        Some((zone, pattern)) => (Some(zone), pattern.trim()),
        None => (own, written),
    };
    if own.is_some() && own != zone {
        return Err("has two time zones, in spec.schedule and in spec.timeZone".to_owned());
    }
    if let Some(every) = pattern.strip_prefix("@every ") {
        return interval(manifest, cron::every(every.trim())?);
    }
    let tz = zone.map(cron::zone).transpose()?;
    let expression = cron::of_go(pattern, FIELDS, tz.unwrap_or(Tz::UTC))?;
    let mut fields = vec![text("schedule_type", "cron"), text("cron_expression", expression)];
    fields.extend(zone.map(|zone| text("timezone", zone)));
    if tz != Some(Tz::UTC) {
        fields.extend([text("dst_gap", "skip"), text("dst_overlap", "both")]);
    }
    let remarks = zone.is_none().then(|| "the zone is that of the service".to_owned());
    Ok((fields, remarks.into_iter().collect()))
}

/// An interval, which Kubernetes counts from the last run, or from the creation.
fn interval(manifest: &Node, every: u32) -> Result<Part, String> {
    let last = path(manifest, &["status", "lastScheduleTime"]).and_then(as_text);
    let from = last.or_else(|| metadata(manifest, "creationTimestamp"));
    let from = from.and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let first = TimeDelta::seconds(every.into());
    let first = from.and_then(|from| from.to_utc().checked_add_signed(first));
    let mut fields = vec![text("schedule_type", "interval"), number("interval_seconds", every)];
    fields.extend(first.map(|first| text("start_at", absolute(first))));
    let remark = match first {
        Some(first) => format!("counts from {}", absolute(first)),
        None => "counts from when it is applied, and runs then for the first time".to_owned(),
    };
    Ok((fields, vec![remark]))
}

/// How it runs: what Kubernetes does, in our words.
fn policies(manifest: &Node) -> Result<Part, String> {
    let mut remarks = Vec::new();
    let mut within = |field: &[&str], range, default| {
        number_within(manifest, field, range, default, &mut remarks)
    };
    let (grace, has_grace) = within(&["spec", "startingDeadlineSeconds"], GRACE, *GRACE.end())?;
    let (timeout, has_timeout) = within(&job("activeDeadlineSeconds"), TIMEOUT, *TIMEOUT.end())?;
    let (retries, _) = within(&job("backoffLimit"), RETRIES, BACKOFF_LIMIT)?;
    let (pods, _) = within(&job("completions"), 0..=u64::MAX, 1)?;
    let (at_once, _) = within(&job("parallelism"), 0..=u64::MAX, 1)?;
    if !has_grace {
        let days = grace / 86_400;
        remarks.push(format!("has no startingDeadlineSeconds: a run may start {days} days late"));
    }
    if !has_timeout {
        let hours = timeout / 3600;
        remarks.push(format!("has no activeDeadlineSeconds: a run fails after {hours} hours"));
    }
    if pods.max(at_once) > 1 {
        remarks.push("has several Pods in each run: one command is sent".to_owned());
    }
    let delivery = Node::Map(vec![text("mode", "job"), number("timeout_seconds", timeout)]);
    let mut fields = vec![("delivery".to_owned(), delivery)];
    fields.extend(overlap(manifest, &mut remarks)?);
    fields.push(number("max_retries", retries));
    let (initial, longest) = BACKOFF_SECONDS;
    let mut retry = vec![number("initial_seconds", initial), number("max_seconds", longest)];
    if has_timeout {
        // A Job that has reached its deadline is not tried again.
        let none = Node::List(vec![Node::Text("timeout".to_owned())]);
        retry.push(("non_retryable".to_owned(), none));
    }
    fields.push(("retry".to_owned(), Node::Map(retry)));
    fields.push(number("misfire_grace_seconds", grace));
    fields.push(text("catch_up", "latest"));
    Ok((fields, remarks))
}

/// A number that a field has, or else the nearest in the range; and whether it has any.
fn number_within(
    manifest: &Node,
    field: &[&str],
    range: RangeInclusive<u64>,
    default: u64,
    remarks: &mut Vec<String>,
) -> Result<(u64, bool), String> {
    let said = path(manifest, field).filter(|it| **it != Node::Null);
    let value = match said {
        None => Some(default),
        Some(Node::Number(digits)) => digits.parse().ok(),
        Some(_) => None,
    };
    let value = value.ok_or_else(|| format!("{} is no whole number", field.join(".")))?;
    let nearest = value.clamp(*range.start(), *range.end());
    if nearest != value {
        let field = field.last().copied().unwrap_or_default();
        remarks.push(format!("{field} {value} is out of range: it becomes {nearest}"));
    }
    Ok((nearest, said.is_some()))
}

/// What happens to a run while an earlier one is under way.
fn overlap(manifest: &Node, remarks: &mut Vec<String>) -> Result<Vec<(String, Node)>, String> {
    let policy = path(manifest, &["spec", "concurrencyPolicy"]).and_then(as_text);
    Ok(match policy.unwrap_or("Allow") {
        "Allow" => {
            // The most that the service takes unless it is told otherwise.
            let most = Rules::default().most_instances;
            remarks.push(format!(
                "at most {most} runs overlap (max_instances), more are skipped: SCHEDULER_MAX_INSTANCES of the service is the bound"
            ));
            vec![text("overlap", "allow"), number("max_instances", most)]
        }
        "Forbid" => vec![text("overlap", "skip")],
        "Replace" => vec![text("overlap", "cancel_other")],
        other => return Err(format!("concurrencyPolicy {other} is not known")),
    })
}

/// What the first container runs, as the manifest says it; and what is said of the others.
fn payload(manifest: &Node) -> (Node, Option<String>) {
    let template = ["spec", "jobTemplate", "spec", "template", "spec", "containers"];
    let containers = match path(manifest, &template) {
        Some(Node::List(containers)) => containers.as_slice(),
        _ => &[],
    };
    let first = containers.first();
    let kept = ["image", "command", "args", "env"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), first?.get(name)?.clone())));
    let others = containers.len().saturating_sub(1);
    let remark =
        (others > 0).then(|| format!("the payload has the first container, and not {others} more"));
    (Node::Map(kept.collect()), remark)
}

fn path<'a>(node: &'a Node, fields: &[&str]) -> Option<&'a Node> {
    fields.iter().try_fold(node, |node, field| node.get(field))
}

/// The path of a field of the Job.
fn job(field: &str) -> [&str; 4] {
    let [spec, template, own] = JOB;
    [spec, template, own, field]
}

fn metadata<'a>(manifest: &'a Node, field: &str) -> Option<&'a str> {
    path(manifest, &["metadata", field]).and_then(as_text)
}

fn as_text(node: &Node) -> Option<&str> {
    match node {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

fn absolute(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests;
