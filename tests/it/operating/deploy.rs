//! Tests of the deployment files: the image, the Kubernetes manifests, the systemd unit, the settings template.
//!
//! They need no Docker, cluster or systemd. Each file is parsed by a crate that knows its format, and compared with the
//! settings and commands of the program, and with the other files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nats_scheduler::config::setting::{Described, plain};
use nats_scheduler::config::{Config, settings};

/// Where the program is, in the image and under systemd.
const PROGRAM: &str = "/usr/local/bin/nats-scheduler";

/// How long an instance may take to leave once its grace is over.
const LEAVING: u64 = 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn setting(name: &str, place: &str) -> &'static dyn Described {
    let found = settings().find(|setting| setting.name() == name);
    found.unwrap_or_else(|| panic!("{place}: no setting {name}"))
}

fn default_of(name: &str) -> String {
    setting(name, "this test").default()
}

fn assert_is_setting(name: &str, place: &str) {
    let _ = setting(name, place);
}

/// Words that look like settings and are names of streams.
const STREAMS: [&str; 3] = ["SCHEDULER_AUDIT", "SCHEDULER_EXECUTIONS", "KV_"];

/// Words that look like settings are settings, in comments too.
fn assert_names_settings(path: &str) {
    let text = read(path);
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    for word in text.split(|c| !is_part(c)) {
        let is_name = word.contains('_') && !word.starts_with('_');
        if is_name && !STREAMS.contains(&word) {
            assert_is_setting(word, path);
        }
    }
}

