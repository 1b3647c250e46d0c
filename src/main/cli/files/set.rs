//! A set of declared schedules, divided into requests.
//!
//! A schedule may follow another one of the set, which must be there first. Such a chain goes into one request where it
//! fits, so that a dry run can see all of it, and otherwise its begin goes first.

use std::collections::HashMap;

use super::fields::faults;
use super::read::Written;
use crate::cli::failure::Failure;
use crate::cli::node::Node;

/// Fields of a request to declare a schedule that are no fields of a schedule.
const OF_REQUESTS: [&str; 5] =
    ["adopt", "count", "dry_run", "expected_revision", "idempotency_key"];

/// The creator and the name: they say which schedule is meant.
pub type Key = (String, String);
/// Creator of what nobody creates by name, as the service calls it.
const NOBODY: &str = "unknown";

/// A declared schedule.
pub struct Declared {
    pub creator: String,
    /// Whether the file, or the command, says the creator.
    pub is_said: bool,
    pub name: String,
    pub owner: Option<String>,
    /// All other fields, and the name.
    pub node: Node,
    /// Where it was written.
    pub place: String,
    /// The schedule of the set that it follows.
    pub upstream: Option<usize>,
    /// The revision that the schedule must have, once somebody has seen what would become of it; 0: there must be none.
    pub expected: Option<u64>,
}

impl Declared {
    pub fn key(&self) -> Key {
        (self.creator.clone(), self.name.clone())
    }

    /// What a request says of it.
    pub fn request(&self) -> Node {
        let mut node = self.node.clone();
        if let (Node::Map(fields), Some(revision)) = (&mut node, self.expected) {
            fields.push(("expected_revision".to_owned(), Node::Number(revision.to_string())));
        }
        node
    }
}

/// Some of the schedules: those of one request, in its order.
pub struct Part {
    pub creator: String,
    pub owner: Option<String>,
    pub items: Vec<usize>,
}

/// How large a part may be.
#[derive(Clone, Copy)]
pub struct Limits {
    pub items: usize,
    pub bytes: usize,
}

/// Makes declarations of what was written, each by itself.
///
/// # Errors
/// `Usage`: something is no schedule, has a field that cannot be read, or an owner is not the one of the whole. It says
/// where.
pub fn declared(
    written: Vec<Written>,
    creator: Option<&str>,
    owner: Option<&str>,
) -> Result<Vec<Declared>, Failure> {
    let declare = |written: Written| {
        let place = written.place.clone();
        let one = declare(written, creator, owner);
        one.map_err(|fault| Failure::usage(format!("{place}: {fault}")))
    };
    written.into_iter().map(declare).collect()
}

/// Makes a set of declarations whose creators are known: finds what each follows.
///
/// # Errors
/// `Usage`: two have the same name, or schedules follow each other in a circle. It says where.
pub fn linked(mut set: Vec<Declared>) -> Result<Vec<Declared>, Failure> {
    let mut places = HashMap::new();
    for (n, one) in set.iter().enumerate() {
        if let Some(other) = places.insert(one.key(), n) {
            let other: &Declared = &set[other];
            let fault = format!("{}: {:?} is in {} too", one.place, one.name, other.place);
            return Err(Failure::usage(fault));
        }
    }
    for one in &mut set {
        one.upstream = followed(one).and_then(|key| places.get(&key).copied());
    }
    for n in 0..set.len() {
        if chain(&set, n).is_none() {
            let fault = format!("{}: {:?} follows itself", set[n].place, set[n].name);
            return Err(Failure::usage(fault));
        }
    }
    Ok(set)
}

fn declare(
    Written { mut node, place }: Written,
    creator: Option<&str>,
    owner: Option<&str>,
) -> Result<Declared, String> {
    if !matches!(node, Node::Map(_)) {
        return Err("is no schedule: it must have fields".to_owned());
    }
    if let Some(field) = OF_REQUESTS.into_iter().find(|field| node.get(field).is_some()) {
        return Err(format!("{field}: is no field of a schedule"));
    }
    let Some(name) = node.text("name").map(str::to_owned) else {
        // It may be there under another name, or as something else.
        let said = said(&node);
        return Err(if said.is_empty() { "name: is required, as a text".to_owned() } else { said });
    };
    let created_by = taken(&mut node, "created_by")?;
    let own = taken(&mut node, "owner")?;
    if let (Some(own), Some(owner)) = (&own, owner)
        && own != owner
    {
        return Err(format!("owner: is {own:?} here, and --owner says {owner:?}"));
    }
    let said = said(&node);
    if !said.is_empty() {
        return Err(said);
    }
    Ok(Declared {
        is_said: created_by.is_some(),
        creator: created_by.unwrap_or_else(|| creator.unwrap_or(NOBODY).to_owned()),
        owner: own.or_else(|| owner.map(str::to_owned)),
        name,
        node,
        place,
        upstream: None,
        expected: None,
    })
}

