//! Pods of every shape, created through the API server and read back.

use serde_json::{Value, json};

use crate::Cluster;

/// The injector's own table: what it must make of each pod.
const SHAPES: &str = include_str!("../../../deploy/injector/tests/shapes.json");

pub(crate) fn are_reviewed(cluster: &Cluster) {
    let api = &cluster.api;
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shapes"}});
    api.create("/api/v1/namespaces", &made).unwrap();
    let accounts = "/api/v1/namespaces/shapes/serviceaccounts/default";
    api.until(
        "its account is there",
        std::time::Duration::from_secs(30),
        || api.find(accounts).is_some(),
        String::new,
    );
    let shapes: Vec<Value> = serde_json::from_str(SHAPES).unwrap();
    let (mut injected, mut left_alone, mut refused) = (0, 0, Vec::new());
    for shape in &shapes {
        let (name, mut pod) = (shape["name"].as_str().unwrap(), shape["pod"].clone());
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        // Nobody is to run them: no node has this name.
        pod["spec"]["nodeSelector"]["understudy.test/none"] = json!("true");
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
