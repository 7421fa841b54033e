//! The worker comes back by itself, and a process that is told twice to end does not
//! wait for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, said};
use understudy_tests::{desk, openai, standin};

const KEY: &str = "sk-stand-in";

/// What a cluster's policy says.
#[derive(Clone, Default)]
struct Policy(Arc<Mutex<Value>>);

impl Policy {
    fn says(&self, version: &str, policies: &Value) {
        *self.0.lock().unwrap() = json!({"version": version, "policies": policies});
    }

    async fn answer(State(this): State<Self>, Json(asked): Json<Value>) -> Response {
        let says = this.0.lock().unwrap().clone();
        if says["version"] == asked["known"] {
            StatusCode::NO_CONTENT.into_response()
        } else {
            Json(says).into_response()
        }
    }
}

#[test]
fn a_worker_whose_journal_fails_says_so_and_comes_back_with_the_journal() {
    let provider = Peer::standin(standin::Config::default());
    let policy = Policy::default();
    policy.says("1", &json!([]));
    let source =
        Peer::new(Router::new().route("/v1/policy", post(Policy::answer)).with_state(policy.clone()));
    let home = Home::new(
        &provider.url(),
        &format!("[engine]\nenabled = false\n[policy]\nsource = \"http://{}\"", source.address),
    );
    let proxy = home.serve();
    let agent = Agent::new(&proxy.url(), KEY);
    for answer in agent.ask_all((0..10).map(desk::triage).collect(), 4) {
        assert_eq!(answer.unwrap().status, 200);
    }
    let id = home.task_of(10);
    let up = || proxy.metric("understudy_worker_up") > 0.0;
    let tasks = || said(&home.output(["tasks"]));
    assert!(up(), "{}", proxy.log());
    assert!(!tasks().contains("the worker is"), "{}", tasks());

    // Its folder is away, as when a disk is: nothing can be written, and the worker has
    // something to write.
    let (journal, elsewhere) = (home.state().join("journal"), home.path("elsewhere"));
    std::fs::rename(&journal, &elsewhere).unwrap();
    policy.says("2", &json!([{"name": "agents/rules", "policy": {"tau": 0.97}}]));
    wait_until("the worker is away", PATIENCE, || !up());
    let mut told = String::new();
    wait_until("it says so", PATIENCE, || {
        told = tasks();
        told.contains("the worker is down")
    });
    assert!(told.contains("it begins again in"), "{told}");
    assert_eq!(agent.ask(&desk::triage(10)).status, 200, "calls flow");
    assert!(!up(), "it cannot be back yet");

    std::fs::rename(&elsewhere, &journal).unwrap();
    wait_until("the worker is back", PATIENCE, up);
    assert!(!tasks().contains("the worker is"), "{}", tasks());
    assert_eq!(home.task_of(10), id, "what was recorded is known");
    let rules = home.json(["task", "show", &id])["rules"].to_string();
    assert!(rules.contains("0.97"), "{rules}");
    assert_eq!(agent.ask(&desk::triage(11)).status, 200);
    assert_eq!(home.task_of(11), id, "it goes on");
}

/// Answers, and never where it is asked to stay.
async fn answer_or_stay(State(stays): State<Arc<AtomicBool>>, body: String) -> Json<Value> {
    if body.contains("please stay") {
        stays.store(true, Ordering::Release);
        std::future::pending::<()>().await;
    }
    let request = serde_json::from_str(&body).unwrap();
    Json(openai::completion(&request, &json!({"role": "assistant", "content": "so it is"}), 1))
}

#[test]
fn who_is_told_twice_to_end_ends_at_once_and_what_was_durable_stays() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let stays = Arc::new(AtomicBool::new(false));
        let chat = post(answer_or_stay);
        let provider =
            Peer::new(Router::new().route("/v1/chat/completions", chat).with_state(Arc::clone(&stays)));
        let home = Home::new(&provider.url(), "[engine]\nenabled = false\n");
        // Longer than the test would wait.
        let mut proxy = home.serve_with(&[("UNDERSTUDY_GATEWAY_DRAIN", "10m")]);
        let recorded = || said(&home.output(["journal", "export"])).matches("\"exchange\":").count();
        assert_eq!(Agent::new(&proxy.url(), KEY).ask(&desk::triage(1)).status, 200);
        wait_until("the call is recorded", PATIENCE, || recorded() == 1);

        let agent = Agent::new(&proxy.url(), KEY);
        let staying = std::thread::spawn(move || {
            let request = json!({"model": "m", "messages": [{"role": "user", "content": "please stay"}]});
            agent.post("/chat/completions", request.to_string())
        });
        wait_until("a call stays with the provider", PATIENCE, || stays.load(Ordering::Acquire));
        proxy.signal(name);
        wait_until("it ends in good order", PATIENCE, || proxy.log().contains("brought to their end"));
        let told = Instant::now();
        // At once it would be the same word again.
        proxy.signal(name);
        wait_until("another word is another", PATIENCE, || told.elapsed() > Duration::from_millis(1_200));
        proxy.signal(name);
        assert_eq!(proxy.ended().code(), Some(code), "{}", proxy.log());
        let _ = staying.join().unwrap();

        let _again = home.serve();
        assert_eq!(recorded(), 1, "after {name}");
    }
}
