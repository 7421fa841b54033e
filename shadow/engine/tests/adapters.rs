//! The engine with adapters, over a real socket, on a tiny llama with weights by
//! chance: needs ONNX Runtime at `ORT_DYLIB_PATH`, and no model.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use understudy_engine::{EngineConfig, Listen};
use understudy_onnx::contract::{Commercial, Licence, Source};
use understudy_onnx::export::{Origin, Weights, gguf_to_folder};

#[path = "../../onnx/tests/tiny/model.rs"]
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod model;

use model::{BASE, Form, Lora, Tiny};

/// An engine of the test's own, with the adapters `one` and `two`.
struct Running {
    client: reqwest::Client,
    adapters: PathBuf,
    _dir: tempfile::TempDir,
}

async fn running(with_folder: bool) -> Option<Running> {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        println!("skipped: ORT_DYLIB_PATH is unset (scripts/onnxruntime.sh)");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let (model, adapters, socket) =
        (dir.path().join("tiny"), dir.path().join("adapters"), dir.path().join("engine.sock"));
    let tiny = Tiny::create(dir.path());
    let origin = Origin {
        name: "tiny".into(),
        licence: Licence { name: "Apache-2.0".into(), commercial: Commercial::Allowed, note: String::new() },
        source: Source { package: String::new(), file: "tiny.gguf".into(), sha256: BASE.into() },
    };
    gguf_to_folder(&tiny.gguf, &model, &origin, Weights::default(), &mut |_| {}).unwrap();
    write(&adapters, "one", 1);
    write(&adapters, "two", 2);
    let mut cfg = EngineConfig::new(Listen::Unix(socket.clone()));
    cfg.chat_model = Some(model);
    cfg.threads = 1;
    cfg.adapters = with_folder.then(|| adapters.clone());
    let started = understudy_engine::start(cfg).await.unwrap();
    tokio::spawn(started.run(std::future::pending()));
    let client = reqwest::Client::builder().unix_socket(socket.as_path()).build().unwrap();
    Some(Running { client, adapters, _dir: dir })
}

fn write(adapters: &Path, name: &str, seed: u64) {
    Lora::draw(seed, 8).write(&adapters.join(name), Form::F16);
}

impl Running {
    async fn chat(&self, adapter: Option<&str>) -> (u16, Value) {
        let mut body = json!({"model": "gpt-x", "max_tokens": 16, "logprobs": true,
            "messages": [{"role": "user", "content": "wake me at five, please"}]});
        if let Some(name) = adapter {
            body["understudy"] = json!({"adapter": name});
        }
        self.ask(&body).await
    }

    async fn ask(&self, body: &Value) -> (u16, Value) {
        let url = "http://engine/v1/chat/completions";
        let r = self.client.post(url).body(body.to_string()).send().await.unwrap();
        (r.status().as_u16(), r.json().await.unwrap())
    }

    /// The confidence of a reply: tells adapters apart where texts may not.
    async fn confidence(&self, adapter: Option<&str>) -> f64 {
        let (status, r) = self.chat(adapter).await;
        assert_eq!(status, 200, "{r}");
        r["understudy"]["confidence"].as_f64().unwrap()
    }

    async fn refusal(&self, adapter: &str) -> (u16, String, String) {
        let (status, r) = self.chat(Some(adapter)).await;
        assert_eq!(r["error"]["type"], "adapter_error", "{r}");
        let text = |k: &str| r["error"][k].as_str().unwrap().to_owned();
        (status, text("code"), text("message"))
    }

    async fn loaded(&self) -> Value {
        let r = self.client.get("http://engine/healthz").send().await.unwrap();
        r.json::<Value>().await.unwrap()["adapters"].take()
    }
}

