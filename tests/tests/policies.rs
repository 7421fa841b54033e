//! A cluster's policy as the proxy follows it: the injector is a server that says what
//! it is told to say. (The real one is in `kubernetes/`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE};
use understudy_tests::standin;

/// What it says, and what was reported to it last.
#[derive(Clone, Default)]
struct Injector(Arc<Mutex<(Option<Value>, Value)>>);

impl Injector {
    fn says(&self, version: &str, policies: &Value) {
        self.0.lock().unwrap().0 = Some(json!({"version": version, "policies": policies}));
    }

    fn is_away(&self) {
        self.0.lock().unwrap().0 = None;
    }

    fn heard(&self) -> Value {
        self.0.lock().unwrap().1.clone()
    }

    async fn answer(State(this): State<Self>, Json(asked): Json<Value>) -> Response {
        let mut inner = this.0.lock().unwrap();
        inner.1 = asked["report"].clone();
        match &inner.0 {
            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Some(says) if says["version"] == asked["known"] => StatusCode::NO_CONTENT.into_response(),
            Some(says) => Json(says.clone()).into_response(),
        }
    }
}

#[test]
fn a_policy_keeps_a_task_changes_its_rules_and_outlives_the_injector() {
    let provider = Peer::standin(standin::Config::default());
    let injector = Injector::default();
    let source =
        Peer::new(Router::new().route("/v1/policy", post(Injector::answer)).with_state(injector.clone()));
    let home = Home::new(
        &provider.url(),
        &format!(
            "[engine]\nenabled = false\n[policy]\nsource = \"http://{}\"\nobserve_calls = 5",
            source.address
        ),
    );
    injector.says("1", &json!([]));
    let proxy = home.serve();
    let agent = Agent::new(&proxy.url(), "sk-stand-in");
    for answer in agent.ask_all((0..20).map(desk::triage).collect(), 4) {
        assert_eq!(answer.unwrap().status, 200);
    }
    let id = home.task_of(20);
    let shown = || home.json(["task", "show", &id]);
    let pinned = || shown()["row"]["pinned"].clone();
    let until_pinned = |wanted: bool| {
        wait_until("the policy is followed", PATIENCE, || pinned() == wanted);
    };
    assert_eq!(pinned(), false);

    injector.says(
        "2",
        &json!([
            {"name": "agents/rules", "policy": {"tau": 0.97, "alpha": 0.02}},
            {"name": "agents/newer", "policy": {"patience": 3}},
            {"name": "agents/back", "policy": {}, "stage": "shadowing"},
        ]),
    );
    until_pinned(true);
    assert!(shown()["rules"].to_string().contains("0.97"), "{}", shown()["rules"]);
    let decisions = home.json(["decisions"]);
    let by = |who: &str| decisions.as_array().unwrap().iter().any(|d| d["by"] == who);
    assert!(by("policy agents/back"), "{decisions}");
    wait_until("it is reported", PATIENCE, || {
        let heard = injector.heard();
        let stages = heard["tasks"].as_object().cloned().unwrap_or_default();
        heard["version"] == "2"
            && stages.values().any(|s| s == "shadowing")
            && heard["refused"]["agents/newer"].as_str().is_some_and(|why| why.contains("patience"))
    });

    // The injector is away, and the proxy starts anew.
    injector.is_away();
    drop(proxy);
    let _proxy = home.serve();
    wait_until("the task is known again", PATIENCE, || {
        home.json(["tasks"]).as_array().is_some_and(|t| !t.is_empty())
    });
    assert_eq!(pinned(), true);

    // The policies are gone, and the task is free.
    injector.says("3", &json!([]));
    until_pinned(false);
    let decisions = home.json(["decisions"]);
    let freed = decisions.as_array().unwrap().iter().any(|d| d["by"] == "policy that is no more");
    assert!(freed, "{decisions}");
}
