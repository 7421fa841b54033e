use std::sync::Mutex;

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;
use crate::testing::{ask, block_on, question};

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

/// Keeps what a remote charges and settles.
#[derive(Default)]
struct Book(Mutex<(Vec<Usage>, Vec<Usage>)>);

impl Meter for Book {
    fn try_charge(&self, expected: Usage) -> Option<Charge> {
        self.0.lock().unwrap().0.push(expected);
        Some(Charge { day: 0, expected })
    }

    fn settle(&self, _: Charge, took: Usage) {
        self.0.lock().unwrap().1.push(took);
    }
}

fn remote(url: String, meter: Arc<dyn Meter>) -> Remote {
    let config = RemoteConfig {
        name: "small".into(),
        url,
        key: Some("sk-secret".into()),
        model: "m".into(),
        logprobs: false,
        budget: Budget::default(),
    };
    Remote::new(TaskId(1), config, meter).unwrap()
}

/// What is charged for a call, and what it is settled at, where the server says this.
async fn charged(request: &Request, status: u16, body: Value) -> (Usage, Vec<Usage>) {
    let status = StatusCode::from_u16(status).unwrap();
    let app = Router::new().route("/chat/completions", post(move || async move { (status, Json(body)) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let book = Arc::new(Book::default());
    let _ = remote(url, Arc::<Book>::clone(&book)).respond(ask(request, None)).await;
    let (charged, settled) = &*book.0.lock().unwrap();
    (charged[0], settled.clone())
}

fn reply(usage: Value) -> Value {
    json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]})
}

#[test]
fn what_the_server_counts_takes_the_estimate_s_place_and_nothing_else_does() {
    block_on(async {
        let request = question("hello");
        let counted = json!({"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23});
        let nothing = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
        assert_eq!(charged(&request, 200, reply(counted)).await.1, [usage(20, 3)]);
        for free in [401, 429] {
            assert_eq!(charged(&request, free, json!({})).await.1, [Usage::default()], "{free}");
        }
        for (status, body) in [
            (200, reply(Value::Null)),
            (200, reply(nothing)),
            (200, json!("what?")),
            (400, json!({})),
            (500, json!({})),
        ] {
            assert_eq!(charged(&request, status, body.clone()).await.1, [], "{status} {body}");
        }
        // A port that was just free: nobody listens, so nothing was sent.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let book = Arc::new(Book::default());
        let lost = remote(format!("http://{free}"), Arc::<Book>::clone(&book));
        assert_eq!(lost.respond(ask(&request, None)).await.unwrap_err(), Declined::Unavailable);
        assert_eq!(book.0.lock().unwrap().1, [Usage::default()]);
    });
}

#[test]
fn a_call_is_charged_its_text_and_the_tokens_that_it_permits() {
    block_on(async {
        let mut request = question(&"word ".repeat(400));
        let (charged_first, _) = charged(&request, 500, json!({})).await;
        assert!((500..600).contains(&charged_first.input_tokens), "{charged_first:?}");
        assert_eq!(charged_first.output_tokens, 256);
        request.sampling.max_tokens = Some(4_000);
        assert_eq!(charged(&request, 500, json!({})).await.0.output_tokens, 4_000);
    });
}

#[test]
fn what_is_meant_for_the_provider_alone_is_not_sent_on() {
    let asked = json!({
        "model": "big", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 50, "stop": "END",
        "response_format": {"type": "json_schema", "json_schema": {"name": "r", "description": "d", "schema": {"type": "object"}}},
        "stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false},
        "user": "user-7", "safety_identifier": "hash-7", "prompt_cache_key": "desk", "prompt_cache_retention": "24h",
        "service_tier": "flex", "store": false, "metadata": {}, "logit_bias": {}, "reasoning_effort": "none", "audio": null,
    });
    let request =
        understudy_dialect::parse_request(Dialect::OpenaiChat, asked.to_string().as_bytes()).unwrap();
    assert!(request.ineligible.is_empty(), "{:?}", request.ineligible);
    let heard = Arc::new(Mutex::new(Value::Null));
    let keep = Arc::clone(&heard);
    block_on(async {
        let app = Router::new().route(
            "/chat/completions",
            post(move |Json(body): Json<Value>| async move {
                *keep.lock().unwrap() = body;
                Json(reply(Value::Null))
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let _ = remote(url, Arc::new(Book::default())).respond(ask(&request, None)).await;
    });
    let format = asked["response_format"].clone();
    let expected = json!({
        "model": "m", "messages": asked["messages"], "max_completion_tokens": 50, "stop": "END", "response_format": format,
    });
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn a_server_that_does_not_take_the_form_was_not_asked() {
    for (status, code, why) in [
        (400, "", Declined::Unavailable),
        (422, "", Declined::Unavailable),
        (400, "invalid", Declined::Unavailable),
        (400, "context_length_exceeded", Declined::TooLong),
    ] {
        block_on(async {
            let status = StatusCode::from_u16(status).unwrap();
            let error = json!({"error": {"message": "no", "type": "invalid_request_error", "code": code}});
            let app =
                Router::new().route("/chat/completions", post(move || async move { (status, Json(error)) }));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await });
            let remote = remote(url, Arc::new(Book::default()));
            let request = question("hello");
            let declined = remote.respond(ask(&request, None)).await.unwrap_err();
            assert_eq!(declined, why, "{status} {code}");
        });
    }
}

#[test]
fn a_key_is_never_printed() {
    let remote = remote("http://localhost".into(), Arc::new(Book::default()));
    assert!(!format!("{remote:?} {:?}", remote.config).contains("sk-secret"));
}
