//! [W3C Trace Context](https://www.w3.org/TR/trace-context/): the trace that a piece of work belongs to.
//!
//! A `traceparent` header names a trace and the span that is the parent of whatever the receiver does. A
//! receiver ignores what it does not understand, so an invalid header is not an error: the receiver starts a
//! trace of its own.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The only flag that is passed on: the trace may be recorded.
const SAMPLED: u8 = 1;
/// Bit set in the ninth byte of every UUID of RFC 9562, so an id that has it is never all zero.
const VARIANT: u8 = 0x80;

/// A trace and a span of it, as in a `traceparent` header. Its ids are never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

/// Error for a text that is not a valid `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct InvalidTraceContext;

impl TraceContext {
    /// Reads a `traceparent` header. From an unknown later version, it reads the fields of version 00.
    pub fn parse(header: &str) -> Option<Self> {
        let (head, rest) = header.as_bytes().split_first_chunk::<55>()?;
        let [version] = unhex(&head[..2])?;
        let ends = match version {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => matches!(rest, [] | [b'-', ..]),
        };
        let dashes = [2, 35, 52].iter().all(|&at| head[at] == b'-');
        let trace_id = unhex(&head[3..35])?;
        let span_id = unhex(&head[36..52])?;
        let [flags] = unhex(&head[53..])?;
        let ids = trace_id != [0; 16] && span_id != [0; 8];
        (ends && dashes && ids).then_some(Self { trace_id, span_id, flags: flags & SAMPLED })
    }

    /// The context that the command of an attempt carries; its span is the attempt.
    ///
    /// It is computed from ids alone, so it is the same each time that the attempt is delivered, by whichever
    /// instance. All attempts of an occurrence are spans of one trace: that of `parent`, otherwise one that
    /// is named after `first`, the id of the first attempt.
    ///
    /// Whether the trace is sampled is decided once, where it begins: a parent's decision stands, and
    /// `sampled` is the decision if there is no parent. By the specification it should be false for a service
    /// that records nothing itself; but then receivers that follow their parent's decision, as those with an
    /// OpenTelemetry SDK do by default, record nothing either.
    pub fn for_execution(
        execution_id: Uuid,
        first: Uuid,
        parent: Option<Self>,
        sampled: bool,
    ) -> Self {
        let mut root = first.into_bytes();
        root[8] |= VARIANT;
        let mut span_id = execution_id.as_u64_pair().1.to_be_bytes();
        span_id[0] |= VARIANT;
        match parent {
            Some(parent) => Self { span_id, ..parent },
            None => Self { trace_id: root, span_id, flags: u8::from(sampled) },
        }
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span.
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether the trace may be recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Formats a `traceparent` header of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> Self {
        context.to_string()
    }
}

impl TryFrom<String> for TraceContext {
    type Error = InvalidTraceContext;

    fn try_from(header: String) -> Result<Self, InvalidTraceContext> {
        Self::parse(&header).ok_or(InvalidTraceContext)
    }
}

/// The bytes that `2 * N` lower-case hexadecimal digits stand for.
fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_headers_are_read() {
        let unsampled = EXAMPLE.replace("-01", "-00");
        for (header, written) in [
            (EXAMPLE.to_owned(), EXAMPLE),
            (unsampled.clone(), &unsampled),
            // Unknown flags are not passed on.
            (EXAMPLE.replace("-01", "-ff"), EXAMPLE),
            (EXAMPLE.replace("-01", "-fe"), &unsampled),
            (EXAMPLE.replace("-01", "-03"), EXAMPLE),
            // An unknown version may have more.
            (EXAMPLE.replace("00-4b", "cc-4b"), EXAMPLE),
            (EXAMPLE.replace("00-4b", "01-4b") + "-what-the-future-will-be-like", EXAMPLE),
            (EXAMPLE.replace("00-4b", "fe-4b") + "-", EXAMPLE),
        ] {
            let context = TraceContext::parse(&header).unwrap_or_else(|| panic!("{header}"));
            assert_eq!(context.to_string(), written, "{header}");
            assert_eq!(context.is_sampled(), written == EXAMPLE, "{header}");
        }
    }

