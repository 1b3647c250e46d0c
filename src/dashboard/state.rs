//! What all pages share.

use std::sync::Arc;

use crate::api::http::Http;
use crate::config::http::DashboardConfig;

use super::feed::Feed;

/// The dashboard of an instance.
pub(super) struct Dashboard {
    /// The operations, and who may ask for them.
    pub(super) http: Arc<Http>,
    /// Its settings.
    pub(super) config: DashboardConfig,
    /// Tells browsers that something has changed.
    pub(super) feed: Feed,
}

impl Dashboard {
    /// A dashboard over these operations.
    pub(super) fn new(http: Arc<Http>, config: DashboardConfig) -> Self {
        let feed = Feed::new(Arc::clone(&http), config.max_streams);
        Self { http, config, feed }
    }
}