#[tokio::test]
async fn each_adapter_answers_as_itself_and_the_base_as_before() {
    let Some(engine) = running(true).await else { return };
    assert_eq!(engine.loaded().await, json!([]), "they are read when they are asked for");
    let base = engine.confidence(None).await;
    let (one, two) = (engine.confidence(Some("one")).await, engine.confidence(Some("two")).await);
    assert!(base != one && one != two && base != two, "{base} {one} {two}");
    for _ in 0..2 {
        assert_eq!(engine.confidence(Some("one")).await, one);
        assert_eq!(engine.confidence(None).await, base);
        assert_eq!(engine.confidence(Some("two")).await, two);
    }
    let loaded = engine.loaded().await;
    let names: Vec<&str> = loaded.as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["two", "one"]);
    assert_eq!((loaded[0]["rank"].as_u64(), loaded[0]["sha256"].as_str().unwrap().len()), (Some(8), 64));
}

#[tokio::test]
async fn tools_constrain_the_reply_and_are_not_in_the_prompt() {
    let Some(engine) = running(true).await else { return };
    let mut body = json!({"model": "gpt-x", "max_tokens": 200, "tool_choice": "required",
        "messages": [{"role": "user", "content": "wake me"}],
        "tools": [{"type": "function", "function": {"name": "set_alarm", "description": "word ".repeat(100),
            "parameters": {"type": "object", "properties": {"kind": {"enum": ["once", "daily"]}},
                "required": ["kind"], "additionalProperties": false}}}],
        "understudy": {"adapter": "one"}});
    let (status, r) = engine.ask(&body).await;
    assert_eq!(status, 200, "{r}");
    let call = &r["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "set_alarm", "{r}");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(["once", "daily"].contains(&arguments["kind"].as_str().unwrap()));
    let adapted = r["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(adapted < 40, "{r}");
    body["understudy"] = json!({});
    let (_, r) = engine.ask(&body).await;
    assert!(r["usage"]["prompt_tokens"].as_u64().unwrap() > 500, "{r}");
}

#[tokio::test]
async fn unknown_damaged_and_foreign_adapters_are_refused_by_name() {
    let Some(engine) = running(true).await else { return };
    let (status, code, said) = engine.refusal("three").await;
    assert_eq!((status, code.as_str()), (404, "adapter_unknown"));
    assert!(said.contains("three"), "{said}");
    for name in ["../one", "", "..", "a/b", ".one"] {
        let (status, code, _) = engine.refusal(name).await;
        assert_eq!((status, code.as_str()), (400, "adapter_name"), "{name}");
    }
    // Read once and whole, then damaged: the change is seen.
    let before = engine.confidence(Some("one")).await;
    let weights = engine.adapters.join("one/adapter_model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    let (status, code, said) = engine.refusal("one").await;
    assert_eq!((status, code.as_str()), (409, "adapter_damaged"));
    assert!(said.contains("adapter_model.safetensors") && said.contains("again"), "{said}");
    std::fs::write(&weights, &whole).unwrap();
    assert_eq!(engine.confidence(Some("one")).await, before);

    std::fs::write(engine.adapters.join("two/card.json"), r#"{"base": {"gguf_sha256": "00"}}"#).unwrap();
    let (status, code, said) = engine.refusal("two").await;
    assert_eq!((status, code.as_str()), (409, "adapter_wrong_base"));
    assert!(said.contains(BASE), "{said}");
    assert_eq!(engine.confidence(Some("one")).await, before, "the others go on");
}

#[tokio::test]
async fn an_adapter_trained_again_needs_no_restart() {
    let Some(engine) = running(true).await else { return };
    let before = engine.confidence(Some("one")).await;
    Lora::draw(50, 16).write(&engine.adapters.join("one"), Form::Bf16);
    assert_ne!(engine.confidence(Some("one")).await, before);
    let loaded = engine.loaded().await;
    assert_eq!((loaded.as_array().unwrap().len(), loaded[0]["rank"].as_u64()), (1, Some(16)));
}

#[tokio::test]
async fn without_a_folder_the_remedy_is_named() {
    let Some(engine) = running(false).await else { return };
    let (status, code, said) = engine.refusal("one").await;
    assert_eq!((status, code.as_str()), (404, "adapters_unsupported"));
    assert!(said.contains("--adapters"), "{said}");
    assert_eq!(engine.loaded().await, Value::Null);
    assert_eq!(engine.chat(None).await.0, 200);
}
