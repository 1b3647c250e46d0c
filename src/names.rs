//! Every subject, stream, bucket, key and header of the project, in one place.
//!
//! | what | name |
//! |---|---|
//! | management requests | `cmd.scheduler.<noun>.<verb>` |
//! | changes of schedules, kept in the audit stream | `evt.scheduler.schedule.<event>.<schedule_id>` |
//! | executions, kept in the history stream | `evt.scheduler.execution.<event>.<schedule_id>` |
//! | heartbeats of running instances, core NATS only | `scheduler.instance.<instance_id>` |
//! | the same, for instances that need them there | `evt.scheduler.instance.<instance_id>` |
//! | orders to workers to stop, core NATS only | `evt.scheduler.cancel.<execution_id>` |
//! | schedules, one JSON record each | key `schedule.<uuid>` of bucket `scheduler_schedules` |
//! | reserved names | key `name.<creator>.<name>`, both base64url without padding |
//! | requests that may be repeated | key `once.<creator>.<idempotency key>`, the same |
//! | when instances ran | key `instance.<instance_id>` |
//! | pauses of all schedules | key `pause_all` |
//! | calendars | keys `calendar.<name>`, encoded |
//! | concurrency groups | keys `group.<name>`, encoded |
//! | stored requests to run executions again | keys `rerun.<uuid>` |

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// Prefix of everything that users ask of the scheduler. No stream may capture it.
pub const COMMAND_PREFIX: &str = "cmd.scheduler";
/// The subjects that no stream may capture: it would answer each request with its own acknowledgement.
pub const COMMAND_WILDCARD: &str = "cmd.scheduler.>";

/// The bucket of schedules.
pub const SCHEDULES_BUCKET: &str = "scheduler_schedules";
/// The stream behind [`SCHEDULES_BUCKET`].
pub const SCHEDULES_STREAM: &str = "KV_scheduler_schedules";
/// Subject of requests for the state of [`SCHEDULES_STREAM`].
pub const SCHEDULES_INFO: &str = "$JS.API.STREAM.INFO.KV_scheduler_schedules";
/// The stream of executions.
pub const EXECUTIONS_STREAM: &str = "SCHEDULER_EXECUTIONS";
/// The stream of changes to schedules.
pub const AUDIT_STREAM: &str = "SCHEDULER_AUDIT";
/// The example stream of target commands that `dev` creates.
pub const COMMANDS_STREAM: &str = "COMMANDS";

/// Prefix of execution events; `.<event>.<schedule_id>` follows.
pub const EXECUTION_EVENT_PREFIX: &str = "evt.scheduler.execution";
/// Prefix of schedule events; `.<event>.<schedule_id>` follows.
pub const SCHEDULE_EVENT_PREFIX: &str = "evt.scheduler.schedule";
/// Prefix of instance heartbeats; `.<instance_id>` follows.
pub const INSTANCE_PREFIX: &str = "scheduler.instance";
/// The heartbeats of all instances.
pub const INSTANCE_WILDCARD: &str = "scheduler.instance.*";
/// Prefix of heartbeats as earlier versions send and hear them; `.<instance_id>` follows.
pub const OLD_INSTANCE_PREFIX: &str = "evt.scheduler.instance";
/// The heartbeats of all instances that use the old subject.
pub const OLD_INSTANCE_WILDCARD: &str = "evt.scheduler.instance.*";

/// Prefix of orders to workers to stop; `.<execution_id>` follows.
pub const CANCEL_PREFIX: &str = "evt.scheduler.cancel";

/// Prefix of the subjects of [`SCHEDULES_BUCKET`]'s keys.
pub const SCHEDULES_SUBJECT_PREFIX: &str = "$KV.scheduler_schedules";
/// First token of the keys that hold schedules.
pub const SCHEDULE_KEY_PREFIX: &str = "schedule.";
/// First token of the keys that reserve names.
pub const NAME_KEY_PREFIX: &str = "name.";
/// First token of the keys that remember requests that may be repeated.
pub const ONCE_KEY_PREFIX: &str = "once.";

/// The key of the pauses of all schedules.
pub const PAUSE_ALL_KEY: &str = "pause_all";

