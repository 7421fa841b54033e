//! What happens when parts of it fall, and what is refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{is_ready, name, status};
use crate::sidecars::{agent, goes_on};
use crate::{Cluster, HOME, RELEASE, restricted};

const ENGINE: &str = "understudy-engine";
const INJECTOR: &str = "understudy-injector";

/// Scales, and waits until as many pods are there and ready, those that end included.
fn scale(cluster: &Cluster, deployment: &str, replicas: usize) {
    let path = format!("/apis/apps/v1/namespaces/{HOME}/deployments/{deployment}");
    cluster.api.merge(&path, &json!({"spec": {"replicas": replicas}}));
    let part = deployment.trim_start_matches("understudy-");
    let pods = || cluster.api.pods(HOME, &format!("app.kubernetes.io/component={part}"));
    cluster.api.until(
        "the Deployment has its replicas",
        Duration::from_secs(180),
        || {
            let pods = pods();
            pods.len() == replicas && pods.iter().all(is_ready)
        },
        || cluster.api.get(&path)["status"].to_string(),
    );
}

/// A token of an account for an audience, and bound to a pod.
fn token(cluster: &Cluster, audience: &str, pod: Option<&Value>) -> String {
    token_of(cluster, "agents", audience, pod)
}

fn token_of(cluster: &Cluster, namespace: &str, audience: &str, pod: Option<&Value>) -> String {
    let bound =
        pod.map(|p| json!({"apiVersion": "v1", "kind": "Pod", "name": name(p), "uid": p["metadata"]["uid"]}));
    let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound}});
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default/token");
    let made = cluster.api.create(&path, &ask).unwrap();
    made["status"]["token"].as_str().unwrap().to_owned()
}

/// A client that trusts whom sidecars trust, and believes a Service to be at its address.
fn as_a_sidecar(cluster: &Cluster, service: &str, port: u16) -> reqwest::Client {
    let found = cluster.api.get(&format!("/api/v1/namespaces/{HOME}/services/{service}"));
    let address = found["spec"]["clusterIP"].as_str().unwrap();
    let authority = cluster.api.get("/api/v1/namespaces/agents/configmaps/understudy-ca");
    let authority =
        reqwest::Certificate::from_pem_bundle(authority["data"]["ca.crt"].as_str().unwrap().as_bytes())
            .unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(authority)
        .resolve(&format!("{service}.{HOME}.svc"), format!("{address}:{port}").parse().unwrap())
        .build()
        .unwrap()
}

pub(crate) fn tokens(cluster: &Cluster) {
    let http = as_a_sidecar(cluster, ENGINE, 8443);
    let host = format!("{ENGINE}.{HOME}.svc");
    let models = |token: Option<String>| {
        let mut ask = http.get(format!("https://{host}:8443/v1/models"));
        if let Some(token) = token {
            ask = ask.bearer_auth(token);
        }
        cluster.api.block_on(ask.send()).unwrap().status().as_u16()
    };
    let audience = format!("{ENGINE}.{HOME}");
    assert_eq!(models(Some(token(cluster, &audience, None))), 200);
    let stranger = token_of(cluster, "peers", &audience, None);
    assert_eq!(models(Some(stranger)), 403, "of a namespace that may not use the engine");
    assert_eq!(models(Some(token(cluster, "somebody-else", None))), 401, "a token for another audience");
    assert_eq!(models(Some("made.up.token".to_owned())), 401);
    assert_eq!(models(None), 401);
    let service = cluster.api.get(&format!("/api/v1/namespaces/{HOME}/services/{ENGINE}"));
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let strange = reqwest::Client::builder()
        .no_proxy()
        .resolve(&host, format!("{address}:8443").parse().unwrap())
        .build()
        .unwrap();
    let believed = cluster.api.block_on(strange.get(format!("https://{host}:8443/healthz")).send());
    assert!(believed.is_err(), "the system's authorities vouch for it");
}

