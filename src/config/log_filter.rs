//! Filter of log lines.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Module in which the client logs at ERROR that a server hung up before its greeting, which restarting servers do, and
/// at INFO what we log too. The connection's events report the same at the right levels.
const CONNECTOR: &str = "async_nats::connector";

/// Parses levels separated by commas: one for everything, by default INFO, and others by target.
///
/// The library would take any other word for a target, and then log nothing else.
pub(super) fn parse(text: &str) -> Option<Targets> {
    let mut targets =
        Targets::new().with_default(LevelFilter::INFO).with_target(CONNECTOR, LevelFilter::OFF);
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        targets = match entry.rsplit_once('=') {
            Some((target, word)) => {
                let (target, level) = (name(target.trim())?, level(word.trim())?);
                // Naming the client's lines means all of them.
                let targets = match CONNECTOR.starts_with(target) {
                    true => targets.with_target(CONNECTOR, level),
                    false => targets,
                };
                targets.with_target(target, level)
            }
            None => targets.with_default(level(entry)?),
        };
    }
    Some(targets)
}

/// A target: the path of a module, or the beginning of one.
fn name(text: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    (!text.is_empty() && text.chars().all(is_part)).then_some(text)
}

fn level(word: &str) -> Option<LevelFilter> {
    Some(match word.to_ascii_lowercase().as_str() {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        "off" => LevelFilter::OFF,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_are_for_all_or_for_a_target() {
        for (text, ours, nats) in [
            ("INFO", Level::INFO, Level::INFO),
            ("warn", Level::WARN, Level::WARN),
            ("info,async_nats=debug", Level::INFO, Level::DEBUG),
            ("async_nats=error", Level::INFO, Level::ERROR),
            ("nats_scheduler=debug, ERROR", Level::DEBUG, Level::ERROR),
        ] {
            let targets = parse(text).expect(text);
            for (target, level) in [("nats_scheduler::engine", ours), ("async_nats", nats)] {
                assert!(targets.would_enable(target, &level), "{text}: {target}");
                let more = [Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE]
                    .into_iter()
                    .find(|more| *more > level);
                let more = more.expect("no row is about TRACE");
                assert!(!targets.would_enable(target, &more), "{text}: {target}");
            }
        }
        assert!(!parse("off").unwrap().would_enable("nats_scheduler", &Level::ERROR));
    }

    #[test]
    fn what_the_client_says_of_connecting_is_shown_to_who_asks_for_its_lines() {
        for (text, expected) in [
            ("debug", false),
            ("", false),
            ("nats_scheduler=debug", false),
            ("info,async_nats=info", true),
            ("info,async_nats::connector=error", true),
            ("async_nats::connection=info", false),
        ] {
            let targets = parse(text).unwrap();
            assert_eq!(targets.would_enable(CONNECTOR, &Level::ERROR), expected, "{text}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["loud", "info,loud", "a=loud", "=debug", "a=", "WARNING", "a[b]=info", "3"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
