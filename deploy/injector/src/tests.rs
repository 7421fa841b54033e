//! Pod shapes (`tests/shapes.json`), which the end-to-end test also puts
//! through a real API server, and what must hold of any pod.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Every image starts.
pub(crate) const RUNS: fn(&str, &str) -> Option<String> = |_, _| None;

pub(crate) fn settings() -> Settings {
    Settings {
        variables: BTreeMap::from([("OPENAI_BASE_URL".to_owned(), "http://127.0.0.1:4141/v1".to_owned())]),
        engine: Some(EngineService {
            address: "https://engine.understudy.svc:8443".to_owned(),
            audience: "understudy-engine".to_owned(),
        }),
        policies: Some(PolicyService {
            address: "https://injector.understudy.svc:443".to_owned(),
            audience: "understudy-injector".to_owned(),
        }),
        engine_container: Some(EngineContainer {
            image: "understudy-engine:1".to_owned(),
            resources: json!({}),
        }),
        ..Settings::default()
    }
}

pub(crate) fn shapes() -> Vec<Value> {
    serde_json::from_str(include_str!("../tests/shapes.json")).unwrap()
}

/// The pod after it, as the API server would have it.
pub(crate) fn applied(pod: &Value) -> Option<(Value, Status)> {
    match inject(pod, "agents", &settings(), &RUNS) {
        Outcome::Injected { patch, status } => {
            let mut after = pod.clone();
            json_patch::patch(&mut after, &patch).unwrap();
            Some((after, status))
        }
        Outcome::Skipped(_) => None,
    }
}

pub(crate) fn first_init(pod: &Value) -> &Value {
    pod["spec"]["initContainers"].as_array().unwrap().iter().find(|c| c["name"] == "understudy").unwrap()
}

