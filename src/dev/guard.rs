//! Guard that ends a nats-server whose owner was killed and could not do it.
//!
//! A process that gets SIGKILL runs no destructor, and asking the kernel to signal the child instead takes code between
//! fork and exec, which is unsafe. So a small shell waits beside the server on a pipe whose other end only the owner
//! holds. When the owner is gone, for whatever reason, the kernel closes that end, the shell reads end-of-file and
//! tells the server to stop.
//!
//! There is no guard on systems other than Unix: there a killed owner leaves the server running.

use std::io;
use std::process::{Child, Command, Stdio};

/// The waiting shell; killed when dropped.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// Guards the process `pid` for as long as this process and the returned value live.
    ///
    /// The shell has a process group of its own, so that Ctrl-C in the terminal does not end it before its work is
    /// done. The SIGCONT is for a server that a test has frozen.
    pub(super) fn over(pid: u32) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "read -r _; kill -TERM \"$0\"; kill -CONT \"$0\""])
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        shell.spawn().map(Self)
    }

    /// Closes the pipe, as the kernel does when this process ends.
    #[cfg(test)]
    pub(super) fn hang_up(&mut self) {
        self.0.stdin = None;
    }
}

impl Drop for Guard {
    /// Kills the shell while the pipe is still open, so that it never signals a process number that may by now belong
    /// to another process.
    fn drop(&mut self) {
        // Both fail only if the shell is already gone, which is the goal.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
