//! Writes values that are read during a scrape, in the same form as a registry writes its metrics.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
    MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Output of a collector.
pub(super) struct Scrape<'a>(pub(super) DescriptorEncoder<'a>);

impl Scrape<'_> {
    /// Writes a gauge of one value.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        ConstGauge::new(value).encode(self.describe(name, help, MetricType::Gauge)?)
    }

    /// Writes a gauge, unless its value is unknown.
    pub(super) fn gauge_if_known(
        &mut self,
        name: &str,
        help: &str,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        value.map_or(Ok(()), |value| self.gauge(name, help, value))
    }

    /// Writes a gauge of one value for each set of labels; left out if there is none.
    pub(super) fn gauges<S: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (S, usize)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.describe(name, help, MetricType::Gauge)?;
        for (labels, value) in rows {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Writes a counter that is kept elsewhere.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        ConstCounter::new(value).encode(self.describe(name, help, MetricType::Counter)?)
    }

    /// Writes the lines above the samples. A registry adds the full stop to the help, a collector has to.
    fn describe<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, &format!("{help}."), None, kind)
    }
}