#[test]
fn every_shape_becomes_what_it_says() {
    let shapes = shapes();
    assert!(shapes.len() >= 40);
    for shape in shapes {
        let (name, pod) = (shape["name"].as_str().unwrap(), &shape["pod"]);
        match inject(pod, "agents", &settings(), &RUNS) {
            Outcome::Skipped(skip) => {
                assert_eq!(shape["expect"], skip.label(), "{name}: {}", skip.text());
                let says = shape["says"].as_str().unwrap_or_default();
                assert!(skip.text().contains(says), "{name}: {}", skip.text());
            }
            Outcome::Injected { status, .. } => {
                assert_eq!(shape["expect"], "injected", "{name}");
                let mut wanted: Vec<&str> =
                    shape["reaches"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
                wanted.sort_unstable();
                assert_eq!(status.containers.keys().collect::<Vec<_>>(), wanted, "{name}");
                let kept: Vec<_> =
                    status.containers.values().flatten().map(|k| k.variable.as_str()).collect();
                let expected = shape["kept"].as_array().cloned().unwrap_or_default();
                assert_eq!(kept, expected, "{name}");
            }
        }
    }
}

/// What becomes of every shape, as docs/kubernetes.md has it.
fn table() -> String {
    let mut lines = vec![
        "| shape | outcome | containers that get the variables, or the reason |".to_owned(),
        "| --- | --- | --- |".to_owned(),
    ];
    lines.extend(shapes().iter().map(|shape| {
        let name = shape["name"].as_str().unwrap();
        match inject(&shape["pod"], "agents", &settings(), &RUNS) {
            Outcome::Skipped(skip) => format!("| {name} | `{}` | {} |", skip.label(), skip.text()),
            Outcome::Injected { status, .. } => {
                let names: Vec<&str> = status.containers.keys().map(String::as_str).collect();
                let mut reached =
                    if names.len() > 4 { format!("all {}", names.len()) } else { names.join(", ") };
                for kept in status.containers.values().flatten() {
                    reached += &format!("; `{}`: {}", kept.variable, kept.why);
                }
                format!("| {name} | `injected` | {reached} |")
            }
        }
    }));
    lines.join("\n")
}

#[test]
fn the_page_says_what_becomes_of_every_shape() {
    let page = include_str!("../../../docs/kubernetes.md");
    let between = page.split("<!-- shapes -->").nth(1).unwrap_or_default().trim();
    assert!(between == table(), "put this between the marks of docs/kubernetes.md:\n{}", table());
}

#[test]
fn a_second_call_changes_nothing() {
    for shape in shapes() {
        let Some((after, _)) = applied(&shape["pod"]) else { continue };
        let Outcome::Injected { patch, .. } = inject(&after, "agents", &settings(), &RUNS) else {
            panic!("{}: skipped the second time", shape["name"]);
        };
        assert!(patch.0.is_empty(), "{}: {patch}", shape["name"]);
    }
}

#[test]
fn what_others_add_to_our_container_stays() {
    let (mut after, _) = applied(&shapes()[0]["pod"]).unwrap();
    let mount =
        json!({"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    let ours = after["spec"]["initContainers"][0]["volumeMounts"].as_array_mut().unwrap();
    ours.push(mount.clone());
    let (again, _) = applied(&after).unwrap();
    assert!(first_init(&again)["volumeMounts"].as_array().unwrap().contains(&mount));
}

#[test]
fn a_container_that_came_after_us_gets_the_variables() {
    let (mut after, _) = applied(&shapes()[0]["pod"]).unwrap();
    after["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late", "image": "late:1"}));
    let (again, status) = applied(&after).unwrap();
    assert!(status.containers.contains_key("late"));
    assert_eq!(again["spec"]["containers"][1]["envFrom"][0]["configMapRef"]["name"], "understudy-variables");
}

#[test]
fn nothing_else_of_the_pod_changes() {
    for shape in shapes() {
        let pod = &shape["pod"];
        let Outcome::Injected { patch, .. } = inject(pod, "agents", &settings(), &RUNS) else { continue };
        let ours = |path: &str| {
            ["/metadata/labels", "/metadata/annotations", "/spec/initContainers", "/spec/volumes"]
                .iter()
                .any(|p| path.starts_with(p))
                || path.contains("/envFrom")
        };
        for operation in &patch.0 {
            assert!(ours(operation.path().as_ref()), "{}: {operation}", shape["name"]);
        }
        let (after, _) = applied(pod).unwrap();
        for container in pod["spec"]["containers"].as_array().unwrap() {
            let same = after["spec"]["containers"].as_array().unwrap().iter();
            let mut same =
                same.filter(|c| c["name"] == container["name"]).cloned().collect::<Vec<_>>().remove(0);
            let sources = same["envFrom"].as_array().cloned().unwrap_or_default();
            let own = container["envFrom"].as_array().cloned().unwrap_or_default();
            assert!(sources.ends_with(&own), "{}: what the user takes comes last", shape["name"]);
            same["envFrom"] = container["envFrom"].clone();
            let mut container = container.clone();
            container["envFrom"] = same["envFrom"].clone();
            assert_eq!(same, container, "{}", shape["name"]);
        }
    }
}

#[test]
fn the_sidecar_is_first_and_native() {
    let by_name = |name: &str| shapes().into_iter().find(|s| s["name"] == name).unwrap()["pod"].clone();
    let (after, _) = applied(&by_name("with-init")).unwrap();
    let names: Vec<_> =
        after["spec"]["initContainers"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["understudy", "migrate"]);
    let sidecar = first_init(&after);
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert!(sidecar["startupProbe"].is_object() && sidecar["readinessProbe"].is_null());

    let (job, _) = applied(&by_name("job")).unwrap();
    let sidecar = first_init(&job);
    assert!(sidecar["startupProbe"].is_null(), "it could hold a Job for ever");
    assert!(sidecar["lifecycle"]["postStart"]["exec"].is_object());
}

#[test]
fn wishes_are_followed() {
    let by_name = |name: &str| shapes().into_iter().find(|s| s["name"] == name).unwrap()["pod"].clone();
    let (after, _) = applied(&by_name("own-resources")).unwrap();
    assert_eq!(
        first_init(&after)["resources"],
        json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}})
    );
    let (after, _) = applied(&by_name("journal-volume")).unwrap();
    assert_eq!(first_init(&after)["volumeMounts"][0]["name"], "journal");
    let (after, _) = applied(&by_name("journal-claim")).unwrap();
    let volumes = after["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|v| v["persistentVolumeClaim"]["claimName"] == "agent-journal"));
    let (after, _) = applied(&by_name("engine-in-the-pod")).unwrap();
    assert_eq!(after["spec"]["initContainers"][0]["name"], "understudy-engine");
}

