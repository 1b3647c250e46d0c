//! The example workers: each a process of its own, in its own language, against the service.
//!
//! Python needs pip for nats-py, which is kept in the cache folder beside the nats-server. JavaScript needs Node.js
//! with npm, and is behind the feature `cli-tests`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::StreamMessage;
use chrono::{TimeDelta, Utc};
use nats_scheduler::client::{
    BackfillSchedule, Client, Code, CompleteExecution, CreateSchedule, Delivery, DeliveryMode,
    ExecuteImmediate, ExecutionStatus, FailExecution, HeartbeatExecution, Payload, TriggerSchedule,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Nats, wait_for};

const TARGET: &str = "cmd.example.job.test";

/// A language that an example is written in.
struct Language {
    /// What it says of itself in its responses.
    name: &'static str,
    /// How it is run, with a folder for what it needs.
    command: fn(&Path) -> Command,
}

const RUST: Language = Language { name: "rust", command: rust };
const PYTHON: Language = Language { name: "python", command: python };
#[cfg(feature = "cli-tests")]
const JAVASCRIPT: Language = Language { name: "javascript", command: javascript };

/// The example, as `cargo test` builds it.
fn rust(_: &Path) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = format!("job_worker{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "no {}: cargo build --examples", path.display());
    Command::new(path)
}

fn python(_: &Path) -> Command {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(interpreter());
    command
        .arg(examples().join("workers/python/worker.py"))
        .env("PYTHONPATH", PACKAGES.get_or_init(|| packages("workers/python")));
    command
}

#[cfg(feature = "cli-tests")]
fn javascript(dir: &Path) -> Command {
    let folder = dir.join("javascript");
    fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "package-lock.json", "worker.mjs"] {
        fs::copy(examples().join("workers/javascript").join(file), folder.join(file)).unwrap();
    }
    if !folder.join("node_modules").exists() {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"]);
        succeed(npm.current_dir(&folder));
    }
    let mut command = Command::new("node");
    command.arg(folder.join("worker.mjs"));
    command
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A Python 3 that has pip.
pub fn interpreter() -> &'static str {
    static FOUND: OnceLock<&str> = OnceLock::new();
    FOUND.get_or_init(|| {
        let is_fit = |python: &&str| {
            let script = "import pip, sys; sys.exit(sys.version_info < (3, 8))";
            let asked = Command::new(python).args(["-c", script]).output();
            asked.is_ok_and(|output| output.status.success())
        };
        ["python3", "python"].into_iter().find(is_fit).expect("Python 3.8 or newer with pip")
    })
}

/// The folder with what a Python example needs, installed if it is not there.
pub fn packages(example: &str) -> PathBuf {
    let requirements = examples().join(example).join("requirements.txt");
    let text = fs::read_to_string(&requirements).unwrap();
    let name = text.split_whitespace().next().unwrap().replace("==", "-");
    let installed = cache().join(name);
    if !installed.exists() {
        fs::create_dir_all(cache()).unwrap();
        let building = TempDir::new_in(cache()).unwrap();
        let built = building.path().join("packages");
        let mut pip = Command::new(interpreter());
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        pip.args([OsStr::new("--target"), built.as_os_str()]);
        pip.args([OsStr::new("--requirement"), requirements.as_os_str()]);
        succeed(&mut pip);
        // It fails where another process was quicker, with the same.
        let moved = fs::rename(&built, &installed);
        assert!(installed.exists(), "{moved:?}");
    }
    installed
}

