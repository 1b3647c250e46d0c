use super::*;

/// What is the same in all of them.
const RETRY: &str = r#""retry":{"initial_seconds":10,"max_seconds":360},"#;
const LATE: &str = r#""misfire_grace_seconds":31536000,"catch_up":"latest"}"#;

/// The fields of the CronJobs of a file, as JSON, and the remarks; or why there are none.
fn imported(manifests: &str) -> Vec<Result<(String, Vec<String>), String>> {
    let entries = entries(manifests, "cmd.jobs.{name}").unwrap().into_iter();
    entries.map(|entry| entry.made.map(|(node, remarks)| (node.to_string(), remarks))).collect()
}

/// The same of one CronJob with this `spec`.
fn of_spec(spec: &str) -> Result<(String, Vec<String>), String> {
    imported(&format!("{{kind: CronJob, metadata: {{name: x}}, spec: {spec}}}")).remove(0)
}

#[track_caller]
fn has(spec: &str, field: &str) -> Vec<String> {
    let (node, remarks) = of_spec(spec).unwrap();
    assert!(node.contains(field), "{field}: {node}");
    remarks
}

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
      activeDeadlineSeconds: 7200
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
    let imported = imported(manifests);
    let (node, remarks) = imported[0].as_ref().unwrap();
    assert_eq!(
        node,
        r#"{"name":"report","schedule_type":"cron","cron_expression":"0 2 * * *","timezone":"Europe/Berlin","dst_gap":"skip","dst_overlap":"both","target_command":"cmd.jobs.report","command_payload":{"image":"report:1.10","args":["--all"]},"delivery":{"mode":"job","timeout_seconds":7200},"overlap":"cancel_other","max_retries":2,"retry":{"initial_seconds":10,"max_seconds":360,"non_retryable":["timeout"]},"misfire_grace_seconds":60,"catch_up":"latest","is_active":false}"#
    );
    assert_eq!(*remarks, ["suspended: imported with is_active: false"]);
    assert_eq!(imported[1].as_ref().unwrap_err(), "is a Deployment, not a CronJob");
    let places = entries(manifests, "cmd.jobs.{name}").unwrap();
    assert!(places[0].place.starts_with("line ") && places[0].place.ends_with(" (report)"));
    assert_eq!(places[3].place, "wrong");
    assert_eq!(imported[3].as_ref().unwrap_err(), "has no spec.schedule");
}

