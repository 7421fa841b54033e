//! `UnderstudyPolicy`: what the API server refuses, and how soon a pod goes by one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Cluster;
use crate::api::{Refused, is_ready, name};

const POLICIES: &str = "/apis/understudy.dev/v1alpha1/namespaces/agents/understudypolicies";

fn write(cluster: &Cluster, called: &str, spec: &Value) -> Result<Value, Refused> {
    let policy = json!({"apiVersion": "understudy.dev/v1alpha1", "kind": "UnderstudyPolicy",
        "metadata": {"name": called}, "spec": spec});
    cluster.api.create(POLICIES, &policy)
}

/// The stage of the agent's one task, as its sidecar's metrics have it: 1 is
/// shadowing, 3 live.
fn stage(cluster: &Cluster, pod: &Value) -> f64 {
    cluster.metric(pod, "understudy_task_stage")
}

pub(crate) fn are_followed(cluster: &Cluster) {
    let api = &cluster.api;
    let bad = [
        (json!({}), "policy or stage is needed"),
        (json!({"stage": "canary"}), "spec.stage"),
        (json!({"policy": {"tau": 1.0}}), "tau lies between 0 and 1"),
        (json!({"policy": {"tau": "high"}}), "spec.policy.tau"),
        (json!({"policy": {"audit_share": 0}}), "a live task is always audited"),
        (json!({"policy": {"steps": [0.5, 0.1]}}), "steps rise"),
        (json!({"policy": {"steps": []}}), "spec.policy.steps"),
        (json!({"policy": {"cusum_limit": 3}}), "spec.policy.cusum_limit"),
        (json!({"policy": {"first_fit": -1}}), "spec.policy.first_fit"),
        (json!({"policy": {"models": ["specialized"]}}), "models are kinds"),
        (json!({"policy": {"models": ["head", "head"]}}), "models has none twice"),
        (json!({"policy": {"models": vec!["head"; 17]}}), "spec.policy.models"),
        (json!({"task": "", "stage": "live"}), "spec.task"),
    ];
    for (spec, says) in &bad {
        let refused = write(cluster, "bad", spec).unwrap_err();
        assert!(refused.message.contains(says), "{spec}: {}", refused.message);
    }

    let pod = api.pod("the agent runs", "agents", "app=help-desk", is_ready);
    assert!(stage(cluster, &pod) >= 2.0, "it serves");
    let log = || api.log("agents", name(&pod), "understudy");
    let began = Instant::now();
    write(cluster, "back", &json!({"selector": {"matchLabels": {"app": "help-desk"}}, "stage": "shadowing"}))
        .unwrap();
    api.until(
        "nothing is served",
        Duration::from_secs(20),
        || cluster.metric(&pod, "understudy_serving") < 1.0,
        log,
    );
    eprintln!("          taken back {:.2} s after it was written", began.elapsed().as_secs_f64());
    api.until("it is shadowing", Duration::from_secs(60), || stage(cluster, &pod) == 1.0, log);
    let served = cluster.metric(&pod, "understudy_served_total");
    let status = |called: &str| api.get(&format!("{POLICIES}/{called}"))["status"].clone();
    api.until(
        "its status says so",
        Duration::from_secs(60),
        || {
            let status = status("back");
            let stages = status["stages"].as_str().unwrap_or_default();
            status["pods"] == 1 && status["applied"] == 1 && stages.ends_with(": 1 shadowing")
        },
        || format!("{}\n{}", status("back"), log()),
    );
    assert_eq!(cluster.metric(&pod, "understudy_served_total"), served, "who answered?");

    // The task's own policy is the narrower one.
    let stages = status("back")["stages"].as_str().unwrap().to_owned();
    let task = stages.split(':').next().unwrap();
    write(cluster, "own", &json!({"task": task, "stage": "live", "policy": {"audit_share": 0.3}})).unwrap();
    api.until(
        "it serves again",
        Duration::from_secs(240),
        || cluster.metric(&pod, "understudy_served_total") > served + 20.0,
        || format!("{}\n{}\n{}", status("back"), status("own"), log()),
    );
    assert!(log().contains("the task's rules have changed"), "{}", log());
    let (back, own) = (status("back"), status("own"));
    assert_eq!((&back["refused"], &own["refused"]), (&json!(0), &json!(0)), "{back} {own}");
    for called in ["back", "own"] {
        api.delete(&format!("{POLICIES}/{called}"));
    }
}