/// The folder in which what is installed for tests is kept.
fn cache() -> PathBuf {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("NATS_SCHEDULER_CACHE")
        .or_else(|| Some(caches?.join("nats-scheduler")))
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")))
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// A worker that runs; what it says is shown if the test fails.
struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    async fn start(nats: &Nats, language: &Language) -> Self {
        let log = nats.dir().join(format!("worker-{}.log", uuid::Uuid::new_v4()));
        let output = File::create(&log).unwrap();
        let child = (language.command)(nats.dir())
            .env("NATS_URL", nats.url())
            .env_remove("NATS_USER")
            .env_remove("NATS_PASSWORD")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let worker = Self { child, log };
        worker.says("taking commands").await;
        worker
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn says(&self, text: &str) {
        let what = format!("the worker to say {text:?}");
        wait_for(&what, || async { self.said().contains(text).then_some(()) }).await;
    }

    /// As `kill -9` does.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as a supervisor does.
    async fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        succeed(Command::new("kill").args(["-TERM", &pid]));
        wait_for("the worker to end", || {
            let exited = self.child.try_wait().unwrap();
            async move { exited }
        })
        .await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- what the worker said\n{}", self.said());
        }
    }
}

fn delivery(heartbeat_seconds: u32) -> Delivery {
    let (mode, heartbeat_seconds) = (DeliveryMode::Job, Some(heartbeat_seconds));
    Delivery { mode, timeout_seconds: 60, heartbeat_seconds }
}

/// A job that is due at once, and tried again once.
fn job(name: &str, payload: Value, heartbeat_seconds: u32) -> Value {
    json!({
        "name": name, "schedule_type": "immediate", "target_command": TARGET, "command_payload": payload,
        "max_retries": 1, "retry": { "initial_seconds": 0, "jitter": 0 },
        "delivery": delivery(heartbeat_seconds),
    })
}

/// Looks at the execution of a schedule that is under way, until `look` finds something.
async fn under_way<T: Send>(
    nats: &Nats,
    schedule: &str,
    look: impl Fn(&Value) -> Option<T> + Sync,
) -> T {
    wait_for(&format!("what is under way of {schedule}"), || async {
        let request = json!({ "schedule_id": schedule });
        look(&nats.request("execution.running", &request).await["data"][0])
    })
    .await
}

/// The execution of a schedule that a worker has begun with.
async fn begun(nats: &Nats, schedule: &str, worker: &Worker) -> String {
    let id = under_way(nats, schedule, |execution| {
        execution["execution_id"].as_str().map(str::to_owned)
    })
    .await;
    worker.says(&format!("{id}: started")).await;
    id
}

/// What became of an attempt.
async fn ended(nats: &Nats, schedule: &str, attempt: u64) -> Value {
    wait_for(&format!("attempt {attempt} of {schedule} to end"), || async {
        let reply = nats.request("execution.list", &json!({ "schedule_id": schedule })).await;
        let mut executions = reply["data"].as_array()?.iter();
        let is_it = |e: &&Value| e["attempt_number"] == attempt && e["status"] != "running";
        executions.find(is_it).cloned()
    })
    .await
}

/// The command of an execution, as it is in the stream.
async fn command(nats: &Nats, execution: &str) -> StreamMessage {
    wait_for(&format!("the command of {execution}"), || async {
        nats.messages("COMMANDS").await.into_iter().find(|message| {
            header(message, "Scheduler-Execution-Id").is_some_and(|id| id == execution)
        })
    })
    .await
}

fn header(message: &StreamMessage, name: &str) -> Option<String> {
    message.headers.get(name).map(|value| value.as_str().to_owned())
}

