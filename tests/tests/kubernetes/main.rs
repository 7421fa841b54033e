//! Understudy in a cluster: the chart on a real node, agents that become observed by
//! a label, a task that the engine answers, traces in Jaeger, and what happens when
//! parts of it fall. `scripts/test-kubernetes.sh` starts the node and runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod api;
mod certificates;
mod claims;
mod control;
mod faults;
mod monitoring;
mod pace;
mod policies;
mod shapes;
mod sidecars;
mod traces;
mod understudies;
mod upgrades;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

use api::{Api, is_ready, name, status};
use serde_json::{Value, json};

const RELEASE: &str = "understudy";
const HOME: &str = "understudy";

/// A cluster with what the steps share.
struct Cluster {
    api: Api,
    http: reqwest::Client,
}

type Step = fn(&Cluster);

const STEPS: &[(&str, Step)] = &[
    ("the chart as it was first packaged is upgraded to this one, and uninstalled", upgrades::from_the_first),
    ("helm installs the chart, and helm test passes", installs),
    ("pods of every shape become what they should, through the API server", shapes::are_reviewed),
    ("a pod that is as large as can be is injected, too", shapes::may_be_huge),
    ("a quota and a range of limits see the sidecar, and have room for it", shapes::fit_a_quota_and_a_range),
    ("a namespace that is deleted and made anew is prepared again", shapes::find_their_namespace_prepared),
    ("a labelled namespace's Deployment is observed, and nothing of it changed but the label", observes),
    ("a Job and a CronJob's Job complete with their sidecars", jobs_complete),
    ("a task goes live and the engine behind its Service answers", is_served),
    ("traces of it are in Jaeger: a served call, a trial in the shadows, a decision", traces::are_in_jaeger),
    ("Prometheus reads it, and every panel and alert has what it asks for", monitoring::is_read),
    ("a pod with an engine of its own rehearses by it", has_its_own_engine),
    ("policies are checked by the API server and followed by the pod", policies::are_followed),
    ("an Understudy reaches pods that are created after it", understudies::reach_new_pods),
    ("only a pod's own token opens the engine", faults::tokens),
    ("only a pod's own token is told policies", faults::policy_tokens),
    ("a journal on a claim outlasts its pod", claims::outlast_their_pods),
    ("a sidecar that is killed is back, and the agent's container stays", sidecars::sidecar_killed),
    ("a sidecar that is out of memory is back likewise", sidecars::sidecar_out_of_memory),
    ("a pod that is told to end gets its open stream whole", sidecars::drained),
    ("a kubelet that is restarted finds its pods as they were", sidecars::kubelet_restarted),
    ("while the API server stands still calls go on and are served", control::api_server_away),
    ("the injector's lease is somebody else's for a while", control::lease_lost),
    ("certificates and their authority are renewed while pods are asked for", certificates::are_renewed),
    ("pods are asked for at fifty a second", pace::fifty_a_second),
    ("the chart is upgraded and rolled back while pods are asked for", upgrades::leave_no_gap),
    ("a mistake in the chart's configuration is found before any pod has it", upgrades::with_a_mistake),
    ("without the engine the provider answers", faults::engine_gone),
    ("an image that cannot be pulled is given up, and later pods start without it", faults::image_missing),
    ("without the injector pods are admitted as they are", faults::injector_gone),
    ("the chart's accounts may do what they need and nothing else", faults::rights),
    ("uninstalling leaves pods as they are", uninstalls),
];

#[test]
fn a_cluster() {
    let cluster = Cluster::new();
    // One step's failure does not hide the others'.
    let mut failed: Vec<&str> = Vec::new();
    for (what, step) in STEPS {
        let began = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| step(&cluster))).is_ok();
        eprintln!("{:>6.1} s  {}{what}", began.elapsed().as_secs_f64(), if passed { "" } else { "FAILED: " });
        failed.extend((!passed).then_some(*what));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is unset: run make test-kubernetes"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

