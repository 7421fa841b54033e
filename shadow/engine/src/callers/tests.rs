#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::post;
use axum::{Json, Router};

use super::*;

/// An API server that knows one token, and counts what it is asked.
async fn reviewer(asked: Arc<AtomicUsize>, known: &'static str) -> String {
    let review = move |Json(ask): Json<Value>| async move {
        asked.fetch_add(1, Ordering::Relaxed);
        let genuine = ask["spec"]["token"] == known;
        let audiences = if genuine { ask["spec"]["audiences"].clone() } else { Value::Null };
        (StatusCode::CREATED, Json(json!({"status": {"authenticated": genuine, "audiences": audiences}})))
    };
    let app = Router::new().route("/apis/authentication.k8s.io/v1/tokenreviews", post(review));
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
    let server = reviewer(Arc::clone(&asked), "pod-1").await;
    let callers = Callers::at(&server, account.path(), "understudy-engine").unwrap();
    for _ in 0..3 {
        assert_eq!(callers.judge("pod-1").await, Verdict::Genuine);
        assert_eq!(callers.judge("stolen").await, Verdict::Refused);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn without_an_api_server_a_known_caller_stays_known_and_a_new_one_is_not_let_in() {
    let (asked, account) = (Arc::new(AtomicUsize::new(0)), account());
    let server = reviewer(asked, "pod-1").await;
    let mut callers = Callers::at(&server, account.path(), "understudy-engine").unwrap();
    assert_eq!(callers.judge("pod-1").await, Verdict::Genuine);
    callers.url = "http://127.0.0.1:1/".to_owned();
    callers.holds = Duration::ZERO;
    assert_eq!(callers.judge("pod-1").await, Verdict::Genuine);
    assert_eq!(callers.judge("pod-2").await, Verdict::Unknown);
    callers.holds_alone = Duration::ZERO;
    assert_eq!(callers.judge("pod-1").await, Verdict::Unknown);
}