/// First token of the keys that hold calendars.
pub const CALENDAR_KEY_PREFIX: &str = "calendar.";

/// First token of the keys that hold concurrency groups.
pub const GROUP_KEY_PREFIX: &str = "group.";

/// First token of the keys that hold stored requests to run executions again.
pub const RERUN_KEY_PREFIX: &str = "rerun.";

/// First token of the keys that say when instances ran.
pub const INSTANCE_KEY_PREFIX: &str = "instance.";
/// All keys that say when instances ran.
pub const INSTANCE_KEY_WILDCARD: &str = "instance.*";

/// Header of every command: the schedule's id.
pub const SCHEDULE_ID: &str = "Scheduler-Schedule-Id";
/// Header of every command: the schedule's name, as [`header_text`] writes it.
pub const SCHEDULE_NAME: &str = "Scheduler-Schedule-Name";
/// Header of every command and history message: the execution's id.
pub const EXECUTION_ID: &str = "Scheduler-Execution-Id";
/// Header of every command: the attempt's number, from 1.
pub const ATTEMPT: &str = "Scheduler-Attempt";
/// Header of every command and history message: the nominal time, RFC 3339.
pub const SCHEDULED_FOR: &str = "Scheduler-Scheduled-For";
/// Header of `job` commands: the token that a worker must show to report.
pub const TOKEN: &str = "Scheduler-Token";
/// Header of `job` commands: the subject on which the worker is told to stop.
pub const CANCEL_SUBJECT: &str = "Scheduler-Cancel-Subject";
/// Header of dead letters: the kind of failure.
pub const ERROR_TYPE: &str = "Scheduler-Error-Type";
/// Header of dead letters: what happened, for people.
pub const ERROR_MESSAGE: &str = "Scheduler-Error-Message";
/// Header of every command: the revision of the claim, a fencing number.
pub const REVISION: &str = "Scheduler-Revision";
/// Header of history messages: when the attempt was claimed, RFC 3339.
pub const STARTED_AT: &str = "Scheduler-Started-At";
/// Header of requests, replies, commands and history messages that ties them together.
pub const CORRELATION_ID: &str = "X-Correlation-ID";
/// Header of requests and replies: one request.
pub const REQUEST_ID: &str = "X-Request-ID";
/// Header with the trace that a request or a command belongs to: W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// JetStream's deduplication id.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";
/// Subject on which servers report on the way of a message.
pub const TRACE_DEST: &str = "Nats-Trace-Dest";
/// Suppresses delivery of a message: servers only report on it.
pub const TRACE_ONLY: &str = "Nats-Trace-Only";
/// Makes a write conditional on the last sequence of its subject.
pub const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
/// Number of seconds after which a message is forgotten.
pub const TTL: &str = "Nats-TTL";
/// Makes a write conditional on the revision of another subject of the same stream.
pub const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// Marks a deleted or purged key of a bucket.
pub const KV_OPERATION: &str = "KV-Operation";
/// Marks a key of a bucket that expired.
pub const MARKER_REASON: &str = "Nats-Marker-Reason";
/// Error text of the NATS Services API.
pub const SERVICE_ERROR: &str = "Nats-Service-Error";
/// Error number of the NATS Services API.
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
/// Header of history messages: from start to outcome, in milliseconds.
pub const DURATION_MS: &str = "Scheduler-Duration-Ms";
/// Header of history messages: the subject of the command, as [`header_text`] writes it.
pub const COMMAND_SENT: &str = "Scheduler-Command-Sent";
/// Header of history messages: how many occurrences were skipped.
pub const SKIPPED_COUNT: &str = "Scheduler-Skipped-Count";

/// Header of schedule events: who made the change, as [`header_text`] writes it.
pub const ACTOR: &str = "Scheduler-Actor";
/// Header of schedule events: when the change was made, RFC 3339.
pub const CHANGED_AT: &str = "Scheduler-Changed-At";

/// The key of a schedule's record.
pub fn schedule_key(id: Uuid) -> String {
    format!("{SCHEDULE_KEY_PREFIX}{id}")
}

