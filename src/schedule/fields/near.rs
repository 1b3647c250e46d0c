//! Guesses the name that was meant.

/// Longer words than any of ours are not compared: the cost is the product of both lengths.
const MAX_LENGTH: usize = 64;

/// The name in `known` that was probably meant by `given`: the one that differs by the fewest letters, if
/// they are few; otherwise the only one that starts or ends with `given`, as `cron_expression` does with
/// `cron`.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > MAX_LENGTH {
        return None;
    }
    let given = given.trim().to_ascii_lowercase();
    let known: Vec<_> = known.collect();
    let close = known.iter().filter_map(|word| Some((slips(&given, word)?, *word)));
    if let Some((_, word)) = close.min_by_key(|(distance, _)| *distance) {
        return Some(word);
    }
    let is_part = |word: &&&str| {
        let end = word.strip_suffix(given.as_str()).is_some_and(|start| start.ends_with('_'));
        let start = word.strip_prefix(given.as_str()).is_some_and(|end| end.starts_with('_'));
        !given.is_empty() && (start || end)
    };
    let mut parts = known.iter().filter(is_part);
    parts.next().filter(|_| parts.next().is_none()).copied()
}

/// By how many letters two words differ, if they are few.
pub(crate) fn slips(given: &str, word: &str) -> Option<usize> {
    // In letters, as the distance is: of scripts whose letters have many bytes all words would be alike.
    let (given_length, length) = (given.chars().count(), word.chars().count());
    let (longer, shorter) = (given_length.max(length), given_length.min(length));
    let most = (longer / 3).max(1);
    if longer > MAX_LENGTH || longer - shorter > most {
        return None;
    }
    Some(strsim::osa_distance(given, word)).filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_halves_of_names_are_recognised_and_nothing_else() {
        let known = [
            "name",
            "cron_expression",
            "interval_seconds",
            "schedule_id",
            "command_payload",
            "payload_template",
            "on",
        ];
        for (given, meant) in [
            ("nme", Some("name")),
            ("NAME", Some("name")),
            (" name", Some("name")),
            ("no", Some("on")),
            ("scheduleId", Some("schedule_id")),
            ("cron_expresion", Some("cron_expression")),
            ("interval_sceonds", Some("interval_seconds")),
            ("cron", Some("cron_expression")),
            ("interval", Some("interval_seconds")),
            ("id", Some("schedule_id")),
            // Ambiguous.
            ("payload", None),
            ("colour", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(nearest(given, known.into_iter()), meant, "{given}");
        }
        let foreign = ["夜間👩\u{200d}🚀é", "größer"];
        for (given, meant) in [
            ("nosuch", None),
            ("hello", None),
            ("夜間👩\u{200d}🚀e", Some(foreign[0])),
            ("grösser", Some(foreign[1])),
        ] {
            assert_eq!(nearest(given, foreign.into_iter()), meant, "{given}");
        }
        assert_eq!(nearest(&"name".repeat(10_000), known.into_iter()), None);
    }
}
