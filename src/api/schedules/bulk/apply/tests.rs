use super::*;
use crate::schedule::AfterFields;

/// The names of the schedules of each wave; each declaration has a name and that of what it follows.
fn names(declared: &[(&str, &str)]) -> Vec<Vec<String>> {
    let item = |(name, upstream): &(&str, &str)| ApplySchedule {
        name: Some((*name).to_owned()),
        after: Some(AfterFields {
            schedule_name: Some((*upstream).to_owned()),
            ..AfterFields::default()
        }),
        ..ApplySchedule::default()
    };
    let items = declared.iter().map(item).enumerate().collect();
    let waves = waves(items, &Caller::anonymous()).into_iter();
    let name = |(_, item): (usize, ApplySchedule)| item.name.unwrap_or_default();
    waves.map(|wave| wave.into_iter().map(name).collect()).collect()
}

#[test]
fn each_comes_after_what_it_follows() {
    assert_eq!(names(&[("c", "b"), ("b", "a"), ("a", "else")]), [["a"], ["b"], ["c"]]);
    assert_eq!(names(&[("a", ""), ("b", ""), ("c", "a")]), [vec!["a", "b"], vec!["c"]]);
    assert_eq!(names(&[("a", ""), ("a", ""), ("b", "a")]), [vec!["a"], vec!["a", "b"]]);
    assert!(names(&[]).is_empty());
}

#[test]
fn a_circle_ends() {
    assert_eq!(names(&[("a", "a")]), [["a"]]);
    let circle = names(&[("a", "c"), ("b", "a"), ("c", "b"), ("d", "")]);
    assert_eq!(circle[0], ["d"], "{circle:?}");
    assert_eq!(circle.concat().len(), 4);
}
