//! Small plots as SVG, which need no script. Each says in words what it shows.

use maud::{Markup, html};
use serde_json::Value;

use super::json::Look as _;
use super::parts::{execution_path, tone};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 60.0;

/// A column of a plot: its parts from the bottom up, each with its tone, and what it says.
pub(super) struct Column {
    pub(super) parts: Vec<(&'static str, f64)>,
    pub(super) says: String,
}

/// How executions ended in each of some spans of time.
pub(super) fn outcomes(buckets: &[Value]) -> Vec<Column> {
    let column = |bucket: &Value| {
        let count = |name| bucket.count(name);
        let (good, bad, skipped) = (count("successful"), count("failed"), count("skipped"));
        let parts = vec![("good", good as f64), ("bad", bad as f64), ("warn", skipped as f64)];
        let from = bucket.text("from");
        let says = format!("{from}: {good} succeeded, {bad} failed, {skipped} skipped");
        Column { parts, says }
    };
    buckets.iter().map(column).collect()
}

/// Columns side by side.
pub(super) fn columns(summary: &str, columns: &[Column]) -> Markup {
    let sum = |column: &Column| column.parts.iter().map(|(_, value)| value).sum::<f64>();
    let top = columns.iter().map(sum).fold(f64::MIN_POSITIVE, f64::max);
    let width = WIDTH / columns.len().max(1) as f64;
    html! {
        figure.plot {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(summary) {
                @for (n, column) in columns.iter().enumerate() {
                    g {
                        title { (column.says) }
                        rect.ground x=(n as f64 * width) y="0" width=(width) height=(HEIGHT) {}
                        @for (tone, y, height) in stacked(column, top) {
                            rect.(tone) x=(n as f64 * width) y=(y) width=((width * 0.85).max(0.5)) height=(height) {}
                        }
                    }
                }
            }
            figcaption { (summary) }
        }
    }
}

/// What a clock shows at even distances below a plot.
pub(super) fn axis(texts: &[String]) -> Markup {
    html! { div.axis { @for text in texts { span { (text) } } } }
}

/// The parts of a column, each with its place and height.
fn stacked(column: &Column, top: f64) -> Vec<(&'static str, f64, f64)> {
    let mut ground = HEIGHT;
    let mut placed = Vec::new();
    for (tone, value) in column.parts.iter().filter(|(_, value)| *value > 0.0) {
        let height = (value / top * HEIGHT).max(1.0);
        ground = (ground - height).max(0.0);
        placed.push((*tone, ground, height));
    }
    placed
}

/// The latest executions as a strip, oldest first.
pub(super) fn strip(executions: &[Value]) -> Markup {
    html! {
        ol.strip aria-label="Latest executions, oldest first" {
            @for one in executions.iter().rev() {
                @let id = if one["execution_id"].is_string() { one.text("execution_id") } else { one.text("id") };
                @let says = format!("{} {}", one.text("status"), one.text("scheduled_for"));
                li.(tone(one.text("status"))) {
                    a href=(execution_path(id)) title=(says) { span.unseen { (says) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_on_the_ground_and_reach_the_top() {
        let column =
            Column { parts: vec![("good", 3.0), ("bad", 1.0), ("warn", 0.0)], says: String::new() };
        assert_eq!(stacked(&column, 4.0), [("good", 15.0, 45.0), ("bad", 0.0, 15.0)]);
        let plot = columns("a < b", &[column]).into_string();
        assert!(plot.contains("aria-label=\"a &lt; b\""), "{plot}");
    }
}
