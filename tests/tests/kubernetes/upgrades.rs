//! The chart is upgraded, rolled back, and given a configuration that is wrong.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::name;
use crate::{Cluster, HOME, RELEASE, chart, told, values};

fn helm(args: &[&str]) -> (bool, String) {
    let out = Command::new(told("UNDERSTUDY_HELM")).args(["--namespace", HOME]).args(args).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// A pod that is only asked for, as the API server would have it.
fn asked_for(cluster: &Cluster) -> Value {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dry"},
        "spec": {"containers": [{"name": "agent", "image": "agent:1",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}}]}});
    cluster.api.create("/api/v1/namespaces/agents/pods?dryRun=All", &pod).unwrap()
}

fn is_injected(pod: &Value) -> bool {
    pod["spec"]["initContainers"][0]["name"] == "understudy"
}

pub(crate) fn leave_no_gap(cluster: &Cluster) {
    let (over, pods, bare) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                pods.fetch_add(1, Ordering::Relaxed);
                bare.fetch_add(usize::from(!is_injected(&asked_for(cluster))), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        let (chart, values) = (chart(), values());
        let upgrade = [
            "upgrade",
            RELEASE,
            &chart,
            "--values",
            &values,
            "--set",
            "sidecar.waitSeconds=21",
            "--wait",
            "--timeout",
            "120s",
        ];
        let upgraded = helm(&upgrade);
        let rolled_back = helm(&["rollback", RELEASE, "--wait", "--timeout", "120s"]);
        over.store(true, Ordering::Relaxed);
        assert!(upgraded.0, "{}", upgraded.1);
        assert!(rolled_back.0, "{}", rolled_back.1);
    });
    let (pods, bare) = (pods.into_inner(), bare.into_inner());
    eprintln!("          {pods} pods meanwhile, {bare} of them without a sidecar");
    // A review that is not answered in time admits its pod as it is: none on a quiet
    // machine, one of 387 was seen on one that compiled beside it.
    assert!(bare * 100 <= pods, "{bare} of {pods}");
}

pub(crate) fn with_a_mistake(cluster: &Cluster) {
    let (chart, values) = (chart(), values());
    let upgrade = [
        "upgrade",
        RELEASE,
        &chart,
        "--values",
        &values,
        "--set",
        "config.policy.tau=7",
        "--wait",
        "--timeout",
        "20s",
    ];
    assert!(!helm(&upgrade).0, "a target of 7 was taken");
    let new =
        cluster.api.pod("the new injector is held", HOME, "app.kubernetes.io/component=injector", |p| {
            !p["status"]["initContainerStatuses"][0]["state"]["waiting"].is_null()
        });
    let said = cluster.api.log(HOME, name(&new), "check");
    assert!(said.contains("policy.tau: 7 is not allowed"), "{said}");
    assert!(is_injected(&asked_for(cluster)), "the old injector is gone");
    let rolled_back = helm(&["rollback", RELEASE, "--wait", "--timeout", "120s"]);
    assert!(rolled_back.0, "{}", rolled_back.1);
}
