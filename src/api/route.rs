//! Routes of the REST facade: where a request comes in over HTTP, and where its fields come from.

use axum::http::{Method, StatusCode};

/// The part of a path that names a schedule by its id.
const BY_ID: &str = "{schedule_id}";
/// The part of a path that names it by creator and name instead.
const BY_NAME: &str = "by-name/{creator}/{schedule_name}";

/// One route to an operation.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path; names in braces are fields of the request.
    pub path: String,
    /// Which fields may stand in the query.
    pub query: Query,
    /// Whether the body is a JSON object with the remaining fields.
    pub has_body: bool,
    /// Status of a successful response.
    pub status: StatusCode,
    /// Short summary for the documentation; that of the operation unless the route has its own.
    pub summary: Option<&'static str>,
    /// What tells it from the other routes to its operation; empty for the first.
    pub variant: String,
}

/// Fields of a request that may be sent in the query.
#[derive(Clone, Copy, Debug)]
pub enum Query {
    /// All except those in the path.
    All,
    /// These.
    Only(&'static [&'static str]),
}

/// A route without a body; all fields may stand in its query.
pub(super) fn get(path: &str) -> Route {
    Route {
        method: Method::GET,
        path: path.to_owned(),
        query: Query::All,
        has_body: false,
        status: StatusCode::OK,
        summary: None,
        variant: String::new(),
    }
}

/// A route with a body and nothing in its query.
pub(super) fn post(path: &str) -> Route {
    Route { method: Method::POST, has_body: true, ..get(path) }.query(&[])
}

/// A route like that of [`post`], with the method PUT.
pub(super) fn put(path: &str) -> Route {
    Route { method: Method::PUT, ..post(path) }
}

/// A route like that of [`post`], with the method PATCH.
pub(super) fn patch(path: &str) -> Route {
    Route { method: Method::PATCH, ..post(path) }
}

/// A route without a body in its request or its response.
pub(super) fn delete(path: &str) -> Route {
    Route { method: Method::DELETE, status: StatusCode::NO_CONTENT, ..get(path) }
}

impl Route {
    /// The only fields that may stand in the query.
    pub(super) fn query(self, fields: &'static [&'static str]) -> Self {
        Self { query: Query::Only(fields), ..self }
    }

    /// Has the route answer with 201 Created.
    pub(super) fn creates(self) -> Self {
        Self { status: StatusCode::CREATED, ..self }
    }

    /// Gives the route a summary of its own, where the operation's does not fit.
    pub(super) fn summary(self, summary: &'static str) -> Self {
        Self { summary: Some(summary), ..self }
    }

    /// Tells the route from the first one to its operation.
    pub(super) fn variant(self, variant: &str) -> Self {
        Self { variant: variant.to_owned(), ..self }
    }

    /// The name that generated clients give it.
    pub fn operation_id(&self, operation: &str) -> String {
        let operation = operation.replace('.', "_");
        match self.variant.as_str() {
            "" => operation,
            variant => format!("{operation}_{variant}"),
        }
    }

    /// Fields in its path.
    pub fn path_fields(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// Fields of the request that say again what the path says.
    pub fn needless_fields(&self) -> &'static [&'static str] {
        match () {
            () if self.path.contains(BY_NAME) => &["schedule_id"],
            () if self.path.contains(BY_ID) => &["schedule_name", "creator"],
            () => &[],
        }
    }

    /// The same route for a schedule given by its name, if this one has a schedule in its path.
    pub fn by_name(&self) -> Option<Self> {
        let path = self.path.replace(BY_ID, BY_NAME);
        let variant = format!("{}_by_name", self.variant).trim_start_matches('_').to_owned();
        (path != self.path).then(|| Self { path, variant, ..self.clone() })
    }
}
