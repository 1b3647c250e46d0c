//! The Dockerfile.

use parse_dockerfile::{
    Command, CopyInstruction, Dockerfile, HealthcheckArguments, Instruction, Source, parse,
};

use super::*;

fn text() -> String {
    read("Dockerfile")
}

fn exec(command: &Command<'_>) -> Vec<String> {
    match command {
        Command::Exec(words) => words.value.iter().map(|word| word.value.to_string()).collect(),
        other => panic!("{other:?} needs a shell, and the image has none"),
    }
}

fn final_stage<'a, 'b>(file: &'b Dockerfile<'a>) -> &'b [Instruction<'a>] {
    file.stages().last().unwrap().instructions
}

fn option<'b>(copy: &'b CopyInstruction<'_>, name: &str) -> Option<&'b str> {
    let flag = copy.options.iter().find(|flag| flag.name.value == name)?;
    flag.value.as_ref().map(|value| &*value.value)
}

/// Image, tag and digest of each stage that does not begin with another stage.
fn bases(file: &Dockerfile<'_>) -> Vec<(String, String)> {
    let names: BTreeSet<_> = file
        .stages()
        .filter_map(|stage| Some(stage.from.as_.as_ref()?.1.value.to_string()))
        .collect();
    let images = file.stages().map(|stage| stage.from.image.value.to_string());
    images
        .filter(|image| !names.contains(image))
        .map(|image| {
            let (name, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image}: tag"));
            (name.to_owned(), tag.to_owned())
        })
        .collect()
}

#[test]
fn every_instruction_is_valid() {
    let text = text();
    let file = parse(&text).unwrap();
    assert!(file.stages().len() >= 2, "the compiler must not be in the final image");
    for instruction in &file.instructions {
        assert!(!matches!(instruction, Instruction::Maintainer(_)), "MAINTAINER: use a label");
    }
}

#[test]
fn base_images_are_pinned_by_version() {
    let text = text();
    for (name, tag) in bases(&parse(&text).unwrap()) {
        assert!(!tag.contains("latest"), "{name}:{tag}");
        let has_version = |part: &str| part.bytes().any(|b| b.is_ascii_digit());
        // The images of distroless have the version of Debian in their name.
        assert!(has_version(&tag) || has_version(&name), "{name}:{tag} names no version");
    }
}

#[test]
fn the_compiler_is_the_one_that_the_crate_asks_for() {
    let text = text();
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let bases = bases(&parse(&text).unwrap());
    let (_, tag) = bases.iter().find(|(name, _)| name == "rust").unwrap();
    let version = tag.split('-').next().unwrap();
    let is_it = version == wanted || version.starts_with(&format!("{wanted}."));
    assert!(is_it, "the image has Rust {version}, Cargo.toml says {wanted}");
}

#[test]
fn it_runs_as_a_user_that_is_not_root_by_number() {
    let text = text();
    let file = parse(&text).unwrap();
    let mut users = final_stage(&file).iter().filter_map(|instruction| match instruction {
        Instruction::User(user) => Some(user.arguments.value.to_string()),
        _ => None,
    });
    let user = users.next_back().expect("USER");
    for id in user.split(':') {
        assert!(id.parse::<u32>().is_ok_and(|id| id > 0), "{user}");
    }
}

#[test]
fn it_starts_checks_and_stops_the_program() {
    let text = text();
    let file = parse(&text).unwrap();
    let stage = final_stage(&file);
    let program = stage.iter().any(|instruction| match instruction {
        Instruction::Copy(copy) => option(copy, "from").is_some() && copy.dest.value == PROGRAM,
        _ => false,
    });
    assert!(program, "{PROGRAM} is not copied into the image");
    let (mut entry, mut command, mut health, mut signal, mut port) = Default::default();
    for instruction in stage {
        match instruction {
            Instruction::Entrypoint(it) => entry = exec(&it.arguments),
            Instruction::Cmd(it) => command = exec(&it.arguments),
            Instruction::Healthcheck(it) => match &it.arguments {
                HealthcheckArguments::Cmd { arguments, .. } => health = exec(arguments),
                other => panic!("{other:?}"),
            },
            Instruction::Stopsignal(it) => signal = it.arguments.value.to_string(),
            Instruction::Expose(it) => port = it.arguments[0].value.to_string(),
            _ => {}
        }
    }
    assert_eq!(entry, [PROGRAM]);
    assert_eq!(command, ["serve"]);
    assert_eq!(health, [PROGRAM, "healthcheck"]);
    assert_eq!(signal, "SIGTERM");
    assert_eq!(port, default_of("API_PORT"));
    assert_is_command(&["serve"]);
    assert_is_command(&["healthcheck"]);
}

