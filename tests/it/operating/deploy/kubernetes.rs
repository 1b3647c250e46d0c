//! The Kubernetes manifests.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, HTTPGetAction, Namespace, PodSpec, Probe, Secret, Service, ServiceAccount,
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
    let is_it =
        |document: &Value| document["kind"] == T::KIND && document["apiVersion"] == T::API_VERSION;
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