    #[test]
    fn invalid_headers_are_not() {
        for header in [
            String::new(),
            "-".repeat(55),
            // Lengths and separators.
            EXAMPLE[..54].to_owned(),
            EXAMPLE.to_owned() + "-",
            EXAMPLE.to_owned() + "-00",
            EXAMPLE.to_owned() + "0",
            format!(" {EXAMPLE}"),
            format!("{EXAMPLE} "),
            EXAMPLE.replacen('-', "_", 1),
            EXAMPLE.replace("-00f0", "000f0"),
            EXAMPLE.replace("-01", "001"),
            EXAMPLE.replace("4bf9", "4bf"),
            EXAMPLE.replace("00f0", "0f0"),
            EXAMPLE.replace("-01", "-1"),
            // Versions.
            EXAMPLE.replace("00-4b", "ff-4b"),
            EXAMPLE.replace("00-4b", "0x-4b"),
            EXAMPLE.replace("00-4b", "CC-4b"),
            EXAMPLE.replace("00-4b", "cc-4b") + ".what",
            EXAMPLE.replace("00-4b", "cc-4b").replace("-01", "-0"),
            // Digits.
            EXAMPLE.replace("4bf9", "4BF9"),
            EXAMPLE.replace("4bf9", "4bg9"),
            EXAMPLE.replace("00f0", "00F0"),
            EXAMPLE.replace("00f0", "00.0"),
            EXAMPLE.replace("-01", "-0A"),
            EXAMPLE.replace("-01", "-0x"),
            EXAMPLE.replace("4bf9", "4bé"),
            // All zero.
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16)),
        ] {
            assert_eq!(TraceContext::parse(&header), None, "{header}");
        }
    }

    #[test]
    fn attempts_are_spans_of_one_trace() {
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        let one = TraceContext::for_execution(first, first, None, true);
        let two = TraceContext::for_execution(second, first, None, true);
        assert_eq!(one, TraceContext::for_execution(first, first, None, true));
        assert_eq!((one.trace_id(), two.trace_id()), (first.into_bytes(), first.into_bytes()));
        assert_eq!(one.span_id(), first.as_bytes()[8..]);
        assert_ne!(one.span_id(), two.span_id());
        assert!(one.is_sampled());
        assert!(!TraceContext::for_execution(first, first, None, false).is_sampled());
    }

    #[test]
    fn a_parent_decides_on_trace_and_sampling() {
        let id = Uuid::new_v4();
        for (header, flag) in [(EXAMPLE, true), (&EXAMPLE.replace("-01", "-00"), false)] {
            let parent = TraceContext::parse(header);
            let context = TraceContext::for_execution(id, id, parent, !flag);
            assert_eq!(context.trace_id(), parent.unwrap().trace_id());
            assert_eq!(context.span_id(), id.as_bytes()[8..]);
            assert_eq!(context.is_sampled(), flag);
        }
    }

    #[test]
    fn no_id_makes_an_invalid_context() {
        let context = TraceContext::for_execution(Uuid::nil(), Uuid::nil(), None, true);
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
    }

    #[test]
    fn it_is_a_string_in_json() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        let json = serde_json::to_string(&context).unwrap();
        assert_eq!(json, format!("\"{EXAMPLE}\""));
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
        let error = serde_json::from_str::<TraceContext>("\"00-no\"").unwrap_err();
        assert!(error.to_string().starts_with("not a valid traceparent"), "{error}");
        assert_eq!(schemars::schema_for!(TraceContext).get("type"), Some(&"string".into()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(header in "\\PC{0,80}") {
            let _ = TraceContext::parse(&header);
        }

        #[test]
        fn what_is_read_is_written_and_read_again(
            header in "(0[0-2]|[a-f]{2})-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?"
        ) {
            if let Some(context) = TraceContext::parse(&header) {
                let written = context.to_string();
                prop_assert_eq!(&written[2..53], &header[2..53]);
                prop_assert_eq!(TraceContext::parse(&written), Some(context));
            } else {
                let longer = header.starts_with("00-") && header.len() > 55;
                prop_assert!(longer || header.starts_with("ff"), "{header}");
            }
        }
    }
}
