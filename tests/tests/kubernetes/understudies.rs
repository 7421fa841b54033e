//! `Understudy`: what the API server refuses, and how a model comes to the pods that
//! are created after it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Cluster;
use crate::api::{Refused, is_ready, name};
use crate::faults::lone;

const UNDERSTUDIES: &str = "/apis/understudy.dev/v1alpha1/namespaces/agents/understudies";

fn write(cluster: &Cluster, called: &str, spec: &Value) -> Result<Value, Refused> {
    let understudy = json!({"apiVersion": "understudy.dev/v1alpha1", "kind": "Understudy",
        "metadata": {"name": called}, "spec": spec});
    cluster.api.create(UNDERSTUDIES, &understudy)
}

pub(crate) fn reach_new_pods(cluster: &Cluster) {
    let api = &cluster.api;
    let remote = |url: &str| json!({"remote": {"base_url": url, "model": "m"}});
    let bad = [
        (json!({}), "spec.remote"),
        (remote("ftp://models/v1"), "base_url is an http:// or https:// URL"),
        (remote("http://models/v1?key=1"), "base_url is an http:// or https:// URL"),
        (remote("http://models:99999/v1"), "base_url is an http:// or https:// URL"),
        (remote("http://10.0.0.999/v1"), "four numbers from 0 to 255"),
        (remote("http://llama-3.2/v1"), "four numbers from 0 to 255"),
        (json!({"remote": {"base_url": "http://models/v1", "model": ""}}), "spec.remote.model"),
        (
            json!({"remote": {"base_url": "http://models/v1", "model": "m", "budget_tokens": -1}}),
            "budget_tokens",
        ),
        (
            json!({"remote": {"base_url": "http://models/v1", "model": "m"}, "secret": {"name": "x"}}),
            "spec.secret.key",
        ),
    ];
    for (spec, says) in &bad {
        let refused = write(cluster, "bad", spec).unwrap_err();
        assert!(refused.message.contains(says), "{spec}: {}", refused.message);
    }

    let url = "http://slow.peers.svc.cluster.local/v1";
    let spec = json!({"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["help-desk", "late"]}]},
        "remote": {"base_url": url, "model": "small", "budget_tokens": 100_000},
        "secret": {"name": "provider-key", "key": "key"}});
    write(cluster, "small", &spec).unwrap();
    let status = || api.get(&format!("{UNDERSTUDIES}/small"))["status"].clone();
    let counted = |pods: u64, behind: u64| {
        api.until(
            "the status counts them",
            Duration::from_secs(30),
            || (status()["pods"].as_u64(), status()["behind"].as_u64()) == (Some(pods), Some(behind)),
            || status().to_string(),
        );
    };
    // The agent was there before it.
    counted(0, 1);
    let asked =
        || -> Value { serde_json::from_str(&cluster.service("peers", "slow", "/stats")).unwrap_or_default() };
    let before = asked();
    let mut pod = lone("late", "understudy.test/understudy:1");
    let agent = &mut pod["spec"]["containers"][0];
    agent["args"] = json!(["--forever", "--only", "triage", "--workers", "2"]);
    agent["env"].as_array_mut().unwrap().truncate(1);
    api.create("/api/v1/namespaces/agents/pods", &pod).unwrap();
    let pod = api.pod("it runs", "agents", "app=late", is_ready);
    counted(1, 1);
    let variables = pod["spec"]["initContainers"][0]["env"].as_array().unwrap();
    assert!(variables.iter().any(|v| v["name"] == "UNDERSTUDY_REMOTE_SMALL_BASE_URL" && v["value"] == url));
    api.until(
        "the model has been asked in the shadows",
        Duration::from_secs(120),
        || asked()["calls"].as_u64() > before["calls"].as_u64(),
        || api.log("agents", name(&pod), "understudy"),
    );
    assert_eq!(asked()["refused"], before["refused"], "it was asked without the Secret's key");
    api.delete("/api/v1/namespaces/agents/pods/late");
    counted(0, 1);
}
