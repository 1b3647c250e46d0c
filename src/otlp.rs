//! Sends spans to an OpenTelemetry collector: OTLP over HTTP, as protobuf.
//!
//! [`Exporter::export`] puts a span into a bounded queue and returns. A separate thread takes spans from
//! there in batches, and sends them with a blocking client: no part of this runs on the threads that fire
//! schedules, and a collector that is slow or away costs spans, nothing else.
//!
//! The ids of a span are those of its [`TraceContext`], because they are in a command's headers before the
//! SDK knows the span. So finished spans go straight to the SDK's batch processor, past its tracers, which
//! would make new ids.
//!
//! The usual variables of the environment apply to the rest: `OTEL_EXPORTER_OTLP_HEADERS`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`; and for
//! an `https` endpoint `HTTPS_PROXY`, `NO_PROXY`, and `SSL_CERT_FILE`, the certificates to trust.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks,
    SpanProcessor as _,
};
use tracing::{info, warn};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use uuid::Uuid;

use crate::trace_context::TraceContext;

/// Maximum number of spans that wait or are under way.
const QUEUE: usize = 8192;
/// Timeout of a request, and how long a batch is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum duration of the last batches.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Maximum bytes of a collector's answer that are read.
const MAX_ANSWER: u64 = 64 * 1024;

/// One finished piece of work.
#[derive(Clone, Debug)]
pub struct Span {
    /// Kind of work; there are few names.
    pub name: &'static str,
    /// The role of this side.
    pub kind: Kind,
    /// The trace, and the span itself.
    pub context: TraceContext,
    /// The span that this one is a part or a consequence of.
    pub parent: Option<[u8; 8]>,
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it ended.
    pub end: DateTime<Utc>,
    /// Further details.
    pub attributes: Vec<(&'static str, String)>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// The role of this side in a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It answered a request.
    Server,
    /// It sent something that others work on later.
    Producer,
    /// Neither: a step within a span of the same process.
    Internal,
}

/// Why an exporter could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint is not a URL that can be used.
    #[error("not an http:// or https:// URL: {0}")]
    Endpoint(String),
    /// The settings are refused.
    #[error(transparent)]
    Settings(#[from] ExporterBuildError),
}

/// Sends spans to a collector. All clones share one queue.
#[derive(Clone, Debug)]
pub struct Exporter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Spans that wait or are under way.
    queued: AtomicUsize,
    /// Spans that were dropped.
    lost: AtomicU64,
}

impl Exporter {
    /// An exporter to the collector at `endpoint`, a base URL as in `OTEL_EXPORTER_OTLP_ENDPOINT`,
    /// such as `http://localhost:4318`. The collector need not be there yet.
    ///
    /// Starts a thread, and for `https` reads the system's certificates.
    pub fn new(endpoint: &str, service_name: &str, instance: Uuid) -> Result<Self, OtlpError> {
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(OtlpError::Endpoint(endpoint.to_owned()));
        }
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(endpoint))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(TIMEOUT)
            .with_retry_policy(RetryPolicy::default().with_max_retries(usize::MAX))
            .build()?;
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder()
            .with_service_name(service_name.to_owned())
            .with_attribute(KeyValue::new("service.version", version))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_string()))
            .build();
        exporter.set_resource(&resource);
        let counts = Arc::new(Counts::default());
        let counted = Counted { exporter, counts: Arc::clone(&counts) };
        let processor = BatchSpanProcessor::builder(counted)
            .with_batch_config(BatchConfigBuilder::default().with_max_queue_size(QUEUE).build())
            .build();
        let scope = InstrumentationScope::builder("nats-scheduler").with_version(version).build();
        Ok(Self { inner: Arc::new(Inner { processor, scope, counts }) })
    }

    /// Queues a span, unless its trace is not sampled. Never waits: if the queue is full the span is lost,
    /// and counted.
    pub fn export(&self, span: Span) {
        if !span.context.is_sampled() {
            return;
        }
        let Counts { queued, lost } = &*self.inner.counts;
        if queued.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            queued.fetch_sub(1, Ordering::Relaxed);
            if lost.fetch_add(1, Ordering::Relaxed) == 0 {
                warn!(queue = QUEUE, "spans are lost: the queue is full");
            }
            return;
        }
        self.inner.processor.on_end(span.into_data(self.inner.scope.clone()));
    }

    /// Number of lost spans: the queue was full, or the collector did not accept them.
    pub fn lost(&self) -> u64 {
        self.inner.counts.lost.load(Ordering::Relaxed)
    }

    /// Sends what is queued, for five seconds at most, and ends the thread. Later spans are not sent, and
    /// neither is what is queued when the last clone is dropped without this call.
    pub async fn shutdown(&self) {
        let inner = Arc::clone(&self.inner);
        let end = move || inner.processor.shutdown_with_timeout(SHUTDOWN);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(end).await {
            warn!(%error, "the last spans may not have been sent");
        }
        let lost = self.lost();
        if lost > 0 {
            warn!(lost, "not all spans were sent");
        }
    }
}

impl Span {
    fn into_data(self, scope: InstrumentationScope) -> SpanData {
        let context = SpanContext::new(
            TraceId::from_bytes(self.context.trace_id()),
            SpanId::from_bytes(self.context.span_id()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        SpanData {
            span_context: context,
            parent_span_id: self.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: self.parent.is_some() && self.kind != Kind::Internal,
            span_kind: match self.kind {
                Kind::Server => SpanKind::Server,
                Kind::Producer => SpanKind::Producer,
                Kind::Internal => SpanKind::Internal,
            },
            name: self.name.into(),
            start_time: self.start.into(),
            end_time: self.end.into(),
            attributes: self.attributes.into_iter().map(|(k, v)| KeyValue::new(k, v)).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope,
        }
    }
}

/// An exporter that counts sent and lost spans.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        if result.is_err() {
            self.counts.lost.fetch_add(spans as u64, Ordering::Relaxed);
        }
        self.counts.queued.fetch_sub(spans, Ordering::Relaxed);
        result
    }
}

/// A client that blocks the calling thread, which is the batch processor's.
#[derive(Debug)]
struct Client {
    agent: Agent,
    failing: AtomicBool,
}

impl Client {
    fn new(endpoint: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        let config = if endpoint.starts_with("https:") {
            config.tls_config(TlsConfig::builder().root_certs(roots()).build())
        } else {
            config.proxy(None)
        };
        Self { agent: config.build().new_agent(), failing: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let (parts, mut body) =
            self.agent.run(Request::from_parts(parts, body.as_ref()))?.into_parts();
        let answer = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, answer.into()))
    }

    fn failed(&self, error: &dyn fmt::Display) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(%error, "the collector does not take spans");
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request);
        match &answer {
            Ok(response) if response.status().is_success() => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    info!("the collector takes spans again");
                }
            }
            Ok(response) => self.failed(&response.status()),
            Err(error) => self.failed(error),
        }
        Ok(answer?)
    }
}

/// The system's root certificates, or Mozilla's if there are none.
fn roots() -> RootCerts {
    let system = rustls_native_certs::load_native_certs().certs;
    if system.is_empty() {
        return RootCerts::WebPki;
    }
    system.iter().map(|root| Certificate::from_der(root).to_owned()).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests;
