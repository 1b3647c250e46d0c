//! Tests of the alerts, the dashboard and the table of metrics against what the service exposes.

#[cfg(feature = "cli-tests")]
mod scraped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use nats_scheduler::execution::ExecutionStatus;
use nats_scheduler::metrics::{
    Format, Gauges, GroupGauges, Lock, LockFailure, Metrics, StreamGauges,
};
use nats_scheduler::schedule::{ScheduleType, SkipCause};
use promql_parser::label::Matchers;
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector, token};
use serde::Deserialize;
use serde_json::Value;

/// Labels that Prometheus adds to everything it scrapes.
const OF_THE_TARGET: [&str; 2] = ["job", "instance"];
const REQUIRED_ALERTS: [&str; 7] = [
    "SchedulerMisfires",
    "SchedulerFailures",
    "SchedulerLockTimeouts",
    "SchedulerLongRunning",
    "SchedulerLate",
    "SchedulerWatchLag",
    "SchedulerClockOffset",
];

type Labels = BTreeSet<String>;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of an instance at which everything has happened once.
fn exposition() -> String {
    exposition_in(Format::OpenMetrics)
}

fn exposition_in(format: Format) -> String {
    let (kind, second) = (ScheduleType::Cron, Duration::from_secs(1));
    let metrics = Metrics::new();
    metrics.schedule_created(kind, "alice");
    metrics.schedule_deleted(kind, false);
    metrics.claimed(Lock::Claim);
    metrics.claim_failed(Lock::Claim, LockFailure::Conflict);
    metrics.claim_held(Lock::Claim, second);
    metrics.sent(kind, second);
    metrics.ended(kind, ExecutionStatus::Success, Some(second));
    metrics.skipped(kind, SkipCause::Missed, 1);
    metrics.retried(kind, 2);
    metrics.http_request("GET", "/metrics", 200, second);
    metrics.http_cut("idle", 1);
    metrics.nats_request("schedule.get", 200, second);
    let gauges = Gauges {
        watch_lag: Some(1),
        clock_offset: Some(0.1),
        nats_rtt: Some(0.1),
        groups: vec![GroupGauges { name: "g".to_owned(), limit: 1, running: 1, waiting: 1 }],
        streams: vec![StreamGauges {
            name: "S".to_owned(),
            exists: true,
            drift: 0,
            writes_fail: false,
        }],
        ..Gauges::default()
    };
    metrics.encode(&gauges, format)
}

/// A metric as it is exposed.
#[derive(Debug, PartialEq, Eq)]
struct Exposed {
    kind: String,
    labels: Labels,
}

/// The metrics of a text, by the names that users write: those of counters end in `_total`, those of
/// histograms have no suffix.
fn exposed(text: &str) -> BTreeMap<String, Exposed> {
    let mut metrics = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            let exposed = Exposed { kind: kind.to_owned(), labels: Labels::new() };
            assert!(metrics.insert(name, exposed).is_none(), "twice: {line}");
        } else if !line.starts_with('#') {
            let (name, labels) = sample(line);
            let Some(metric) = metrics.get_mut(family(&name)) else { panic!("no type: {line}") };
            metric.labels.extend(labels.into_iter().filter(|label| label != "le"));
        }
    }
    metrics
}

/// The name and the names of the labels of a line. No value in these tests has a quote or a comma.
fn sample(line: &str) -> (String, Labels) {
    let (sample, _) = line.rsplit_once(' ').unwrap();
    let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    (name.to_owned(), labels.map(|(label, _)| label.to_owned()).collect())
}

/// The metric of a sample.
fn family(sample: &str) -> &str {
    let histogram = ["_bucket", "_sum", "_count"].iter();
    histogram.filter_map(|suffix| sample.strip_suffix(suffix)).next().unwrap_or(sample)
}

/// The labels of every name that can be queried.
fn queryable() -> BTreeMap<String, Labels> {
    let mut names = BTreeMap::new();
    for line in exposition().lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = sample(line);
        names.entry(name).or_insert_with(Labels::new).extend(labels);
    }
    names
}