pub(crate) fn policy_tokens(cluster: &Cluster) {
    let http = as_a_sidecar(cluster, INJECTOR, 443);
    let url = format!("https://{INJECTOR}.{HOME}.svc/v1/policy");
    let ask = |token: Option<String>| {
        let mut ask = http.post(&url).json(&json!({"known": "an-older-one"}));
        if let Some(token) = token {
            ask = ask.bearer_auth(token);
        }
        let answer = cluster.api.block_on(ask.send()).unwrap();
        (answer.status().as_u16(), cluster.api.block_on(answer.text()).unwrap())
    };
    let pod = agent(cluster);
    let audience = format!("{INJECTOR}.{HOME}");
    let (code, told) = ask(Some(token(cluster, &audience, Some(&pod))));
    assert_eq!((code, &told), (200, &r#"{"version":"","policies":[]}"#.to_owned()));
    assert_eq!(ask(Some(token(cluster, &audience, None))).0, 401, "of an account, and of no pod");
    let engines = token(cluster, &format!("{ENGINE}.{HOME}"), Some(&pod));
    assert_eq!(ask(Some(engines)).0, 401, "a token for another audience");
    assert_eq!(ask(Some("made.up.token".to_owned())).0, 401);
    assert_eq!(ask(None).0, 401);
}

pub(crate) fn engine_gone(cluster: &Cluster) {
    let pod = agent(cluster);
    scale(cluster, ENGINE, 0);
    // A text that was seen lately has its vector in the sidecar, and is answered still.
    let unavailable = || cluster.metric(&pod, r#"understudy_fallbacks_total{reason="unavailable"}"#);
    let before = unavailable();
    goes_on(cluster, &pod);
    cluster.api.until(
        "the provider answers what the engine would have been asked for",
        Duration::from_secs(60),
        || unavailable() > before,
        || cluster.api.log("agents", name(&pod), "understudy"),
    );
    let after = cluster.metric(&pod, "understudy_served_total");
    scale(cluster, ENGINE, 1);
    cluster.api.until(
        "the engine is asked again",
        Duration::from_secs(120),
        || cluster.metric(&pod, "understudy_served_total") > after + 50.0,
        || cluster.api.log("agents", name(&pod), "understudy"),
    );
}

/// A pod with an agent that asks once, and with a sidecar of this image.
pub(crate) fn lone(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {"understudy.dev/image": image}},
        "spec": {"containers": [{
            "name": "agent", "image": "understudy.test/agent:1", "args": ["--calls", "1"],
            "env": [{"name": "OPENAI_API_KEY", "value": "sk-stand-in-1"}, {"name": "OPENAI_BASE_URL", "value": "http://provider.peers.svc.cluster.local/v1"}],
            "securityContext": restricted(),
        }], "restartPolicy": "OnFailure"},
    })
}

/// A pod with an agent that asks on and on, by way of its sidecar.
pub(crate) fn busy(name: &str) -> Value {
    let mut pod = lone(name, "understudy.test/understudy:1");
    let agent = &mut pod["spec"]["containers"][0];
    agent["args"] = json!(["--forever", "--only", "triage", "--workers", "2"]);
    agent["env"].as_array_mut().unwrap().truncate(1);
    pod
}

pub(crate) fn image_missing(cluster: &Cluster) {
    let (api, image) = (&cluster.api, "understudy.test/missing:1");
    let pods = "/api/v1/namespaces/agents/pods";
    let began = Instant::now();
    api.create(pods, &lone("first", image)).unwrap();
    let waiting = api.pod("the first pod waits", "agents", "app=first", |p| {
        status(p, "understudy")["state"]["waiting"]["reason"]
            .as_str()
            .is_some_and(|r| r.contains("ImagePull"))
    });
    assert_eq!(waiting["status"]["phase"], "Pending");
    let events = || api.list("/apis/events.k8s.io/v1/namespaces/agents/events");
    let told = |e: &Value| e["reason"] == "SidecarDoesNotStart" && e["regarding"]["name"] == "first";
    api.until(
        "an event says so",
        Duration::from_secs(60),
        || events().iter().any(told),
        || cluster.injectors_log(),
    );
    let took = began.elapsed();
    // The same pod, created anew, as its owner would.
    api.delete(&format!("{pods}/first"));
    api.gone(&format!("{pods}/first"), Duration::from_secs(30));
    let again = api.create(pods, &lone("first", image)).unwrap();
    assert!(again["spec"]["initContainers"].is_null(), "{again}");
    api.pod("it runs without a sidecar", "agents", "app=first", |p| p["status"]["phase"] == "Succeeded");
    // Other images go on.
    let other = api.create(pods, &lone("second", "understudy.test/understudy:1")).unwrap();
    assert_eq!(other["spec"]["initContainers"][0]["name"], "understudy");
    eprintln!("          given up {:.1} s after the pod was created", took.as_secs_f64());
    for pod in ["first", "second"] {
        api.delete(&format!("{pods}/{pod}"));
    }
}

