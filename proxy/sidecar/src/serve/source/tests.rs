//! What is heard from a server that answers as an injector does, over plain HTTP.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use understudy_call::UnderstudyId;
use understudy_policy::{Ledger, Roster, TaskId, TaskPolicy};
use understudy_rehearsal::worker::Tally;

use super::document::{Pinned, Told};
use super::*;
use crate::{config, state};

fn document(version: &str, policies: &Value) -> Document {
    serde_json::from_value(json!({"version": version, "policies": policies})).unwrap()
}

#[test]
fn the_last_policy_that_names_a_stage_holds() {
    let d = document(
        "1",
        &json!([
            {"name": "agents/all", "policy": {}, "stage": "shadowing"},
            {"name": "agents/rules", "policy": {"tau": 0.9}},
            {"name": "agents/route", "task": "route", "policy": {}, "stage": "live"},
        ]),
    );
    assert_eq!(d.pin_of("0123", "route"), Some(("agents/route", Pinned::Live)));
    assert_eq!(d.pin_of("0123", "other"), Some(("agents/all", Pinned::Shadowing)));
    assert!(d.holds_back("0123", "other") && !d.holds_back("0123", "route"));
    let keys: Vec<_> = d.amendments().into_iter().map(|a| a.keys).collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0]["tau"], 0.9);
}

#[test]
fn what_cannot_be_followed_is_refused_by_name_and_the_rest_holds() {
    let d = document(
        "1",
        &json!([
            {"name": "agents/newer", "policy": {"patience": 3}},
            {"name": "agents/wrong", "policy": {"tau": 2.0}},
            {"name": "agents/good", "policy": {"tau": 0.99, "max_stage": "shadowing"}},
        ]),
    );
    let refused = d.refused();
    assert!(refused["agents/newer"].contains("patience"), "{refused:?}");
    assert!(refused["agents/wrong"].starts_with("tau: 2"), "{refused:?}");
    let [good] = d.amendments().try_into().unwrap();
    assert_eq!(good.lay(&TaskPolicy::default()).unwrap().tau, 0.99);
}

#[test]
fn the_last_policy_that_says_who_may_answer_holds_where_it_can_be_followed() {
    let d = document(
        "1",
        &json!([
            {"name": "agents/all", "policy": {"models": ["head"]}},
            {"name": "agents/rules", "policy": {"tau": 0.9}},
            {"name": "agents/wrong", "policy": {"models": ["haed"]}},
            {"name": "agents/route", "task": "route", "policy": {"models": []}},
        ]),
    );
    let (head, prompted) =
        (UnderstudyId("head-0123456789ab".into()), UnderstudyId("prompted-0123456789ab".into()));
    assert!(d.permits("0123", "other", &head) && !d.permits("0123", "other", &prompted));
    assert!(d.permits("0123", "route", &prompted), "an empty list leaves nobody out");
    assert!(
        Document::default().permits("0123", "other", &prompted),
        "the configuration's word is not known here"
    );
    assert!(d.refused()["agents/wrong"].starts_with("models: \"haed\" is not allowed"), "{:?}", d.refused());
    let rules = d.amendments()[0].lay(&TaskPolicy::default()).unwrap();
    assert_eq!(rules.models, ["head"]);
}

/// Who tells of these tasks, most calls first, under these policies.
fn source(dir: &std::path::Path, tasks: &[(u64, &str)], policies: &Value) -> Source {
    let text = format!("[state]\ndir = {dir:?}\n[policy]\nsource = \"http://127.0.0.1:9\"\n");
    let config = config::parse(&text, None, []).unwrap();
    let kept = Kept { heard_at: now(), document: document("1", policies) };
    kept.write(&config.state.join("policy.json")).unwrap();
    let publisher = Arc::new(Publisher::new(
        Arc::new(ArcSwap::from_pointee(Roster::default())),
        Arc::new(AtomicBool::new(false)),
    ));
    let report = |(id, name): &(u64, &str)| TaskReport {
        task: TaskId(*id),
        name: (*name).to_owned(),
        model: String::new(),
        provider: String::new(),
        tally: Tally::default(),
        evidence: Ledger::new(TaskId(*id), TaskPolicy::default()).view(),
        cast: Vec::new(),
        adoptions: Vec::new(),
        adopting: None,
        provider_p50_ms: None,
        understudy_p50_ms: None,
    };
    let shown = Snapshot { reports: tasks.iter().map(report).collect(), ..Snapshot::default() };
    let (source, _heard) =
        Source::of(&config, &publisher, &Arc::new(ArcSwap::from_pointee(shown))).unwrap().unwrap();
    source
}

