//! Whose the schedules of a set are, where nothing says so: what the owner has under another creator stays that creator's.
//! Otherwise whoever applies a set second would create all of it once more.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::TryStreamExt as _;
use nats_scheduler::client::{ListSchedules, ScheduleSummary};

use super::set::{Declared, Key};
use crate::cli::failure::Failure;
use crate::cli::node::Node;
use crate::cli::progress::Progress;
use crate::cli::session::Session;

/// Finds the creators of declarations that have an owner and do not say whose they are.
///
/// # Errors
/// `Usage`: an owner has several of one name; those of the list.
pub async fn find(session: &Session, set: &mut [Declared]) -> Result<(), Failure> {
    let unsaid = set.iter().filter(|one| !one.is_said);
    let owners: BTreeSet<String> = unsaid.filter_map(|one| one.owner.clone()).collect();
    for owner in owners {
        let request = ListSchedules { owner: Some(owner.clone()), ..ListSchedules::default() };
        let all = session.client.all_schedules(request);
        let mut progress = Progress::new("looked up", None);
        let key = |it: ScheduleSummary| {
            progress.add(1);
            (it.created_by, it.name)
        };
        let keys = all.map_ok(key).try_collect::<Vec<_>>().await?;
        settle(set, &owner, &keys)?;
    }
    follow(set);
    Ok(())
}

/// Gives declarations of an owner the creators of what the owner has.
fn settle(set: &mut [Declared], owner: &str, owned: &[Key]) -> Result<(), Failure> {
    let said: HashSet<Key> = set.iter().filter(|one| one.is_said).map(Declared::key).collect();
    let mut creators: HashMap<&str, Vec<&str>> = HashMap::new();
    for key in owned.iter().filter(|key| !said.contains(key)) {
        creators.entry(&key.1).or_default().push(&key.0);
    }
    let of_owner = |one: &&mut Declared| !one.is_said && one.owner.as_deref() == Some(owner);
    for one in set.iter_mut().filter(of_owner) {
        match creators.get(one.name.as_str()).map(Vec::as_slice) {
            None | Some([]) => {}
            Some([only]) => one.creator = (*only).to_owned(),
            Some(several) => {
                let fault = format!(
                    "{}: {owner} has {:?} of several creators: {}",
                    one.place,
                    one.name,
                    several.join(", ")
                );
                return Err(Failure::usage(fault).hint("created_by says which is meant"));
            }
        }
    }
    Ok(())
}

/// What is followed by its name alone is that of the set, whosever it has turned out to be.
fn follow(set: &mut [Declared]) {
    let unsaid = set.iter().filter(|one| !one.is_said);
    let creators: HashMap<String, String> =
        unsaid.map(|one| (one.name.clone(), one.creator.clone())).collect();
    for one in set.iter_mut().filter(|one| !one.is_said) {
        let Some(Node::Map(after)) = one.node.get_mut("after") else { continue };
        let text = |name: &str| {
            let found = after.iter().find(|(key, _)| key == name).map(|(_, value)| value);
            if let Some(Node::Text(text)) = found { Some(text) } else { None }
        };
        let creator = text("schedule_name").and_then(|name| creators.get(name));
        if let Some(creator) = creator.filter(|it| **it != one.creator && text("creator").is_none())
        {
            after.push(("creator".to_owned(), Node::Text(creator.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::Written;
    use super::super::set::{declared, linked};
    use super::*;

    fn set(yaml: &str, owned: &[(&str, &str)]) -> Result<Vec<Declared>, Failure> {
        let read = crate::cli::node::read_yaml(yaml).unwrap().into_iter();
        let written = read.map(|(line, node)| Written { node, place: format!("f:{line}") });
        let mut set = declared(written.collect(), Some("anna"), Some("git"))?;
        let owned: Vec<Key> = owned
            .iter()
            .map(|(creator, name)| ((*creator).to_owned(), (*name).to_owned()))
            .collect();
        settle(&mut set, "git", &owned)?;
        follow(&mut set);
        linked(set)
    }

    #[test]
    fn what_the_owner_has_stays_whose_it_is() {
        let yaml = "- {name: a}\n- {name: b, created_by: eve}\n- {name: c}\n- {name: d, after: {schedule_name: a}}\n";
        let set = set(yaml, &[("bob", "a"), ("bob", "b"), ("anna", "c")]).unwrap();
        let creators: Vec<_> = set.iter().map(|one| one.creator.as_str()).collect();
        assert_eq!(creators, ["bob", "eve", "anna", "anna"]);
        assert_eq!(set[3].upstream, Some(0), "it follows the one that is of bob");
        assert_eq!(set[3].node.get("after").unwrap().text("creator"), Some("bob"));
    }

    #[test]
    fn of_several_one_must_be_said() {
        let owned = [("bob", "a"), ("eve", "a")];
        let Err(failure) = set("- {name: a}", &owned) else { panic!("nobody knows which") };
        let said = format!("{failure:?}");
        assert!(said.contains("of several creators: bob, eve") && said.contains("f:1"), "{said}");
        let set = set("- {name: a, created_by: eve}\n- {name: a}", &owned).unwrap();
        assert_eq!(set[1].creator, "bob", "the other one is said");
    }
}