pub(crate) fn injector_gone(cluster: &Cluster) {
    scale(cluster, INJECTOR, 0);
    let pods = "/api/v1/namespaces/agents/pods";
    let made = cluster.api.create(pods, &lone("alone", "understudy.test/understudy:1")).unwrap();
    assert!(made["spec"]["initContainers"].is_null(), "{made}");
    cluster.api.delete(&format!("{pods}/alone"));
    goes_on(cluster, &agent(cluster));
    scale(cluster, INJECTOR, 2);
}

pub(crate) fn rights(cluster: &Cluster) {
    let may = |account: &str, verb: &str, group: &str, resource: &str, namespace: &str, name: &str| {
        let ask = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": format!("system:serviceaccount:{HOME}:{account}"),
            "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name},
        }});
        let said = cluster.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &ask).unwrap();
        said["status"]["allowed"] == true
    };
    let own = format!("{RELEASE}-certificates");
    let injector = |wanted: bool, asked: &[(&str, &str, &str, &str, &str)]| {
        let said = if wanted { "cannot" } else { "can" };
        for (verb, group, resource, namespace, name) in asked {
            let allowed = may(INJECTOR, verb, group, resource, namespace, name);
            assert_eq!(allowed, wanted, "the injector {said} {verb} {resource} {name}");
        }
    };
    let needed = [
        ("get", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", INJECTOR),
        ("patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", INJECTOR),
        ("create", "", "configmaps", "agents", ""),
        ("patch", "", "configmaps", "agents", "understudy-variables"),
        ("patch", "", "configmaps", "agents", "understudy-ca"),
        ("list", "", "pods", "agents", ""),
        ("watch", "", "pods", "", ""),
        ("create", "events.k8s.io", "events", "agents", ""),
        ("get", "", "secrets", HOME, own.as_str()),
        ("update", "", "secrets", HOME, own.as_str()),
        ("update", "coordination.k8s.io", "leases", HOME, INJECTOR),
        ("watch", "understudy.dev", "understudypolicies", "", ""),
        ("watch", "understudy.dev", "understudies", "", ""),
        ("update", "understudy.dev", "understudies/status", "agents", "small"),
        ("update", "understudy.dev", "understudypolicies/status", "agents", "back"),
        ("create", "authentication.k8s.io", "tokenreviews", "", ""),
    ];
    injector(true, &needed);
    let others = [
        ("delete", "", "pods", "agents", "help-desk"),
        ("create", "", "pods", "agents", ""),
        ("patch", "", "pods", "agents", "help-desk"),
        ("get", "", "secrets", "agents", "provider-key"),
        ("list", "", "secrets", HOME, ""),
        ("create", "", "secrets", HOME, ""),
        ("get", "", "configmaps", "agents", "kube-root-ca.crt"),
        ("get", "", "configmaps", "agents", "understudy-variables"),
        ("list", "", "configmaps", "agents", ""),
        ("delete", "", "configmaps", "agents", "understudy-variables"),
        ("patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "somebody-elses"),
        ("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", ""),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings", "", ""),
        ("update", "understudy.dev", "understudypolicies", "agents", "back"),
        ("create", "understudy.dev", "understudypolicies", "agents", ""),
        ("update", "understudy.dev", "understudies", "agents", "small"),
        ("get", "", "nodes", "", ""),
        ("create", "", "pods/exec", "agents", ""),
    ];
    injector(false, &others);
    assert!(may(ENGINE, "create", "authentication.k8s.io", "tokenreviews", "", ""));
    assert!(may(ENGINE, "create", "authorization.k8s.io", "subjectaccessreviews", "", ""));
    for (verb, resource) in
        [("get", "secrets"), ("list", "pods"), ("create", "configmaps"), ("get", "configmaps")]
    {
        assert!(!may(ENGINE, verb, "", resource, HOME, ""), "the engine can {verb} {resource}");
    }
}