#[test]
fn what_kubernetes_does_without_being_told_is_written_out() {
    let (node, remarks) = of_spec("{schedule: \"@hourly\"}").unwrap();
    let rest = r#""delivery":{"mode":"job","timeout_seconds":86400},"overlap":"allow","max_instances":3,"max_retries":6,"#;
    // One that is suspended no longer is switched on again.
    let on = format!(r#"{rest}{RETRY}{}"is_active":true}}"#, LATE.replace('}', ","));
    assert!(node.ends_with(&on), "{node}");
    assert_eq!(
        remarks,
        [
            "the zone is that of the service",
            "has no startingDeadlineSeconds: a run may start 365 days late",
            "has no activeDeadlineSeconds: a run fails after 24 hours",
            "at most 3 runs overlap (max_instances), more are skipped: SCHEDULER_MAX_INSTANCES of the service is the bound",
        ]
    );
}

#[test]
fn values_that_the_service_would_refuse_become_the_nearest() {
    let remarks = has(
        "{schedule: \"@hourly\", timeZone: UTC, startingDeadlineSeconds: 0, concurrencyPolicy: Forbid, jobTemplate: {spec: {backoffLimit: 20, activeDeadlineSeconds: 100000}}}",
        r#""timeout_seconds":86400},"overlap":"skip","max_retries":10,"#,
    );
    assert_eq!(
        remarks,
        [
            "startingDeadlineSeconds 0 is out of range: it becomes 1",
            "activeDeadlineSeconds 100000 is out of range: it becomes 86400",
            "backoffLimit 20 is out of range: it becomes 10",
        ]
    );
    assert_eq!(
        of_spec("{schedule: \"@hourly\", startingDeadlineSeconds: soon}").unwrap_err(),
        "spec.startingDeadlineSeconds is no whole number"
    );
    let many = "{schedule: \"@hourly\", jobTemplate: {spec: {completions: 5, template: {spec: {containers: [{image: a}, {image: b}]}}}}}";
    let remarks = has(many, r#""command_payload":{"image":"a"}"#);
    for remark in [
        "has several Pods in each run: one command is sent",
        "the payload has the first container, and not 1 more",
    ] {
        assert!(remarks.iter().any(|it| it == remark), "{remarks:?}");
    }
}

#[test]
fn expressions_are_read_as_kubernetes_reads_them() {
    // The day of the month or Monday, and not both.
    has("{schedule: \"0 0 */2 * MON\"}", r#""cron_expression":"0 0 1-31/2 * MON""#);
    let zoned = r#""cron_expression":"0 2 * * *","timezone":"Asia/Tokyo","#;
    has("{schedule: \"CRON_TZ=Asia/Tokyo 0 2 * * *\"}", zoned);
    has("{schedule: \"TZ=Asia/Tokyo 0 2 * * *\", timeZone: Asia/Tokyo}", zoned);
    let every = r#""schedule_type":"interval","interval_seconds":5400,"target"#;
    let remarks = has("{schedule: \"@every 1h30m\"}", every);
    assert_eq!(remarks[0], "counts from when it is applied, and runs then for the first time");
    let of_cluster = imported(
        "{kind: CronJob, metadata: {name: x, creationTimestamp: \"2026-11-01T00:00:00Z\"}, spec: {schedule: \"@every 1h\"}, status: {lastScheduleTime: \"2026-11-28T10:00:00Z\"}}",
    );
    let (node, _) = of_cluster[0].as_ref().unwrap();
    assert!(node.contains(r#""start_at":"2026-11-28T11:00:00Z""#), "{node}");
    for (schedule, reason) in [
        ("0 0 2 * * *", "has 6 fields, and not 5"),
        ("@often", "unknown nickname"),
        ("60 * * * *", "minute: 60 is out of range"),
        ("@every 1500ms", "is no whole number of seconds"),
        ("@every 9000h", "is longer than 365 days"),
        ("TZ=Mars/Base 0 2 * * *", "the time zone \"Mars/Base\" is not known"),
    ] {
        let said = of_spec(&format!("{{schedule: \"{schedule}\"}}")).unwrap_err();
        assert!(said.contains(reason), "{schedule}: {said}");
    }
    let two = of_spec("{schedule: \"TZ=UTC 0 2 * * *\", timeZone: Asia/Tokyo}").unwrap_err();
    assert_eq!(two, "has two time zones, in spec.schedule and in spec.timeZone");
    let target = entries(
        "{kind: CronJob, metadata: {name: x}, spec: {schedule: \"@hourly\"}}",
        "jobs.{name}",
    );
    let said = target.unwrap().remove(0).made.unwrap_err();
    assert!(said.starts_with("its target \"jobs.x\" must start with \"cmd.\""), "{said}");
}

#[test]
fn names_that_several_namespaces_have_say_which() {
    let one = |namespace: &str, name: &str| {
        format!(
            "- {{kind: CronJob, metadata: {{namespace: {namespace}, name: {name}}}, spec: {{schedule: \"@hourly\"}}}}\n"
        )
    };
    let items = [("a", "backup"), ("b", "backup"), ("a", "only"), ("a", "only")]
        .map(|(namespace, name)| one(namespace, name))
        .concat();
    let items = format!("kind: List\nitems:\n{items}- {{kind: CronJob}}\n");
    let placed = entries(&items, "cmd.jobs.{name}").unwrap();
    let places: Vec<_> = placed.iter().map(|entry| entry.place.as_str()).collect();
    assert_eq!(places, ["a/backup", "b/backup", "a/only", "a/only", "line 1, item 5"]);
    let imported = imported(&items);
    let names: Vec<_> = imported
        .iter()
        .take(4)
        .map(|made| {
            Node::of_json(&made.as_ref().unwrap().0).unwrap().text("name").unwrap().to_owned()
        })
        .collect();
    assert_eq!(names, ["a/backup", "b/backup", "only", "only-2"]);
    assert!(imported[0].as_ref().unwrap().0.contains(r#""target_command":"cmd.jobs.a-backup""#));
}