/// The settings, as the program reads them. A file of tokens is not there when tests run, so a
/// token stands for it.
fn configured(variables: &BTreeMap<String, String>) -> Result<Config, Vec<String>> {
    let has_file = variables.contains_key("API_TOKENS_FILE");
    let lookup = |name: &str| match name {
        "API_TOKENS_FILE" => None,
        "API_TOKENS" if has_file => Some("0123456789abcdef0123456789abcdef".to_owned()),
        _ => variables.get(name).cloned(),
    };
    Config::from_lookup(lookup).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The arguments are a command of the program: its help says so.
fn assert_is_command(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-scheduler"));
    let output = command.args(arguments).arg("--help").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nats-scheduler {arguments:?}: {said}");
}

mod image {
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
        for path in [
            "target/debug/x",
            ".git/config",
            ".nats-scheduler-dev/x",
            ".env",
            "deploy/.env",
            "a.creds",
        ] {
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
}

mod kubernetes {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{
        ConfigMap, Container, HTTPGetAction, Namespace, PodSpec, Probe, Secret, Service,
        ServiceAccount,
    };
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use k8s_openapi::api::policy::v1::PodDisruptionBudget;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    /// The manifests, each kind once.
    struct Manifests {
        namespace: Namespace,
        account: ServiceAccount,
        settings: ConfigMap,
        secret: Secret,
        deployment: Deployment,
        budget: PodDisruptionBudget,
        service: Service,
        policy: NetworkPolicy,
    }

    fn manifests() -> Manifests {
        let text = read("deploy/kubernetes.yaml");
        let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let manifests = Manifests {
            namespace: take(&mut documents),
            account: take(&mut documents),
            settings: take(&mut documents),
            secret: take(&mut documents),
            deployment: take(&mut documents),
            budget: take(&mut documents),
            service: take(&mut documents),
            policy: take(&mut documents),
        };
        assert!(documents.is_empty(), "kinds that no test looks at: {documents:?}");
        manifests
    }

    /// The document of a kind. What the kind does not know would get lost on the way there and back.
    fn take<T: Resource + Serialize + DeserializeOwned>(documents: &mut Vec<Value>) -> T {
        let is_it = |document: &Value| {
            document["kind"] == T::KIND && document["apiVersion"] == T::API_VERSION
        };
        let index = documents.iter().position(is_it).unwrap_or_else(|| panic!("{}", T::KIND));
        let document = documents.remove(index);
        let typed: T = serde_json::from_value(document.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", T::KIND));
        let back = serde_json::to_value(&typed).unwrap();
        let mut lost = Vec::new();
        differences(T::KIND, &document, &back, &mut lost);
        assert!(lost.is_empty(), "Kubernetes does not know, or reads otherwise: {lost:#?}");
        typed
    }

    fn differences(path: &str, written: &Value, read: &Value, found: &mut Vec<String>) {
        match (written, read) {
            (Value::Object(one), Value::Object(other)) => {
                for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                    let (one, other) = (&written[key], &read[key]);
                    differences(&format!("{path}.{key}"), one, other, found);
                }
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                for (n, (one, other)) in one.iter().zip(other).enumerate() {
                    differences(&format!("{path}[{n}]"), one, other, found);
                }
            }
            _ if written == read => {}
            _ => found.push(format!("{path}: {written} became {read}")),
        }
    }

    fn pod(manifests: &Manifests) -> &PodSpec {
        manifests.deployment.spec.template.spec.as_ref().unwrap()
    }

    fn container(manifests: &Manifests) -> &Container {
        let containers = &pod(manifests).containers;
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    /// The variables that a container gets, with something for its secret ones.
    fn variables(manifests: &Manifests) -> BTreeMap<String, String> {
        let container = container(manifests);
        let secret = manifests.secret.string_data.as_ref().unwrap();
        let mut variables = BTreeMap::new();
        for from in container.env_from.iter().flatten() {
            let map = from.config_map_ref.as_ref().expect("only the ConfigMap");
            assert_eq!(Some(&map.name), manifests.settings.metadata.name.as_ref());
            variables.extend(manifests.settings.data.clone().unwrap());
        }
        for variable in container.env.iter().flatten() {
            let value = variable.value.clone().unwrap_or_else(|| {
                let source = variable.value_from.as_ref().unwrap();
                let key = source.secret_key_ref.as_ref().expect("only the Secret");
                assert_eq!(Some(&key.name), manifests.secret.metadata.name.as_ref());
                assert!(secret.contains_key(&key.key), "the Secret has no {}", key.key);
                "secret".to_owned()
            });
            variables.insert(variable.name.clone(), value);
        }
        variables
    }

    fn seconds(value: Option<i64>) -> u64 {
        u64::try_from(value.unwrap()).unwrap()
    }

    #[test]
    fn every_field_is_known_to_kubernetes() {
        let _ = manifests();
    }

    #[test]
    fn a_misspelt_field_is_noticed() {
        let mut documents = vec![serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "lables": {} },
        })];
        let taken = std::panic::catch_unwind(move || take::<ConfigMap>(&mut documents));
        assert!(taken.is_err());
    }

    #[test]
    fn every_variable_is_a_setting_and_the_settings_are_accepted() {
        let manifests = manifests();
        let mut variables = variables(&manifests);
        for name in variables.keys() {
            assert_is_setting(name, "deploy/kubernetes.yaml");
        }
        assert_names_settings("deploy/kubernetes.yaml");
        assert!(!variables.contains_key("API_INSECURE"));
        assert!(!container(&manifests).args.as_ref().unwrap().join(" ").contains("insecure"));
        let config = configured(&variables).unwrap();
        assert_eq!(config.streams.replicas, 3);
        assert_eq!(config.nats.servers.len(), 3, "three nats-servers");
        // As it is, with its placeholders, nothing starts.
        variables.insert("NATS_PASSWORD".to_owned(), String::new());
        assert!(configured(&variables).is_err());
    }

    #[test]
    fn its_secrets_are_known_to_nobody() {
        let secret = manifests().secret.string_data.unwrap();
        for (key, value) in secret {
            let is_empty = value.lines().all(|line| line.is_empty() || line.starts_with('#'));
            assert!(is_empty, "{key} has a value that everybody can read");
        }
    }

    /// A ConfigMap is for everybody to read who may look at the namespace.
    #[test]
    fn no_secret_setting_is_in_the_config_map() {
        let all = manifests();
        for name in all.settings.data.as_ref().unwrap().keys() {
            assert!(!setting(name, "the ConfigMap").is_secret(), "{name}");
        }
        for variable in container(&all).env.iter().flatten() {
            assert!(setting(&variable.name, "the container").is_secret(), "{}", variable.name);
            assert_eq!(variable.value, None, "{}", variable.name);
        }
    }

    #[test]
    fn the_file_of_tokens_is_where_the_setting_says() {
        let manifests = manifests();
        let path = &manifests.settings.data.as_ref().unwrap()["API_TOKENS_FILE"];
        let volume = &pod(&manifests).volumes.as_ref().unwrap()[0];
        let source = volume.secret.as_ref().unwrap();
        assert_eq!(source.secret_name, manifests.secret.metadata.name);
        let mount = &container(&manifests).volume_mounts.as_ref().unwrap()[0];
        assert_eq!(mount.name, volume.name);
        assert_eq!(mount.read_only, Some(true));
        let items = source.items.as_ref().unwrap();
        let files = items.iter().map(|item| format!("{}/{}", mount.mount_path, item.path));
        assert!(files.collect::<Vec<_>>().contains(path), "{path}");
        let keys = manifests.secret.string_data.as_ref().unwrap();
        assert!(items.iter().all(|item| keys.contains_key(&item.key)));
        // 0440, and the group is that of the process.
        assert_eq!(source.default_mode, Some(0o440));
        let context = pod(&manifests).security_context.as_ref().unwrap();
        assert_eq!(context.fs_group, context.run_as_group);
    }

    #[test]
    fn all_is_in_one_namespace_under_one_name() {
        fn of<T: Metadata<Scope = NamespaceResourceScope, Ty = ObjectMeta>>(it: &T) -> [String; 2] {
            let metadata = it.metadata().clone();
            [metadata.namespace.unwrap(), metadata.name.unwrap()]
        }
        let all = manifests();
        let expected = [all.namespace.metadata.name.clone().unwrap(), "nats-scheduler".to_owned()];
        assert_eq!(of(&all.account), expected);
        assert_eq!(of(&all.settings), expected);
        assert_eq!(of(&all.secret), expected);
        assert_eq!(of(&all.deployment), expected);
        assert_eq!(of(&all.budget), expected);
        assert_eq!(of(&all.service), expected);
        assert_eq!(of(&all.policy), expected);
        assert_eq!(all.account.automount_service_account_token, Some(false));
        let pod = pod(&all);
        assert_eq!(pod.service_account_name, all.account.metadata.name);
        assert_eq!(pod.automount_service_account_token, Some(false));
    }

    #[test]
    fn every_selector_finds_the_pods() {
        let all = manifests();
        let deployment = &all.deployment.spec;
        let labels = deployment.template.metadata.as_ref().unwrap().labels.clone().unwrap();
        let finds = |what: &str, wanted: &BTreeMap<String, String>| {
            assert!(!wanted.is_empty(), "{what} selects everything");
            let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
            assert!(wanted.iter().all(has), "{what}: {wanted:?} is not in {labels:?}");
        };
        let of = |selector: &LabelSelector| selector.match_labels.clone().unwrap();
        finds("Deployment", &of(&deployment.selector));
        finds("Service", all.service.spec.as_ref().unwrap().selector.as_ref().unwrap());
        let budget = all.budget.spec.as_ref().unwrap();
        finds("PodDisruptionBudget", &of(budget.selector.as_ref().unwrap()));
        let policy = all.policy.spec.as_ref().unwrap();
        finds("NetworkPolicy", &of(policy.pod_selector.as_ref().unwrap()));
        let spread = pod(&all).topology_spread_constraints.clone().unwrap();
        assert!(spread.iter().any(|rule| rule.topology_key == "kubernetes.io/hostname"));
        for rule in spread {
            finds(&rule.topology_key, &of(rule.label_selector.as_ref().unwrap()));
        }
    }

    #[test]
    fn three_instances_of_which_one_at_a_time_may_be_missing() {
        let all = manifests();
        let deployment = &all.deployment.spec;
        assert_eq!(deployment.replicas, Some(3));
        let strategy = deployment.strategy.as_ref().unwrap();
        let rolling = strategy.rolling_update.as_ref().unwrap();
        assert_eq!(rolling.max_unavailable, Some(IntOrString::Int(0)));
        assert_eq!(rolling.max_surge, Some(IntOrString::Int(1)));
        let budget = all.budget.spec.as_ref().unwrap();
        assert_eq!(budget.min_available, Some(IntOrString::Int(2)));
        // Else no node can be drained while NATS is down.
        assert_eq!(budget.unhealthy_pod_eviction_policy.as_deref(), Some("AlwaysAllow"));
    }

    #[test]
    fn probes_and_services_ask_the_port_that_listens() {
        fn get(probe: Option<&Probe>) -> &HTTPGetAction {
            probe.unwrap().http_get.as_ref().unwrap()
        }
        let all = manifests();
        let container = container(&all);
        let port = &container.ports.as_ref().unwrap()[0];
        let number = port.container_port.to_string();
        assert_eq!(number, all.settings.data.as_ref().unwrap()["API_PORT"]);
        let named = IntOrString::String(port.name.clone().unwrap());
        for (probe, path) in [
            (&container.startup_probe, "/live"),
            // A restart mends no NATS, so only readiness may depend on it.
            (&container.liveness_probe, "/live"),
            (&container.readiness_probe, "/ready"),
        ] {
            let get = get(probe.as_ref());
            assert_eq!(get.path.as_deref(), Some(path));
            assert_eq!(get.port, named);
            assert_eq!(get.scheme, None);
            assert_eq!(get.http_headers, None, "probes need no token");
        }
        let service = all.service.spec.as_ref().unwrap();
        assert_eq!(service.ports.as_ref().unwrap()[0].target_port.as_ref(), Some(&named));
        let policy = all.policy.spec.as_ref().unwrap();
        let ingress = &policy.ingress.as_ref().unwrap()[0];
        assert_eq!(ingress.ports.as_ref().unwrap()[0].port.as_ref(), Some(&named));
        let template = &all.deployment.spec.template;
        let notes = template.metadata.as_ref().unwrap().annotations.as_ref().unwrap();
        assert_eq!(notes["prometheus.io/scrape"], "true");
        assert_eq!(notes["prometheus.io/port"], number);
        assert_eq!(notes["prometheus.io/path"], "/metrics");
    }

    #[test]
    fn an_instance_has_the_time_to_stop() {
        let all = manifests();
        let variables = variables(&all);
        let grace = variables.get("SHUTDOWN_GRACE_SECONDS").cloned();
        let grace = grace.unwrap_or_else(|| default_of("SHUTDOWN_GRACE_SECONDS"));
        let grace: u64 = grace.parse().unwrap();
        let lifecycle = container(&all).lifecycle.as_ref().unwrap();
        let hook = lifecycle.pre_stop.as_ref().unwrap();
        assert!(hook.exec.is_none(), "the image has no shell");
        let sleep = seconds(Some(hook.sleep.as_ref().unwrap().seconds));
        let termination = seconds(pod(&all).termination_grace_period_seconds);
        assert!(termination > sleep + grace + LEAVING, "{termination} {sleep} {grace}");
    }

    #[test]
    fn it_has_no_right_that_it_does_not_need() {
        let all = manifests();
        let pod = pod(&all);
        let context = pod.security_context.as_ref().unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(context.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
        assert!(read("Dockerfile").contains(&format!(
            "USER {}:{}",
            context.run_as_user.unwrap(),
            context.run_as_group.unwrap()
        )));
        let own = container(&all).security_context.as_ref().unwrap();
        assert_eq!(own.allow_privilege_escalation, Some(false));
        assert_eq!(own.read_only_root_filesystem, Some(true));
        let capabilities = own.capabilities.as_ref().unwrap();
        assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
        assert_eq!(capabilities.add, None);
        assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
    }

    #[test]
    fn it_runs_the_image_of_this_version_within_bounds() {
        let all = manifests();
        let container = container(&all);
        let image = container.image.as_ref().unwrap();
        let expected = concat!("/nats-scheduler:", env!("CARGO_PKG_VERSION"));
        assert!(image.ends_with(expected), "{image}");
        // The entry point is that of the image.
        assert_eq!(container.command, None);
        assert_eq!(container.args.as_deref(), Some(&["serve".to_owned()][..]));
        let resources = container.resources.as_ref().unwrap();
        let requests = resources.requests.as_ref().unwrap();
        assert!(requests.contains_key("cpu") && requests.contains_key("memory"));
        assert!(resources.limits.as_ref().unwrap().contains_key("memory"));
    }
}

mod systemd {
    use super::*;

    const UNIT: &str = "deploy/nats-scheduler.service";

    /// The directives of systemd that the unit may have; a name that is not here is misspelt, or new.
    const KNOWN: [(&str, &[&str]); 3] = [
        (
            "Unit",
            &[
                "Description",
                "Documentation",
                "Wants",
                "After",
                "StartLimitIntervalSec",
                "StartLimitBurst",
            ],
        ),
        (
            "Service",
            &[
                "AmbientCapabilities",
                "CapabilityBoundingSet",
                "DynamicUser",
                "Environment",
                "EnvironmentFile",
                "ExecStart",
                "KillSignal",
                "LimitNOFILE",
                "LoadCredential",
                "LockPersonality",
                "MemoryDenyWriteExecute",
                "NoNewPrivileges",
                "PrivateDevices",
                "PrivateTmp",
                "PrivateUsers",
                "ProtectClock",
                "ProtectControlGroups",
                "ProtectHome",
                "ProtectHostname",
                "ProtectKernelLogs",
                "ProtectKernelModules",
                "ProtectKernelTunables",
                "ProtectProc",
                "ProtectSystem",
                "RemoveIPC",
                "Restart",
                "RestartPreventExitStatus",
                "RestartSec",
                "RestrictAddressFamilies",
                "RestrictNamespaces",
                "RestrictRealtime",
                "RestrictSUIDSGID",
                "SystemCallArchitectures",
                "SystemCallErrorNumber",
                "SystemCallFilter",
                "TimeoutStopSec",
                "Type",
                "UMask",
            ],
        ),
        ("Install", &["WantedBy"]),
    ];

    /// Section, name and value of each directive; with `commented`, also of those that are offered
    /// in comments.
    fn directives(commented: bool) -> Vec<(String, String, String)> {
        let text = read(UNIT);
        let mut section = String::new();
        let mut found = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{UNIT}:{}: {line}", number + 1);
            let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric());
            if let Some(name) = line.strip_prefix('[') {
                name.strip_suffix(']')
                    .unwrap_or_else(|| panic!("{place}"))
                    .clone_into(&mut section);
            } else if let Some(comment) = line.strip_prefix('#') {
                let offered = comment.trim().split_once('=').filter(|(name, _)| is_name(name));
                if let Some((name, value)) = offered.filter(|_| commented) {
                    found.push((section.clone(), name.to_owned(), value.to_owned()));
                }
            } else if !line.is_empty() {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{place}"));
                assert!(is_name(name) && !value.starts_with(' '), "{place}");
                assert!(!value.ends_with('\\'), "{place}: keep it on one line");
                found.push((section.clone(), name.to_owned(), value.to_owned()));
            }
        }
        found
    }

    fn value(name: &str) -> String {
        let found: Vec<_> = directives(false).into_iter().filter(|(_, it, _)| it == name).collect();
        let [(_, _, value)] = &found[..] else { panic!("{name}: {found:?}") };
        value.clone()
    }

    #[test]
    fn every_directive_is_known_in_its_section() {
        for (section, name, value) in directives(true) {
            let known = KNOWN.iter().find(|(it, _)| *it == section);
            let (_, names) = known.unwrap_or_else(|| panic!("section {section:?} of {name}"));
            assert!(names.contains(&&*name), "[{section}] {name}={value}");
        }
    }

    #[test]
    fn it_starts_the_program_and_starts_it_again() {
        assert_eq!(value("ExecStart"), format!("{PROGRAM} serve"));
        assert_eq!(value("Type"), "exec");
        assert_eq!(value("EnvironmentFile"), "/etc/nats-scheduler/env");
        assert_eq!(value("Restart"), "always");
        assert!(value("RestartSec").parse::<u32>().unwrap() >= 1);
        // The exit code of settings that cannot be used.
        assert_eq!(value("RestartPreventExitStatus"), "2");
        assert_is_command(&["serve"]);
    }

    #[test]
    fn it_has_the_time_to_stop() {
        assert_eq!(value("KillSignal"), "SIGTERM");
        let timeout: u64 = value("TimeoutStopSec").parse().unwrap();
        let grace: u64 = default_of("SHUTDOWN_GRACE_SECONDS").parse().unwrap();
        assert!(timeout > grace + LEAVING, "{timeout} {grace}");
    }

    #[test]
    fn it_is_hardened() {
        for (name, expected) in [
            ("DynamicUser", "yes"),
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateDevices", "yes"),
            ("MemoryDenyWriteExecute", "yes"),
            ("CapabilityBoundingSet", ""),
            ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        let filters =
            directives(false).into_iter().filter(|(_, name, _)| name == "SystemCallFilter");
        let filters: Vec<_> = filters.map(|(_, _, value)| value).collect();
        assert_eq!(filters, ["@system-service", "~@privileged @resources"]);
    }

    #[test]
    fn the_variables_that_it_offers_are_settings() {
        for (_, name, value) in directives(true) {
            if name == "Environment" {
                assert_is_setting(value.split('=').next().unwrap(), UNIT);
            }
        }
    }
}

