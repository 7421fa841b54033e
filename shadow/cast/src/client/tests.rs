#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::*;
use crate::testing::{block_on, question};

/// An engine that answers as its contract says, and keeps what it was asked.
async fn serve(chat: (StatusCode, Value)) -> (EngineClient, Arc<Mutex<Vec<Value>>>, tempfile::TempDir) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let app = Router::new()
        .route(
            "/healthz",
            get(|| async {
                Json(json!({"chat": {"id": "small", "hash": "0123456789abcdef0123"}, "embed": {"id": "mini", "hash": "ff"},
                    "execution_provider": "cpu"}))
            }),
        )
        .route(
            "/v1/embeddings",
            post(|Json(body): Json<Value>| async move {
                let n = body["input"].as_array().unwrap().len();
                // In another order than asked, not of unit length.
                let data: Vec<Value> = (0..n).rev().map(|i| json!({"index": i, "embedding": [3.0 * i as f64, 4.0]})).collect();
                Json(json!({ "data": data, "model": "mini" }))
            }),
        )
        .route(
            "/v1/chat/completions",
            post(move |Json(body): Json<Value>| {
                heard.lock().unwrap().push(body);
                let (status, answer) = chat.clone();
                async move { (status, Json(answer)) }
            }),
        );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (EngineClient::new(EngineAddr::Unix(path)).unwrap(), asked, dir)
}

fn chat_ask() -> ChatAsk {
    ChatAsk {
        request: question("hello"),
        shape: Some(ReplyShape::Text),
        adapter: Some("a1".to_owned()),
        calls: CallText::Line,
        deadline: Duration::from_secs(5),
        bar: Some(-2.5),
        priority: Priority::Live,
    }
}

fn good() -> Value {
    json!({"id": "x", "object": "chat.completion", "created": 1, "model": "small",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "understudy": {"confidence": -0.25, "min_logprob": -0.2, "free_tokens": 3}})
}

#[test]
fn it_asks_with_the_engine_s_fields_and_reads_the_confidence() {
    block_on(async {
        let (client, asked, _dir) = serve((StatusCode::OK, good())).await;
        let answer = client.chat(chat_ask()).await.unwrap();
        assert_eq!(answer.confidence, Some(-0.25));
        assert_eq!(answer.free_tokens, 3);
        assert_eq!(answer.reply.first().unwrap().text(), "hi");
        assert!(answer.reply.extra.get("understudy").is_none());
        let asked = asked.lock().unwrap();
        let ours = &asked[0]["understudy"];
        let expected = json!({"deadline_ms": 5000, "bar": -2.5, "priority": "live", "tools_in_prompt": false, "reply": "text", "adapter": "a1", "calls": "line"});
        assert_eq!(ours, &expected);
        assert_eq!(asked[0]["messages"][1]["content"], "hello");
    });
}

#[test]
fn each_decline_keeps_its_reason() {
    for (status, code, why) in [
        (409, "below_bar", Declined::BelowBar),
        (409, "too_slow", Declined::TooSlow),
        (429, "busy", Declined::Busy),
        (409, "too_long", Declined::TooLong),
        (409, "invalid", Declined::Invalid),
        (429, "", Declined::Busy),
        (500, "", Declined::Unavailable),
        (503, "", Declined::Unavailable),
    ] {
        block_on(async {
            let error = json!({"error": {"message": "no", "type": "declined", "code": code}});
            let (client, _, _dir) = serve((StatusCode::from_u16(status).unwrap(), error)).await;
            assert_eq!(client.chat(chat_ask()).await.unwrap_err(), why, "{status} {code}");
        });
    }
}

#[test]
fn a_reply_that_was_cut_or_makes_no_sense_is_invalid() {
    for broken in [
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "h"}, "finish_reason": "length"}]}),
        json!({"choices": []}),
        json!("hello"),
    ] {
        block_on(async {
            let (client, _, _dir) = serve((StatusCode::OK, broken)).await;
            assert_eq!(client.chat(chat_ask()).await.unwrap_err(), Declined::Invalid);
        });
    }
}

#[test]
fn embeddings_come_in_order_at_unit_length_under_the_model_s_name() {
    block_on(async {
        let (client, _, _dir) = serve((StatusCode::OK, good())).await;
        assert_eq!(client.id(), "");
        let texts = ["a".to_owned(), "b".to_owned()];
        let vectors = client.embed(&texts, Priority::Shadow).await.unwrap();
        assert_eq!(vectors, vec![vec![0.0, 1.0], vec![0.6, 0.8]]);
        assert_eq!(client.id(), "mini@ff@cpu");
        assert_eq!(client.model().await.unwrap(), "small@0123456789abcdef@cpu");
    });
}

#[test]
fn an_engine_that_is_not_there_is_unavailable() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = EngineClient::new(EngineAddr::Unix(dir.path().join("none.sock"))).unwrap();
        assert_eq!(nowhere.chat(chat_ask()).await.unwrap_err(), Declined::Unavailable);
        assert!(nowhere.embed(&["a".to_owned()], Priority::Live).await.is_err());
        assert!(nowhere.model().await.is_none());
        // A port that was just free: nobody listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let closed = EngineClient::new(EngineAddr::Http(format!("http://{free}"), None)).unwrap();
        assert_eq!(closed.chat(chat_ask()).await.unwrap_err(), Declined::Unavailable);
    });
}

#[test]
fn an_engine_that_hangs_is_too_slow() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        // It takes the connection and never answers.
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let client = EngineClient::new(EngineAddr::Unix(path)).unwrap();
        let ask = ChatAsk { deadline: Duration::from_millis(1), ..chat_ask() };
        assert_eq!(client.chat(ask).await.unwrap_err(), Declined::TooSlow);
    });
}

#[test]
fn a_key_is_never_printed() {
    let addr = EngineAddr::Http("http://pool".into(), Some("sk-secret".into()));
    assert!(!format!("{addr:?} {:?}", EngineClient::new(addr.clone()).unwrap()).contains("sk-secret"));
}
