//! Requests over HTTP and NATS, and HTTP connections, by labels whose values the code knows: the pattern of a
//! route and the name of an operation, never a client's text.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::declare::{Buckets, Histograms, family, metric};

const REQUEST_SECONDS: Buckets = Buckets(&[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
]);

pub(super) struct Requests {
    http: Family<HttpRequest, Counter>,
    http_seconds: Histograms<HttpRoute>,
    http_in_flight: Gauge,
    http_connections: Gauge,
    http_cuts: Family<HttpCut, Counter>,
    nats: Family<NatsRequest, Counter>,
    nats_seconds: Histograms<OperationLabel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpRequest {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpRoute {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpCut {
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NatsRequest {
    operation: &'static str,
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

impl Requests {
    pub(super) fn new(to: &mut Registry) -> Self {
        Self {
            http: family(to, "http_requests", "HTTP requests", Family::default(), []),
            http_seconds: family(
                to,
                "http_request_duration_seconds",
                "Time to answer an HTTP request",
                REQUEST_SECONDS.histograms(),
                [],
            ),
            http_in_flight: metric(
                to,
                "http_requests_in_flight",
                "HTTP requests that are being answered",
                Gauge::default(),
            ),
            http_connections: metric(
                to,
                "http_connections",
                "HTTP connections that are open",
                Gauge::default(),
            ),
            // The code that cuts connections knows the reasons, and starts them at zero.
            http_cuts: family(
                to,
                "http_connections_cut",
                "HTTP connections that were ended for their clients' slowness or for want of room",
                Family::default(),
                [],
            ),
            nats: family(to, "nats_requests", "NATS requests", Family::default(), []),
            nats_seconds: family(
                to,
                "nats_request_duration_seconds",
                "Time to answer a NATS request",
                REQUEST_SECONDS.histograms(),
                [],
            ),
        }
    }
}

impl Metrics {
    /// Counts an HTTP request that was answered. The route is the pattern that it matched, not its path.
    pub fn http_request(
        &self,
        method: &'static str,
        route: &'static str,
        status: u16,
        elapsed: Duration,
    ) {
        self.requests.http.get_or_create(&HttpRequest { method, route, status }).inc();
        let labels = HttpRoute { method, route };
        self.requests.http_seconds.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// Counts an HTTP request as under way until the returned guard is dropped.
    pub fn http_in_flight(&self) -> Counted {
        Counted::new(&self.requests.http_in_flight)
    }

    /// Counts an HTTP connection as open until the returned guard is dropped.
    pub fn http_connection(&self) -> Counted {
        Counted::new(&self.requests.http_connections)
    }

    /// Counts HTTP connections that were cut for a reason.
    pub fn http_cut(&self, reason: &'static str, count: u64) {
        self.requests.http_cuts.get_or_create(&HttpCut { reason }).inc_by(count);
    }

    /// Counts a NATS request that was answered, with 200 or the code of an error.
    pub fn nats_request(&self, operation: &'static str, status: u16, elapsed: Duration) {
        self.requests.nats.get_or_create(&NatsRequest { operation, status }).inc();
        let labels = OperationLabel { operation };
        self.requests.nats_seconds.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }
}

/// Guard that counts in a gauge until it is dropped.
#[must_use]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::now;
    use super::*;

    #[test]
    fn requests_are_counted_and_timed() {
        let metrics = Metrics::new();
        metrics.http_request("GET", "/metrics", 200, Duration::from_millis(1));
        metrics.nats_request("schedule.get", 404, Duration::from_millis(1));
        for sample in [
            r#"http_requests_total{method="GET",route="/metrics",status="200"}"#,
            r#"http_request_duration_seconds_count{method="GET",route="/metrics"}"#,
            r#"nats_requests_total{operation="schedule.get",status="404"}"#,
            r#"nats_request_duration_seconds_count{operation="schedule.get"}"#,
        ] {
            assert_eq!(now(&metrics, sample), Some(1.0), "{sample}");
        }
    }

    #[test]
    fn http_requests_are_in_flight_until_they_are_answered() {
        let metrics = Metrics::new();
        let first = metrics.http_in_flight();
        let second = metrics.http_in_flight();
        assert_eq!(now(&metrics, "http_requests_in_flight"), Some(2.0));
        drop(first);
        assert_eq!(now(&metrics, "http_requests_in_flight"), Some(1.0));
        drop(second);
        assert_eq!(now(&metrics, "http_requests_in_flight"), Some(0.0));
    }
}
