//! What the container is for a pod and its settings.

use std::collections::BTreeMap;

use super::*;
use crate::tests::{RUNS, applied, first_init, settings, shapes};
use crate::{EngineContainer, Outcome, Skip, inject};

/// The sidecar of a pod with this spec beside a container, and with these annotations.
fn sidecar_of(settings: &Settings, annotations: &Value, more: &Value) -> Result<Value, Skip> {
    let mut pod = json!({"metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "agent", "image": "agent:1"}]}});
    json_patch::merge(&mut pod["spec"], more);
    match inject(&pod, "agents", settings, &RUNS) {
        Outcome::Injected { patch, .. } => {
            json_patch::patch(&mut pod, &patch).unwrap();
            Ok(first_init(&pod).clone())
        }
        Outcome::Skipped(skip) => Err(skip),
    }
}

#[test]
fn it_has_a_cpu_limit_where_all_others_have_one() {
    let limited = |limits: &[&str]| {
        let of = |(n, limit): (usize, &&str)| {
            let own = if limit.is_empty() { json!({}) } else { json!({"limits": {"cpu": limit}}) };
            json!({"name": format!("agent-{n}"), "image": "agent:1", "resources": own})
        };
        json!({"containers": limits.iter().enumerate().map(of).collect::<Vec<_>>()})
    };
    let limit = |annotations: Value, limits: &[&str]| {
        let sidecar = sidecar_of(&settings(), &annotations, &limited(limits)).unwrap();
        sidecar["resources"]["limits"]["cpu"].clone()
    };
    // A quota on limits would refuse the pod; a LimitRange allows what the others have.
    assert_eq!(limit(json!({}), &["4", "250m"]), "1");
    assert_eq!(limit(json!({}), &["100m", "250m"]), "250m");
    assert_eq!(limit(json!({}), &["250m", ""]), Value::Null);
    // Never below what it asks for, and what was said holds.
    assert_eq!(limit(json!({"understudy.dev/cpu-request": "2"}), &["1"]), "2");
    assert_eq!(limit(json!({"understudy.dev/cpu-limit": "300m"}), &["4"]), "300m");
    let shape = shapes().into_iter().find(|s| s["name"] == "limited-containers").unwrap();
    let (after, _) = applied(&shape["pod"]).unwrap();
    assert_eq!(first_init(&after)["resources"]["limits"]["cpu"], "500m");
}

#[test]
fn its_journal_takes_nothing_of_what_the_pod_s_containers_may_write() {
    let storage = |chart: &Settings, annotations: Value, limits: &[&str]| {
        let of = |(n, limit): (usize, &&str)| {
            let own = if limit.is_empty() { json!({}) } else { json!({"limits": {STORAGE: limit}}) };
            json!({"name": format!("agent-{n}"), "image": "agent:1", "resources": own})
        };
        let all = json!({"containers": limits.iter().enumerate().map(of).collect::<Vec<_>>()});
        let sidecar = sidecar_of(chart, &annotations, &all).unwrap();
        let [request, limit] = ["requests", "limits"].map(|l| sidecar["resources"][l][STORAGE].clone());
        let keeps = values(&sidecar, "UNDERSTUDY_CAPTURE_KEEP_BYTES").pop();
        [request, limit, keeps.unwrap_or_default()]
    };
    let (plain, size) = (settings(), |size: &str| json!({"understudy.dev/journal-size": size}));
    let whole = "805306368 B";
    // The journal's room and its log's, of which it asks for little.
    assert_eq!(storage(&plain, json!({}), &["2Gi", ""]), ["64Mi", "1088Mi", whole]);
    assert_eq!(storage(&plain, size("2Gi"), &["1Gi"]), ["64Mi", "2112Mi", "1610612736 B"]);
    // No more than the largest of the others, which a LimitRange allowed, but for the least.
    assert_eq!(storage(&plain, json!({}), &["1Gi", "128Mi"]), ["64Mi", "1024Mi", "754974720 B"]);
    assert_eq!(storage(&plain, json!({}), &["50Mi"]), ["64Mi", "128Mi", "50331648 B"]);
    // Where nobody is limited, or the journal is elsewhere, there is nothing to take.
    assert_eq!(storage(&plain, json!({}), &[""]), [Value::Null, Value::Null, json!(whole)]);
    let claim = json!({"understudy.dev/journal-claim": "mine"});
    assert_eq!(storage(&plain, claim, &["2Gi"]), [Value::Null, Value::Null, Value::Null]);
    // What the chart says holds.
    let chart = |resources: Value| Settings { resources, ..settings() };
    let said = chart(json!({"limits": {STORAGE: "3Gi"}}));
    assert_eq!(storage(&said, json!({}), &["2Gi"]), [Value::Null, json!("3Gi"), json!(whole)]);
    let said = chart(json!({"requests": {STORAGE: "2Gi"}}));
    assert_eq!(storage(&said, json!({}), &["2Gi"]), ["2Gi", "2Gi", whole]);
}

#[test]
fn a_journal_beside_a_small_limit_fits_under_it_and_keeps_within_its_volume() {
    let shape = shapes().into_iter().find(|s| s["name"] == "limited-storage").unwrap();
    let (after, _) = applied(&shape["pod"]).unwrap();
    assert_eq!(first_init(&after)["resources"]["limits"][STORAGE], "512Mi");
    let volumes = after["spec"]["volumes"].as_array().unwrap();
    let journal = volumes.iter().find(|v| v["name"] == STATE).unwrap();
    assert_eq!(journal["emptyDir"]["sizeLimit"], "448Mi");
    assert_eq!(values(first_init(&after), "UNDERSTUDY_CAPTURE_KEEP_BYTES"), [json!("352321536 B")]);
}

#[test]
fn a_pod_with_resources_as_a_whole_shares_them() {
    let whole = json!({"resources": {"limits": {"cpu": "1", "memory": "128Mi"}}});
    let mut annotations = json!({"understudy.dev/engine": "container"});
    let engines = Settings {
        engine_container: Some(EngineContainer {
            image: "engine:1".to_owned(),
            resources: json!({"requests": {"memory": "1Gi"}}),
        }),
        ..settings()
    };
    assert_eq!(sidecar_of(&engines, &annotations, &whole).unwrap()["resources"], json!({}));
    annotations["understudy.dev/memory-request"] = json!("64Mi");
    let asked = sidecar_of(&engines, &annotations, &whole).unwrap();
    assert_eq!(asked["resources"], json!({"requests": {"memory": "64Mi"}}));
    // Claims of devices are none.
    let claims = json!({"resources": {"claims": [{"name": "gpu"}], "limits": {}}});
    assert_eq!(sidecar_of(&engines, &json!({}), &claims).unwrap()["resources"], settings().resources);
}

#[test]
fn what_is_above_its_limit_is_a_reason_however_it_came() {
    let resources =
        json!({"requests": {"cpu": 1, "memory": "48Mi"}, "limits": {"cpu": "500m", "memory": "48Mi"}});
    let chart = Settings { resources, ..settings() };
    let skip = sidecar_of(&chart, &json!({}), &json!({})).unwrap_err();
    assert_eq!(skip.label(), "resources");
    let said = skip.text();
    assert!(said.contains("\"understudy\" would ask for 1 of cpu with a limit of 500m"), "{said}");
    let raised = json!({"understudy.dev/cpu-limit": "1000m"});
    assert!(sidecar_of(&chart, &raised, &json!({})).is_ok());
}

#[test]
fn its_start_does_not_hang_on_the_configuration_or_the_disk() {
    let environment = BTreeMap::from([
        ("UNDERSTUDY_METRICS_ENABLED".to_owned(), "false".to_owned()),
        ("UNDERSTUDY_POLICY_TAU".to_owned(), "0.9".to_owned()),
    ]);
    let sidecar = sidecar_of(&Settings { environment, ..settings() }, &json!({}), &json!({})).unwrap();
    assert_eq!(sidecar["args"], json!(["serve", "--go-on"]));
    assert_eq!(values(&sidecar, "UNDERSTUDY_METRICS_ENABLED"), [json!("true")]);
    assert_eq!(values(&sidecar, "UNDERSTUDY_POLICY_TAU"), [json!("0.9")]);
}

/// What a container has under this name.
fn values(container: &Value, name: &str) -> Vec<Value> {
    let all = container["env"].as_array().unwrap().iter().filter(|v| v["name"] == name);
    all.map(|v| if v["value"].is_null() { v["valueFrom"].clone() } else { v["value"].clone() }).collect()
}

#[test]
fn the_chart_s_own_variables_may_come_from_secrets() {
    let from =
        |name: &str, source: &str, reference: Value| json!({"name": name, "valueFrom": {source: reference}});
    let env = vec![
        from("OTEL_EXPORTER_OTLP_HEADERS", "secretKeyRef", json!({"name": "otlp", "key": "headers"})),
        from("LLM_KEY", "configMapKeyRef", json!({"name": "keys", "key": "llm", "optional": false})),
        json!({"name": "UNDERSTUDY_POLICY_TAU", "value": "0.95"}),
        json!({"name": "UNDERSTUDY_STATE_DIR", "value": "/elsewhere"}),
    ];
    let environment = BTreeMap::from([("UNDERSTUDY_POLICY_TAU".to_owned(), "0.9".to_owned())]);
    let sidecar = sidecar_of(&Settings { env, environment, ..settings() }, &json!({}), &json!({})).unwrap();
    // A pod of a namespace without the Secret starts all the same, unless it was said otherwise.
    let headers = json!({"secretKeyRef": {"name": "otlp", "key": "headers", "optional": true}});
    assert_eq!(values(&sidecar, "OTEL_EXPORTER_OTLP_HEADERS"), [headers]);
    assert_eq!(values(&sidecar, "LLM_KEY")[0]["configMapKeyRef"]["optional"], false);
    assert_eq!(values(&sidecar, "UNDERSTUDY_POLICY_TAU"), [json!("0.95")]);
    assert_eq!(values(&sidecar, "UNDERSTUDY_STATE_DIR"), [json!("/var/lib/understudy")]);
}

#[test]
fn its_journal_keeps_within_its_room_whatever_the_chart_s_variables_say() {
    let name = "UNDERSTUDY_CAPTURE_VOLUME_BYTES".to_owned();
    let chart = Settings { environment: [(name.clone(), "1073741824".to_owned())].into(), ..settings() };
    let sidecar = sidecar_of(&chart, &json!({"understudy.dev/journal-size": "64Mi"}), &json!({})).unwrap();
    assert_eq!(values(&sidecar, "UNDERSTUDY_CAPTURE_KEEP_BYTES"), [json!("50331648 B")]);
    assert_eq!(values(&sidecar, &name), [json!("6291456 B")]);
    // A claim's size is not known unless it is said.
    let claim = sidecar_of(&chart, &json!({"understudy.dev/journal-claim": "mine"}), &json!({})).unwrap();
    assert!(values(&claim, "UNDERSTUDY_CAPTURE_KEEP_BYTES").is_empty());
    assert_eq!(values(&claim, &name), [json!("1073741824")]);
}

#[test]
fn a_chart_with_too_small_a_journal_holds_no_pod() {
    let chart = Settings { journal_size: "32Mi".to_owned(), ..settings() };
    assert_eq!(sidecar_of(&chart, &json!({}), &json!({})).unwrap_err().label(), "journal_size");
    let own = json!({"understudy.dev/journal-size": "128Mi"});
    assert!(sidecar_of(&chart, &own, &json!({})).is_ok());
}