/// Checks that what an expression names is exposed. Returns the labels that its result can have.
fn check(expr: &Expr, names: &BTreeMap<String, Labels>) -> Labels {
    match expr {
        Expr::VectorSelector(selector) => select(selector, names),
        Expr::MatrixSelector(matrix) => select(&matrix.vs, names),
        Expr::Aggregate(aggregate) => {
            let inner = check(&aggregate.expr, names);
            if let Some(param) = &aggregate.param {
                check(param, names);
            }
            match &aggregate.modifier {
                None if aggregate.op.id() == token::T_TOPK => inner,
                None => Labels::new(),
                Some(LabelModifier::Include(by)) => {
                    let by: Labels = by.labels.iter().cloned().collect();
                    assert!(by.is_subset(&inner), "{expr} groups by {by:?} of {inner:?}");
                    by
                }
                Some(LabelModifier::Exclude(_)) => panic!("{expr}: say by which labels"),
            }
        }
        Expr::Binary(binary) => {
            let (left, right) = (check(&binary.lhs, names), check(&binary.rhs, names));
            let is_scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
            if is_scalar(&binary.rhs) {
                return left;
            }
            if is_scalar(&binary.lhs) {
                return right;
            }
            if binary.op.id() == token::T_LOR {
                return left.union(&right).cloned().collect();
            }
            match binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()) {
                None => assert_eq!(left, right, "{expr}: the two sides never match"),
                Some(LabelModifier::Include(on)) => {
                    let on: Labels = on.labels.iter().cloned().collect();
                    assert!(
                        on.is_subset(&left) && on.is_subset(&right),
                        "{expr} matches on {on:?}"
                    );
                }
                Some(LabelModifier::Exclude(_)) => panic!("{expr}: say on which labels"),
            }
            left
        }
        Expr::Call(call) => {
            let mut args: Vec<_> = call.args.args.iter().map(|arg| check(arg, names)).collect();
            let mut labels = args.pop().unwrap_or_default();
            match call.func.name {
                "absent" => Labels::new(),
                "histogram_quantile" => {
                    assert!(labels.remove("le"), "{expr}: its buckets are lost");
                    labels
                }
                _ => labels,
            }
        }
        Expr::Paren(paren) => check(&paren.expr, names),
        Expr::Unary(unary) => check(&unary.expr, names),
        Expr::Subquery(subquery) => check(&subquery.expr, names),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Labels::new(),
        Expr::Extension(_) => panic!("{expr}: an extension"),
    }
}

fn select(selector: &VectorSelector, names: &BTreeMap<String, Labels>) -> Labels {
    let name = selector.name.as_ref().unwrap_or_else(|| panic!("{selector}: without a name"));
    let mut labels = match names.get(name) {
        Some(labels) => labels.clone(),
        // Not everywhere.
        None if name.starts_with("process_") && !cfg!(target_os = "linux") => Labels::new(),
        None => panic!("{name} is not exposed"),
    };
    labels.extend(OF_THE_TARGET.map(str::to_owned));
    let Matchers { matchers, or_matchers } = &selector.matchers;
    for matcher in matchers.iter().chain(or_matchers.iter().flatten()) {
        assert!(labels.contains(&matcher.name), "{name} has no label {}", matcher.name);
    }
    labels
}

fn parse(text: &str) -> Expr {
    parser::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasting: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let rules: Rules = serde_saphyr::from_str(&read("alerts.yml")).unwrap();
    let names: BTreeSet<_> = rules.groups.iter().map(|group| &group.name).collect();
    assert_eq!(names.len(), rules.groups.len(), "{names:?}");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// The words that follow `prefix` in a text: the labels that a template uses.
fn after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_label = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(prefix).skip(1).map(move |rest| rest.split(|c| !is_label(c)).next().unwrap_or(""))
}

