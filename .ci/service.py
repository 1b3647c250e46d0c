"""Starts the service for tests of its HTTP interface, and installs what tests it."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# For the first start, which may have to install a nats-server.
READY_SECONDS = 120
STOP_SECONDS = 30


def program(arguments):
    """The service's executable: the one that is named, or that of a build."""
    if len(arguments) > 1:
        fail(f"one program at most, not {arguments}")
    program = Path(arguments[0] if arguments else ROOT / "target" / "debug" / "nats-scheduler").resolve()
    if not program.is_file():
        fail(f"{program} is not there: build it with `cargo build`, or name another program")
    # A supervisor's signal ends a test as Ctrl-C does, so that what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return program


@contextmanager
def running(program, folder, settings):
    """Runs `PROGRAM dev` in a folder, with one token; yields its URL and the token. Its log is shown if anything fails."""
    token, url_file = secrets.token_hex(32), folder / "url"
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"full {token}\n")
    log = folder / "service.log"
    # Nothing of the caller's settings; what finds or installs a nats-server stays.
    kept = ("PATH", "HOME", "XDG_CACHE_HOME", "NATS_SERVER", "NATS_SCHEDULER_CACHE", "RUST_BACKTRACE")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {
        "API_PORT": "0",
        "API_URL_FILE": str(url_file),
        "API_TOKENS_FILE": str(tokens),
        "SHUTDOWN_GRACE_SECONDS": "5",
        "LOG_LEVEL": "warn",
        "NO_COLOR": "1",
    }
    command = [program, "dev", "--port", "0", "--data-dir", str(folder / "nats")]
    with log.open("wb") as output:
        service = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C is for the test, which then stops the service.
            start_new_session=True,
        )
    try:
        yield wait_ready(service, url_file), token
        if service.poll() is not None:
            raise Failed(f"the service has ended by itself, with {service.returncode}")
    except BaseException:
        stop(service)
        show_end(log)
        raise
    if not stop(service):
        show_end(log)
        raise Failed("the service did not stop")


class Failed(Exception):
    """What was tested is wrong."""


def cache():
    """The folder for what is installed once."""
    named = os.environ.get("NATS_SCHEDULER_CACHE")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named or Path(caches) / "nats-scheduler").resolve()


def installed(name, packages):
    """A venv of its own with some packages, which is there whole or not at all."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    venv = cache() / f"{name}-python{python}"
    whole = venv / "whole"
    if whole.is_file():
        return venv / "bin"
    print(f"installing {' '.join(packages)} into {venv} ...", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *packages], check=True)
    whole.touch()
    return venv / "bin"


def wait_ready(service, url_file):
    """The URL of the service, once it is ready."""
    # Whatever proxy the environment names is not meant for this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_SECONDS
    said = "nothing"
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise Failed(f"the service has ended by itself, with {service.returncode}")
        try:
            url = url_file.read_text().strip()
            with opener.open(f"{url}/ready", timeout=5) as reply:
                if reply.status == 200:
                    return url
                said = f"status {reply.status}"
        except urllib.error.HTTPError as error:
            said = f"status {error.code}"
        except OSError as error:
            said = str(error)
        time.sleep(0.1)
    raise Failed(f"the service is not ready after {READY_SECONDS} s; GET /ready: {said}")


def stop(process):
    """Stops a process as a supervisor does; whether it ended in time."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
        return True
    except subprocess.TimeoutExpired:
        # A nats-server that the service started ends when it does.
        process.kill()
        process.wait()
        print(f"process {process.pid} had to be killed", file=sys.stderr)
        return False


def show_end(log):
    lines = log.read_text(errors="replace").splitlines()
    print(f"\n--- the last of {len(lines)} lines of the service's log", file=sys.stderr)
    print("\n".join(lines[-60:]), file=sys.stderr)


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def ends_with(main):
    """Runs a test and exits with its code."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Failed as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)
    except subprocess.CalledProcessError as error:
        fail(f"{error}")
