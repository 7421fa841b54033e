use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::task::JoinHandle;

use super::*;
use crate::asking;
use crate::testing::{block_on, question};

mod hangs;

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
        (409, "late", Declined::Late),
        (429, "busy", Declined::Busy),
        (409, "too_long", Declined::TooLong),
        (409, "invalid", Declined::Invalid),
        (429, "", Declined::Busy),
        (500, "", Declined::Unavailable),
        (503, "", Declined::Unavailable),
        (400, "", Declined::Invalid),
        (400, "older", Declined::Unavailable),
    ] {
        block_on(async {
            // An engine that is older than what it is asked.
            let message =
                if code == "older" { "field `understudy`: unknown variant `or_nothing`" } else { "no" };
            let error = json!({"error": {"message": message, "type": "declined", "code": code}});
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

/// An engine whose models change.
struct Turning {
    model: Mutex<&'static str>,
    marks: bool,
    looks: AtomicUsize,
}

impl Turning {
    fn new(model: &'static str, marks: bool) -> Arc<Self> {
        Arc::new(Self { model: Mutex::new(model), marks, looks: AtomicUsize::new(0) })
    }

    /// Says this, on a connection of its own.
    fn say(&self, body: Value) -> Response {
        let mut response = Json(body).into_response();
        let headers = response.headers_mut();
        headers.insert("connection", HeaderValue::from_static("close"));
        if self.marks {
            headers.insert("x-understudy-models", HeaderValue::from_static(*self.model.lock().unwrap()));
        }
        response
    }

    /// Serves until the task is aborted.
    fn serve(self: &Arc<Self>, path: &Path) -> JoinHandle<()> {
        let health = |State(it): State<Arc<Self>>| async move {
            it.looks.fetch_add(1, Ordering::Relaxed);
            let model = *it.model.lock().unwrap();
            it.say(json!({"chat": model, "embed": model}))
        };
        let embed = |State(it): State<Arc<Self>>| async move {
            it.say(json!({"data": [{"index": 0, "embedding": [1.0]}]}))
        };
        let chat = |State(it): State<Arc<Self>>| async move { it.say(good()) };
        let app = Router::new()
            .route("/healthz", get(health))
            .route("/v1/embeddings", post(embed))
            .route("/v1/chat/completions", post(chat))
            .with_state(Arc::clone(self));
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
    }
}

#[test]
fn what_another_engine_says_at_the_same_address_is_not_used() {
    block_on(async {
        let (dir, engine) = (tempfile::tempdir().unwrap(), Turning::new("old", true));
        let path = dir.path().join("engine.sock");
        engine.serve(&path);
        let client = EngineClient::new(EngineAddr::Unix(path)).unwrap();
        for _ in 0..3 {
            assert!(asking::has_models(&client, &client, ("old", "old")).await);
            client.chat(chat_ask()).await.unwrap();
            // A live one that takes long is another reason to look.
            client.embed(&["a".to_owned()], Priority::Shadow).await.unwrap();
        }
        assert_eq!(engine.looks.load(Ordering::Relaxed), 1, "its names are asked for once");
        *engine.model.lock().unwrap() = "new";
        assert_eq!(client.chat(chat_ask()).await.unwrap_err(), Declined::Unavailable);
        assert!(!asking::has_models(&client, &client, ("old", "old")).await);
        client.chat(chat_ask()).await.unwrap();
        *engine.model.lock().unwrap() = "newer";
        assert!(client.embed(&["a".to_owned()], Priority::Live).await.is_err());
        assert!(asking::has_models(&client, &client, ("newer", "newer")).await);
    });
}

#[test]
fn an_engine_that_was_lost_is_asked_for_its_models_again() {
    block_on(async {
        let (dir, engine) = (tempfile::tempdir().unwrap(), Turning::new("old", false));
        let path = dir.path().join("engine.sock");
        let serving = engine.serve(&path);
        let client = EngineClient::new(EngineAddr::Unix(path.clone())).unwrap();
        assert_eq!(client.model().await.unwrap(), "old");
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        assert_eq!(client.chat(chat_ask()).await.unwrap_err(), Declined::Unavailable);
        assert_eq!(client.id(), "");
        std::fs::remove_file(&path).unwrap();
        *engine.model.lock().unwrap() = "new";
        engine.serve(&path);
        assert!(!asking::has_models(&client, &client, ("old", "old")).await);
        assert_eq!((client.model().await.unwrap(), client.id()), ("new".to_owned(), "new".to_owned()));
    });
}

#[test]
fn a_key_is_never_printed() {
    let addr = EngineAddr::Http("http://pool".into(), Some("sk-secret".into()));
    assert!(!format!("{addr:?} {:?}", EngineClient::new(addr.clone()).unwrap()).contains("sk-secret"));
}
