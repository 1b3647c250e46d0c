//! Reruns: stored requests to run many ended executions again.

use uuid::Uuid;

use super::{CancelRerun, Client, ClientError, GetRerun, ListReruns, Reply, RerunView};

impl Client {
    /// Reads a rerun and how far it has come.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`.
    pub async fn get_rerun(&self, id: Uuid) -> Result<Reply<RerunView>, ClientError> {
        self.ask("rerun.get", &GetRerun { rerun_id: Some(id) }).await
    }

    /// Reads a page of all reruns, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_reruns(
        &self,
        request: &ListReruns,
    ) -> Result<Reply<Vec<RerunView>>, ClientError> {
        self.ask("rerun.list", request).await
    }

    /// Ends a rerun. What it has taken up goes on.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `not_allowed` (it has ended).
    pub async fn cancel_rerun(&self, id: Uuid) -> Result<Reply<RerunView>, ClientError> {
        self.ask("rerun.cancel", &CancelRerun { rerun_id: Some(id) }).await
    }
}