mod settings {
    use super::*;

    const TEMPLATE: &str = "deploy/.env.example";

    /// What a production service usually sets, beside its secrets.
    const SET: [(&str, &str); 3] = [
        ("NATS_URL", "nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222"),
        ("STREAM_REPLICAS", "3"),
        ("ALLOWED_TARGET_COMMANDS", "cmd.notification.>,cmd.billing.>"),
    ];

    const HEAD: &str = "\
# Settings of nats-scheduler: a template for systemd's EnvironmentFile and for `docker run --env-file`.
#
# Every setting is here, with what it does, what it must be, and its default. Take the `# ` away from what you set.
# Values stand as they are, without quotes, to the end of the line; it is no shell script, so do not `source` it. With
# passwords or tokens in it, let nobody else read it. docs/deployment.md says what to set in production.
";

    /// The longest line of a comment.
    const WIDTH: usize = 118;

    /// A text as a comment of lines that are not too long.
    fn comment(text: &str) -> String {
        let mut lines = vec!["#".to_owned()];
        for word in text.split(' ') {
            match lines.last_mut() {
                Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
                _ => lines.push(format!("# {word}")),
            }
        }
        lines.join("\n")
    }

    /// The template, as it should be.
    fn expected() -> String {
        let mut text = HEAD.to_owned();
        for setting in settings() {
            let (name, default) = (setting.name(), setting.default());
            let must_be = match plain(&setting.expected()) {
                expected if expected.is_empty() => expected,
                expected => format!(". Must be {expected}"),
            };
            let about = comment(&format!("{}{must_be}", plain(setting.about())));
            text += &format!("\n{about}\n# {name}={default}\n");
            for (_, value) in SET.iter().filter(|(it, _)| *it == name) {
                text += &format!("{name}={value}\n");
            }
        }
        text
    }

