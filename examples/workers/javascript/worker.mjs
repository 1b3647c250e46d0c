// A worker for delivery mode `job`: takes commands one at a time and reports what came of them.
//
//   npm ci
//   node worker.mjs
//
// NATS_URL names another server, NATS_USER and NATS_PASSWORD a user. docs/workers.md explains the
// steps. SIGTERM or Ctrl-C lets it finish the job in hand.

import { setTimeout as sleep } from "node:timers/promises";
import { AckPolicy, JetStreamApiCodes, jetstream } from "@nats-io/jetstream";
import { connect, errors, nanos } from "@nats-io/transport-node";

// All workers of these jobs take them from one consumer.
const STREAM = "COMMANDS";
const CONSUMER = "job-worker";
const COMMANDS = "cmd.example.job.>";
// Milliseconds without a word from us, after which another worker gets the command.
const ACK_WAIT = 30_000;
// Between heartbeats: several in `heartbeat_seconds`, for one may be late.
const BEAT = 1000;
// How long to wait for a command before looking whether to stop.
const LOOK = 2000;
// How long to wait for an answer to a report.
const ANSWER = 5000;

/** The scheduler's word that this is not our job, or not any more. */
class Refused extends Error {}

class Job {
  progress = 0;

  constructor(nc, message) {
    const header = (name) => message.headers?.get(name);
    this.nc = nc;
    this.message = message;
    this.id = header("Scheduler-Execution-Id");
    this.token = header("Scheduler-Token");
    this.attempt = header("Scheduler-Attempt");
    this.cancelSubject = header("Scheduler-Cancel-Subject");
  }

  say(text) {
    console.log(`${this.id}: ${text}`);
  }

  /** The work itself, which here only takes time. `signal` stops it. */
  async work(signal) {
    const { work_ms: ms = 1000, fail, retryable = true } = this.message.json();
    for (; this.progress < 100; this.progress++) await sleep(ms / 100, undefined, { signal });
    if (fail !== undefined) throw Object.assign(new Error(fail), { name: "JobFailed", retryable });
    return { worker: "javascript" };
  }

  /** The report that the work comes to. */
  async outcome(signal) {
    try {
      return ["complete", { response: await this.work(signal) }];
    } catch ({ name, message, retryable = true }) {
      return ["fail", { error_type: name, error_message: message.slice(0, 2000), retryable }];
    }
  }

  /** Sends a report; whether it was answered. To the stream it is a sign of life as well. */
  async ask(operation, fields) {
    this.message.working();
    const subject = `cmd.scheduler.execution.${operation}`;
    const body = JSON.stringify({ execution_id: this.id, token: this.token, ...fields });
    let error;
    try {
      ({ error } = (await this.nc.request(subject, body, { timeout: ANSWER })).json());
    } catch (problem) {
      if (problem instanceof errors.RequestError || problem instanceof errors.TimeoutError) return false;
      throw problem;
    }
    if (error && !["unavailable", "internal"].includes(error.code)) throw new Refused(error.message);
    return !error;
  }

  /** Sends a report until it is answered: sent twice, it counts once. */
  async insist(operation, fields) {
    while (!(await this.ask(operation, fields))) {
      this.say(`no answer to ${operation}; will retry`);
      await sleep(1000);
    }
  }

  async beat(signal) {
    for (;;) {
      await sleep(BEAT, undefined, { signal });
      await this.ask("heartbeat", { progress: this.progress });
    }
  }

  async cancelled(told) {
    for await (const message of told) throw new Refused(`cancelled by ${message.json().cancelled_by}`);
  }

  async run() {
    // Listen first: whoever cancels before that makes the question after it fail.
    const told = this.nc.subscribe(this.cancelSubject);
    const stop = new AbortController();
    let outcome;
    try {
      // A command can come twice, or late: is it still to be done?
      await this.insist("heartbeat", { progress: 0 });
      this.say(`started, attempt ${this.attempt}`);
      outcome = this.outcome(stop.signal);
      const first = Promise.race([outcome, this.beat(stop.signal), this.cancelled(told)]);
      const [operation, fields] = await first;
      await this.insist(operation, fields);
      this.say(`reported ${operation}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.say(`stopped, ${error.message}`);
    } finally {
      stop.abort();
      told.unsubscribe();
      await outcome;
    }
  }
}

async function handle(nc, message) {
  const job = new Job(nc, message);
  if (job.id && job.token && job.cancelSubject) await job.run();
  else console.log(`no job: dropped what came on ${message.subject}`);
  // Only now: had we died before, another worker would get the command.
  message.ack();
}

async function consumer(nc) {
  const js = jetstream(nc);
  try {
    return await js.consumers.get(STREAM, CONSUMER);
  } catch (error) {
    if (error.code !== JetStreamApiCodes.ConsumerNotFound) throw error;
  }
  const manager = await js.jetstreamManager(false);
  await manager.consumers.add(STREAM, {
    durable_name: CONSUMER,
    filter_subject: COMMANDS,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ACK_WAIT),
  });
  return js.consumers.get(STREAM, CONSUMER);
}

let stopping = false;
for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => (stopping = true));
const { NATS_URL = "nats://localhost:4222", NATS_USER: user, NATS_PASSWORD: pass } = process.env;
const nc = await connect({ servers: NATS_URL, user, pass, maxReconnectAttempts: -1 });
const commands = await consumer(nc);
console.log("taking commands");
while (!stopping) {
  // One: what waits here behind it no other worker can take.
  const message = await commands.next({ expires: LOOK }).catch(async (error) => {
    console.log(`no commands now: ${error.message}`);
    await sleep(1000);
  });
  if (message) await handle(nc, message);
}
await nc.drain();
