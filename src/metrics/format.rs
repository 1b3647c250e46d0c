//! The two text formats in which Prometheus reads metrics, and the choice between them by request.

use std::fmt::Write as _;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4, which everything that reads metrics understands.
    Classic,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// The format that a request asks for by its `Accept` headers: OpenMetrics if it is named, in a version
    /// that we have, and nothing else is preferred.
    pub fn accepted<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let ranges: Vec<_> = headers.into_iter().flat_map(|header| header.split(',')).collect();
        let liking = |wanted: &str, versions: &[&str]| {
            let likings = ranges.iter().filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_wanted = parts.next()?.eq_ignore_ascii_case(wanted);
                let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
                let parameter = |name: &str| {
                    let mut found = parameters.iter();
                    found.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
                };
                let has_version = parameter("version").is_none_or(|one| versions.contains(&one));
                let q = parameter("q").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
                (is_wanted && has_version).then_some(q)
            });
            likings.reduce(f32::max)
        };
        let classic = liking("text/plain", &["0.0.4"])
            .or_else(|| liking("text/*", &[]))
            .or_else(|| liking("*/*", &[]))
            .unwrap_or(0.0);
        match liking(OPEN_METRICS, &["1.0.0"]) {
            Some(open) if open > 0.0 && open >= classic => Self::OpenMetrics,
            _ => Self::Classic,
        }
    }

    /// The content type of a text in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Converts a text from OpenMetrics to the classic format, which names a counter like its samples and has no
/// end mark.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        // The help comes first; only the type says whether it belongs to a counter.
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said;
        } else if let Some(said) = line.strip_prefix("# TYPE ") {
            let (name, kind) = said.split_once(' ').unwrap_or((said, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.split_once(' ') {
                // Writing to a string does not fail.
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        use Format::{Classic, OpenMetrics};
        // Each line is a header.
        for (accept, expected) in [
            ("", Classic),
            ("*/*", Classic),
            ("text/plain", Classic),
            ("application/json", Classic),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Classic),
            ("application/openmetrics-text;q=0", Classic),
            ("application/openmetrics-text;q=0.2, text/plain", Classic),
            ("application/openmetrics-text;q=0.2, */*;q=0.9", Classic),
            ("text/plain;version=0.0.4;q=0.5\napplication/openmetrics-text;q=0.6", OpenMetrics),
            // Prometheus 2.42, 2.5 and 3.0.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,\
                 */*;q=0.1",
                Classic,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                 escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
        ] {
            assert_eq!(Format::accepted(accept.lines()), expected, "{accept}");
        }
    }

    #[test]
    fn a_counter_is_named_as_its_samples_and_there_is_no_end() {
        let open_metrics = "# HELP a Things.\n# TYPE a counter\na_total{x=\"# 1\"} 1\n\
                            # HELP b Others.\n# TYPE b gauge\nb 2.5\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"# 1\"} 1\n\
                        # HELP b Others.\n# TYPE b gauge\nb 2.5\n";
        assert_eq!(classic(open_metrics), expected);
    }
}
