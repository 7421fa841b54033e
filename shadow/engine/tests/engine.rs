//! The engine with its real models, over a real socket.
//!
//! Needs the folders `smollm2-135m-instruct` and `minilm-l6-v2` under
//! `UNDERSTUDY_MODELS`, and ONNX Runtime at `ORT_DYLIB_PATH`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Value, json};
use understudy_engine::{EngineConfig, EngineError, Listen};
use understudy_onnx::ExecutionProvider;

fn models() -> Option<PathBuf> {
    let models = std::env::var_os("UNDERSTUDY_MODELS").map(PathBuf::from);
    if models.is_none() {
        println!("skipped: UNDERSTUDY_MODELS is unset");
    }
    models
}

/// One engine for all tests of the process: loading takes longer than asking.
struct Running {
    socket: PathBuf,
    _dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

static ENGINE: LazyLock<Option<Running>> = LazyLock::new(|| {
    let models = models()?;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut cfg = EngineConfig::new(Listen::Unix(socket.clone()));
    cfg.chat_model = Some(models.join("smollm2-135m-instruct"));
    cfg.embed_model = Some(models.join("minilm-l6-v2"));
    cfg.threads = 1;
    cfg.queue = 32;
    // A test is inside a runtime of its own, which must not wait for another.
    let runtime = std::thread::spawn(move || {
        let started = runtime.block_on(understudy_engine::start(cfg)).unwrap();
        runtime.spawn(started.run(std::future::pending()));
        runtime
    });
    let runtime = runtime.join().unwrap();
    Some(Running { socket, _dir: dir, _runtime: runtime })
});

fn client() -> Option<reqwest::Client> {
    let Some(engine) = ENGINE.as_ref() else {
        println!("skipped: UNDERSTUDY_MODELS is unset");
        return None;
    };
    Some(reqwest::Client::builder().unix_socket(engine.socket.as_path()).build().unwrap())
}

async fn post(c: &reqwest::Client, path: &str, body: &Value) -> (u16, Value) {
    let r = c.post(format!("http://engine{path}")).body(body.to_string()).send().await.unwrap();
    (r.status().as_u16(), r.json().await.unwrap())
}

async fn chat(c: &reqwest::Client, body: &Value) -> (u16, Value) {
    post(c, "/v1/chat/completions", body).await
}

async fn health(c: &reqwest::Client) -> Value {
    c.get("http://engine/healthz").send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn its_numbers_are_there_for_prometheus_and_say_nothing_of_an_ask() {
    let Some(c) = client() else { return };
    assert_eq!(chat(&c, &question("A secret word?")).await.0, 200);
    let answer = c.get("http://engine/metrics").send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.unwrap();
    for line in [
        "understudy_engine_waiting{model=\"chat\",priority=\"live\"} ",
        "understudy_engine_running{model=\"embed\",priority=\"shadow\"} ",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
    assert!(!text.contains("secret") && text.ends_with("# EOF\n"), "{text}");
}

fn question(text: &str) -> Value {
    json!({"model": "gpt-x", "messages": [{"role": "user", "content": text}], "max_tokens": 12})
}

fn weather_call() -> Value {
    json!({"model": "gpt-x",
        "messages": [{"role": "user", "content": "Weather in Berlin, please, in celsius."}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"]}}}],
        "tool_choice": "required"})
}

/// A shadow ask whose reply takes some hundred steps.
fn long(items: u32) -> Value {
    let mut body = question("List names.");
    body["max_tokens"] = json!(6000);
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "names", "schema": {"type": "array",
        "items": {"type": "string", "minLength": 4, "maxLength": 8}, "minItems": items, "maxItems": items}}});
    body["understudy"] = json!({"priority": "shadow"});
    body
}

#[tokio::test]
async fn a_question_is_answered_in_openais_shape() {
    let Some(c) = client() else { return };
    let (status, r) = chat(&c, &question("What is the capital of France? Answer in one word.")).await;
    assert_eq!(status, 200, "{r}");
    assert_eq!((r["object"].as_str(), r["model"].as_str()), (Some("chat.completion"), Some("gpt-x")));
    assert!(r["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(r["choices"][0]["message"]["content"].as_str().unwrap().contains("Paris"), "{r}");
    let usage = &r["usage"];
    let tokens = |k: &str| usage[k].as_u64().unwrap();
    assert_eq!(tokens("prompt_tokens") + tokens("completion_tokens"), tokens("total_tokens"));
    let u = &r["understudy"];
    assert!(u["confidence"].as_f64().unwrap() < 0.0 && u["free_tokens"].as_u64().unwrap() > 0);
    assert!(u["prefill_ms"].as_f64().unwrap() > 0.0 && u["execution_provider"] == "cpu");
}

#[tokio::test]
async fn a_tool_is_called_whole_and_streamed_alike() {
    let Some(c) = client() else { return };
    let (status, whole) = chat(&c, &weather_call()).await;
    assert_eq!(status, 200, "{whole}");
    let call = &whole["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(call["function"]["name"], "get_weather");
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].as_str().unwrap().contains("Berlin"), "{arguments}");

    let mut lined = weather_call();
    lined["understudy"] = json!({"calls": "line", "reply": "tool_call"});
    // A model that has not learnt to write so does not know when to end.
    lined["parallel_tool_calls"] = json!(false);
    let (status, lined) = chat(&c, &lined).await;
    assert_eq!(status, 200, "{lined}");
    let function = &lined["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(function["name"], "get_weather");
    assert!(function["arguments"].as_str().unwrap().starts_with("{\"city\": \""), "{function}");
    let tokens = |r: &Value| r["usage"]["completion_tokens"].as_u64().unwrap();
    assert!(tokens(&lined) < tokens(&whole), "{lined}");

    let mut streamed = weather_call();
    streamed["stream"] = json!(true);
    let r = c.post("http://engine/v1/chat/completions").body(streamed.to_string()).send().await.unwrap();
    assert!(r.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = r.text().await.unwrap();
    assert!(text.trim_end().ends_with("data: [DONE]"));
    let written: String = text
        .lines()
        .filter_map(|l| l.strip_prefix("data: {").map(|l| format!("{{{l}")))
        .map(|l| serde_json::from_str::<Value>(&l).unwrap())
        .filter_map(|v| {
            v["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(written, call["function"]["arguments"].as_str().unwrap());
}

#[tokio::test]
async fn json_follows_its_schema() {
    let Some(c) = client() else { return };
    let mut body = question("Extract name and age: Anna is 31 years old.");
    body["max_tokens"] = json!(40);
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "person", "strict": true, "schema":
        {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
         "required": ["name", "age"], "additionalProperties": false}}});
    let (status, r) = chat(&c, &body).await;
    assert_eq!(status, 200, "{r}");
    let v: Value = serde_json::from_str(r["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(v["name"].is_string() && v["age"].is_i64(), "{v}");
}

#[tokio::test]
async fn declines_say_why() {
    let Some(c) = client() else { return };
    let with = |body: Value, ext: Value| {
        let mut body = body;
        body["understudy"] = ext;
        body
    };
    let code = |r: &Value| {
        (r["error"]["type"].as_str().unwrap().to_owned(), r["error"]["code"].as_str().unwrap().to_owned())
    };
    let declined = |why: &str| ("declined".to_owned(), why.to_owned());

    let (status, r) = chat(&c, &with(question("Invent a name for a moon."), json!({"bar": -0.001}))).await;
    assert_eq!((status, code(&r)), (409, declined("below_bar")));
    let (status, r) = chat(&c, &with(question("Hello"), json!({"deadline_ms": 0}))).await;
    assert_eq!((status, code(&r)), (409, declined("too_slow")));
    let (status, r) = chat(&c, &question(&"word ".repeat(9000))).await;
    assert_eq!((status, code(&r)), (409, declined("too_long")));
    let mut cut = with(weather_call(), json!({"reply": "tool_call", "priority": "shadow"}));
    cut["max_tokens"] = json!(3);
    let (status, r) = chat(&c, &cut).await;
    assert_eq!((status, code(&r)), (409, declined("invalid")));
    let mut unsupported = question("x");
    unsupported["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array", "uniqueItems": true}}});
    let (status, r) = chat(&c, &unsupported).await;
    assert_eq!((status, code(&r)), (409, declined("invalid")));
    assert!(health(&c).await["declined"]["too_long"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn requests_that_are_not_understood_are_the_callers_fault() {
    let Some(c) = client() else { return };
    let bad = [json!({"model": "m"}), json!([]), json!({"model": "m", "messages": [], "n": 3})];
    for body in bad {
        let (status, r) = chat(&c, &body).await;
        assert_eq!((status, r["error"]["type"].as_str()), (400, Some("invalid_request_error")), "{r}");
    }
    let mut typo = question("x");
    typo["understudy"] = json!({"dead_line": 1});
    assert_eq!(chat(&c, &typo).await.0, 400);
    assert_eq!(post(&c, "/v1/embeddings", &json!({"input": []})).await.0, 400);
    assert_eq!(post(&c, "/v1/other", &json!({})).await.0, 404);
}

#[tokio::test]
async fn a_caller_that_hangs_up_cancels_the_work() {
    let Some(c) = client() else { return };
    let asked = tokio::spawn({
        let c = c.clone();
        async move { chat(&c, &long(1000)).await }
    });
    while health(&c).await["models"]["chat"]["queue"]["running_shadow"] == 0 {
        tokio::task::yield_now().await;
    }
    asked.abort();
    while health(&c).await["models"]["chat"]["queue"]["running_shadow"] != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_live_call_goes_before_a_shadow_that_runs() {
    let Some(c) = client() else { return };
    let shadow = tokio::spawn({
        let c = c.clone();
        async move { chat(&c, &long(60)).await }
    });
    while health(&c).await["models"]["chat"]["queue"]["running_shadow"] == 0 {
        tokio::task::yield_now().await;
    }
    let (status, _) = chat(&c, &question("What is the capital of France?")).await;
    assert_eq!(status, 200);
    assert!(!shadow.is_finished(), "the live call was answered first");
    let (status, r) = shadow.await.unwrap();
    assert_eq!(status, 200, "and the shadow went on afterwards: {r}");
}

#[tokio::test]
async fn texts_are_embedded_in_order_at_unit_length() {
    let Some(c) = client() else { return };
    let texts = ["I lost my bank card", "My card has gone missing", "The weather is lovely today"];
    let (status, r) = post(&c, "/v1/embeddings", &json!({"model": "e", "input": texts})).await;
    assert_eq!(status, 200, "{r}");
    let vector = |i: usize| -> Vec<f64> {
        r["data"][i]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let (a, b, d) = (vector(0), vector(1), vector(2));
    assert_eq!(a.len(), 384);
    assert!((dot(&a, &a) - 1.0).abs() < 1e-3);
    assert!(dot(&a, &b) > dot(&a, &d) + 0.3, "{} {}", dot(&a, &b), dot(&a, &d));
    assert!(r["usage"]["prompt_tokens"].as_u64().unwrap() > 10);
    let (_, one) = post(&c, "/v1/embeddings", &json!({"input": texts[1], "encoding_format": "base64"})).await;
    assert_eq!(one["data"][0]["embedding"].as_str().unwrap().len(), 384 * 4 / 3 * 4);
}

/// An engine of its own, with room for one that waits.
#[tokio::test]
async fn an_ask_that_finds_the_queue_full_is_told_to_come_again() {
    let Some(models) = models() else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let mut cfg = EngineConfig::new(Listen::Unix(socket.clone()));
    cfg.embed_model = Some(models.join("minilm-l6-v2"));
    cfg.threads = 1;
    cfg.queue = 1;
    let started = understudy_engine::start(cfg).await.unwrap();
    tokio::spawn(started.run(std::future::pending()));
    let c = reqwest::Client::builder().unix_socket(socket.as_path()).build().unwrap();
    let ask = |body: &Value| c.post("http://engine/v1/embeddings").body(body.to_string()).send();

    // So many texts that the first is not done before all the rest was asked.
    let many = json!({"input": vec!["word ".repeat(40); 2_000], "understudy": {"priority": "shadow"}});
    let mut asked = Vec::new();
    for counted in ["running_shadow", "shadow"] {
        asked.push(tokio::spawn(ask(&many)));
        while health(&c).await["models"]["embed"]["queue"][counted] == 0 {
            tokio::task::yield_now().await;
        }
    }
    let refused = ask(&many).await.unwrap();
    assert_eq!(refused.status().as_u16(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    let said: Value = refused.json().await.unwrap();
    assert_eq!((&said["error"]["type"], &said["error"]["code"]), (&json!("declined"), &json!("busy")));
    assert_eq!(health(&c).await["declined"]["busy"], 1);

    let live = ask(&json!({"input": "word"})).await.unwrap();
    assert_eq!(live.status().as_u16(), 200, "the shadows' queue is not the live asks'");
    asked.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn health_and_models_name_what_is_loaded() {
    let Some(c) = client() else { return };
    let h = health(&c).await;
    assert_eq!((h["status"].as_str(), h["execution_provider"].as_str()), (Some("ok"), Some("cpu")));
    assert_eq!(h["models"]["chat"]["hash"].as_str().unwrap().len(), 64);
    assert!(h["models"]["chat"]["tokens_per_second"]["prefill"].as_f64().unwrap() > 0.0);
    let list: Value = c.get("http://engine/v1/models").send().await.unwrap().json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_response_bears_the_models() {
    let Some(c) = client() else { return };
    let mut marks = Vec::new();
    for path in ["/healthz", "/v1/models", "/nowhere"] {
        let response = c.get(format!("http://engine{path}")).send().await.unwrap();
        marks.push(response.headers()["x-understudy-models"].to_str().unwrap().to_owned());
    }
    assert!(marks[0].matches('@').count() == 4 && marks.iter().all(|m| *m == marks[0]), "{marks:?}");
}

#[tokio::test]
async fn without_a_model_it_does_not_start() {
    let e = understudy_engine::start(EngineConfig::new(Listen::Tcp("127.0.0.1:0".parse().unwrap())))
        .await
        .unwrap_err();
    assert!(matches!(e, EngineError::NoModel));
    let mut cfg = EngineConfig::new(Listen::Tcp("127.0.0.1:0".parse().unwrap()));
    cfg.chat_model = Some("/nowhere/at/all".into());
    let e = understudy_engine::start(cfg).await.unwrap_err();
    assert!(matches!(e, EngineError::Contract(_)) && e.to_string().contains("/nowhere/at/all"), "{e}");
}

/// The library that the tests load is the CPU's.
#[tokio::test]
async fn an_engine_without_an_execution_provider_says_why_each_was_not_to_be_had() {
    let Some(models) = models() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut cfg = EngineConfig::new(Listen::Unix(dir.path().join("engine.sock")));
    cfg.embed_model = Some(models.join("minilm-l6-v2"));
    cfg.execution_providers = vec![ExecutionProvider::TensorRt, ExecutionProvider::Cuda];
    let said = understudy_engine::start(cfg).await.unwrap_err().to_string();
    for part in
        ["embedder: ", "tensorrt (not in this build", "cuda (not in this build", "; add cpu to engine."]
    {
        assert!(said.contains(part), "{part} is missing from: {said}");
    }
}

#[tokio::test]
async fn a_model_file_that_was_changed_is_refused_by_name() {
    let Some(models) = models() else { return };
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(models.join("minilm-l6-v2")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let weights = dir.path().join("model.onnx");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let mut cfg = EngineConfig::new(Listen::Unix(dir.path().join("engine.sock")));
    cfg.embed_model = Some(dir.path().to_path_buf());
    let refused = understudy_engine::start(cfg).await.unwrap_err();
    assert!(matches!(refused, EngineError::Contract(_)), "{refused}");
    assert!(refused.to_string().contains("model.onnx"), "{refused}");
}
