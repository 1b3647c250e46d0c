//! `top` at a real terminal.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdout, Command};

use super::cli;
use crate::harness::{DEADLINE, Nats, SERVICE};

/// Runs a program at a terminal of 120 by 30, and says at its end whether the terminal is as it was.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    os.read(0, 1)
    os.execv(sys.argv[1], sys.argv[1:])
before = termios.tcgetattr(fd)
os.write(fd, b"\n")
while True:
    ready, _, _ = select.select([fd, 0], [], [])
    if 0 in ready:
        os.write(fd, os.read(0, 100))
    if fd in ready:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        os.write(1, data)
    after = termios.tcgetattr(fd)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.write(1, b"\nexit %d, restored %d\n" % (code, before == after))
"#;

/// Reads until the screen has shown this.
async fn until(stdout: &mut ChildStdout, seen: &mut Vec<u8>, text: &str) {
    let looking = async {
        while !String::from_utf8_lossy(seen).contains(text) {
            assert!(stdout.read_buf(seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(seen));
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, looking).await;
    assert!(in_time.is_ok(), "{text:?} is not in {:?}", String::from_utf8_lossy(seen));
    seen.clear();
}

/// `top` at a terminal, of a service.
fn top(nats: &Nats) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL, SERVICE, "top", "--timeout", "1s"]).kill_on_drop(true);
    let settings =
        [("USER", "anna"), ("NO_COLOR", "1"), ("TERM", "xterm"), ("RUST_BACKTRACE", "0")];
    command.env("NATS_URL", nats.url()).envs(settings);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[tokio::test]
async fn the_screen_follows_the_service_and_the_terminal_is_given_back() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let create = ["create", "beat", "--every", "600s", "-t", "cmd.example.x"];
    cli(&nats, &create).await.done();
    let mut child = top(&nats).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    until(&mut stdout, &mut seen, "beat").await;
    stdin.write_all(b"\r").await.unwrap();
    // Only what changes is sent, and a blank may be none.
    until(&mut stdout, &mut seen, "ahead").await;
    stdin.write_all(b"\x1b").await.unwrap();
    service.kill();
    until(&mut stdout, &mut seen, "ANSWER").await;
    let _again = nats.service().await;
    let create = ["create", "afterwards", "--every", "500s", "-t", "cmd.example.x"];
    cli(&nats, &create).await.done();
    until(&mut stdout, &mut seen, "afterwards").await;
    stdin.write_all(b"q").await.unwrap();
    until(&mut stdout, &mut seen, "restored 1").await;
    assert!(child.wait().await.unwrap().success());
}

/// What a terminal shows after a program has left the whole screen.
const LEFT: &str = "\u{1b}[?1049l";

#[tokio::test]
async fn a_panic_gives_the_terminal_back_before_it_is_told_and_ends_the_program() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    // While it draws, and in a task beside that.
    for point in ["top_draws", "top_asks"] {
        let mut command = top(&nats);
        command.env("NATS_SCHEDULER_FAILPOINT", format!("{point}:2"));
        let mut child = command.spawn().unwrap();
        // Nobody types, and the terminal stays open.
        let _stdin = child.stdin.take().unwrap();
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
        let shown = String::from_utf8_lossy(&output.unwrap().unwrap().stdout).into_owned();
        let (screen, after) =
            shown.split_once(LEFT).unwrap_or_else(|| panic!("{point}: {shown:?}"));
        let told = format!("told to panic at {point}");
        assert!(after.contains(&told) && !screen.contains(&told), "{point}: {shown:?}");
        assert!(!after.contains(LEFT), "it is left once: {point}: {after:?}");
        assert!(after.contains("exit 101, restored 1"), "{point}: {after:?}");
    }
}

#[tokio::test]
async fn where_there_is_no_terminal_it_says_so() {
    let nats = Nats::bare().await;
    let (code, said) = cli(&nats, &["top"]).await.failed();
    assert!(code == 2 && said.starts_with("error: top needs a terminal\nhint: "), "{said}");
}
