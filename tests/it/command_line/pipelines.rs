//! The pipeline and the Job that docs/cli.md shows, run as they are written there.

use serde_json::Value;
use tokio::process::Command;

use super::{cli, file, finish, program};
use crate::harness::{Nats, SERVICE};

/// The YAML documents of docs/cli.md that have this key.
fn shown(key: &str) -> Vec<Value> {
    let path = crate::house::structure::root().join("docs/cli.md");
    let document = std::fs::read_to_string(path).unwrap();
    let blocks =
        document.split("```yaml\n").skip(1).map(|rest| rest.split("```\n").next().unwrap());
    let blocks = blocks.filter(|block| !block.contains("\n---\n"));
    let read = blocks.map(|block| serde_saphyr::from_str::<Value>(block).unwrap());
    read.filter(|value| value.get(key).is_some()).collect()
}

const SCHEDULE: &str = "name: rollup\nschedule_type: cron\ncron_expression: 0 3 * * *\ntarget_command: cmd.report.build\n";

#[tokio::test]
async fn the_pipeline_of_the_document_plans_and_applies() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let [pipeline] = &shown("jobs")[..] else { panic!("there is one") };
    let job = &pipeline["jobs"]["schedules"];
    let steps = job["steps"].as_array().unwrap().iter();
    let scripts: Vec<_> = steps.filter_map(|step| step["run"].as_str()).collect();
    let [plan, apply] = scripts[..] else { panic!("{scripts:?}") };
    assert!(job["env"]["SCHEDULER"].as_str().unwrap().starts_with("docker run "));
    let summary = file(&nats, "summary.md", "");
    let run = async |script: &str| {
        let mut command = Command::new("bash");
        // As the runner starts it.
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]);
        command.current_dir(nats.dir()).env("GITHUB_STEP_SUMMARY", &summary);
        command.env("SCHEDULER", SERVICE).env("SET", job["env"]["SET"].as_str().unwrap());
        command.env("NATS_URL", nats.url()).kill_on_drop(true);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        finish(command).await
    };
    let said = || std::fs::read_to_string(&summary).unwrap();
    file(&nats, "schedules/rollup.yaml", SCHEDULE);
    let planned = run(plan).await.done();
    assert!(planned.starts_with("+ rollup of ci\n"), "{planned}");
    assert!(said().contains(&planned), "{}", said());
    assert!(run(apply).await.done().starts_with("1 created"));
    std::fs::write(&summary, "").unwrap();
    assert!(run(plan).await.done().contains("1 unchanged"));
    assert_eq!(said(), "", "there is nothing to review");
    file(&nats, "schedules/rollup.yaml", &format!("{SCHEDULE}priority: 11\n"));
    let refused = run(plan).await;
    assert_eq!(refused.code, 1, "what the service would refuse fails the check: {refused:?}");
}

#[tokio::test]
async fn the_job_of_the_document_applies_what_is_mounted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let [job] = &shown("kind")[..] else { panic!("there is one") };
    assert_eq!(job["kind"], "Job");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    file(&nats, "mounted/rollup.yaml", SCHEDULE);
    let folder = nats.dir().join("mounted").display().to_string();
    let arguments = container["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    let arguments = arguments.map(|it| if it == mounted { &folder } else { it });
    let mut command = program(&nats.url());
    command.args(arguments);
    let applied = finish(command).await.done();
    assert_eq!(applied, "1 created, 0 updated, 0 deleted, 0 unchanged\n");
    assert_eq!(
        cli(&nats, &["ls", "--owned-by", "k8s:ops", "-o", "wide"]).await.done().lines().count(),
        2
    );
}
