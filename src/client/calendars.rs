//! Calendars.

use super::{
    CalendarDeleted, CalendarPut, CalendarView, Client, ClientError, DeleteCalendar, FOR_ALL_MS,
    GetCalendar, ListCalendars, PutCalendar, Reply,
};

impl Client {
    /// Creates a calendar, or replaces what it says. After the reply nothing is due by what it said before, unless its
    /// `warnings` say so.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`, `conflict`, `limit_exceeded`.
    pub async fn put_calendar(
        &self,
        request: &PutCalendar,
    ) -> Result<Reply<CalendarPut>, ClientError> {
        self.ask_and_wait("calendar.put", request, Some(FOR_ALL_MS)).await
    }

    /// Reads a calendar with all that it says.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`.
    pub async fn get_calendar(
        &self,
        name: impl Into<String>,
    ) -> Result<Reply<CalendarView>, ClientError> {
        let request = GetCalendar { name: Some(name.into()) };
        self.ask("calendar.get", &request).await
    }

    /// Reads a page of all calendars, without their days and spans.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_calendars(
        &self,
        request: &ListCalendars,
    ) -> Result<Reply<Vec<CalendarView>>, ClientError> {
        self.ask("calendar.list", request).await
    }

    /// Deletes a calendar that no schedule uses.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `conflict` (schedules use it).
    pub async fn delete_calendar(
        &self,
        request: &DeleteCalendar,
    ) -> Result<Reply<CalendarDeleted>, ClientError> {
        self.ask("calendar.delete", request).await
    }
}
