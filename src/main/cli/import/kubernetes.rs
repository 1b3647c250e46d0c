//! Manifests of CronJobs. The container becomes the payload, for a worker that knows what to do with it.

use super::{Entry, target, text};
use crate::cli::node::{Node, read_yaml};

/// Kubernetes tries a failed Job so often unless told otherwise.
const BACKOFF_LIMIT: &str = "6";

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
                found.extend(items.iter().map(|item| entry(&place, item, rule)));
            }
            _ if node == Node::Null => {}
            _ => found.push(entry(&place, &node, rule)),
        }
    }
    Ok(found)
}

fn entry(place: &str, manifest: &Node, rule: &str) -> Entry {
    let name = path(manifest, &["metadata", "name"]).and_then(as_text);
    let place = name.map_or_else(|| place.to_owned(), |name| format!("{place} ({name})"));
    Entry { place, made: schedule(manifest, rule) }
}

fn schedule(manifest: &Node, rule: &str) -> Result<(Node, Vec<String>), String> {
    if manifest.text("kind") != Some("CronJob") {
        return Err(format!("is a {}, and no CronJob", manifest.text("kind").unwrap_or("thing")));
    }
    let of = |fields: &[&str]| path(manifest, fields);
    let name = of(&["metadata", "name"]).and_then(as_text).ok_or("has no metadata.name")?;
    let expression = of(&["spec", "schedule"]).and_then(as_text).ok_or("has no spec.schedule")?;
    let mut fields = vec![
        text("name", name),
        text("schedule_type", "cron"),
        text("cron_expression", expression),
    ];
    let zone = of(&["spec", "timeZone"]).and_then(as_text);
    fields.extend(zone.map(|zone| text("timezone", zone)));
    fields.push(text("target_command", target(rule, name)));
    fields.push(("command_payload".to_owned(), payload(manifest)));
    fields.push(("delivery".to_owned(), delivery(manifest)));
    let overlap = match of(&["spec", "concurrencyPolicy"]).and_then(as_text) {
        None | Some("Allow") => "allow",
        Some("Forbid") => "skip",
        Some("Replace") => "cancel_other",
        Some(other) => return Err(format!("concurrencyPolicy {other} is not known")),
    };
    fields.push(text("overlap", overlap));
    let retries = of(&["spec", "jobTemplate", "spec", "backoffLimit"]).and_then(digits);
    let retries = retries.unwrap_or(BACKOFF_LIMIT).to_owned();
    fields.push(("max_retries".to_owned(), Node::Number(retries)));
    let deadline = of(&["spec", "startingDeadlineSeconds"]).and_then(digits);
    fields.extend(
        deadline.map(|it| ("misfire_grace_seconds".to_owned(), Node::Number(it.to_owned()))),
    );
    let mut remarks = Vec::new();
    if zone.is_none() {
        remarks.push("the zone is that of the service".to_owned());
    }
    if of(&["spec", "suspend"]) == Some(&Node::Bool(true)) {
        remarks.push(format!("it is suspended: `nats-scheduler pause {name}` once it is applied"));
    }
    Ok((Node::Map(fields), remarks))
}

/// What the first container runs, as the manifest says it.
fn payload(manifest: &Node) -> Node {
    let template = ["spec", "jobTemplate", "spec", "template", "spec", "containers"];
    let first = match path(manifest, &template) {
        Some(Node::List(containers)) => containers.first(),
        _ => None,
    };
    let kept = ["image", "command", "args", "env"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), first?.get(name)?.clone())));
    Node::Map(kept.collect())
}

/// A job, with the time that Kubernetes gives it.
fn delivery(manifest: &Node) -> Node {
    let deadline = ["spec", "jobTemplate", "spec", "activeDeadlineSeconds"];
    let deadline = path(manifest, &deadline).and_then(digits).unwrap_or("3600").to_owned();
    Node::Map(vec![text("mode", "job"), ("timeout_seconds".to_owned(), Node::Number(deadline))])
}

fn path<'a>(node: &'a Node, fields: &[&str]) -> Option<&'a Node> {
    fields.iter().try_fold(node, |node, field| node.get(field))
}

fn as_text(node: &Node) -> Option<&str> {
    match node {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

fn digits(node: &Node) -> Option<&str> {
    match node {
        Node::Number(digits) => Some(digits),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_becomes_a_schedule_or_says_why_not() {
        let manifests = "\
apiVersion: batch/v1
kind: CronJob
metadata: {name: report}
spec:
  schedule: \"0 2 * * *\"
  timeZone: Europe/Berlin
  suspend: true
  concurrencyPolicy: Replace
  startingDeadlineSeconds: 60
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        spec:
          containers: [{name: main, image: report:1.10, args: [--all]}]
---
kind: Deployment
---
kind: List
items:
- {kind: CronJob, metadata: {name: plain}, spec: {schedule: \"@hourly\"}}
- {kind: CronJob, metadata: {name: wrong}, spec: {}}
";
        let entries = entries(manifests, "cmd.jobs.{name}").unwrap();
        let (node, remarks) = entries[0].made.as_ref().unwrap();
        assert_eq!(
            node.to_string(),
            r#"{"name":"report","schedule_type":"cron","cron_expression":"0 2 * * *","timezone":"Europe/Berlin","target_command":"cmd.jobs.report","command_payload":{"image":"report:1.10","args":["--all"]},"delivery":{"mode":"job","timeout_seconds":3600},"overlap":"cancel_other","max_retries":2,"misfire_grace_seconds":60}"#
        );
        assert_eq!(*remarks, ["it is suspended: `nats-scheduler pause report` once it is applied"]);
        assert_eq!(entries[1].made.as_ref().unwrap_err(), "is a Deployment, and no CronJob");
        let (plain, _) = entries[2].made.as_ref().unwrap();
        assert!(plain.to_string().ends_with(r#""overlap":"allow","max_retries":6}"#), "{plain}");
        assert_eq!(entries[3].place, "line 19 (wrong)");
        assert_eq!(entries[3].made.as_ref().unwrap_err(), "has no spec.schedule");
    }
}