impl Cluster {
    fn new() -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let cluster = Self { api: Api::new(), http };
        cluster.furnish();
        cluster
    }

    /// What is there before anything of ours is.
    fn furnish(&self) {
        let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        for namespace in [HOME, "agents"] {
            let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": restricted}});
            self.api.create("/api/v1/namespaces", &made).unwrap();
        }
        // Nobody downloads the models here.
        self.api.apply(&claims::claim("models", HOME, "ReadOnlyMany", &told("UNDERSTUDY_MODELS")));
        self.api.apply(&read("tests/kubernetes/peers.yaml"));
        let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "provider-key"}, "stringData": {"key": "sk-stand-in-1"}});
        self.api.create("/api/v1/namespaces/agents/secrets", &key).unwrap();
        // An agent's first call is tried once: the provider has to be there by then.
        self.api.pod("the provider is there", "peers", "app=provider", is_ready);
    }

    /// What a URL answers; empty where nobody does.
    fn fetch(&self, url: &str) -> String {
        let asked = async { self.http.get(url).send().await?.text().await };
        self.api.block_on(asked).unwrap_or_default()
    }

    fn helm(&self, args: &[&str]) -> String {
        try_helm(args).unwrap_or_else(|text| panic!("helm {args:?}\n{text}"))
    }

    /// A pod that is only asked for, by a dry run of its creation, as the API server would
    /// have it: the review is a real one, and no pod runs.
    fn asked_for(&self) -> Value {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dry"},
            "spec": {"containers": [{"name": "agent", "image": "agent:1", "securityContext": restricted()}]}});
        self.api.create("/api/v1/namespaces/agents/pods?dryRun=All", &pod).unwrap()
    }

    /// What a Service answers, from outside.
    fn service(&self, namespace: &str, service: &str, rest: &str) -> String {
        let found = self.api.get(&format!("/api/v1/namespaces/{namespace}/services/{service}"));
        let address = found["spec"]["clusterIP"].as_str().unwrap();
        self.fetch(&format!("http://{address}{rest}"))
    }

    /// The injector's pods.
    fn injectors(&self) -> Vec<Value> {
        self.api.pods(HOME, "app.kubernetes.io/component=injector")
    }

    /// What they have logged.
    fn injectors_log(&self) -> String {
        self.injectors().iter().map(|p| self.api.log(HOME, name(p), "injector")).collect()
    }

    /// A number of their metrics: the sum of all replicas.
    fn injectors_metric(&self, line: &str) -> f64 {
        self.injectors().iter().map(|p| self.metric(p, line)).sum()
    }

    /// A number of a sidecar's metrics: the sum of all lines that begin so.
    fn metric(&self, pod: &Value, line: &str) -> f64 {
        let address = pod["status"]["podIP"].as_str().unwrap_or_default();
        self.fetch(&format!("http://{address}:9191/metrics"))
            .lines()
            .filter(|l| l.starts_with(line))
            .filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}

/// What helm says; an error where it fails.
fn try_helm(args: &[&str]) -> Result<String, String> {
    let out = Command::new(told("UNDERSTUDY_HELM")).args(["--namespace", HOME]).args(args).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(text) } else { Err(text) }
}

/// What Pod Security "restricted" wants of a container.
fn restricted() -> Value {
    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}})
}

/// Whether a pod's first init container is the sidecar.
fn is_injected(pod: &Value) -> bool {
    pod["spec"]["initContainers"][0]["name"] == "understudy"
}

fn chart() -> String {
    format!("{}/../helm/understudy", env!("CARGO_MANIFEST_DIR"))
}

fn values() -> String {
    format!("{}/kubernetes/values.yaml", env!("CARGO_MANIFEST_DIR"))
}

fn installs(cluster: &Cluster) {
    let (chart, values) = (chart(), values());
    cluster.helm(&["lint", &chart, "--values", &values, "--strict"]);
    let notes =
        cluster.helm(&["install", RELEASE, &chart, "--values", &values, "--wait", "--timeout", "180s"]);
    assert!(notes.contains("kubectl label namespace NAMESPACE understudy.dev/inject=enabled"), "{notes}");
    cluster.helm(&["test", RELEASE]);
}

fn observes(cluster: &Cluster) {
    let api = &cluster.api;
    let plain = read("deploy/examples/deployment.yaml");
    api.apply(&plain);
    let before = api.pod("the agent runs without us", "agents", "app=help-desk", is_ready);
    assert!(before["spec"]["initContainers"].is_null(), "{before}");
    api.merge(
        "/api/v1/namespaces/agents",
        &json!({"metadata": {"labels": {"understudy.dev/inject": "enabled"}}}),
    );
    api.delete(&format!("/api/v1/namespaces/agents/pods/{}", name(&before)));
    let after = api.pod("the agent runs beside its sidecar", "agents", "app=help-desk", |p| {
        is_ready(p) && !p["spec"]["initContainers"].is_null()
    });
    let sidecar = &after["spec"]["initContainers"][0];
    assert_eq!((&sidecar["name"], &sidecar["restartPolicy"]), (&json!("understudy"), &json!("Always")));
    // But for what we add and for the token's volume, whose name is drawn.
    let (mut was, mut is) = (before["spec"]["containers"][0].clone(), after["spec"]["containers"][0].clone());
    assert_eq!(is["envFrom"], json!([{"configMapRef": {"name": "understudy-variables", "optional": true}}]));
    for container in [&mut was, &mut is] {
        for field in ["envFrom", "volumeMounts"] {
            container.as_object_mut().unwrap().remove(field);
        }
    }
    assert_eq!(was, is);
    api.until(
        "its calls are recorded",
        Duration::from_secs(60),
        || cluster.metric(&after, "understudy_calls_total") > 20.0,
        || api.log("agents", name(&after), "understudy"),
    );
    sidecars::first_call_answered(cluster, &after);
}

