//! Pods of every shape, created through the API server and read back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Cluster;

/// The injector's own table: what it must make of each pod.
const SHAPES: &str = include_str!("../../../deploy/injector/tests/shapes.json");

const SOON: Duration = Duration::from_secs(60);

fn shapes() -> Vec<Value> {
    serde_json::from_str(SHAPES).unwrap()
}

/// The pod of a shape that nobody is to run: no node has this label.
fn pod_of(shape: &Value) -> Value {
    let mut pod = shape["pod"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["spec"]["nodeSelector"]["understudy.test/none"] = json!("true");
    pod
}

/// Makes a namespace in which pods can be created.
fn namespace(cluster: &Cluster, name: &str) {
    let api = &cluster.api;
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    api.create("/api/v1/namespaces", &made).unwrap();
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    api.until("its account is there", SOON, || api.find(&account).is_some(), String::new);
}

pub(crate) fn are_reviewed(cluster: &Cluster) {
    let api = &cluster.api;
    namespace(cluster, "shapes");
    let shapes = shapes();
    let (mut injected, mut left_alone, mut refused) = (0, 0, Vec::new());
    for shape in &shapes {
        let (name, pod) = (shape["name"].as_str().unwrap(), pod_of(shape));
        let created = match api.create("/api/v1/namespaces/shapes/pods", &pod) {
            Ok(created) => created,
            Err(e) => {
                refused.push(format!("{name}: {}", e.message));
                continue;
            }
        };
        let containers = created["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
        let ours =
            containers.iter().filter(|c| c["name"] == "understudy" && c["restartPolicy"] == "Always").count();
        // The API server calls again when another plugin has changed the pod: once is
        // what must come out.
        let wanted = usize::from(shape["expect"] == "injected");
        assert_eq!(ours, wanted, "{name}: {created}");
        if ours == 1 {
            injected += 1;
            reaches(name, shape, &created);
        } else {
            left_alone += 1;
        }
    }
    eprintln!(
        "          {injected} injected, {left_alone} left alone; the API server itself refused {}: {refused:?}",
        refused.len()
    );
    assert!(injected >= 40 && left_alone >= 10, "{injected} and {left_alone}");
    api.delete("/api/v1/namespaces/shapes");
}

/// Bytes of variables: with them a review is near what an API server takes.
const HUGE: usize = 1_200_000;

pub(crate) fn may_be_huge(cluster: &Cluster) {
    let mut pod = crate::faults::busy("huge");
    pod["metadata"]["labels"]["understudy.dev/inject"] = json!("true");
    let value = "x".repeat(10_000);
    let many = HUGE / value.len();
    pod["spec"]["containers"][0]["env"] =
        (0..many).map(|n| json!({"name": format!("LARGE_{n}"), "value": value})).collect();
    let made = cluster.api.create("/api/v1/namespaces/agents/pods?dryRun=All", &pod).unwrap();
    assert!(crate::is_injected(&made), "a pod of {HUGE} bytes has no sidecar");
    assert_eq!(made["spec"]["containers"][0]["env"].as_array().unwrap().len(), many);
}

pub(crate) fn fit_a_quota_and_a_range(cluster: &Cluster) {
    let api = &cluster.api;
    let home = "/api/v1/namespaces/narrow";
    namespace(cluster, "narrow");
    let hard = json!({"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "limits.memory": "2Gi",
        "limits.ephemeral-storage": "1Gi"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}});
    api.create(&format!("{home}/resourcequotas"), &quota).unwrap();
    let range = json!({"type": "Container", "default": {"cpu": "400m", "memory": "256Mi", "ephemeral-storage": "256Mi"},
        "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
        "max": {"cpu": "400m", "memory": "512Mi", "ephemeral-storage": "256Mi"}});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "each"}, "spec": {"limits": [range]}});
    api.create(&format!("{home}/limitranges"), &range).unwrap();
    let counted = || api.get(&format!("{home}/resourcequotas/all"))["status"]["hard"].is_object();
    api.until("the quota is counted", SOON, counted, String::new);
    let mut pod = crate::faults::busy("fits");
    pod["metadata"]["labels"]["understudy.dev/inject"] = json!("true");
    pod["spec"]["nodeSelector"] = json!({"understudy.test/none": "true"});
    // The range gives its one container limits; a quota of limits wants the sidecar's, too.
    let made = api.create(&format!("{home}/pods"), &pod).unwrap();
    assert!(crate::is_injected(&made), "{made}");
    let sidecar = &made["spec"]["initContainers"][0]["resources"];
    let limits = json!({"cpu": "400m", "memory": "192Mi", "ephemeral-storage": "256Mi"});
    assert_eq!(sidecar["limits"], limits, "{sidecar}");
    let used = || api.get(&format!("{home}/resourcequotas/all"))["status"]["used"]["limits.cpu"].clone();
    api.until("the sidecar counts", SOON, || used() == "800m", || used().to_string());
    api.delete(home);
}

pub(crate) fn find_their_namespace_prepared(cluster: &Cluster) {
    let api = &cluster.api;
    let maps = "/api/v1/namespaces/again/configmaps";
    for time in ["the first", "the second"] {
        namespace(cluster, "again");
        let pod = api.create("/api/v1/namespaces/again/pods", &pod_of(&shapes()[0])).unwrap();
        assert_eq!(pod["metadata"]["labels"]["understudy.dev/injected"], "true", "{pod}");
        for map in ["understudy-variables", "understudy-ca"] {
            assert!(api.find(&format!("{maps}/{map}")).is_some(), "no {map} {time} time");
        }
        api.delete("/api/v1/namespaces/again");
        api.gone("/api/v1/namespaces/again", SOON);
    }
}

/// The variables reach the containers that they should, before whatever the user has.
fn reaches(name: &str, shape: &Value, created: &Value) {
    for container in created["spec"]["containers"].as_array().unwrap() {
        let wanted = shape["reaches"].as_array().unwrap().contains(&container["name"]);
        let first = container["envFrom"][0]["configMapRef"]["name"] == "understudy-variables";
        assert_eq!(first, wanted, "{name}: {container}");
    }
    assert_eq!(created["metadata"]["labels"]["understudy.dev/injected"], "true", "{name}");
    let status: Value =
        serde_json::from_str(created["metadata"]["annotations"]["understudy.dev/status"].as_str().unwrap())
            .unwrap();
    let kept = status["containers"].as_object().unwrap().values().flat_map(|k| k.as_array().unwrap()).count();
    assert_eq!(kept, shape["kept"].as_array().map_or(0, Vec::len), "{name}: {status}");
}
