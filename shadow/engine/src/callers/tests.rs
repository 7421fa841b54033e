use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::post;
use axum::{Json, Router};

use super::*;

/// An API server that knows one token, lets one namespace's accounts use one engine, and
/// counts what it is asked.
async fn reviewer(asked: Arc<AtomicUsize>, known: &'static str, allowed: &'static str) -> String {
    let count = Arc::clone(&asked);
    let review = move |Json(ask): Json<Value>| async move {
        count.fetch_add(1, Ordering::Relaxed);
        let genuine = ask["spec"]["token"] == known;
        let audiences = if genuine { ask["spec"]["audiences"].clone() } else { Value::Null };
        let user = json!({"username": "system:serviceaccount:agents:default", "groups": ["system:serviceaccounts:agents"]});
        (
            StatusCode::CREATED,
            Json(json!({"status": {"authenticated": genuine, "audiences": audiences, "user": user}})),
        )
    };
    let access = move |Json(ask): Json<Value>| async move {
        asked.fetch_add(1, Ordering::Relaxed);
        let wanted = json!({"verb": "use", "group": "understudy.dev", "resource": "engines",
            "namespace": "understudy", "name": "understudy-engine"});
        assert_eq!(ask["spec"]["resourceAttributes"], wanted);
        assert_eq!(ask["spec"]["user"], "system:serviceaccount:agents:default");
        let may = ask["spec"]["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|g| *g == format!("system:serviceaccounts:{allowed}"));
        (StatusCode::CREATED, Json(json!({"status": {"allowed": may}})))
    };
    let app = Router::new()
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

fn account() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "ours\n").unwrap();
    dir
}

/// As if its last review had been two of its minutes ago.
fn passed_long_ago(callers: &Callers, token: &str) {
    let at = Instant::now().checked_sub(2 * HOLDS).unwrap();
    let name = [callers.keys[0].hash_one(token), callers.keys[1].hash_one(token)];
    callers.seen().insert(name, Seen { at, tried: at, verdict: Verdict::Passed });
}

#[tokio::test]
async fn a_token_is_reviewed_once_a_minute() {
    let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
    let server = reviewer(Arc::clone(&asked), "pod-1", "agents").await;
    let callers = Arc::new(Callers::at(&server, account.path(), "understudy-engine", None).unwrap());
    for _ in 0..3 {
        assert_eq!(callers.judge("pod-1").await, Verdict::Passed);
        assert_eq!(callers.judge("stolen").await, Verdict::Refused);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn without_an_api_server_a_known_caller_stays_known_and_a_new_one_is_not_let_in() {
    let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
    let server = reviewer(asked, "pod-1", "agents").await;
    let callers = Arc::new(Callers::at(&server, account.path(), "understudy-engine", None).unwrap());
    let away = |callers: &Callers, holds_alone: Duration| {
        let mut alone = Callers::at("http://127.0.0.1:1", account.path(), "understudy-engine", None).unwrap();
        (alone.keys, alone.holds, alone.holds_alone) = (callers.keys.clone(), Duration::ZERO, holds_alone);
        *alone.seen() = callers.seen().clone();
        Arc::new(alone)
    };
    assert_eq!(callers.judge("pod-1").await, Verdict::Passed);
    let alone = away(&callers, HOLDS_ALONE);
    assert_eq!(alone.judge("pod-1").await, Verdict::Passed);
    assert_eq!(alone.judge("pod-2").await, Verdict::Unknown);
    assert_eq!(away(&callers, Duration::ZERO).judge("pod-1").await, Verdict::Unknown);
}

#[tokio::test]
async fn a_known_caller_s_questions_do_not_each_wait_for_an_api_server_that_hangs() {
    let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
    // It takes connections, as one does that stands still, and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            held.push(connection);
        }
    });
    let callers = Arc::new(Callers::at(&server, account.path(), "understudy-engine", None).unwrap());
    passed_long_ago(&callers, "pod-1");
    for _ in 0..20 {
        assert_eq!(callers.judge("pod-1").await, Verdict::Passed);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one review is tried, the others do not wait");
    assert_eq!(callers.judge("stranger").await, Verdict::Unknown);
}

#[tokio::test]
async fn a_caller_that_is_no_longer_genuine_is_refused_when_its_minute_is_over() {
    let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
    let server = reviewer(Arc::clone(&asked), "another", "agents").await;
    let callers = Arc::new(Callers::at(&server, account.path(), "understudy-engine", None).unwrap());
    passed_long_ago(&callers, "pod-1");
    assert_eq!(callers.judge("pod-1").await, Verdict::Refused);
    assert_eq!(callers.judge("pod-1").await, Verdict::Refused);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn where_access_is_restricted_an_account_has_to_have_the_right() {
    for (allowed, verdict) in [("agents", Verdict::Passed), ("others", Verdict::Forbidden)] {
        let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
        let server = reviewer(Arc::clone(&asked), "pod-1", allowed).await;
        let access = Access { namespace: "understudy".to_owned(), name: "understudy-engine".to_owned() };
        let callers =
            Arc::new(Callers::at(&server, account.path(), "understudy-engine", Some(access)).unwrap());
        for _ in 0..3 {
            assert_eq!(callers.judge("pod-1").await, verdict);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2, "the token and the right, once a minute each");
        assert_eq!(callers.judge("stolen").await, Verdict::Refused);
        assert_eq!(
            asked.load(Ordering::Relaxed),
            3,
            "nobody asks for the rights of a token that is not genuine"
        );
    }
}
