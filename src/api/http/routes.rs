//! All routes to operations, and the paths between them that lead nowhere.

use std::sync::LazyLock;

use super::super::operations::{Operation, operations};
use super::super::route::Route;

/// Paths that have routes below them but are none themselves, and would otherwise be taken for ones with an id.
pub(super) const NO_IDS: [&str; 7] = [
    "/api/v1/schedules/bulk",
    "/api/v1/schedules/by-name",
    "/api/v1/schedules/by-name/{creator}",
    "/api/v1/schedules/preview",
    "/api/v1/executions/bulk",
    "/api/v1/executions/by-correlation",
    "/api/v1/executions/stats/by-name",
];

static ROUTES: LazyLock<Vec<(Route, &'static Operation)>> = LazyLock::new(|| {
    let of = |operation: &'static Operation| {
        let named = operation.routes.iter().filter_map(Route::by_name);
        let all = operation.routes.iter().cloned().chain(named);
        all.map(move |route| (route, operation))
    };
    operations().iter().flat_map(of).collect()
});

/// All routes to operations. Each with a schedule's id in its path is there again with its creator and name.
pub(super) fn routes() -> &'static [(Route, &'static Operation)] {
    &ROUTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_route_and_no_route_shadows_another() {
        for operation in operations() {
            assert!(!operation.routes.is_empty(), "{}", operation.name);
        }
        let ids = routes().iter().map(|(route, of)| route.operation_id(of.name));
        let unique: std::collections::HashSet<_> = ids.collect();
        assert_eq!(unique.len(), routes().len(), "{unique:?}");
        let mut seen = std::collections::HashSet::new();
        let routes: Vec<&Route> = routes().iter().map(|(route, _)| route).collect();
        for route in &routes {
            assert!(seen.insert((&route.method, &route.path)), "{} twice", route.path);
            let words = route.path.split('/').filter(|part| !part.starts_with('{'));
            for word in words {
                assert!(uuid::Uuid::try_parse(word).is_err(), "{word} could be an id");
            }
        }
        // A word in the place of an id is either a path of its own or refused.
        let is_known = |path: &str| NO_IDS.contains(&path) || routes.iter().any(|r| r.path == path);
        for route in &routes {
            let Some((head, _)) = route.path.split_once("/{") else { continue };
            for other in &routes {
                let rest = other.path.strip_prefix(head).and_then(|rest| rest.strip_prefix('/'));
                let word = rest.and_then(|rest| rest.split('/').next());
                if let Some(word) = word.filter(|word| !word.starts_with('{')) {
                    assert!(is_known(&format!("{head}/{word}")), "{head}/{word}");
                }
            }
        }
    }
}
