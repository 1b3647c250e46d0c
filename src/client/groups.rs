//! Concurrency groups.

use super::{
    Client, ClientError, DeleteGroup, FOR_ALL_MS, GetGroup, GroupDeleted, GroupPut, GroupView,
    ListGroups, PutGroup, Reply,
};

impl Client {
    /// Creates a concurrency group, or changes its bound. Nothing is begun beyond it from the reply on.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`, `conflict`, `limit_exceeded`.
    pub async fn put_group(&self, request: &PutGroup) -> Result<Reply<GroupPut>, ClientError> {
        self.ask_and_wait("group.put", request, Some(FOR_ALL_MS)).await
    }

    /// Reads a group with the executions that have its slots.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`.
    pub async fn get_group(
        &self,
        name: impl Into<String>,
    ) -> Result<Reply<GroupView>, ClientError> {
        let request = GetGroup { name: Some(name.into()) };
        self.ask("group.get", &request).await
    }

    /// Reads a page of all groups, without their slots.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_groups(
        &self,
        request: &ListGroups,
    ) -> Result<Reply<Vec<GroupView>>, ClientError> {
        self.ask("group.list", request).await
    }

    /// Deletes a group that no schedule names.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `conflict` (schedules name it).
    pub async fn delete_group(
        &self,
        request: &DeleteGroup,
    ) -> Result<Reply<GroupDeleted>, ClientError> {
        self.ask("group.delete", request).await
    }
}