#[test]
fn a_task_is_reported_with_its_id_and_those_that_policies_name_before_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..100).map(|n| format!("task-{n}")).collect();
    let tasks: Vec<(u64, &str)> = (0..).zip(names.iter().map(String::as_str)).collect();
    let policies = json!([
        {"name": "agents/all", "stage": "shadowing"},
        {"name": "agents/by-name", "task": "task-98", "stage": "live"},
        {"name": "agents/by-id", "task": TaskId(99).to_string(), "stage": "live"},
    ]);
    let report = source(dir.path(), &tasks, &policies).report();
    let told = report["tasks"].as_object().unwrap();
    assert_eq!(told.len(), MOST_TASKS);
    let is_told = |n: usize| told.contains_key(&names[n]);
    assert!((0..MOST_TASKS - 2).all(is_told) && !is_told(MOST_TASKS - 2) && is_told(98) && is_told(99));
    assert_eq!(told["task-0"], "observing");
    assert_eq!(report["ids"]["task-99"], TaskId(99).to_string());
    assert_eq!(report["ids"].as_object().unwrap().len(), MOST_TASKS);
}

#[derive(Clone, Default)]
struct Injector {
    says: Arc<Mutex<Option<Document>>>,
    asked: Arc<Mutex<Vec<(Value, String)>>>,
}

impl Injector {
    async fn answer(State(this): State<Self>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
        let token = headers.get("authorization").map_or("", |v| v.to_str().unwrap()).to_owned();
        this.asked.lock().unwrap().push((asked.clone(), token));
        let says = this.says.lock().unwrap().clone();
        match says {
            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Some(document) if asked["known"] == document.version => StatusCode::NO_CONTENT.into_response(),
            Some(document) => Json(document).into_response(),
        }
    }

    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/policy", post(Self::answer)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }
}

struct Proxy {
    heard: watch::Receiver<Arc<Document>>,
    end: watch::Sender<bool>,
    run: tokio::task::JoinHandle<()>,
}

fn proxy(dir: &std::path::Path, address: SocketAddr, max_age: &str) -> Proxy {
    let token = dir.join("token");
    std::fs::write(&token, "a-pods-token\n").unwrap();
    let text = format!(
        "[state]\ndir = {:?}\n[policy]\nsource = \"http://{address}\"\ntoken_file = {token:?}\nmax_age = \"{max_age}\"\n",
        dir.join("state"),
    );
    let config = config::parse(&text, None, []).unwrap();
    state::make(&config.state).unwrap();
    let publisher = Arc::new(Publisher::new(
        Arc::new(ArcSwap::from_pointee(Roster::default())),
        Arc::new(AtomicBool::new(false)),
    ));
    let (source, heard) = Source::of(&config, &publisher, &Arc::default()).unwrap().unwrap();
    let (end, ending) = watch::channel(false);
    Proxy { heard, end, run: tokio::spawn(source.run(ending)) }
}

impl Proxy {
    async fn hears(&mut self, version: &str) {
        let heard = self.heard.wait_for(|d| d.version == version);
        tokio::time::timeout(Duration::from_secs(30), heard).await.unwrap().unwrap();
    }

    async fn end(self) {
        self.end.send_replace(true);
        self.run.await.unwrap();
    }
}

#[tokio::test]
async fn a_policy_is_heard_confirmed_and_kept_for_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let injector = Injector::default();
    let address = injector.start().await;
    let first = document("1", &json!([{"name": "agents/a", "policy": {"tau": 0.9}}]));
    *injector.says.lock().unwrap() = Some(first.clone());
    let mut p = proxy(dir.path(), address, "1d");
    p.hears("1").await;
    let second = Document { version: "2".to_owned(), ..first };
    *injector.says.lock().unwrap() = Some(second.clone());
    p.hears("2").await;
    p.end().await;
    let asked = injector.asked.lock().unwrap().clone();
    assert_eq!((asked[0].0["known"].as_str(), asked[0].1.as_str()), (Some(""), "Bearer a-pods-token"));
    assert!(asked.iter().any(|(a, _)| a["report"]["version"] == "1"), "{asked:?}");

    // The injector is away now, and what it told holds on.
    *injector.says.lock().unwrap() = None;
    let p = proxy(dir.path(), address, "1d");
    assert_eq!(**p.heard.borrow(), second);
    p.end().await;
}

#[tokio::test]
async fn what_is_too_old_no_longer_holds() {
    let dir = tempfile::tempdir().unwrap();
    let injector = Injector::default();
    let address = injector.start().await;
    let told = Told { name: "agents/a".to_owned(), stage: Some(Pinned::Live), ..Told::default() };
    *injector.says.lock().unwrap() = Some(Document { version: "1".to_owned(), policies: vec![told] });
    let mut p = proxy(dir.path(), address, "1s");
    p.hears("1").await;
    *injector.says.lock().unwrap() = None;
    p.hears("").await;
    p.end().await;
}

#[tokio::test]
async fn a_damaged_file_is_asked_for_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join("state/policy.json"), "{\"heard_at\": 17").unwrap();
    let injector = Injector::default();
    let address = injector.start().await;
    *injector.says.lock().unwrap() = Some(document("1", &json!([])));
    let mut p = proxy(dir.path(), address, "1d");
    assert_eq!(**p.heard.borrow(), Document::default());
    p.hears("1").await;
    p.end().await;
}