#[test]
fn an_image_may_be_given_up_in_one_namespace() {
    let pod = &shapes()[0]["pod"];
    let fails = |_: &str, namespace: &str| (namespace == "one").then(|| "it does not run".to_owned());
    let Outcome::Skipped(skip) = inject(pod, "one", &settings(), &fails) else { panic!() };
    assert_eq!(skip.label(), "sidecars_fail");
    let Outcome::Injected { .. } = inject(pod, "two", &settings(), &fails) else { panic!() };
}

#[test]
fn an_engine_that_the_chart_lacks_is_a_reason() {
    let without = Settings { engine: None, engine_container: None, ..settings() };
    let by_name = |name: &str| shapes().into_iter().find(|s| s["name"] == name).unwrap()["pod"].clone();
    for name in ["engine-by-service", "engine-in-the-pod"] {
        let Outcome::Skipped(skip) = inject(&by_name(name), "agents", &without, &RUNS) else {
            panic!("{name}")
        };
        assert_eq!(skip.label(), "no_engine");
    }
    let Outcome::Injected { .. } = inject(&by_name("plain"), "agents", &without, &RUNS) else { panic!() };
}

fn asked(pod: &Value) -> Vec<u8> {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "7", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "demo",
        "operation": "CREATE", "object": pod}})
    .to_string()
    .into_bytes()
}

#[test]
fn a_review_is_always_an_admission() {
    for shape in shapes() {
        let reviewed = review(&asked(&shape["pod"]), &settings(), &RUNS).unwrap();
        let response = &reviewed.body["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("7"), &json!(true)));
        let injected = shape["expect"] == "injected";
        assert_eq!(response["patch"].is_string(), injected, "{}", shape["name"]);
        let warned = response["warnings"].is_array();
        assert_eq!(warned, !injected && shape["expect"] != "opted_out", "{}", shape["name"]);
        assert_eq!(reviewed.namespace, "demo");
    }
    let fails = |_: &str, _: &str| Some("the image cannot be pulled".to_owned());
    let paused = review(&asked(&shapes()[0]["pod"]), &settings(), &fails).unwrap();
    assert_eq!(paused.skipped.unwrap().label(), "sidecars_fail");
    assert_eq!(paused.body["response"]["allowed"], true);
}

#[test]
fn what_is_no_review_is_refused_by_name() {
    let refused = |body: &str| review(body.as_bytes(), &settings(), &RUNS).unwrap_err().to_string();
    assert!(refused("{").contains("not an AdmissionReview"));
    assert!(refused("{\"apiVersion\": \"admission.k8s.io/v1\"}").contains("no request"));
    assert!(refused("{\"apiVersion\": \"admission.k8s.io/v9\"}").contains("v9"));
}

/// Pods of any shape, most of them refused by an API server.
fn any_pod() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z./-]{0,12}".prop_map(Value::from),
    ];
    let any = leaf.prop_recursive(4, 48, 6, |inner| {
        let key = prop::sample::select(vec![
            "metadata",
            "spec",
            "containers",
            "initContainers",
            "volumes",
            "name",
            "env",
            "envFrom",
            "labels",
            "annotations",
            "configMapRef",
            "restartPolicy",
            "ports",
            "containerPort",
            "understudy.dev/engine",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
        ]
    });
    (any.clone(), any).prop_map(|(metadata, spec)| json!({"kind": "Pod", "metadata": metadata, "spec": spec}))
}

proptest! {
    #[test]
    fn any_json_is_answered_and_answered_alike_twice(pod in any_pod()) {
        if let Some((after, _)) = applied(&pod) {
            let Outcome::Injected { patch, .. } = inject(&after, "agents", &settings(), &RUNS) else {
                return Err(TestCaseError::fail("skipped the second time"));
            };
            prop_assert!(patch.0.is_empty(), "{patch}");
        }
    }
}
