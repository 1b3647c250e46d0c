//! Declarations of counters and histograms, each in one place: the name, the help, and the labels that exist
//! from the start.
//!
//! Names lack the suffix of their type, and help lacks its full stop: the library adds both.

use std::hash::Hash;

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Histograms with the same buckets, by labels.
pub(super) type Histograms<S> = Family<S, Histogram, Buckets>;

/// The upper bounds of a histogram.
#[derive(Clone, Copy)]
pub(super) struct Buckets(pub(super) &'static [f64]);

impl Buckets {
    pub(super) fn histograms<S: Clone + Hash + Eq>(self) -> Histograms<S> {
        Family::new_with_constructor(self)
    }
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Registers a metric and returns it.
pub(super) fn metric<M>(to: &mut Registry, name: &str, help: &str, metric: M) -> M
where
    M: Metric + Clone,
{
    to.register(name, help, metric.clone());
    metric
}

/// Registers metrics distinguished by labels and returns them. The labels that are `known` exist at zero: a
/// rate counts the first event of a series only if it has seen the series before.
pub(super) fn family<S, M, C>(
    to: &mut Registry,
    name: &str,
    help: &str,
    family: Family<S, M, C>,
    known: impl IntoIterator<Item = S>,
) -> Family<S, M, C>
where
    S: Clone + Hash + Eq,
    C: MetricConstructor<M>,
    Family<S, M, C>: Metric + Clone,
{
    for labels in known {
        drop(family.get_or_create(&labels));
    }
    metric(to, name, help, family)
}