#[test]
fn alerts_query_what_is_exposed_and_say_what_they_mean() {
    let names = queryable();
    let mut seen = BTreeSet::new();
    for rule in rules() {
        let alert = &rule.alert;
        let labels = check(&parse(&rule.expr), &names);
        assert!(["warning", "critical"].contains(&rule.labels["severity"].as_str()), "{alert}");
        assert!(rule.lasting.ends_with('m'), "{alert}: for {}", rule.lasting);
        for annotation in ["summary", "description"] {
            let text = &rule.annotations[annotation];
            assert!(!text.trim().is_empty(), "{alert}: {annotation}");
            for label in after(text, "$labels.") {
                assert!(labels.contains(label), "{alert}: its result has no label {label}");
            }
        }
        assert!(seen.insert(rule.alert), "an alert is there twice");
    }
    for alert in REQUIRED_ALERTS {
        assert!(seen.contains(alert), "{alert} is missing");
    }
    let (readme, tests) = (read("README.md"), read("alerts_test.yml"));
    for alert in seen {
        assert!(readme.contains(&format!("\n| `{alert}` |")), "README.md lacks {alert}");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "no test has {alert} fire");
    }
}

#[test]
fn the_dashboard_queries_what_is_exposed() {
    let names = queryable();
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let known: BTreeSet<_> = variables.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(known, BTreeSet::from(["DS_PROMETHEUS", "instance", "job"]));
    for query in variables.iter().filter_map(|variable| variable["query"]["query"].as_str()) {
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (expr, label) = inner.and_then(|inner| inner.rsplit_once(", ")).unwrap();
        assert!(check(&parse(expr), &names).contains(label), "{query}");
    }

    let mut ids = BTreeSet::new();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let targets = panel["targets"].as_array();
        assert!(targets.is_some() != (panel["type"] == "row"), "{title}");
        for target in targets.into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${DS_PROMETHEUS}", "{title}");
            let expr = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
            for variable in after(&expr, "$") {
                assert!(known.contains(variable), "{title}: no variable {variable}");
            }
            let labels = check(&parse(&expr), &names);
            for label in after(target["legendFormat"].as_str().unwrap(), "{{") {
                assert!(labels.contains(label), "{title}: its result has no label {label}");
            }
            queries += 1;
        }
    }
    assert!(queries > 20, "{queries}");
}

#[test]
fn the_table_of_the_readme_is_what_is_exposed() {
    let readme = read("README.md");
    let rows = readme.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else { return None };
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        assert!(!meaning.is_empty(), "{name}");
        let labels = labels.split_whitespace().map(|label| label.replace('`', "")).collect();
        Some((name.to_owned(), Exposed { kind: kind.to_owned(), labels }))
    });
    let mut table = BTreeMap::new();
    for (name, row) in rows {
        assert!(table.insert(name.clone(), row).is_none(), "{name} is there twice");
    }
    if !cfg!(target_os = "linux") {
        table.retain(|name, _| !name.starts_with("process_") || name.contains("start_time"));
    }
    let exposed = exposed(&exposition());
    for (name, metric) in &exposed {
        assert_eq!(table.get(name), Some(metric), "README.md on {name}");
    }
    for name in table.keys() {
        assert!(exposed.contains_key(name), "README.md has {name}, which is not exposed");
    }
}

/// Prometheus's own tool on the metrics, the alerts and their tests. `PROMTOOL` names it, else it is
/// `promtool` on the `PATH`; these tests are the only ones here that need it.
#[cfg(feature = "cli-tests")]
mod promtool {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use nats_scheduler::metrics::Format;

    /// Runs it in the folder of the rules; whether it succeeded, and what it said.
    fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
        let tool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
        let mut child = Command::new(&tool)
            .args(arguments)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{tool}: {error}; install it or set PROMTOOL"));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.success(), texts.concat())
    }

    #[test]
    fn it_finds_nothing_in_the_metrics_but_the_one_name_that_stays() {
        let (_, said) = promtool(&["check", "metrics"], &super::exposition_in(Format::Classic));
        let expected = r#"schedules_total non-counter metrics should not have "_total" suffix"#;
        assert_eq!(said.trim(), expected);
    }

    #[test]
    fn it_takes_the_alerts_and_their_tests_pass() {
        for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
            let (is_well, said) = promtool(&arguments, "");
            assert!(is_well, "{arguments:?}: {said}");
        }
    }
}