async fn does_jobs(language: Language) {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = Client::new(nats.client.clone()).actor("alice");
    let mut worker = Worker::start(&nats, &language).await;

    let id = nats.create(job("done", json!({ "work_ms": 3000 }), 20)).await;
    let progress = |execution: &Value| execution["progress"].as_u64().filter(|p| *p > 0);
    assert!(under_way(&nats, &id, progress).await < 100);
    let done = ended(&nats, &id, 1).await;
    assert_eq!(done["status"], "success", "{done}");
    assert_eq!(done["response_payload"], json!({ "worker": language.name }));

    let hopeful = json!({ "work_ms": 0, "fail": "no paper" });
    let hopeful = nats.create(job("hopeful", hopeful, 20)).await;
    for (attempt, will_retry) in [(1, json!(true)), (2, Value::Null)] {
        let failed = ended(&nats, &hopeful, attempt).await;
        assert_eq!(failed["status"], "failed", "{failed}");
        assert_eq!(failed["error_type"], "JobFailed", "{failed}");
        assert_eq!(failed["error_message"], "no paper", "{failed}");
        assert_eq!(failed["will_retry"], will_retry, "{failed}");
    }

    let hopeless = json!({ "work_ms": 0, "fail": "no printer", "retryable": false });
    let hopeless = nats.create(job("hopeless", hopeless, 20)).await;
    let failed = ended(&nats, &hopeless, 1).await;
    assert_eq!(failed["error_message"], "no printer", "{failed}");
    assert_eq!(failed.get("will_retry"), None, "{failed}");

    let endless = nats.create(job("endless", json!({ "work_ms": 600_000 }), 20)).await;
    let running = begun(&nats, &endless, &worker).await;
    let execution = running.parse().unwrap();
    let reply = client.cancel(execution, Some("not needed")).await.unwrap();
    assert_eq!(reply.data.status, ExecutionStatus::Cancelled);
    worker.says(&format!("{running}: stopped, ")).await;
    let cancelled = ended(&nats, &endless, 1).await;
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    assert_eq!(cancelled["cancelled_by"], "alice", "{cancelled}");
    assert_eq!(cancelled["error_message"], "not needed", "{cancelled}");

    // It is free for the next one.
    let brief = Payload::from_object(&json!({ "work_ms": 0 })).unwrap();
    let request = TriggerSchedule {
        schedule_id: Some(id.parse().unwrap()),
        override_payload: Some(brief.clone()),
        wait_ms: Some(30_000),
        ..TriggerSchedule::default()
    };
    let run = client.trigger_with(&request).await.unwrap().data.execution.unwrap();
    assert_eq!(run.status, ExecutionStatus::Success);
    let request = ExecuteImmediate {
        target_command: Some(TARGET.to_owned()),
        command_payload: Some(brief),
        delivery: Some(delivery(20)),
        wait_ms: Some(30_000),
        ..ExecuteImmediate::default()
    };
    let run = client.execute(&request).await.unwrap().data.execution.unwrap();
    assert_eq!(run.status, ExecutionStatus::Success);

    // Asked to end, it finishes what it has.
    let last = nats.create(job("last", json!({ "work_ms": 1500 }), 20)).await;
    begun(&nats, &last, &worker).await;
    assert!(worker.stop().await.success());
    assert_eq!(ended(&nats, &last, 1).await["status"], "success");
    let stream = nats.js.get_stream("COMMANDS").await.unwrap();
    wait_for("all commands to be acknowledged", || async {
        let mut consumer: PullConsumer = stream.get_consumer("job-worker").await.unwrap();
        let info = consumer.info().await.unwrap();
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

async fn is_followed(language: Language, by: Language) {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = Client::new(nats.client.clone());
    let mut first = Worker::start(&nats, &language).await;
    let id = nats.create(job("lost", json!({ "work_ms": 4000 }), 5)).await;
    let lost = begun(&nats, &id, &first).await;
    first.kill();
    let second = Worker::start(&nats, &by).await;
    let failed = ended(&nats, &id, 1).await;
    assert_eq!(failed["id"], lost.as_str());
    assert_eq!(failed["error_type"], "worker_lost", "{failed}");
    assert_eq!(failed["will_retry"], true, "{failed}");
    let done = ended(&nats, &id, 2).await;
    assert_eq!(done["status"], "success", "{done}");
    assert_eq!(done["response_payload"], json!({ "worker": by.name }));
    assert_eq!(done["correlation_id"], failed["correlation_id"]);

    // What the first has done is known too late.
    let command = command(&nats, &lost).await;
    let late = CompleteExecution {
        execution_id: Some(lost.parse().unwrap()),
        token: header(&command, "Scheduler-Token"),
        ..CompleteExecution::default()
    };
    assert_eq!(client.complete(&late).await.unwrap_err().code(), Some(Code::Conflict));

    // The stream still has the command for the first; another that gets it asks, and leaves it.
    let mut headers = HeaderMap::new();
    for (name, values) in command.headers.iter() {
        if !name.to_string().starts_with("Nats-") {
            headers.insert(name.clone(), values[0].clone());
        }
    }
    nats.js.publish_with_headers(TARGET, headers, command.payload).await.unwrap().await.unwrap();
    second.says(&format!("{lost}: stopped, ")).await;
    assert!(!second.said().contains(&format!("{lost}: started")));
}

#[tokio::test]
async fn the_rust_worker_does_jobs() {
    does_jobs(RUST).await;
}

#[tokio::test]
async fn the_python_worker_does_jobs() {
    does_jobs(PYTHON).await;
}

#[cfg(feature = "cli-tests")]
#[tokio::test]
async fn the_javascript_worker_does_jobs() {
    does_jobs(JAVASCRIPT).await;
}

#[tokio::test]
async fn a_rust_worker_that_is_lost_is_followed_by_a_python_one() {
    is_followed(RUST, PYTHON).await;
}

#[tokio::test]
async fn a_python_worker_that_is_lost_is_followed_by_a_rust_one() {
    is_followed(PYTHON, RUST).await;
}

#[cfg(feature = "cli-tests")]
#[tokio::test]
async fn a_javascript_worker_that_is_lost_is_followed_by_a_python_one() {
    is_followed(JAVASCRIPT, PYTHON).await;
}

#[tokio::test]
async fn reports_and_backfills_are_typed_too() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let client = Client::new(nats.client.clone()).actor("alice");
    let hourly = CreateSchedule::cron("hourly", "0 * * * *", "cmd.example.typed")
        .delivery(delivery(20))
        .retries(3, 0);
    let id = client.create(&hourly).await.unwrap().data.id;
    let schedule_id = Some(id);
    let backfill = BackfillSchedule {
        schedule_id,
        from: Some(Utc::now() - TimeDelta::hours(3)),
        to: Some(Utc::now() - TimeDelta::minutes(1)),
        dry_run: Some(true),
        ..BackfillSchedule::default()
    };
    let backfilled = client.backfill(&backfill).await.unwrap().data;
    assert!(backfilled.dry_run && backfilled.count >= 2, "{backfilled:?}");
    assert_eq!(backfilled.occurrences.len() as u64, backfilled.count);

    let run = client.trigger(id).await.unwrap().data;
    let execution_id = Some(run.execution_id);
    let token = header(&command(&nats, &run.execution_id.to_string()).await, "Scheduler-Token");
    let alive = HeartbeatExecution { execution_id, token: token.clone(), progress: Some(101) };
    assert_eq!(client.heartbeat(&alive).await.unwrap_err().code(), Some(Code::Invalid));
    let alive = HeartbeatExecution { progress: Some(40), ..alive };
    let heard = client.heartbeat(&alive).await.unwrap().data;
    assert_eq!((heard.execution_id, heard.status), (run.execution_id, ExecutionStatus::Running));
    let failed = FailExecution {
        execution_id,
        token: token.clone(),
        error_type: Some("OutOfPaper".to_owned()),
        retryable: Some(false),
        ..FailExecution::default()
    };
    // Twice is once.
    for _ in 0..2 {
        let reported = client.fail(&failed).await.unwrap().data;
        assert_eq!(reported.status, ExecutionStatus::Failed);
    }
    let done = CompleteExecution { execution_id, token, ..CompleteExecution::default() };
    assert_eq!(client.complete(&done).await.unwrap_err().code(), Some(Code::Conflict));
    let over = client.cancel(run.execution_id, None).await.unwrap_err();
    assert_eq!(over.code(), Some(Code::Conflict));
}
