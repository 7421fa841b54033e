//! The API server in plain JSON and YAML, and what the tests ask of it.

use std::time::{Duration, Instant};

use http::Request;
use kube::Client;
use serde_json::{Value, json};

/// The API server of `KUBECONFIG`.
pub(crate) struct Api {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

/// What the API server said to a request that it refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) message: String,
}

impl Api {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = runtime.block_on(async { Client::try_default().await.unwrap() });
        Self { client, runtime }
    }

    pub(crate) fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Result<Value, Refused> {
        let request =
            Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
        match self.block_on(self.client.request::<Value>(request)) {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => {
                Err(Refused { code: status.code, message: status.message.clone() })
            }
            Err(e) => panic!("{method} {path}: {e:?}"),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.find(path).unwrap_or_else(|| panic!("there is no {path}"))
    }

    pub(crate) fn find(&self, path: &str) -> Option<Value> {
        match self.send("GET", path, "application/json", Vec::new()) {
            Ok(value) => Some(value),
            Err(refused) if refused.code == 404 => None,
            Err(refused) => panic!("GET {path}: {refused:?}"),
        }
    }

    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        self.get(path)["items"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        self.send("POST", path, "application/json", object.to_string().into_bytes())
    }

    pub(crate) fn delete(&self, path: &str) {
        let now = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Foreground"});
        let _ = self.send("DELETE", path, "application/json", now.to_string().into_bytes());
    }

    /// Ends a pod as its owner would, with its time of grace.
    pub(crate) fn end(&self, path: &str) {
        self.send("DELETE", path, "application/json", Vec::new()).unwrap();
    }

    /// Waits until an object that was told to go is gone.
    pub(crate) fn gone(&self, path: &str, within: Duration) {
        self.until("it is gone", within, || self.find(path).is_none(), String::new);
    }

    pub(crate) fn merge(&self, path: &str, change: &Value) -> Value {
        self.send("PATCH", path, "application/merge-patch+json", change.to_string().into_bytes()).unwrap()
    }

    /// Applies every document of a YAML text.
    pub(crate) fn apply(&self, text: &str) {
        for document in text.split("\n---\n") {
            let path = format!("{}?fieldManager=tests&force=true", path_of(document));
            let applied =
                self.send("PATCH", &path, "application/apply-patch+yaml", document.as_bytes().to_vec());
            applied.unwrap_or_else(|e| panic!("{e:?} for\n{document}"));
        }
    }

    /// A container's log so far.
    ///
    /// A kubelet that has just begun does not know its pods at once: it is asked again for a while.
    pub(crate) fn log(&self, namespace: &str, pod: &str, container: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}");
        let began = Instant::now();
        loop {
            let request = Request::builder().uri(&path).body(Vec::new()).unwrap();
            match self.block_on(self.client.request_text(request)) {
                Ok(log) => return log,
                Err(e) if began.elapsed() > Duration::from_secs(30) => return format!("no log: {e}"),
                Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
            }
        }
    }

    /// The pods of a label.
    pub(crate) fn pods(&self, namespace: &str, selector: &str) -> Vec<Value> {
        self.list(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}"))
    }

    /// Waits until one pod of a label fits; that pod.
    pub(crate) fn pod(
        &self,
        what: &str,
        namespace: &str,
        selector: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut found = Value::Null;
        self.until(
            what,
            Duration::from_secs(120),
            || {
                let pods = self.pods(namespace, selector);
                found = pods
                    .iter()
                    .find(|p| p["metadata"]["deletionTimestamp"].is_null() && fits(p))
                    .cloned()
                    .unwrap_or_default();
                !found.is_null()
            },
            || {
                serde_json::to_string(
                    &self.pods(namespace, selector).iter().map(|p| p["status"].clone()).collect::<Vec<_>>(),
                )
                .unwrap()
            },
        );
        found
    }

    /// Waits; how long it took.
    pub(crate) fn until(
        &self,
        what: &str,
        within: Duration,
        mut done: impl FnMut() -> bool,
        seen: impl Fn() -> String,
    ) -> Duration {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < within, "not within {within:?}: {what}\n{}", seen());
            std::thread::park_timeout(Duration::from_millis(100));
        }
        began.elapsed()
    }
}

/// Where an object of a YAML document is.
fn path_of(document: &str) -> String {
    let line = |key: &str| {
        let found = document.lines().find_map(|l| l.strip_prefix(key));
        found.unwrap_or_else(|| panic!("no {key} in\n{document}")).trim().to_owned()
    };
    let (version, kind, metadata) = (line("apiVersion:"), line("kind:"), line("metadata:"));
    let field = |key: &str| {
        let rest = metadata.split_once(key)?.1;
        Some(rest.split([',', '}']).next()?.trim().to_owned())
    };
    let group = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
    let within = field("namespace:").map(|n| format!("/namespaces/{n}")).unwrap_or_default();
    let name = field("name:").unwrap();
    format!("{group}{within}/{}s/{name}", kind.to_lowercase())
}

/// Whether a pod's containers are all ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A pod's name.
pub(crate) fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap()
}

/// What is said of a container, main or init.
pub(crate) fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    ["initContainerStatuses", "containerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][*list].as_array())
        .flatten()
        .find(|s| s["name"] == container)
        .unwrap_or(&Value::Null)
}
