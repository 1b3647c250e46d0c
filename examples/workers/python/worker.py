"""A worker for delivery mode `job`: takes commands one at a time and reports what came of them.

    python3 -m pip install -r requirements.txt
    python3 worker.py

NATS_URL names another server, NATS_USER and NATS_PASSWORD a user. docs/workers.md explains the
steps. SIGTERM or Ctrl-C lets it finish the job in hand.
"""

import asyncio
import json
import os
import signal

import nats

# All workers of these jobs take them from one consumer.
STREAM, CONSUMER, COMMANDS = "COMMANDS", "job-worker", "cmd.example.job.>"
ACK_WAIT = 30  # Seconds without a word from us, after which another worker gets the command.
BEAT = 1  # Between heartbeats: several in `heartbeat_seconds`, for one may be late.
LOOK = 2  # How long to wait for a command before looking whether to stop.
ANSWER = 5  # How long to wait for an answer to a report.


class Refused(Exception):
    """The scheduler's word that this is not our job, or not any more."""


class JobFailed(Exception):
    def __init__(self, reason, retryable):
        super().__init__(reason)
        self.retryable = retryable


class Job:
    def __init__(self, nc, message):
        headers = message.headers or {}
        self.nc, self.message, self.progress = nc, message, 0
        self.id, self.token = headers.get("Scheduler-Execution-Id"), headers.get("Scheduler-Token")
        self.cancel_subject = headers.get("Scheduler-Cancel-Subject")
        self.attempt = headers.get("Scheduler-Attempt")

    def say(self, text):
        print(f"{self.id}: {text}", flush=True)

    async def work(self):
        """The work itself, which here only takes time. To stop it, its task is cancelled."""
        payload = json.loads(self.message.data)
        for self.progress in range(100):
            await asyncio.sleep(payload.get("work_ms", 1000) / 100_000)
        if "fail" in payload:
            raise JobFailed(payload["fail"], payload.get("retryable", True))
        return {"worker": "python"}

    async def outcome(self):
        """The report that the work comes to."""
        try:
            return "complete", {"response": await self.work()}
        except Exception as error:
            failure = {"error_type": type(error).__name__, "error_message": str(error)[:2000]}
            return "fail", {**failure, "retryable": getattr(error, "retryable", True)}

    async def ask(self, operation, **fields):
        """Sends a report; whether it was answered. To the stream it is a sign of life as well."""
        await self.message.in_progress()
        subject = f"cmd.scheduler.execution.{operation}"
        body = json.dumps({"execution_id": self.id, "token": self.token, **fields}).encode()
        try:
            reply = await self.nc.request(subject, body, timeout=ANSWER)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            return False
        error = json.loads(reply.data).get("error")
        if error and error["code"] not in ("unavailable", "internal"):
            raise Refused(error["message"])
        return not error

    async def insist(self, operation, **fields):
        """Sends a report until it is answered: sent twice, it counts once."""
        while not await self.ask(operation, **fields):
            self.say(f"no answer to {operation}; will retry")
            await asyncio.sleep(1)

    async def beat(self):
        while True:
            await asyncio.sleep(BEAT)
            await self.ask("heartbeat", progress=self.progress)

    async def cancelled(self, told):
        message = await told.next_msg(timeout=None)
        raise Refused(f"cancelled by {json.loads(message.data)['cancelled_by']}")

    async def run(self):
        # Listen first: whoever cancels before that makes the question after it fail.
        told = await self.nc.subscribe(self.cancel_subject)
        try:
            # A command can come twice, or late: is it still to be done?
            await self.insist("heartbeat", progress=0)
            self.say(f"started, attempt {self.attempt}")
            operation, fields = await first(self.outcome(), self.beat(), self.cancelled(told))
            await self.insist(operation, **fields)
            self.say(f"reported {operation}")
        except Refused as error:
            self.say(f"stopped, {error}")
        finally:
            await told.unsubscribe()


async def first(*coroutines):
    """The result of the first that ends, or its exception; the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def handle(nc, message):
    job = Job(nc, message)
    if job.id and job.token and job.cancel_subject:
        await job.run()
    else:
        print(f"no job: dropped what came on {message.subject}", flush=True)
    # Only now: had we died before, another worker would get the command.
    await message.ack()


async def main():
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    url = os.environ.get("NATS_URL", "nats://localhost:4222")
    user, password = os.environ.get("NATS_USER"), os.environ.get("NATS_PASSWORD")
    nc = await nats.connect(url, user=user, password=password, max_reconnect_attempts=-1)
    js = nc.jetstream()
    try:
        await js.consumer_info(STREAM, CONSUMER)
    except nats.js.errors.NotFoundError:
        config = {"durable_name": CONSUMER, "filter_subject": COMMANDS, "ack_wait": ACK_WAIT}
        await js.add_consumer(STREAM, **config)
    commands = await js.pull_subscribe_bind(consumer=CONSUMER, stream=STREAM)
    print("taking commands", flush=True)
    while not stop.is_set():
        try:
            # One: what waits here behind it no other worker can take.
            [message] = await commands.fetch(1, timeout=LOOK)
        except nats.errors.TimeoutError:
            continue
        except nats.js.errors.APIError as error:
            print(f"no commands now: {error}", flush=True)
            await asyncio.sleep(1)
            continue
        await handle(nc, message)
    await nc.flush()
    await nc.close()


if __name__ == "__main__":
    asyncio.run(main())
