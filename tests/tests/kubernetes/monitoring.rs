//! A real Prometheus beside the node reads what the chart's monitors would have it read:
//! every alert and every panel finds what it asks for.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{is_ready, name};
use crate::{Cluster, HOME, RELEASE, read, told};

/// What has no series until something goes wrong, or somebody trains.
const UNSEEN: &[&str] = &["understudy_injector_paused"];

struct Prometheus<'a> {
    cluster: &'a Cluster,
    child: Child,
    url: String,
    home: tempfile::TempDir,
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the chart's monitors select, as the operator would write it out: pods by their
/// labels, and of each the port with a name. Debian's Prometheus finds no pods by itself.
fn configuration(cluster: &Cluster) -> String {
    let scrape = |job: &str, namespace: &str, selector: &str, port: &str| {
        let targets: Vec<Value> = cluster
            .api
            .pods(namespace, selector)
            .iter()
            .filter(|pod| is_ready(pod))
            .map(|pod| {
                let ports = ["initContainers", "containers"]
                    .iter()
                    .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
                    .flat_map(|c| c["ports"].as_array().into_iter().flatten());
                let port =
                    ports.clone().find(|p| p["name"] == port).unwrap_or_else(|| panic!("no {port}: {pod}"));
                let address = pod["status"]["podIP"].as_str().unwrap();
                json!({"targets": [format!("{address}:{}", port["containerPort"])],
                    "labels": {"namespace": pod["metadata"]["namespace"], "pod": name(pod)}})
            })
            .collect();
        json!({"job_name": job, "static_configs": targets})
    };
    let part = |component: &str| {
        format!("app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}")
    };
    let mut engine = scrape("engine", HOME, &part("engine"), "https");
    engine["scheme"] = json!("https");
    engine["tls_config"] = json!({"insecure_skip_verify": true});
    // JSON is YAML.
    json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
        "rule_files": [format!("{}/../helm/understudy/alerts.yaml", env!("CARGO_MANIFEST_DIR"))],
        "scrape_configs": [
            scrape("sidecars", "agents", "understudy.dev/injected=true", "understudy"),
            scrape("injector", HOME, &part("injector"), "metrics"),
            engine,
        ],
    })
    .to_string()
}

impl<'a> Prometheus<'a> {
    fn start(cluster: &'a Cluster) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("prometheus.yml");
        std::fs::write(&file, configuration(cluster)).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(told("UNDERSTUDY_PROMETHEUS"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
            .arg(format!("--web.listen-address={free}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { cluster, child, url: format!("http://{free}"), home }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// What the API answers; nothing while it does not.
    fn ask(&self, path: &str, expression: &str) -> Value {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), [("query", expression)]);
        let text = self.cluster.fetch(url.unwrap().as_str());
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{expression}: {answer}");
        answer["data"].clone()
    }

    fn series(&self, expression: &str) -> Vec<Value> {
        self.ask("/api/v1/query", expression)["result"].as_array().cloned().unwrap_or_default()
    }

    fn until(&self, what: &str, done: impl FnMut() -> bool) {
        self.cluster.api.until(what, Duration::from_secs(60), done, || self.log());
    }
}

/// The names of our metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| w.starts_with("understudy_"))
}

pub(crate) fn is_read(cluster: &Cluster) {
    let prometheus = Prometheus::start(cluster);
    let up = |job: &str| prometheus.series(&format!("up{{job=\"{job}\"}} == 1")).len();
    prometheus.until("all three are read", || up("sidecars") > 0 && up("injector") == 2 && up("engine") > 0);
    prometheus
        .until("there are rates", || !prometheus.series("rate(understudy_calls_total[10s]) > 0").is_empty());

    let dashboard: Value = serde_json::from_str(&read("helm/understudy/dashboards/understudy.json")).unwrap();
    let panels: Vec<(&str, String)> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|p| p["targets"].as_array().into_iter().flatten().map(move |t| (p, t)))
        .map(|(p, t)| (p["title"].as_str().unwrap(), t["expr"].as_str().unwrap().replace("$namespace", ".*")))
        .collect();
    assert!(panels.len() > 8, "{panels:?}");
    let rules = prometheus.ask("/api/v1/rules", "");
    let rules: Vec<&Value> = rules["groups"][0]["rules"].as_array().unwrap().iter().collect();
    assert!(rules.len() > 6, "{rules:?}");

    let known = prometheus.ask("/api/v1/label/__name__/values", "");
    let known: BTreeSet<&str> = known.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let asked =
        panels.iter().map(|(_, e)| e.as_str()).chain(rules.iter().filter_map(|r| r["query"].as_str()));
    let missing: BTreeSet<&str> =
        asked.flat_map(names).filter(|n| !known.contains(n) && !UNSEEN.contains(n)).collect();
    assert!(missing.is_empty(), "nobody has {missing:?} of {known:?}");
    let empty = || -> Vec<&(&str, String)> {
        let seen = |e: &str| names(e).all(|n| !UNSEEN.contains(&n));
        panels.iter().filter(|(_, e)| seen(e) && prometheus.series(e).is_empty()).collect()
    };
    // A rate takes two readings, and not all are read at once.
    cluster.api.until(
        "every panel has a line",
        Duration::from_secs(60),
        || empty().is_empty(),
        || format!("none: {:?}", empty()),
    );

    prometheus.until("every rule was looked at", || {
        let rules = prometheus.ask("/api/v1/rules", "");
        rules["groups"][0]["rules"].as_array().unwrap().iter().all(|r| r["health"] == "ok")
    });
    let firing = prometheus.series("ALERTS{alertstate=\"firing\", severity=\"critical\"}");
    assert!(firing.is_empty(), "{firing:?}");

    let found = cluster.fetch(&format!(
        "{}/api/v1/query_exemplars?query=understudy_call_duration_seconds_bucket&start={}&end={}",
        prometheus.url, "0", "9999999999"
    ));
    let found: Value = serde_json::from_str(&found).unwrap();
    let exemplar = &found["data"][0]["exemplars"][0];
    assert_eq!(exemplar["labels"]["trace_id"].as_str().map(str::len), Some(32), "{found}");
    eprintln!(
        "          {} expressions of panels, {} alerts, {} series of ours, exemplars with their traces",
        panels.len(),
        rules.len(),
        prometheus.series("count({__name__=~\"understudy_.*\"})")[0]["value"][1].as_str().unwrap()
    );
}
