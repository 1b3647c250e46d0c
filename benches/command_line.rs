//! How long commands take where there are many schedules.
//!
//! `cargo bench --bench command_line` runs each command ten times against a service that holds 10,000 schedules, as a user
//! does: from the start of the program to its end, and for `top` until it has drawn its first screen. Then it watches `top`
//! for ten seconds. `-- --schedules 1000000` does it with a million. It needs Python, for the terminal of `top`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "args.rs"]
mod args;
#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "usage.rs"]
mod usage;

use std::process::Stdio;
use std::time::{Duration, Instant};

use harness::{Nats, SERVICE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use usage::Usage;

const TIMES: usize = 10;
/// Time to read everything at the start.
const LOADED_WITHIN: Duration = Duration::from_secs(600);
/// How long `top` is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// Runs a program at a terminal, and passes on what it writes and what it is sent.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    ready, _, _ = select.select([fd, 0], [], [])
    if 0 in ready:
        os.write(fd, os.read(0, 100))
    if fd in ready:
        try:
            os.write(1, os.read(fd, 65536))
        except OSError:
            break
os.waitpid(pid, 0)
"#;

#[tokio::main]
async fn main() {
    let count = args::number("--schedules", 10_000);
    let nats = Nats::start().await;
    // Starting the service creates the streams.
    nats.service_with(&[]).await.stop().await;
    fill::fill(&nats, count).await;
    let service = nats.spawn(&[("LOG_LEVEL", "info")]);
    service.ready_within(LOADED_WITHIN).await;
    println!("{count} schedules, each command {TIMES} times");
    for arguments in [
        &["ls"][..],
        &["ls", "-n", "100", "-o", "json"],
        &["ls", "--tag", "bench", "--sort", "next_run_at"],
        &["ls", "--contains", "daily 99"],
        &["next", "--all", "--to", "30d"],
        &["next", "--all", "--to", "30d", "-n", "1000", "-o", "json"],
        &["status"],
    ] {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let mut command = Command::new(SERVICE);
            command.args(arguments).env("NATS_URL", nats.url()).stdin(Stdio::null());
            let began = Instant::now();
            let output = command.output().await.unwrap();
            times.push(began.elapsed());
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            assert!(!output.stdout.is_empty(), "{arguments:?}");
        }
        show(&arguments.join(" "), times);
    }
    // All names, page by page.
    let began = Instant::now();
    let mut command = Command::new(SERVICE);
    command.args(["ls", "--all", "-o", "name"]).env("NATS_URL", nats.url()).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), count);
    println!("{:45} {:>16.2?}", "ls --all -o name, once", began.elapsed());
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(top(&nats, &service, None).await);
    }
    show("top, its first screen", times);
    top(&nats, &service, Some(WATCHED)).await;
}

/// Time until `top` shows how the service is. If it is watched, shows what it costs the service.
async fn top(nats: &Nats, service: &harness::Service, watched: Option<Duration>) -> Duration {
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL, SERVICE, "top"]).kill_on_drop(true);
    command.env("NATS_URL", nats.url()).env("TERM", "xterm");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("lag") {
        assert!(stdout.read_buf(&mut seen).await.unwrap() > 0, "top has ended");
    }
    let took = began.elapsed();
    if let Some(span) = watched {
        let reading = tokio::spawn(async move { stdout.read_to_end(&mut seen).await });
        let before = Usage::of(service.pid()).processor;
        tokio::time::sleep(span).await;
        let used = (Usage::of(service.pid()).processor - before) / span.as_secs_f64() * 100.0;
        println!("while top is open the service uses {used:.2} % of a processor");
        stdin.write_all(b"q").await.unwrap();
        reading.await.unwrap().unwrap();
    } else {
        stdin.write_all(b"q").await.unwrap();
        while stdout.read_buf(&mut seen).await.unwrap() > 0 {}
    }
    child.wait().await.unwrap();
    took
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!("{what:45} median {:>9.2?} longest {:>9.2?}", times[TIMES / 2], times[TIMES - 1]);
}
