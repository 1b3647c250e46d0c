//! Classifies JetStream's refusals by what they mean for the next try.
//!
//! The HTTP class of the code decides: a fault of the server (5xx) or a request for patience (408, 429) passes; a fault
//! of ours (4xx) does not. Codes that mean something else are listed here, with the numbers of nats-server 2.15.

use async_nats::jetstream::{self, ErrorCode};

/// What a refusal means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Another write came first, or is coming: read again.
    Rival,
    /// A message with the same id is being stored; whether it will be stored is not known yet.
    Doubled,
    /// The stream has reached a limit of its own, and takes no more until there is room.
    Full,
    /// The same message may be taken later: the stream moves, has no leader, or has too much to do.
    Passing,
    /// The same message would be refused again.
    Final,
}

/// The class of a refusal.
pub(crate) fn class(error: &jetstream::Error) -> Class {
    match error.error_code() {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
            Class::Rival
        }
        ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => Class::Doubled,
        ErrorCode::STREAM_STORE_FAILED => store_failed(error),
        // "No suitable peers" comes with 400, even when they are only away.
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::CLUSTER_NO_PEERS
        | ErrorCode::STREAM_MOVE_IN_PROGRESS
        | ErrorCode::CLUSTER_SERVER_MEMBER_CHANGE_INFLIGHT
        | STREAM_RECONFIGURE_IN_PROGRESS => Class::Passing,
        // Faults in how the server or the stream is set up, reported with 500 or 503.
        ErrorCode::CLUSTER_NOT_ACTIVE
        | ErrorCode::CLUSTER_REQUIRED
        | ErrorCode::NOT_SUPPORTED_IN_CLUSTER_MODE
        | ErrorCode::STREAM_INVALID_CONFIG
        | ErrorCode::STREAM_LIMITS
        | ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED
        | ErrorCode::STREAM_ROLLUP_FAILED
        | ErrorCode::STREAM_INFO_MAX_SUBJECTS => Class::Final,
        _ => by_status(error.code()),
    }
}

/// The client does not name it.
const STREAM_RECONFIGURE_IN_PROGRESS: ErrorCode = ErrorCode(10226);

/// Classifies the one code that stands for a reached limit, a message that fits no stream, and a failing disk: only its
/// text tells them apart.
fn store_failed(error: &jetstream::Error) -> Class {
    // The client gives access to the description in no other way.
    let shown = error.to_string();
    match shown.split(" (code ").next() {
        Some(
            "maximum messages exceeded"
            | "maximum bytes exceeded"
            | "maximum messages per subject exceeded",
        ) => Class::Full,
        Some("message too large") => Class::Final,
        _ => Class::Passing,
    }
}

fn by_status(status: usize) -> Class {
    match status {
        408 | 429 | 500..=599 => Class::Passing,
        _ => Class::Final,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use serde_json::json;

    use super::*;

    fn class_of(status: usize, code: u64, description: &str) -> Class {
        let error = json!({ "code": status, "err_code": code, "description": description });
        class(&serde_json::from_value(error).unwrap())
    }

    type Codes = &'static [(usize, RangeInclusive<u64>)];

    const PASSING: Codes = &[
        (400, 10002..=10002),
        (503, 10004..=10004),
        (400, 10005..=10005),
        (500, 10007..=10007),
        (503, 10008..=10008),
        (500, 10009..=10009),
        (500, 10012..=10012),
        (503, 10023..=10023),
        (500, 10028..=10029),
        (503, 10035..=10035),
        (503, 10039..=10039),
        (500, 10041..=10042),
        (500, 10045..=10045),
        (500, 10047..=10051),
        (500, 10057..=10057),
        (500, 10062..=10062),
        (503, 10063..=10063),
        (500, 10064..=10064),
        (500, 10066..=10067),
        (500, 10069..=10069),
        (500, 10072..=10072),
        (503, 10075..=10076),
        (500, 10096..=10096),
        (500, 10104..=10104),
        (500, 10110..=10110),
        (500, 10118..=10119),
        (400, 10124..=10124),
        (503, 10163..=10163),
        (429, 10167..=10167),
        (500, 10194..=10195),
        (400, 10202..=10202),
        (429, 10210..=10211),
        (400, 10226..=10226),
    ];
    const FINAL: Codes = &[
        (400, 10003..=10003),
        (500, 10006..=10006),
        (503, 10010..=10010),
        (400, 10011..=10011),
        (400, 10013..=10013),
        (404, 10014..=10014),
        (400, 10015..=10022),
        (400, 10024..=10027),
        (400, 10030..=10034),
        (503, 10036..=10036),
        (404, 10037..=10037),
        (400, 10038..=10038),
        (400, 10040..=10040),
        (400, 10043..=10044),
        (400, 10046..=10046),
        (500, 10052..=10053),
        (400, 10054..=10056),
        (400, 10058..=10058),
        (404, 10059..=10059),
        (400, 10060..=10061),
        (400, 10065..=10065),
        (404, 10068..=10068),
        (400, 10070..=10070),
        (400, 10073..=10073),
        (500, 10074..=10074),
        (400, 10078..=10095),
        (400, 10097..=10103),
        (400, 10105..=10109),
        (500, 10111..=10111),
        (400, 10112..=10116),
        (500, 10117..=10117),
        (400, 10120..=10123),
        (400, 10125..=10157),
        (400, 10159..=10162),
        (400, 10165..=10166),
        (400, 10168..=10179),
        (412, 10180..=10180),
        (400, 10181..=10184),
        (412, 10185..=10185),
        (400, 10186..=10193),
        (400, 10196..=10201),
        (400, 10203..=10209),
        (400, 10212..=10225),
        (400, 10227..=10227),
    ];

    #[test]
    fn every_code_of_the_server_has_its_class() {
        let mut sorted = 4;
        for (codes, expected) in [(PASSING, Class::Passing), (FINAL, Class::Final)] {
            for (status, codes) in codes {
                for code in codes.clone() {
                    assert_eq!(class_of(*status, code, ""), expected, "{status} {code}");
                    sorted += 1;
                }
            }
        }
        for (status, code, expected) in [
            (400, 10071, Class::Rival),
            (400, 10164, Class::Rival),
            (409, 10158, Class::Doubled),
            (503, 10077, Class::Passing),
        ] {
            assert_eq!(class_of(status, code, ""), expected, "{status} {code}");
        }
        assert_eq!(sorted, 226, "all of its errors.json");
    }

    #[test]
    fn codes_that_are_not_known_go_by_their_status() {
        for (status, expected) in [
            (400, Class::Final),
            (404, Class::Final),
            (408, Class::Passing),
            (412, Class::Final),
            (429, Class::Passing),
            (500, Class::Passing),
            (503, Class::Passing),
            (599, Class::Passing),
            (0, Class::Final),
        ] {
            assert_eq!(class_of(status, 19_999, "new"), expected, "{status}");
        }
    }

    #[test]
    fn a_store_that_fails_is_told_from_one_that_is_full() {
        for (description, expected) in [
            ("maximum messages exceeded", Class::Full),
            ("maximum bytes exceeded", Class::Full),
            ("maximum messages per subject exceeded", Class::Full),
            ("message too large", Class::Final),
            ("no space left on device", Class::Passing),
            ("store is closed", Class::Passing),
        ] {
            assert_eq!(class_of(503, 10077, description), expected, "{description}");
        }
    }
}
