//! Operations for pages that are served over the same listener: within the same bounds, with the same refusals.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use axum::http::{Extensions, HeaderMap, Method, StatusCode, Uri};

use super::super::Caller;
use super::super::error::{ApiError, Code};
use super::super::operations::{Answer, Input, Operation};
use super::connections::Connection;
use super::{Http, Rights, request};
use crate::config::tokens::Tokens;
use crate::health::Stage;

/// What an instance looks like at a moment: if it differs from an earlier one, something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Differs once something has changed that operations show.
    pub(crate) version: u64,
    /// Whether the instance is stopping.
    pub(crate) is_stopping: bool,
}

impl Http {
    /// Runs an operation for a caller with these `rights`, whose request has these `extensions`.
    ///
    /// # Errors
    /// Those of the operation, and those of any request.
    pub(crate) async fn ask(
        &self,
        rights: Rights,
        extensions: &Extensions,
        caller: &Arc<Caller>,
        operation: &Operation,
        input: Input,
    ) -> Result<Answer, ApiError> {
        if !rights.permit(operation.access) {
            return Err(ApiError::new(Code::Forbidden, rights.refusal()));
        }
        let api = self.opened(caller, operation)?;
        let _working = extensions.get::<Arc<Connection>>().map(|connection| connection.works());
        self.work(api, caller, operation, input).await
    }

    /// The tokens that are accepted now; if there are none, everybody may do everything.
    pub(crate) fn accepted(&self) -> Arc<Tokens> {
        self.tokens()
    }

    /// Refuses a request under a name that is not this machine's, where everybody on this machine may do everything.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.tokens().is_empty() || !self.config.host.is_loopback() {
            return Ok(());
        }
        request::check_host(request::host(uri, headers))
    }

    /// Whether clients come over TLS.
    pub(crate) fn is_over_tls(&self) -> bool {
        self.config.tls.is_some()
    }

    /// Longest body of a request.
    pub(crate) fn max_body(&self) -> usize {
        self.config.max_body
    }

    /// The present time in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.health.clock.now().timestamp()
    }

    /// Counts a request for a page.
    pub(crate) fn count_page(
        &self,
        method: &Method,
        route: &'static str,
        status: StatusCode,
        started: Instant,
    ) {
        self.count(method, route, status, started);
    }

    /// What the instance looks like now. It costs the same however many schedules and executions there are.
    pub(crate) fn pulse(&self) -> Pulse {
        let mut hasher = DefaultHasher::new();
        self.health.problems().hash(&mut hasher);
        self.health.not_ready().hash(&mut hasher);
        if let Some(api) = self.api.get() {
            api.version().hash(&mut hasher);
        }
        let is_stopping = self.health.stage() == Stage::Stopping;
        Pulse { version: hasher.finish(), is_stopping }
    }
}
