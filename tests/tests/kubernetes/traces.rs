//! What a real Jaeger has of a task that is served: a call's trace, a trial's, which links to
//! its call, and a decision's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Cluster;

const SOON: Duration = Duration::from_secs(60);

/// What Jaeger's query API answers; null where it does not.
fn ask(cluster: &Cluster, rest: &str) -> Value {
    let text = cluster.service("peers", "jaeger", &format!(":16686/api/{rest}"));
    serde_json::from_str(&text).unwrap_or_default()
}

/// Waits for a span of these tags; its trace, and the span.
fn find(cluster: &Cluster, what: &str, tags: &Value, operation: Option<&str>) -> (Value, Value) {
    let mut url = reqwest::Url::parse("http://jaeger/traces?service=understudy&limit=200").unwrap();
    url.query_pairs_mut().append_pair("tags", &tags.to_string());
    if let Some(operation) = operation {
        url.query_pairs_mut().append_pair("operation", operation);
    }
    let query = format!("traces?{}", url.query().unwrap());
    let is = |span: &Value| {
        operation.is_none_or(|o| span["operationName"] == o)
            && tags.as_object().unwrap().iter().all(|(key, value)| tag(&span["tags"], key) == *value)
    };
    let mut found = None;
    cluster.api.until(
        what,
        SOON,
        || {
            let seen = ask(cluster, &query);
            let traces = seen["data"].as_array().into_iter().flatten();
            found = traces
                .flat_map(|trace| spans(trace).map(move |span| (trace, span)))
                .find(|(_, span)| is(span))
                .map(|(trace, span)| (trace.clone(), span.clone()));
            found.is_some()
        },
        || ask(cluster, "services").to_string(),
    );
    found.unwrap()
}

fn spans(trace: &Value) -> impl Iterator<Item = &Value> {
    trace["spans"].as_array().into_iter().flatten()
}

/// A value among tags or an event's fields, which Jaeger has as a list.
fn tag(tags: &Value, key: &str) -> Value {
    let found = tags.as_array().into_iter().flatten().find(|t| t["key"] == key);
    found.map(|t| t["value"].clone()).unwrap_or_default()
}

pub(crate) fn are_in_jaeger(cluster: &Cluster) {
    of_a_served_call(cluster);
    of_a_trial(cluster);
    let (_, decision) =
        find(cluster, "a decision's trace", &json!({"understudy.stage": "live"}), Some("decide"));
    assert!(!tag(&decision["tags"], "understudy.reason").is_null(), "{decision}");
    print_span(&decision);
}

fn of_a_served_call(cluster: &Cluster) {
    let served = json!({"understudy.lane": "understudy"});
    let (trace, span) = find(cluster, "a trace of an answered call", &served, None);
    for key in [
        "understudy.task",
        "understudy.stage",
        "understudy.lane",
        "understudy.understudy",
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.usage.output_tokens",
        "gen_ai.response.time_to_first_chunk",
    ] {
        assert!(!tag(&span["tags"], key).is_null(), "no {key} in {span}");
    }
    assert_eq!(tag(&span["tags"], "gen_ai.provider.name"), "understudy");
    print_span(&span);
    // Whose pod it was.
    let process = &trace["processes"][span["processID"].as_str().unwrap()];
    let pod = tag(&process["tags"], "k8s.pod.name");
    assert!(pod.as_str().is_some_and(|p| p.starts_with("help-desk")), "{process}");
}

/// A trial in the shadows: it links to its call, whose trace is another, and has its judgement
/// as an event.
fn of_a_trial(cluster: &Cluster) {
    let shadow = json!({"understudy.lane": "shadow"});
    let (_, trial) = find(cluster, "a trial's trace", &shadow, Some("rehearse"));
    for key in ["understudy.task", "understudy.understudy"] {
        assert!(!tag(&trial["tags"], key).is_null(), "no {key} in {trial}");
    }
    // Jaeger has a span's parent and its links in one list, the links as FOLLOWS_FROM.
    let mut references = trial["references"].as_array().into_iter().flatten();
    let link = references.find(|r| r["refType"] == "FOLLOWS_FROM");
    let link = link.unwrap_or_else(|| panic!("no link to a call: {trial}"));
    assert_ne!(link["traceID"], trial["traceID"], "the call's duration stays true");
    let path = format!("traces/{}", link["traceID"].as_str().unwrap());
    let is_call = |span: &Value| {
        let name = span["operationName"].as_str().unwrap_or_default();
        span["spanID"] == link["spanID"] && name.starts_with("chat ")
    };
    cluster.api.until(
        "the call that the trial links to",
        SOON,
        || spans(&ask(cluster, &path)["data"][0]).any(is_call),
        || ask(cluster, &path).to_string(),
    );

    let fields = &trial["logs"][0]["fields"];
    assert_eq!(tag(fields, "event"), "gen_ai.evaluation.result", "{trial}");
    assert_eq!(tag(fields, "gen_ai.evaluation.name"), "agreement", "{trial}");
    let label = tag(fields, "gen_ai.evaluation.score.label");
    assert!(["agrees", "differs", "declined"].iter().any(|l| label == *l), "{trial}");
    print_span(&trial);
}

/// A span as text, for docs/kubernetes.md.
fn print_span(span: &Value) {
    let ms = span["duration"].as_f64().unwrap() / 1e3;
    eprintln!("          {} ({ms:.1} ms)", span["operationName"].as_str().unwrap());
    let mut tags: Vec<_> = span["tags"].as_array().unwrap().iter().collect();
    tags.sort_by_key(|t| t["key"].as_str().unwrap());
    for tag in tags {
        eprintln!("            {} = {}", tag["key"].as_str().unwrap(), tag["value"]);
    }
}