/// What is wrong with the fields of a schedule; nothing if it is empty.
fn said(node: &Node) -> String {
    faults(node).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A text that a field has; an empty one counts as absent.
fn taken(node: &mut Node, field: &str) -> Result<Option<String>, String> {
    match node.take(field) {
        None | Some(Node::Null) => Ok(None),
        Some(Node::Text(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("{field}: must be a text")),
    }
}

/// The schedule that one follows, if it says so by name.
fn followed(one: &Declared) -> Option<Key> {
    let after = one.node.get("after")?;
    let creator = after.text("creator").unwrap_or(&one.creator).to_owned();
    Some((creator, after.text("schedule_name")?.to_owned()))
}

/// The first of the chain that a schedule belongs to, and how many are before it; none for a circle.
fn chain(set: &[Declared], n: usize) -> Option<(usize, usize)> {
    let (mut first, mut depth) = (n, 0);
    while let Some(upstream) = set[first].upstream {
        (first, depth) = (upstream, depth + 1);
        if depth > set.len() {
            return None;
        }
    }
    Some((first, depth))
}

/// Divides a set into requests.
pub fn parts(set: &[Declared], limits: Limits) -> Vec<Part> {
    let mut chains: Vec<(usize, usize, usize)> = (0..set.len())
        .filter_map(|n| chain(set, n).map(|(first, depth)| (first, depth, n)))
        .collect();
    let group = |n: usize| (&set[n].creator, &set[n].owner);
    chains.sort_by(|a, b| group(a.0).cmp(&group(b.0)).then(a.cmp(b)));
    let mut parts: Vec<Part> = Vec::new();
    let mut room = limits;
    for chain in chains.chunk_by(|a, b| a.0 == b.0) {
        let sizes: Vec<_> = chain.iter().map(|(_, _, n)| size(&set[*n])).collect();
        let fits = chain.len() <= room.items && sizes.iter().sum::<usize>() <= room.bytes;
        // A chain begins a request of its own rather than being torn.
        let mut begins = !fits;
        for ((_, _, n), bytes) in chain.iter().zip(sizes) {
            let one = &set[*n];
            let belongs = parts
                .last()
                .is_some_and(|part| part.creator == one.creator && part.owner == one.owner);
            if begins || !belongs || room.items == 0 || room.bytes < bytes {
                let (creator, owner) = (one.creator.clone(), one.owner.clone());
                parts.push(Part { creator, owner, items: Vec::new() });
                room = limits;
                begins = false;
            }
            room.items -= 1;
            room.bytes = room.bytes.saturating_sub(bytes);
            if let Some(part) = parts.last_mut() {
                part.items.push(*n);
            }
        }
    }
    parts
}

/// Bytes that a schedule takes in a request.
fn size(one: &Declared) -> usize {
    one.request().to_string().len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(yaml: &str) -> Result<Vec<Declared>, Failure> {
        let read = crate::cli::node::read_yaml(yaml).unwrap().into_iter();
        let written = read.map(|(line, node)| Written { node, place: format!("f:{line}") });
        linked(declared(written.collect(), Some("anna"), None)?)
    }

    fn names(set: &[Declared], items: usize) -> Vec<Vec<String>> {
        let parts = parts(set, Limits { items, bytes: 10_000 });
        parts.iter().map(|part| part.items.iter().map(|n| set[*n].name.clone()).collect()).collect()
    }

    #[test]
    fn what_is_followed_comes_first_and_chains_stay_together() {
        let yaml = "- {name: c, after: {schedule_name: b}}\n- {name: b, after: {schedule_name: a}}\n- {name: x}\n\
                    - {name: a}\n- {name: y, created_by: bob}\n- {name: z, after: {schedule_name: a, creator: bob}}\n";
        let set = set(yaml).unwrap();
        assert_eq!(
            names(&set, 3),
            [vec!["x"], vec!["a", "b", "c"], vec!["z"], vec!["y"]]
                .map(|it| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        );
        assert_eq!(names(&set, 100).len(), 2, "one for each creator");
        assert_eq!(names(&set, 2).concat().len(), 6);
        let torn = names(&set, 1).concat();
        let at = |name: &str| torn.iter().position(|it| it == name).unwrap();
        assert!(at("a") < at("b") && at("b") < at("c"), "{torn:?}");
    }

    #[test]
    fn only_what_a_file_may_have_is_offered() {
        let Err(failure) = set("- {name: a, idempotency: k}") else { panic!("it is unknown") };
        let said = format!("{failure:?}");
        assert!(
            said.contains("the fields are after, ") && said.contains(", created_by, "),
            "{said}"
        );
        assert!(!said.contains("idempotency_key") && !said.contains("dry_run"), "{said}");
    }

    #[test]
    fn faults_say_where() {
        for (yaml, fault) in [
            ("- {name: a}\n- {name: a}", "f:2: \"a\" is in f:1 too"),
            ("- 1", "f:1: is no schedule"),
            ("- {priority: 5}", "f:1: name: is required"),
            ("- {nme: a}", "f:1: nme: is not a field of a schedule; did you mean name?"),
            ("- {name: 5}", "f:1: name: must be a text, such as \"5\""),
            ("- {name: a, dry_run: false}", "f:1: dry_run: is no field"),
            ("- {name: a, after: {schedule_name: a}}", "f:1: \"a\" follows itself"),
            ("- {name: a, owner: 1}", "f:1: owner: must be a text"),
            (
                "- {name: a, cron: '@daily'}",
                "f:1: cron: is not a field of a schedule; did you mean cron_expression?",
            ),
            ("- {name: a, priority: high}", "f:1: priority: must be a whole number"),
            ("- {name: a, tags: [1]}", "f:1: tags[0]: must be a text"),
        ] {
            let Err(failure) = set(yaml) else { panic!("{yaml}") };
            assert!(
                format!("{failure:?}").contains(&fault.escape_debug().to_string()),
                "{failure:?}"
            );
        }
    }
}