fn jobs_complete(cluster: &Cluster) {
    let api = &cluster.api;
    api.apply(&read("deploy/examples/job.yaml"));
    api.apply(&read("deploy/examples/cronjob.yaml"));
    let done = |label: &'static str| {
        move |p: &Value| p["metadata"]["labels"]["app"] == label && p["status"]["phase"] == "Succeeded"
    };
    for label in ["help-desk-once", "help-desk-minutely"] {
        let pod = api.pod(label, "agents", &format!("app={label}"), done(label));
        assert_eq!(status(&pod, "understudy")["state"]["terminated"]["exitCode"], 0, "{pod}");
        let log = api.log("agents", name(&pod), "agent");
        assert!(log.contains("questions answered"), "{log}");
        sidecars::first_call_answered(cluster, &pod);
    }
    api.delete("/apis/batch/v1/namespaces/agents/cronjobs/help-desk-minutely");
}

fn is_served(cluster: &Cluster) {
    let api = &cluster.api;
    let pod = api.pod("the agent runs", "agents", "app=help-desk", is_ready);
    let took = api.until(
        "a task is served",
        Duration::from_secs(600),
        || cluster.metric(&pod, "understudy_task_served") >= 20.0,
        || {
            let address = pod["status"]["podIP"].as_str().unwrap();
            let metrics = cluster.fetch(&format!("http://{address}:9191/metrics"));
            format!("{metrics}\n{}", api.log("agents", name(&pod), "understudy"))
        },
    );
    eprintln!("          served after {:.0} s", took.as_secs_f64());
    eprintln!("          the sidecar holds {} of memory", memory(&pod));
    let engine = api.pod("the engine", HOME, "app.kubernetes.io/component=engine", is_ready);
    assert_eq!(status(&engine, "engine")["restartCount"], 0);
}

fn has_its_own_engine(cluster: &Cluster) {
    let api = &cluster.api;
    let mut pod = faults::busy("own-engine");
    pod["metadata"]["annotations"]["understudy.dev/engine"] = json!("container");
    api.create("/api/v1/namespaces/agents/pods", &pod).unwrap();
    let pod = api.pod("both sidecars and the agent run", "agents", "app=own-engine", is_ready);
    let inits: Vec<_> = pod["spec"]["initContainers"].as_array().unwrap().iter().map(name_of).collect();
    assert_eq!(inits, ["understudy-engine", "understudy"]);
    api.until(
        "an understudy has answered its trials",
        Duration::from_secs(180),
        || cluster.metric(&pod, "understudy_task_coverage") > 0.0,
        || {
            let logs = ["understudy-engine", "understudy"].map(|c| api.log("agents", "own-engine", c));
            logs.join("\n")
        },
    );
    api.delete("/api/v1/namespaces/agents/pods/own-engine");
}

fn name_of(container: &Value) -> &str {
    container["name"].as_str().unwrap()
}

/// What the kernel has counted of the sidecar's own memory, its cached files aside.
fn memory(pod: &Value) -> String {
    let id = status(pod, "understudy")["containerID"]
        .as_str()
        .unwrap()
        .trim_start_matches("containerd://")
        .to_owned();
    let find =
        format!("cat $(find /sys/fs/cgroup -path '*memory*' -type d -name '*{id}*' | head -n 1)/memory.stat");
    let out = Command::new("sh").args(["-c", &find]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let bytes = text.lines().find_map(|l| l.strip_prefix("rss ").or(l.strip_prefix("anon ")));
    bytes
        .and_then(|b| b.trim().parse::<u64>().ok())
        .map_or("an unknown amount".to_owned(), |b| format!("{} MiB", b >> 20))
}

fn uninstalls(cluster: &Cluster) {
    let api = &cluster.api;
    let pod = api.pod("the agent runs", "agents", "app=help-desk", is_ready);
    cluster.helm(&["uninstall", RELEASE, "--wait"]);
    let before = cluster.metric(&pod, "understudy_calls_total");
    api.until(
        "calls go on",
        Duration::from_secs(30),
        || cluster.metric(&pod, "understudy_calls_total") > before + 10.0,
        || api.log("agents", name(&pod), "agent"),
    );
    let after = api.pod("the agent runs on", "agents", "app=help-desk", is_ready);
    assert_eq!(name(&after), name(&pod));
    assert!(!api.log("agents", name(&after), "agent").contains("Error"));
}
