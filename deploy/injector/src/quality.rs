//! A pod's quality of service, as Kubernetes finds it (`qos.ComputePodQOS`): it is
//! Guaranteed where each of its containers has limits of CPU and memory and asks for
//! just as much. One container that does otherwise makes it Burstable, and a node that
//! runs out of memory ends those first; so its owner is to be told.

use serde_json::Value;

use crate::ask::{ENGINE, NAME, PREFIX};
use crate::quantity::value;
use crate::sidecar::is_whole;

/// What is to be said of an injected pod that is Guaranteed but for our containers.
pub(crate) fn lost(spec: &Value) -> Option<String> {
    // Of a pod that has resources as a whole those count, and nothing else.
    if is_whole(spec) {
        return None;
    }
    let all = ["containers", "initContainers"].into_iter().filter_map(|list| spec[list].as_array()).flatten();
    let (ours, own): (Vec<_>, Vec<_>) = all.partition(|c| c["name"] == NAME || c["name"] == ENGINE);
    if !own.into_iter().all(is_guaranteed) {
        return None;
    }
    let other = ours.into_iter().find(|c| !is_guaranteed(c))?;
    let remedy = if other["name"] == ENGINE {
        "write limits, and requests as high as these, into the chart's engine.inPod.resources".to_owned()
    } else {
        format!(
            "set {PREFIX}cpu-request as high as {PREFIX}cpu-limit, and {PREFIX}memory-request as \
             {PREFIX}memory-limit"
        )
    };
    let name = other["name"].as_str().unwrap_or_default();
    Some(format!(
        "the pod is Burstable and would be Guaranteed without container {name:?}, which has no limits of \
         CPU and memory that it asks for in full; {remedy}"
    ))
}

fn is_guaranteed(container: &Value) -> bool {
    let resources = &container["resources"];
    ["cpu", "memory"].into_iter().all(|what| {
        let limit = value(&resources["limits"][what]).filter(|limit| *limit > 0.0);
        let request = &resources["requests"][what];
        // Who asks for nothing asks for the limit.
        limit.is_some() && (request.is_null() || value(request) == limit)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{applied, shapes};

    fn notes(pod: &Value) -> Vec<String> {
        applied(pod).unwrap().1.notes
    }

    #[test]
    fn a_guaranteed_pod_is_told_that_it_is_burstable_and_what_helps() {
        let mut pod = shapes().into_iter().find(|s| s["name"] == "guaranteed").unwrap()["pod"].clone();
        let said = notes(&pod);
        let helps = "set understudy.dev/cpu-request as high as understudy.dev/cpu-limit";
        assert!(said.len() == 1 && said[0].contains(helps), "{said:?}");
        let (after, _) = applied(&pod).unwrap();
        let status = after["metadata"]["annotations"]["understudy.dev/status"].as_str().unwrap();
        assert!(status.contains("Burstable"), "{status}");
        // As it says.
        for (name, size) in [("cpu-request", "100m"), ("cpu-limit", "0.1"), ("memory-request", "128Mi")] {
            assert_eq!(notes(&pod).len(), 1, "{name}");
            pod["metadata"]["annotations"][format!("understudy.dev/{name}")] = json!(size);
        }
        assert!(notes(&pod).is_empty());
        pod["metadata"]["annotations"]["understudy.dev/engine"] = json!("container");
        assert!(notes(&pod)[0].contains("engine.inPod.resources"), "{:?}", notes(&pod));
    }

    #[test]
    fn who_was_burstable_before_is_told_nothing() {
        let whole =
            json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        for (pod, container) in [
            (json!({}), json!({})),
            (json!({}), json!({"limits": {"cpu": "1"}})),
            (json!({}), json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})),
            (json!({"resources": whole}), whole.clone()),
        ] {
            let mut spec = pod;
            spec["containers"] = json!([{"name": "agent", "image": "agent:1", "resources": container}]);
            let said = notes(&json!({"metadata": {}, "spec": spec}));
            assert!(said.is_empty(), "{said:?}");
        }
    }
}