#[test]
fn it_weakens_no_setting() {
    let text = text();
    let file = parse(&text).unwrap();
    for instruction in final_stage(&file) {
        assert!(!matches!(instruction, Instruction::Env(_)), "{instruction:?}");
    }
}

#[test]
fn its_labels_say_the_version() {
    let text = text();
    let file = parse(&text).unwrap();
    let stage = final_stage(&file);
    let has_arg = stage.iter().any(|instruction| match instruction {
        Instruction::Arg(arg) => {
            arg.arguments.value == concat!("VERSION=", env!("CARGO_PKG_VERSION"))
        }
        _ => false,
    });
    assert!(has_arg, "ARG VERSION must be {}", env!("CARGO_PKG_VERSION"));
    let labels: String = stage
        .iter()
        .filter_map(|instruction| match instruction {
            Instruction::Label(label) => Some(label.arguments.value.to_string()),
            _ => None,
        })
        .collect();
    for label in ["title", "description", "licenses", "version", "revision"] {
        let label = format!("org.opencontainers.image.{label}=");
        assert!(labels.contains(&label), "{label} {labels}");
    }
    assert!(labels.contains(env!("CARGO_PKG_DESCRIPTION")), "{labels}");
}

#[test]
fn the_build_context_leaves_out_what_is_large_or_secret_and_nothing_that_is_needed() {
    let patterns = read(".dockerignore");
    let patterns: Vec<&str> = patterns
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(patterns.iter().all(|pattern| !pattern.starts_with('!')), "keep it simple");
    let out = |path: &str| patterns.iter().any(|pattern| excludes(pattern, path));
    for path in
        ["target/debug/x", ".git/config", ".nats-scheduler-dev/x", ".env", "deploy/.env", "a.creds"]
    {
        assert!(out(path), "{path} is in the build context");
    }

    let mut needed = vec!["Cargo.toml".to_owned(), "Cargo.lock".to_owned()];
    // Cargo wants the files of all targets that the manifest names, whatever it builds.
    for folder in ["src", "benches", "tests", "examples"] {
        for path in files(&root().join(folder)) {
            let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if folder == "src" {
                needed.extend(compiled_in(&path));
            }
            if relative.ends_with(".rs") {
                needed.push(relative);
            }
        }
    }
    let text = text();
    for instruction in &parse(&text).unwrap().instructions {
        let Instruction::Copy(copy) = instruction else { continue };
        for source in &copy.src {
            let Source::Path(source) = source else { panic!("{source:?}") };
            // Of the first stage, what is at /src is the build context.
            if let Some(path) = source.value.strip_prefix("/src/") {
                needed.push(path.to_owned());
            }
        }
    }
    assert!(needed.contains(&"nats-server.conf".to_owned()), "{needed:?}");
    for path in needed {
        assert!(root().join(&path).is_file(), "{path} is not there");
        assert!(!out(&path), "{path} is needed, and .dockerignore leaves it out");
    }
}

/// Whether a pattern of .dockerignore excludes a path, itself or by one of its folders.
fn excludes(pattern: &str, path: &str) -> bool {
    fn matches(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], _) => true,
            (["**", rest @ ..], _) => (0..=path.len()).any(|n| matches(rest, &path[n..])),
            ([first, rest @ ..], [name, below @ ..]) => {
                let fits = match first.split_once('*') {
                    Some((before, after)) => {
                        name.len() >= before.len() + after.len()
                            && name.starts_with(before)
                            && name.ends_with(after)
                    }
                    None => first == name,
                };
                fits && matches(rest, below)
            }
            (_, []) => false,
        }
    }
    let pattern: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
    matches(&pattern, &path.split('/').collect::<Vec<_>>())
}

#[test]
fn patterns_of_dockerignore_are_understood() {
    assert!(excludes("/target", "target/debug/x"));
    assert!(!excludes("/target", "src/target"));
    assert!(excludes("/*.md", "README.md"));
    assert!(!excludes("/*.md", "docs/README.md"));
    assert!(excludes("**/*.pem", "a/b/c.pem"));
    assert!(excludes("**/.env", ".env"));
    assert!(!excludes("**/.env", "deploy/.env.example"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// What `include_str!` and `include_bytes!` name in a source, from the root of the repository.
fn compiled_in(source: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(source) else { return Vec::new() };
    let mut found = Vec::new();
    for call in ["include_str!(\"", "include_bytes!(\""] {
        for name in text.split(call).skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = source.parent().unwrap().join(name);
            let path = path.canonicalize().unwrap_or_else(|error| panic!("{path:?}: {error}"));
            let relative = path.strip_prefix(root().canonicalize().unwrap()).unwrap();
            found.push(relative.to_str().unwrap().to_owned());
        }
    }
    found
}
