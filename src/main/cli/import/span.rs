//! Spans of time as nats-server reads them: `1h30m`, `1.5s`, or a number of seconds.

use chrono::TimeDelta;

/// A span with units.
pub(super) fn span(text: &str) -> Option<TimeDelta> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos = 0_i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let unit = match &behind[..end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(times(number, unit)?)?;
        rest = &behind[end..];
    }
    Some(TimeDelta::nanoseconds(nanos))
}

/// How long a message is kept by its own header: a number of seconds or a span; none if it is kept for ever.
pub(super) fn kept_for(text: &str) -> Option<TimeDelta> {
    let seconds = text.parse().ok().and_then(TimeDelta::try_seconds);
    seconds.or_else(|| span(text)).filter(|span| *span > TimeDelta::zero())
}

/// A number, perhaps with a fraction, of units.
fn times(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    let mut part = unit;
    for digit in fraction.chars() {
        part /= 10;
        nanos = nanos.checked_add(i64::from(digit.to_digit(10)?) * part)?;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_the_server_reads_them() {
        for (text, ms) in [
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1500)),
            (".5m", Some(30_000)),
            ("250ms", Some(250)),
            ("1", None),
            ("", None),
            ("1d", None),
            ("-1s", None),
            ("s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(span(text).map(|it| it.num_milliseconds()), ms, "{text}");
        }
        assert_eq!(kept_for("90"), TimeDelta::try_seconds(90));
        assert_eq!(kept_for("5m"), TimeDelta::try_minutes(5));
        assert_eq!(kept_for("never"), None);
    }
}
