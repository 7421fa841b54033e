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

#[tokio::test]
async fn a_token_is_reviewed_once_a_minute() {
    let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
    let server = reviewer(Arc::clone(&asked), "pod-1", "agents").await;
    let callers = Callers::at(&server, account.path(), "understudy-engine", None).unwrap();
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
    let mut callers = Callers::at(&server, account.path(), "understudy-engine", None).unwrap();
    assert_eq!(callers.judge("pod-1").await, Verdict::Passed);
    callers.server = "http://127.0.0.1:1".to_owned();
    callers.holds = Duration::ZERO;
    assert_eq!(callers.judge("pod-1").await, Verdict::Passed);
    assert_eq!(callers.judge("pod-2").await, Verdict::Unknown);
    callers.holds_alone = Duration::ZERO;
    assert_eq!(callers.judge("pod-1").await, Verdict::Unknown);
}

#[tokio::test]
async fn where_access_is_restricted_an_account_has_to_have_the_right() {
    for (allowed, verdict) in [("agents", Verdict::Passed), ("others", Verdict::Forbidden)] {
        let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
        let server = reviewer(Arc::clone(&asked), "pod-1", allowed).await;
        let access = Access { namespace: "understudy".to_owned(), name: "understudy-engine".to_owned() };
        let callers = Callers::at(&server, account.path(), "understudy-engine", Some(access)).unwrap();
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
