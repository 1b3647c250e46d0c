"""Forwards what the scheduler says of schedules that are failing, overdue, or have recovered, to a webhook.

    python3 -m pip install -r requirements.txt
    WEBHOOK_URL=https://chat.example.com/hooks/abc python3 forward.py

Each event is a POST with a JSON object: `text`, a line for people (what Slack, Mattermost and many others show),
and `event`, all that the scheduler says. The header Idempotency-Key names the event. Events arrive in order, each at
least once: the next is not sent before the webhook has answered 2xx to the one before, however long that takes and
whatever is restarted meanwhile. The scheduler says each change of state once, so nothing is counted here.

NATS_URL names another server, NATS_USER and NATS_PASSWORD a user, who may use the consumer `alerts-webhook` of the
stream SCHEDULER_AUDIT. Events from before the first start are left out. SIGTERM or Ctrl-C ends it.
"""

import asyncio
import http.client
import json
import os
import signal
import sys
import urllib.request
import uuid

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy

STREAM, CONSUMER = "SCHEDULER_AUDIT", "alerts-webhook"
SUBJECTS = [f"evt.scheduler.schedule.{event}.*" for event in ("failing", "overdue", "recovered")]
ACK_WAIT = 15  # Seconds without a word from us, after which the server hands an event out again.
LOOK = 2  # How long to wait for an event before looking whether to stop.
PATIENCE = 10  # How long the webhook may take to answer, in seconds.
PAUSES = [1, 2, 5, 10]  # Seconds before a POST that failed is tried again; then always the last.


def read(message):
    """The event in a message; None if there is none, since others may publish to these subjects too."""
    try:
        event = json.loads(message.data)
        uuid.UUID(event["event_id"])
        return event if isinstance(event["name"], str) and isinstance(event["event"], str) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def text(event):
    """A line for people."""
    name = event["name"]
    if event["event"] == "failing":
        count = event.get("consecutive_failures", "several")
        reason = event.get("error_message") or event.get("error_type") or "no reason given"
        return f"{name} is failing: {count} in a row, the last with: {reason}"
    if event["event"] == "overdue":
        last = event.get("last_success_at")
        return f"{name} is overdue: " + (f"its last success was at {last}" if last else "it never succeeded")
    return f"{name} has recovered"


def post(url, event):
    """Sends an event; raises OSError or HTTPException unless the answer is 2xx."""
    body = json.dumps({"text": text(event), "event": event}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.UUID(event["event_id"]))}
    request = urllib.request.Request(url, body, headers, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE):
        pass


async def forward(url, message, event, stop):
    """Sends an event until the webhook has taken it; whether it has."""
    attempt = 0
    while not stop.is_set():
        # Our word that we are at it.
        await message.in_progress()
        try:
            await asyncio.get_running_loop().run_in_executor(None, post, url, event)
            print(f"{event['event_id']}: {text(event)}", flush=True)
            return True
        except (OSError, http.client.HTTPException) as error:
            pause = PAUSES[min(attempt, len(PAUSES) - 1)]
            print(f"{event['event_id']}: not taken ({error}), again in {pause} s", flush=True)
            attempt += 1
            await message.in_progress()
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except asyncio.TimeoutError:
                pass
    return False


async def main():
    url = os.environ.get("WEBHOOK_URL") or sys.exit("WEBHOOK_URL is not set")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = os.environ.get("NATS_URL", "nats://localhost:4222")
    user, password = os.environ.get("NATS_USER"), os.environ.get("NATS_PASSWORD")
    nc = await nats.connect(server, user=user, password=password, max_reconnect_attempts=-1)
    js = nc.jetstream()
    try:
        await js.consumer_info(STREAM, CONSUMER)
    except nats.js.errors.NotFoundError:
        # One at a time, so that a recovery never overtakes what it is the end of.
        config = ConsumerConfig(
            durable_name=CONSUMER, filter_subjects=SUBJECTS, deliver_policy=DeliverPolicy.NEW,
            ack_wait=ACK_WAIT, max_ack_pending=1,
        )
        await js.add_consumer(STREAM, config)
    events = await js.pull_subscribe_bind(consumer=CONSUMER, stream=STREAM)
    print("forwarding", flush=True)
    while not stop.is_set():
        try:
            [message] = await events.fetch(1, timeout=LOOK)
        except nats.errors.TimeoutError:
            continue
        except nats.js.errors.APIError as error:
            print(f"no events now: {error}", flush=True)
            await asyncio.sleep(1)
            continue
        event = read(message)
        if event is None:
            print(f"no event: dropped what came on {message.subject}", flush=True)
            await message.term()
        elif await forward(url, message, event, stop):
            await message.ack()
        else:
            await message.nak()
    await nc.flush()
    await nc.close()


if __name__ == "__main__":
    asyncio.run(main())
