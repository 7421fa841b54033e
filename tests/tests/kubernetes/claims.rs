//! Volumes that are claimed: a journal on one keeps its evidence when its pod goes.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;

use crate::Cluster;
use crate::api::is_ready;
use crate::faults::busy;

/// A folder of the node as a volume, and a claim of the same name to it.
pub(crate) fn claim(name: &str, namespace: &str, access: &str, folder: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [{access}]
  storageClassName: {name}
  hostPath: {{path: {folder}, type: Directory}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  accessModes: [{access}]
  storageClassName: {name}
  resources: {{requests: {{storage: 1Gi}}}}"
    )
}

pub(crate) fn outlast_their_pods(cluster: &Cluster) {
    let (api, path) = (&cluster.api, "/api/v1/namespaces/agents/pods");
    let folder = tempfile::tempdir().unwrap();
    // Such a volume knows no fsGroup.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    api.apply(&claim("keeper", "agents", "ReadWriteOnce", &folder.path().display().to_string()));
    let mut pod = busy("keeper");
    pod["metadata"]["annotations"]["understudy.dev/journal-claim"] = json!("keeper");
    // The least that there is: a sidecar that would not have it would not start.
    pod["metadata"]["annotations"]["understudy.dev/journal-size"] = json!("64Mi");
    // The agent does not listen when it is told to end.
    pod["spec"]["terminationGracePeriodSeconds"] = json!(2);
    let recorded = |known: f64| {
        api.create(path, &pod).unwrap();
        let pod = api.pod("the pod with a claim runs", "agents", "app=keeper", is_ready);
        let mut calls = 0.0;
        api.until(
            "its calls are counted",
            Duration::from_secs(60),
            || {
                calls = cluster.metric(&pod, "understudy_task_calls");
                calls > known
            },
            || api.log("agents", "keeper", "understudy"),
        );
        calls
    };
    let before = recorded(20.0);
    api.end(&format!("{path}/keeper"));
    api.gone(&format!("{path}/keeper"), Duration::from_secs(60));
    let after = recorded(0.0);
    assert!(after >= before, "{before} calls were known, and {after} are after the pod was created anew");
    eprintln!("          {before} calls recorded, {after} known to the next pod when it was first asked");
    api.delete(&format!("{path}/keeper"));
}