    fn assignments(text: &str) -> BTreeMap<String, String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line}")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn the_template_has_every_setting_with_its_meaning_and_default() {
        let (template, expected) = (read(TEMPLATE), expected());
        if template == expected {
            return;
        }
        let lines = template.lines().zip(expected.lines()).enumerate();
        let first = lines.into_iter().find(|(_, (one, other))| one != other);
        panic!(
            "{TEMPLATE} is not what the settings say (first difference: {first:?}). Write it again:\n\
             cargo test --test it the_template_has | \
             sed -n '/^-----8</,/^----->8/{{//!p}}' > {TEMPLATE}\n\
             -----8<-----\n{expected}----->8-----"
        );
    }

    #[test]
    fn the_template_is_accepted_as_it_is() {
        let variables = assignments(&read(TEMPLATE));
        for name in variables.keys() {
            assert_is_setting(name, TEMPLATE);
        }
        let config = configured(&variables).unwrap();
        assert_eq!(config.streams.replicas, 3);
    }

    #[test]
    fn every_default_is_accepted_when_it_is_set() {
        let uncommented = read(TEMPLATE)
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| {
                line.split_once('=').is_some_and(|(name, _)| {
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
                })
            })
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        let variables = assignments(&uncommented);
        for setting in settings() {
            assert_eq!(
                variables.get(setting.name()),
                Some(&setting.default()),
                "{}",
                setting.name()
            );
        }
        configured(&variables).map(drop).unwrap();
    }
}

mod guide {
    use super::*;

    const GUIDE: &str = "docs/deployment.md";

    #[test]
    fn every_setting_that_it_names_is_one() {
        assert_names_settings(GUIDE);
    }

    #[test]
    fn every_file_that_it_links_to_is_there() {
        let text = read(GUIDE);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !link.contains("://") {
                assert!(root().join("docs").join(path).exists(), "{GUIDE}: {link}");
            }
        }
    }
}