/// The key that says when an instance ran.
pub fn instance_key(id: Uuid) -> String {
    format!("{INSTANCE_KEY_PREFIX}{id}")
}

/// The key that reserves a name for one schedule of one creator.
///
/// Both parts are encoded, because keys allow few characters and names allow all.
pub fn name_key(creator: &str, name: &str) -> String {
    format!("{}{}", creator_prefix(creator), URL_SAFE_NO_PAD.encode(name))
}

/// Prefix of the keys of all names of a creator.
pub fn creator_prefix(creator: &str) -> String {
    format!("{NAME_KEY_PREFIX}{}.", URL_SAFE_NO_PAD.encode(creator))
}

/// The key that remembers a creator's request by its idempotency key.
pub fn once_key(creator: &str, key: &str) -> String {
    format!("{ONCE_KEY_PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(creator), URL_SAFE_NO_PAD.encode(key))
}

/// The key of a calendar.
pub fn calendar_key(name: &str) -> String {
    format!("{CALENDAR_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(name))
}

/// The key of a concurrency group.
pub fn group_key(name: &str) -> String {
    format!("{GROUP_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(name))
}

/// The key of a stored request to run executions again, by its id.
pub fn rerun_key(id: &str) -> String {
    format!("{RERUN_KEY_PREFIX}{id}")
}

/// The subject on which a key of the schedules bucket is stored.
pub fn key_subject(key: &str) -> String {
    format!("{SCHEDULES_SUBJECT_PREFIX}.{key}")
}

/// The key of the schedules bucket that is stored on a subject.
pub fn subject_key(subject: &str) -> &str {
    let key = subject.strip_prefix(SCHEDULES_SUBJECT_PREFIX);
    key.and_then(|key| key.strip_prefix('.')).unwrap_or(subject)
}

/// The subject of an execution event.
pub fn execution_subject(event: &str, schedule_id: Uuid) -> String {
    format!("{EXECUTION_EVENT_PREFIX}.{event}.{schedule_id}")
}

/// The subject of a schedule event.
pub fn schedule_subject(event: &str, schedule_id: Uuid) -> String {
    format!("{SCHEDULE_EVENT_PREFIX}.{event}.{schedule_id}")
}

/// The subject on which a worker is told to stop an execution.
pub fn cancel_subject(execution: Uuid) -> String {
    format!("{CANCEL_PREFIX}.{execution}")
}

/// The subject of an instance's heartbeats.
pub fn instance_subject(instance: Uuid) -> String {
    format!("{INSTANCE_PREFIX}.{instance}")
}

/// The subject of heartbeats where [`instance_subject`] is not enough.
pub fn old_instance_subject(instance: Uuid) -> String {
    format!("{OLD_INSTANCE_PREFIX}.{instance}")
}

/// Turns any text into a header value that arrives as it was sent; [`plain_text`] reads it.
///
/// Servers pass values on untouched, but clients cut white space at both ends, end the value, or the
/// connection, at control characters, and disagree about anything that is not ASCII. So all of that is
/// percent-encoded, and `%` itself.
pub fn header_text(text: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| (' '..='~').contains(&letter) && letter != '%';
    encode(text, |letter| letter == ' ', is_plain)
}

/// Turns any text into a header value of one line, for ids: text that fits a header stays as it is, and the
/// rest cannot be decoded again. Control characters, and white space at the ends, are percent-encoded.
pub fn header_line(text: &str) -> Cow<'_, str> {
    encode(text, char::is_whitespace, |letter| !letter.is_control())
}

/// Percent-encodes characters that are not plain, and those that would be cut off at the ends.
fn encode(text: &str, is_cut: fn(char) -> bool, is_plain: fn(char) -> bool) -> Cow<'_, str> {
    let inner = text.trim_matches(is_cut);
    if inner.len() == text.len() && text.chars().all(is_plain) {
        return text.into();
    }
    let start = text.len() - text.trim_start_matches(is_cut).len();
    let inside = start..start + inner.len();
    let mut encoded = String::with_capacity(text.len() * 2);
    for (at, letter) in text.char_indices() {
        if is_plain(letter) && inside.contains(&at) {
            encoded.push(letter);
        } else {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    encoded.into()
}

/// The text that [`header_text`] turned into a header value. Whatever is not an encoding stands for itself.
pub fn plain_text(header: &str) -> String {
    let hex = |digit: Option<&u8>| char::from(*digit?).to_digit(16);
    let bytes = header.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let pair = hex(bytes.get(at + 1)).zip(hex(bytes.get(at + 2)));
        match pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(encoded) if byte == b'%' => {
                plain.push(encoded);
                at += 3;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Whether a reply may be sent to a subject. NATS does not check which reply subject a request names, and we
/// may write where the requester may not: the bucket, events, commands, heartbeats.
pub fn may_be_answered(reply: &str) -> bool {
    !["$", "evt.", "cmd.", "scheduler."].iter().any(|prefix| reply.starts_with(prefix))
}

/// Whether a subject pattern (with NATS wildcards) covers a subject without wildcards.
pub fn covers(pattern: &str, subject: &str) -> bool {
    // By bytes, since tokens are short: this is asked several times for each command.
    let is_dot = |byte: &u8| *byte == b'.';
    let mut tokens = subject.as_bytes().split(is_dot);
    for part in pattern.as_bytes().split(is_dot) {
        match (part, tokens.next()) {
            (b">", Some(_)) => return true,
            (b"*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_stream_of_its_name() {
        assert_eq!(SCHEDULES_STREAM, format!("KV_{SCHEDULES_BUCKET}"));
        assert_eq!(SCHEDULES_SUBJECT_PREFIX, format!("$KV.{SCHEDULES_BUCKET}"));
        assert!(SCHEDULES_INFO.ends_with(SCHEDULES_STREAM));
    }

    #[test]
    fn patterns_cover_subjects_as_nats_does() {
        for (pattern, subject, expected) in [
            ("cmd.>", "cmd.a.b", true),
            ("cmd.>", "cmd", false),
            ("cmd.*.b", "cmd.a.b", true),
            ("cmd.*", "cmd.a.b", false),
            ("cmd.a", "cmd.a", true),
            ("cmd.a.b", "cmd.a", false),
        ] {
            assert_eq!(covers(pattern, subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn header_text_keeps_plain_names_and_encodes_the_rest() {
        assert_eq!(header_text("nightly report"), "nightly report");
        assert_eq!(header_text("café\r\n"), "caf%C3%A9%0D%0A");
        assert_eq!(header_text("50%"), "50%25");
        assert_eq!(header_text("  a  b "), "%20%20a  b%20");
        assert_eq!(header_text("   "), "%20%20%20");
    }

    #[test]
    fn header_text_is_read_back_and_has_nothing_that_clients_change() {
        for text in [
            "timeout",
            "50 % größer",
            "a%",
            "%zz",
            "%20",
            "",
            "trailing %4",
            " ",
            "  a ",
            " %",
            "\u{a0}a\u{2003}",
            "a\tb\r\n c\0",
            "名前\u{1f600}",
        ] {
            let header = header_text(text);
            assert_eq!(plain_text(&header), text);
            assert_eq!(header.trim(), header, "{text:?}");
            assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        }
        assert_eq!(plain_text("%4"), "%4");
    }

    #[test]
    fn a_header_line_keeps_what_headers_can_have_and_is_made_once() {
        for sound in ["", "a b", "50%20", "café \u{1f600}", "a\u{a0}b"] {
            assert_eq!(header_line(sound), sound);
        }
        for (odd, line) in [
            ("a\r\nX: y", "a%0D%0AX: y"),
            (" a\u{2003}", "%20a%E2%80%83"),
            ("\u{85}50%\0", "%C2%8550%%00"),
            ("\t \n", "%09%20%0A"),
        ] {
            assert_eq!(header_line(odd), line);
            assert_eq!(header_line(line), line);
        }
    }

    #[test]
    fn name_keys_separate_creator_and_name() {
        assert_ne!(name_key("a", "b.c"), name_key("a.b", "c"));
        assert_eq!(name_key("team", "job"), "name.dGVhbQ.am9i");
    }
}
